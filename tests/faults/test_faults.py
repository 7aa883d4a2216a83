"""Disk full, kill -9, a target that cannot be written, odd clocks and locales: nothing half-written is ever seen."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import dicom_ml as dml
from tests.faults.writers import WRITERS, make_source, read_back

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals and resource limits")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("faults") / "ct")


def write(name: str, source: Path, target: Path, fault: str = "none", number: int = 0, **environment: str):
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.writers", name, str(source), str(target), fault, str(number)],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | environment, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "before"), [*((name, True) for name in WRITERS), ("segmentation", False)])
def test_disk_full(name, source, tmp_path, before):
    """No space for the whole file (a limit on its size stands for it): an error, and what was there stays."""
    target = tmp_path / "out" / "result.dcm"
    target.parent.mkdir()
    if before:
        target.write_bytes(b"what was there")
    done = write(name, source, target, "limit", 3000)
    assert done.returncode != 0 and "OSError" in done.stderr
    assert [path.name for path in target.parent.iterdir()] == (["result.dcm"] if before else [])
    if before:
        assert target.read_bytes() == b"what was there"


@pytest.mark.parametrize("name", ["segmentation", "compressed segmentation"])
def test_killed_at_any_moment(name, source, tmp_path):
    """kill -9 at writes throughout: under its name a file is whole or not there, and the next run is not disturbed."""
    target = tmp_path / "result.dcm"
    whole = write(name, source, target, "kill", -1)
    assert whole.returncode == 0, whole.stderr
    calls = int(whole.stdout.split()[-1])
    assert calls >= 3
    target.unlink()
    for number in sorted({2, calls // 2, calls - 1, calls}):
        killed = write(name, source, target, "kill", number)
        assert killed.returncode == -signal.SIGKILL, (number, killed.stderr)
        if target.exists():
            read_back(name, target, source)
            target.unlink()
    assert write(name, source, target).returncode == 0
    read_back(name, target, source)
    visible = [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert visible == ["result.dcm"]


@pytest.mark.parametrize("name", ["segmentation", "report"])
def test_without_protection_a_full_disk_leaves_half_a_file(name, source, tmp_path):
    """The test of the tests above: what they look for is there as soon as the writers are not protected."""
    target = tmp_path / "result.dcm"
    write(name, source, target, "limit without protection", 3000)
    assert 0 < target.stat().st_size <= 3000
    with pytest.raises((dml.DicomMLError, AssertionError)):
        read_back(name, target, source)


@pytest.mark.parametrize("name", WRITERS)
def test_a_target_that_cannot_be_written(name, source, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError):
        WRITERS[name](source, tmp_path / "file" / "result.dcm")
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C", "PYTHONUTF8": "0", "TZ": "Pacific/Kiritimati"},
     {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "XXX+23:59"}],
    ids=str,
)  # fmt: skip
def test_locales_and_time_zones(source, tmp_path, environment):
    target = tmp_path / "r.dcm"
    done = write("report", source, target, **environment)
    assert done.returncode == 0, done.stderr
    read_back("report", target, source)


@pytest.mark.parametrize("now", [-86400 * 365.25 * 60, 0, 4102444800], ids=["1910", "1970", "2100"])
def test_clocks(source, tmp_path, now):
    """A clock that is wrong gives a wrong date, but a valid one."""
    import pydicom

    target = tmp_path / "result.dcm"
    code = (
        "import datetime, sys, time\n"
        f"now = {now}\n"
        "real = datetime.datetime\n"
        "class Wrong(real):\n"
        "    @classmethod\n"
        "    def now(cls, tz=None): return real(1970, 1, 1, tzinfo=tz) + datetime.timedelta(seconds=now)\n"
        "    @classmethod\n"
        "    def today(cls): return cls.now()\n"
        "datetime.datetime = Wrong\n"
        "time.time = lambda: float(now)\n"
        "from pathlib import Path\n"
        "from tests.faults.writers import WRITERS\n"
        "WRITERS['segmentation'](Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, source, target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read_back("segmentation", target, source)
    dataset = pydicom.dcmread(target)
    assert len(dataset.ContentDate) == 8 and dataset.ContentDate[:4] in ("1909", "1910", "1970", "2100")


def test_a_decimal_comma_changes_nothing(source, tmp_path):
    import locale

    before = locale.setlocale(locale.LC_ALL)
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "de_DE"):
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, name)
            break
    else:
        pytest.skip("no locale with a decimal comma is installed")
    try:
        WRITERS["report"](source, tmp_path / "r.dcm")
    finally:
        locale.setlocale(locale.LC_ALL, before)
    read_back("report", tmp_path / "r.dcm", source)
