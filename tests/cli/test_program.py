"""Help, errors of one line, and the exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dicom_ml.cli import main
from dicom_ml.errors import FileError

COMMANDS = ("convert", "demo", "info", "render")


def test_every_command_is_found_and_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    for command in COMMANDS:
        assert command in listed
        with pytest.raises(SystemExit) as done:
            main([command, "--help"])
        assert done.value.code == 0
        assert f"  dicom-ml {command}" in capsys.readouterr().out


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path / "none")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("dicom-ml: error: ") and shown.err.count("\n") == 1
    with pytest.raises(FileError):
        main(["info", str(tmp_path / "none"), "--debug"])


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom dicom_ml.cli import main\n"
        "try:\n    main(['demo', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'monai', 'lightning', 'PIL', 'nibabel', 'SimpleITK', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=Path(__file__).parents[2])
