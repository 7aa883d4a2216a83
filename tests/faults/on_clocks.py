"""Clocks that are wrong, put back or in odd time zones; languages with other dates and decimal signs; forks."""

from __future__ import annotations

import contextlib
import datetime
import locale
import os
import re
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy.random  # noqa: F401  before processes fork, as a state that is shared has to be there by then
import pydicom

import dicom_ml as dml
from dicom_ml.callbacks.manifest import Journal, merge_journals, read_index
from dicom_ml.encoding.uids import new_uid
from dicom_ml.objects.derived import add_identity, date_time
from dicom_ml.objects.report.item_writing import decimal_string
from dicom_ml.view.page import Page
from tests.faults.registry import Changed, Scene, fault, holds, without
from tests.faults.writers import WRITERS, make_source, read_back

_FORMS = {
    "DA": r"(19|20|21)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])",
    "TM": r"([01]\d|2[0-3])[0-5]\d[0-5]\d(\.\d{1,6})?",
    "DT": r"(19|20|21)\d{12}(\.\d{1,6})?([+-](0\d|1[0-4])[0-5]\d)?",
    "DS": r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?",
}


def _forms_hold(path: Path) -> None:
    """Dates, times and numbers are written as PS3.5 6.2 says, whatever pydicom would read."""
    for element in pydicom.dcmread(path).iterall():
        if element.VR in _FORMS and element.value not in (None, ""):
            texts = element.value if isinstance(element.value, pydicom.multival.MultiValue) else [element.value]
            for text in map(str, texts):
                holds(
                    re.fullmatch(_FORMS[element.VR], text) and (element.VR != "DS" or len(text) <= 16),
                    f"{element.keyword} is no {element.VR}: {text!r}",
                )


# ---------------------------------------------------------------------- clocks
def _set_clock(now: float, zone: str = "UTC") -> None:
    real = datetime.datetime

    class Wrong(real):
        @classmethod
        def now(cls, tz: Any = None) -> datetime.datetime:
            return real(1970, 1, 1, tzinfo=tz) + datetime.timedelta(seconds=now)

        @classmethod
        def today(cls) -> datetime.datetime:
            return cls.now()

    os.environ["TZ"] = zone
    time.tzset()
    datetime.datetime = Wrong  # type: ignore[misc]
    time.time, time.time_ns = lambda: now, lambda: int(now * 1e9)


def _write_at(now: float, zone: str, name: str, source: Path, target: Path) -> None:
    _set_clock(now, zone)
    WRITERS[name](source, target)


@fault(
    "a clock that is wrong by decades",
    without(
        "dates are spelled out in digits",
        Changed(
            add_identity,
            ('InstanceCreationDate = now.strftime("%Y%m%d")', 'InstanceCreationDate = now.strftime("%x")'),
        ),
        seen="Date is no DA",
    ),
)
def wrong_clock(scene: Scene) -> None:
    source = make_source(scene.folder / "ct")
    for number, now in enumerate((-86400 * 365.25 * 60, 0, 4102444800)):  # 1910, 1970, 2100
        target = scene.folder / f"{number}.dcm"
        ended = scene.apart(_write_at, now, "UTC", "segmentation", source, target)
        holds(not ended.error, f"it cannot be written: {ended.error}")
        read_back("segmentation", target, source)
        _forms_hold(target)


@fault(
    "a time zone whose offset has seconds, or is none that DICOM knows",
    without(
        "offsets have whole minutes, and are those that DT allows",
        Changed(date_time, ("if offset is not None:", "if False:")),
        seen="is no DT",
    ),
)
def odd_zone(scene: Scene) -> None:
    source = make_source(scene.folder / "ct")
    for number, zone in enumerate(("AAA+00:44:30", "XXX+23:59", "YYY-14:00", "Pacific/Kiritimati")):
        target = scene.folder / f"{number}.dcm"
        ended = scene.apart(_write_at, 1e9, zone, "verified report", source, target)
        holds(not ended.error, f"it cannot be written: {ended.error}")
        _forms_hold(target)


def _new_uids(numbers: int, now: float) -> list[str]:
    _set_clock(now)
    return [new_uid() for _ in range(numbers)]


@fault(
    "the clock is put back between two objects",
    without(
        "UIDs come of chance, not of the clock",
        Changed(new_uid, ("uuid.uuid4().int", "__import__('time').time_ns()")),
        seen="under one UID",
    ),
)
def uids_and_clocks(scene: Scene) -> None:
    found = [uid for _ in range(2) for uid in scene.apart(_new_uids, 2, 1e9).value]
    holds(len(set(found)) == 4, f"4 objects are under one UID or {len(set(found))}")


@fault(
    "processes that were forked from one",
    without(
        "chance comes from the system, not from a state that forks share",
        Changed(new_uid, ("uuid.uuid4().int", "int.from_bytes(__import__('numpy').random.bytes(16), 'big')")),
        seen="under one UID",
    ),
)
def uids_and_forks(scene: Scene) -> None:
    found = [scene.apart(_forked_uids).value for _ in range(2)]
    holds(len(set(found)) == 2, "2 objects of forked processes are under one UID")


def _forked_uids() -> str:
    return new_uid()


# ---------------------------------------------------------------------- languages
@cache
def _german() -> str:
    """A folder with a locale that has a decimal comma and dates of its own; empty where none can be made."""
    folder = tempfile.mkdtemp(prefix="dicom-ml-locale-")
    try:
        subprocess.run(
            ["localedef", "-i", "de_DE", "-f", "UTF-8", f"{folder}/de_DE.UTF-8"], check=False, capture_output=True
        )
    except OSError:
        pass
    if not os.listdir(folder):
        shutil.rmtree(folder)
        return ""
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _write_in_german(source: Path, target: Path) -> str:
    """Write where numbers have a comma; what a third looks like there."""
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
    if locale.str(0.5) != "0,5":  # no such locale: what Python makes of one can be had all the same
        locale._override_localeconv.update({"decimal_point": ",", "thousands_sep": "."})  # type: ignore[attr-defined]
    WRITERS["report"](source, target)
    return locale.str(0.5)


@fault(
    "a language with a decimal comma",
    without(
        "numbers are written by rules of their own",
        Changed(decimal_string, ("text = repr(number)", "text = __import__('locale').str(number)")),
        seen="NumericValue is no DS|cannot be written",
    ),
)
def decimal_comma(scene: Scene) -> None:
    source, target = make_source(scene.folder / "ct"), scene.folder / "r.dcm"
    environment = {"LOCPATH": _german(), "LC_ALL": "de_DE.UTF-8"} if _german() else {}
    ended = scene.apart(_write_in_german, source, target, environment=environment)
    holds(not ended.error, f"it cannot be written: {ended.error}")
    assert ended.value == "0,5", "there is no decimal comma, so nothing is tested"
    read_back("report", target, source)
    _forms_hold(target)
    values = [m.value for group in dml.read_report(target).groups for m in group.measurements]
    holds(set(values) == {7.3}, f"other numbers than 7.3 are read: {set(values)}")


_TITLE = "Größe 肺"


def _page_and_journal(folder: Path) -> None:
    page = Page(_TITLE)
    page.text(_TITLE)
    page.save(folder / "page.html")
    Journal(folder, 0, {})._append({"file": "page.html", "source_series_instance_uid": _TITLE})
    merge_journals(folder)


@fault(
    "a locale that knows no letters but ASCII's",
    without(
        "text has an encoding of its own",
        Changed(
            Page.save,
            ("self.html().encode()", "self.html().encode(__import__('locale').getpreferredencoding(False))"),
        ),
        seen="cannot be written",
    ),
)
def ascii_locale(scene: Scene) -> None:
    environment = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    ended = scene.fresh(_page_and_journal, scene.folder, environment=environment)
    holds(ended.code == 0, f"it cannot be written: {ended.error}")
    holds(_TITLE in (scene.folder / "page.html").read_text(encoding="utf-8"), "other letters are in the page")
    holds(
        read_index(scene.folder)["files"][0]["source_series_instance_uid"] == _TITLE, "other letters are in the index"
    )
