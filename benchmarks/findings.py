"""Made-up findings on the CT: what reports say of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.registry import Size

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
COMPREHENSIVE_3D = "1.2.840.10008.5.1.4.1.1.88.34"
_FULL_COUNT = 500

#: Codes of the scene: value, scheme, meaning.
NODULE = ("27925004", "SCT", "Nodule")
LUNG = ("39607008", "SCT", "Lung")
DIAMETER = ("81827009", "SCT", "Diameter")
AREA = ("42798000", "SCT", "Area")
MILLIMETER = ("mm", "UCUM", "millimeter")
SQUARE = ("mm2", "UCUM", "square millimeter")
MALIGNANCY = ("RID36042", "RADLEX", "Malignancy")
ANSWERS = (
    ("99LIDC1", "99BENCH", "Highly unlikely"),
    ("99LIDC3", "99BENCH", "Indeterminate"),
    ("99LIDC5", "99BENCH", "Highly suspicious"),
)
#: What carries a report and is not a finding.
REPORT = ("126000", "DCM", "Imaging Measurement Report")
MEASUREMENTS = ("126010", "DCM", "Imaging Measurements")
GROUP = ("125007", "DCM", "Measurement Group")
TRACKING_ID = ("112039", "DCM", "Tracking Identifier")
TRACKING_UID = ("112040", "DCM", "Tracking Unique Identifier")
FINDING = ("121071", "DCM", "Finding")
SITE = ("363698007", "SCT", "Finding Site")
REGION = ("111030", "DCM", "Image Region")
ALGORITHM_NAME = ("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION = ("111003", "DCM", "Algorithm Version")

Finding = dict[str, Any]
Triple = tuple[str, str, str]


def make_findings(size: Size, uid: Callable[..., str]) -> list[Finding]:
    """Findings with an outline each: 500 at full size, on slices all over the series.

    Each has ``name``, ``uid``, ``slice``, ``points`` (column and row, closed, exact in 32 bits), ``diameter``, ``area``
    and ``answer``, the place among :data:`ANSWERS`.
    """
    rng = np.random.default_rng(77)
    count = max(12, round(_FULL_COUNT * size.slices / 300))
    found = []
    for number in range(count):
        corners = int(rng.integers(12, 25))
        radius = rng.uniform(3, min(size.rows, size.columns) / 10)
        middle = rng.uniform(radius + 1, np.array([size.columns, size.rows]) - radius - 1)
        angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
        ring = middle + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        ring = np.round(ring * 16) / 16
        found.append(
            {
                "name": f"Nodule {number + 1}",
                "uid": uid("finding", number, size),
                "slice": int(rng.integers(size.slices)),
                "points": [*ring.tolist(), ring[0].tolist()],
                "diameter": round(2 * radius, 4),
                "area": round(np.pi * radius**2, 3),
                "answer": int(rng.integers(len(ANSWERS))),
            }
        )
    return found
