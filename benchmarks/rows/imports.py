"""What ``import`` costs in an interpreter that has numpy and pydicom already."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.registry import OURS, Case, Competitor, Job, Row, register


def prepare_used(case: Case) -> Job:
    """The names that the other rows use: a package that loads lazily pays for them at their first use."""
    import numpy  # noqa: F401
    import pydicom  # noqa: F401

    def job() -> None:
        package = importlib.import_module("dicom_ml")
        for name in ("read_volume", "read_segmentation", "Segmentation", "Segment", "Algorithm"):
            getattr(package, name)

    return job


def prepare(module: str) -> Any:
    def prepared(case: Case) -> Job:
        import numpy  # noqa: F401
        import pydicom  # noqa: F401

        return lambda: importlib.import_module(module)

    return prepared


register(
    Row(
        name="import",
        title="import, beyond numpy and pydicom",
        floor_text="none: seconds count",
        # The probe has imported each once, so that compiled files are there.
        competitors=(
            Competitor(OURS, prepare("dicom_ml"), ("dicom_ml",)),
            Competitor("dicom_ml-used", prepare_used, ("dicom_ml",), note="with the names of the other rows loaded"),
            *(
                Competitor(name, prepare(module), (module,))
                for name, module in (
                    ("highdicom", "highdicom"),
                    ("dicomsdl", "dicomsdl"),
                    ("simpleitk", "SimpleITK"),
                    ("pydicom-seg", "pydicom_seg"),
                    ("wsidicom", "wsidicom"),
                )
            ),
        ),
        goal=0.05,
        goal_text="<= 0.05 s",
        warm_up=False,
    )
)
