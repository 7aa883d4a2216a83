"""What predicts in the tests of cohorts: no torch, so that processes start at once."""

from __future__ import annotations

import os
import signal
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import dicom_ml as dml

BRIGHT = dml.Segment("Bright", type="SCT:10200004", category="SCT:123037004", algorithm=dml.Algorithm("Threshold", "1"))


@dataclass(frozen=True)
class Threshold:
    """Segments what is above a threshold; in the case named ``deadly``, its process kills itself ``deaths`` times."""

    journal: str
    deadly: str = ""
    deaths: int = 0
    pause: float = 0.0
    unfit: bool = False
    warns: str = ""

    def __call__(self, number: int):
        if self.unfit:
            raise ValueError("no model here: 'secret'")
        return self.predict

    def predict(self, case, folder: Path) -> None:
        with open(self.journal, "a", encoding="utf-8") as file:
            file.write(f"{case.series_instance_uid}\n")
        volume = dml.read_volume(case.source)
        if case.series_instance_uid == self.deadly:
            died = Path(self.journal).with_name("deaths")
            with open(died, "a", encoding="utf-8") as file:
                file.write("x")
            if died.stat().st_size <= self.deaths:
                (folder / ".half.0.part").write_bytes(b"not whole")
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.pause)
        if self.warns:
            warnings.warn(self.warns, dml.DicomMLWarning, stacklevel=1)
            warnings.warn(self.warns, dml.DicomMLWarning, stacklevel=1)
            warnings.warn("of another package", FutureWarning, stacklevel=1)
        seg = dml.Segmentation.from_array(
            volume.array > 0, source=volume, segments=[BRIGHT], kind="binary", deterministic=True
        )
        seg.save(folder / f"{case.series_instance_uid}.seg.dcm")
