"""The index of the Imaging Data Commons, as the package ``idc-index-data`` ships it: no network is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from dicom_ml.errors import MissingPackageError, SeriesError
from recipes.common.manifest import Row

__all__ = ["folds_by_patient", "idc_series", "idc_version", "row_of", "stratified_split"]

_COLUMNS = (
    "collection_id", "analysis_result_id", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality",
    "SeriesDescription", "instanceCount", "series_size_MB", "series_aws_url", "series_revised_idc_version",
)  # fmt: skip


def _index() -> Any:
    try:
        import idc_index_data
    except ImportError as error:
        raise MissingPackageError("the index of IDC is in idc-index-data: pip install 'dicom-ml[recipes]'") from error
    return idc_index_data


def idc_version() -> dict[str, str]:
    """Version of IDC, and of the package that holds its index."""
    import pyarrow.parquet as parquet

    index = _index()
    folder = index.IDC_INDEX_PARQUET_FILEPATH.parent
    versions = parquet.read_table(folder / "version_metadata_index.parquet").to_pylist()
    last = max(versions, key=lambda row: int(row["idc_version"]))
    return {
        "idc_version": f"v{last['idc_version']}",
        "idc_date": str(last["version_timestamp"]),
        "index": f"idc-index-data {index._version.version}",
    }


def idc_series(collections: Sequence[str], *, modalities: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """What the index says of the series of some collections.

    Returns
    -------
    list of dict
        Sorted by collection, patient, study and series.

    Raises
    ------
    SeriesError
        If it has none of a collection.
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingPackageError("the index is a parquet file: pip install 'dicom-ml[recipes]'") from error

    wanted: list[Any] = [("collection_id", "in", list(collections))]
    if modalities is not None:
        wanted.append(("Modality", "in", list(modalities)))
    table = parquet.read_table(_index().IDC_INDEX_PARQUET_FILEPATH, columns=list(_COLUMNS), filters=wanted)
    found: list[dict[str, Any]] = table.to_pylist()
    absent = set(collections) - {row["collection_id"] for row in found}
    if absent:
        raise SeriesError(f"the index of IDC {idc_version()['idc_version']} has no series of {', '.join(absent)}")
    keys = ("collection_id", "PatientID", "StudyInstanceUID", "SeriesInstanceUID")
    return sorted(found, key=lambda row: [row[key] for key in keys])


def row_of(series: dict[str, Any], role: str, **more: Any) -> Row:
    """A manifest's row of a series of the index."""
    return Row(
        collection=series["collection_id"],
        patient=series["PatientID"],
        study=series["StudyInstanceUID"],
        series=series["SeriesInstanceUID"],
        role=role,
        instances=int(series["instanceCount"]),
        size=round(series["series_size_MB"] * 1e6),
        url=series["series_aws_url"],
        **more,
    )


def stratified_split(
    rows: Sequence[Row], stratum: Callable[[Sequence[Row]], Any], fractions: dict[str, float], seed: int = 0
) -> list[Row]:
    """Rows with their split, such that no patient is in two parts.

    Patients of each stratum, in the order of a hash of the seed and the patient, go one by one to the part that is
    farthest from its share, in the stratum and so far.

    Parameters
    ----------
    rows : sequence of Row
    stratum : callable
        Takes the rows of a patient, gives something that can be sorted.
    fractions : dict of str to float
    seed : int
    """
    patients: dict[str, list[Row]] = {}
    for row in rows:
        patients.setdefault(row.patient, []).append(row)
    strata: dict[Any, list[str]] = {}
    for patient, own in patients.items():
        strata.setdefault(stratum(own), []).append(patient)
    part: dict[str, str] = {}
    missing = dict.fromkeys(fractions, 0.0)
    for _, members in sorted(strata.items()):
        here = dict.fromkeys(fractions, 0.0)
        for patient in sorted(members, key=lambda name: _place(seed, name)):
            for name, share in fractions.items():
                here[name] += share
                missing[name] += share
            chosen = max(fractions, key=lambda name: round(here[name] + missing[name], 9))
            part[patient] = chosen
            here[chosen] -= 1
            missing[chosen] -= 1
    return [row.with_(split=part[row.patient]) for row in rows]


def _place(seed: int, patient: str) -> bytes:
    """Where a patient comes in an order that has nothing to do with names."""
    return hashlib.sha256(f"{seed}\0{patient}".encode()).digest()


def folds_by_patient(rows: Sequence[Row], count: int = 10, seed: int = 0) -> list[Row]:
    """Rows with their fold: patients in the order of a hash, one after the other to each fold."""
    patients = sorted({row.patient for row in rows}, key=lambda name: _place(seed, name))
    fold = {name: place % count for place, name in enumerate(patients)}
    return [row.with_(fold=fold[row.patient]) for row in rows]
