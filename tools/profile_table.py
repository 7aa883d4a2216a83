"""Make ``dicom_ml/pseudonyms/profile.json.z``: the Basic Application Confidentiality Profile (PS3.15 Table E.1-1).

For developers only; nothing here runs in an installed package::

    pip install dicom-anonymizer
    python tools/profile_table.py

The package dicom-anonymizer ships the table of the standard as lists of tags. The result is JSON, compressed by zlib:
action (D, Z, X, U, and the choices between them) to a list of tags, or of ``[tag, mask]`` for repeating groups.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

EDITION = "dicomfields_2026c"
TARGET = Path(__file__).resolve().parents[1] / "dicom_ml" / "pseudonyms" / "profile.json.z"


def main() -> None:
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    found = dicom_anonymization_database_selector(EDITION)
    table = {}
    for name, tags in found.items():
        if name == "ALL_TAGS":
            continue
        action = name.removesuffix("_TAGS").replace("_STAR", "").replace("_", "/")
        rows = []
        for tag in sorted(tags):
            number = tag[0] << 16 | tag[1]
            rows.append(number if len(tag) == 2 else [number, tag[2] << 16 | tag[3]])
        table[action] = rows
    content = json.dumps(
        {"edition": EDITION.rpartition("_")[2], "actions": table}, separators=(",", ":"), sort_keys=True
    )
    TARGET.write_bytes(zlib.compress(content.encode(), 9))
    print(f"{sum(map(len, table.values()))} rows, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
