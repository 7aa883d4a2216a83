"""Which slides: lung adenocarcinoma and squamous cell carcinoma of TCGA to develop on, of CPTAC to test on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes.common.idc import idc_series, idc_version, row_of, stratified_split
from recipes.common.manifest import Row, write_manifest

__all__ = ["MANIFEST", "build_manifest"]

#: The committed manifest.
MANIFEST = Path(__file__).resolve().parent / "manifest" / "slides.csv.gz"

_DEVELOP = {"tcga_luad": "luad", "tcga_lusc": "lscc"}
_EXTERNAL = {"cptac_luad": "luad", "cptac_lscc": "lscc"}
_SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}
_SEED = 0


def build_manifest(folder: Path) -> list[Path]:
    """Select the slides from the index of IDC, split them, and write the manifest.

    Series descriptions say how a slide was prepared and what is on it: "Frozen HE TP TS1" of TCGA is a frozen section
    of the primary tumour, "Frozen HE NT" of normal tissue, "FFPE HE TP DX1" a diagnostic slide; "HE tumor" and "HE
    normal" of CPTAC do not tell the preparation. What is not told is decided from the specimen's description once the
    slide was fetched.
    """
    develop = [_row(series, _DEVELOP) for series in idc_series(list(_DEVELOP), modalities=["SM"])]
    external = [_row(series, _EXTERNAL) for series in idc_series(list(_EXTERNAL), modalities=["SM"])]
    rows = stratified_split(develop, _stratum, _SHARES, _SEED) + [row.with_(split="external") for row in external]
    about = {
        **idc_version(),
        "selection": f"SM series of {', '.join([*_DEVELOP, *_EXTERNAL])}, original images only",
        "split": f"by patient, {_SHARES}, stratified by collection and by having a normal frozen slide, seed {_SEED}; "
        "the CPTAC collections are the external test",
        "left_to_fetch": "preparation of CPTAC slides, and class of slides without a label: specimen description",
    }
    return write_manifest(folder / MANIFEST.name, rows, about)


def _row(series: dict[str, Any], subtypes: dict[str, str]) -> Row:
    words = str(series["SeriesDescription"] or "").lower().split()
    preparation = "frozen" if "frozen" in words else "ffpe" if "ffpe" in words else ""
    if "nt" in words or "normal" in words:
        label = "normal"
    elif "tp" in words or "tumor" in words:
        label = subtypes[series["collection_id"]]
    else:
        label = ""
    excluded = "a derived object, no original image" if series["analysis_result_id"] else ""
    return row_of(series, "slide", label=label, preparation=preparation, excluded=excluded)


def _stratum(rows: Sequence[Row]) -> tuple[str, bool]:
    return rows[0].collection, any(row.label == "normal" and row.preparation == "frozen" for row in rows)
