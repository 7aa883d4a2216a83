"""An index as Parquet files, for those who ask with other engines."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_ml.encoding.writer import atomic_file
from dicom_ml.errors import MissingPackageError

if TYPE_CHECKING:
    from dicom_ml.reading.index.index import Index

__all__ = ["write_parquet"]

_TABLES = {
    "patients": "SELECT * FROM patients",
    "studies": "SELECT * FROM studies",
    "series": "SELECT * FROM series",
    "instances": "SELECT f.folder, f.name, f.size, p.patient_id, p.study_instance_uid, p.series_instance_uid,"
    " p.modality, i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid, i.instance_number, i.image_type,"
    " i.rows, i.columns, i.frames FROM instances i JOIN files f ON f.id = i.file_id"
    " JOIN series_parts p ON p.id = i.part_id",
    "references": "SELECT * FROM reference_list",
}
_INTEGERS = frozenset(
    ["size", "files", "bytes", "frames", "rows", "columns", "instance_number", "series_number", "instances"]
)
_BATCH = 50_000


def write_parquet(index: Index, folder: Path) -> list[Path]:
    """Write one Parquet file a table; their paths."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingPackageError("Parquet files are written by pyarrow: pip install pyarrow") from error
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, query in _TABLES.items():
        path = folder / f"{name}.parquet"
        rows = index.iterate(query)
        first = list(islice(rows, _BATCH))
        columns = index.columns(query)
        numbers = _INTEGERS | ({"studies", "series"} if name in ("patients", "studies") else set())
        schema = pa.schema([(c, pa.int64() if c in numbers else pa.string()) for c in columns])
        with atomic_file(path) as handle, pq.ParquetWriter(handle, schema) as writer:
            batch: list[dict[str, Any]] = first
            while batch:
                writer.write_table(pa.Table.from_pylist([_typed(row, numbers) for row in batch], schema=schema))
                batch = list(islice(rows, _BATCH))
        written.append(path)
    return written


def _typed(row: dict[str, Any], numbers: frozenset[str] | set[str]) -> dict[str, Any]:
    return {
        name: (int(value) if value not in (None, "") else None)
        if name in numbers
        else (None if value is None else str(value))
        for name, value in row.items()
    }
