"""What all tests share: the real data, and settings that make a failure repeatable."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.fuzz.watch import Watch

# A slow or busy machine is no bug, and CI must fail on the same examples twice.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def data_folder() -> Path | None:
    """Where the real data lies: DICOM_ML_TEST_DATA, else ``../shared/data`` beside the repository, else nowhere."""
    named = os.environ.get("DICOM_ML_TEST_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real files; the test is skipped where there is none."""
    folder = data_folder()
    if folder is None:
        pytest.skip("no real data: set DICOM_ML_TEST_DATA to a folder that holds it")
    return folder


@pytest.fixture
def watch() -> Watch:
    """What reads hostile input in a process of its own."""
    from tests.fuzz.watch import shared_watch

    return shared_watch()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)


def pytest_report_header() -> list[str]:
    judges = "required" if os.environ.get("DICOM_ML_REQUIRE_JUDGES") == "1" else "skipped where not installed"
    return [f"real data: {data_folder() or 'none, its tests are skipped'}", f"independent judges: {judges}"]
