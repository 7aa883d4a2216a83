"""Questions to an index."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.errors import FileError, SeriesError
from dicom_ml.reading.index.database import Database
from dicom_ml.source import patient_digest

__all__ = ["Index", "SeriesRow", "open_index"]

#: What tells rows of the view ``series`` apart; the SOP class is that of instances.
_KEY = (
    "series_instance_uid", "study_instance_uid", "patient_id", "patient_id_issuer", "modality", "sop_class_uid",
)  # fmt: skip
_ROW = (*_KEY, "body_part", "manufacturer", "frame_of_reference_uid", "series_description")
_MANY = 500


@dataclass(frozen=True)
class SeriesRow:
    """One series of an archive: the files of one Series Instance UID, SOP class and patient.

    Attributes
    ----------
    series_instance_uid, study_instance_uid, patient_id, modality, sop_class_uid, body_part, manufacturer : str
    frame_of_reference_uid, series_description : str
    patient_id_issuer : str
    files : tuple of str
        Where the files lie. :func:`dicom_ml.read_volume` and :func:`dicom_ml.open_slide` take a row as their source.
    """

    series_instance_uid: str
    study_instance_uid: str
    patient_id: str
    modality: str
    sop_class_uid: str
    body_part: str
    manufacturer: str
    frame_of_reference_uid: str
    series_description: str
    files: tuple[str, ...]
    patient_id_issuer: str = ""

    def __repr__(self) -> str:
        return f"SeriesRow({self.series_instance_uid}, {self.modality or 'no modality'}, {len(self.files)} files)"


class Index:
    """Patients, studies, series and instances of an archive, and what refers to what.

    Made by :func:`dicom_ml.scan`; opened again by :func:`dicom_ml.open_index`. The file is an SQLite database with the
    tables ``files``, ``instances``, ``series_parts`` and ``refs`` and the views ``patients``, ``studies``, ``series``
    and ``reference_list``. Names of patients are not in it, their identifiers are.
    """

    def __init__(self, database: Database, root: str) -> None:
        self._database = database
        self.root = root
        #: What the last scan did: files ``read``, ``unchanged`` and ``removed``.
        self.last_scan: dict[str, int] = {}

    # ------------------------------------------------------------------ life
    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _place(self, folder: str, name: str) -> str:
        """Path of a file. An index may come from anywhere, and names no file outside its archive."""
        inside = os.path.join(folder, name)
        if os.path.isabs(inside) or ".." in inside.replace("\\", "/").split("/"):
            raise FileError(f"the index names a file outside its archive ({inside[:80]!r}): it is damaged; scan anew")
        return os.path.join(self.root, inside)

    def close(self) -> None:
        """Close the index file."""
        self._database.close()

    def __repr__(self) -> str:
        numbers = self.counts()
        return "Index(" + ", ".join(f"{number} {name}" for name, number in numbers.items()) + ")"

    @property
    def path(self) -> str:
        """The index file; ``":memory:"`` for one that is not kept."""
        return self._database.path

    # ------------------------------------------------------------------ questions
    def sql(self, query: str, values: Iterable[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Rows of an SQL query (SQLite) that reads.

        Parameters
        ----------
        query : str
            With ``?`` or ``:name`` where values go.
        values : sequence or mapping

        Raises
        ------
        FileError
            If the query cannot be run, or would change the index.

        Examples
        --------
        >>> index.sql("SELECT modality, COUNT(*) AS n FROM series GROUP BY modality")  # doctest: +SKIP
        """
        return list(self._database.rows(query, values))

    def counts(self) -> dict[str, int]:
        """How many patients, studies, series, instances, other files and broken files there are."""
        row = self.sql(
            "SELECT (SELECT COUNT(*) FROM (SELECT DISTINCT patient_id, patient_id_issuer"
            " FROM series_parts)) AS patients,"
            " (SELECT COUNT(*) FROM (SELECT DISTINCT patient_id, patient_id_issuer, study_instance_uid"
            " FROM series_parts)) AS studies,"
            " (SELECT COUNT(DISTINCT series_instance_uid) FROM series_parts) AS series,"
            " (SELECT COUNT(*) FROM instances) AS instances,"
            " (SELECT COUNT(*) FROM files WHERE status = 'other') AS others,"
            " (SELECT COUNT(*) FROM files WHERE status = 'broken') AS broken"
        )[0]
        return {name: int(number) for name, number in row.items()}

    def patients(self) -> list[dict[str, Any]]:
        """One row a patient: identifier, its issuer, numbers of studies, series and files, bytes."""
        return self.sql("SELECT * FROM patients ORDER BY patient_id, patient_id_issuer")

    def studies(self, **equal: Any) -> list[dict[str, Any]]:
        """One row a study; ``patient_id="..."`` and other columns narrow it down."""
        where, values = _where(equal)
        return self.sql(f"SELECT * FROM studies{where} ORDER BY patient_id, study_date, study_instance_uid", values)

    def instances(self, **equal: Any) -> list[dict[str, Any]]:
        """One row a file; ``series_instance_uid="..."`` and other columns narrow it down."""
        where, values = _where(equal)
        rows = self.sql(
            "SELECT * FROM (SELECT i.*, p.series_instance_uid, p.study_instance_uid, p.patient_id, p.modality,"
            " f.folder, f.name, f.size FROM instances i JOIN files f ON f.id = i.file_id"
            f" JOIN series_parts p ON p.id = i.part_id){where} ORDER BY folder, name",
            values,
        )
        for row in rows:
            row["path"] = self._place(row.pop("folder"), row.pop("name"))
            del row["file_id"], row["part_id"]
        return rows

    def series(self, **equal: Any) -> list[SeriesRow]:
        """Series, ordered by patient, study and series.

        Parameters
        ----------
        **equal
            Columns of the view ``series`` with the value, or the list of values, that they must have:
            ``modality="CT"``, ``patient_id="..."``, ``sop_class_uid="..."``.

        Raises
        ------
        FileError
            If there is no such column.
        """
        where, values = _where(equal)
        rows = self.sql(
            f"SELECT * FROM series{where} ORDER BY patient_id, study_instance_uid, series_instance_uid", values
        )
        files = self._files(rows)
        return [
            SeriesRow(**{name: str(row[name] or "") for name in _ROW}, files=files.get(_key(row), ())) for row in rows
        ]

    def _files(self, rows: Iterable[Mapping[str, Any]]) -> dict[tuple[Any, ...], tuple[str, ...]]:
        """Files of rows of ``series``, by :func:`_key`: one question for all of them."""
        found: dict[tuple[Any, ...], list[str]] = {_key(row): [] for row in rows}
        given = [json.dumps(sorted({key[0] for key in found}))]
        chosen = "FROM series_parts p JOIN json_each(?) w ON p.series_instance_uid = w.value"
        parts = {row["id"]: _key(row)[:-1] for row in self.iterate(f"SELECT p.*, '' AS sop_class_uid {chosen}", given)}
        items = self.iterate(
            f"SELECT i.part_id, i.sop_class_uid, f.folder, f.name {chosen}"
            " JOIN instances i ON i.part_id = p.id JOIN files f ON f.id = i.file_id",
            given,
        )
        for item in items:
            files = found.get((*parts[item["part_id"]], item["sop_class_uid"]))
            if files is not None:
                files.append(self._place(item["folder"], item["name"]))
        return {key: tuple(sorted(files)) for key, files in found.items()}

    def references(self, **equal: Any) -> list[dict[str, Any]]:
        """What refers to what: ``from_series``, ``from_instance``, ``from_modality``, ``kind``,
        ``to_series``, ``to_instance``."""
        where, values = _where(equal)
        return self.sql(f"SELECT * FROM reference_list{where}", values)

    def referring_to(self, series_instance_uid: str) -> list[SeriesRow]:
        """Series whose objects (segmentations, reports, maps, annotations, ...) refer to a series."""
        return self._referring([series_instance_uid]).get(series_instance_uid, [])

    def _referring(self, uids: Iterable[str]) -> dict[str, list[SeriesRow]]:
        """For each of several series, those that refer to it: two questions for all of them."""
        origin = (
            " JOIN instances i ON i.file_id = r.file_id JOIN series_parts p ON p.id = i.part_id"
            " WHERE p.series_instance_uid != w.value"
        )
        pairs = self.sql(
            "SELECT w.value AS target, p.series_instance_uid AS origin FROM json_each(:uids) w"
            f" JOIN refs r ON r.series_instance_uid = w.value{origin}"
            " UNION SELECT w.value, p.series_instance_uid FROM json_each(:uids) w"
            " JOIN series_parts tp ON tp.series_instance_uid = w.value JOIN instances t ON t.part_id = tp.id"
            f" JOIN refs r ON r.sop_instance_uid = t.sop_instance_uid{origin}",
            {"uids": json.dumps(sorted(set(uids)))},
        )
        if not pairs:
            return {}
        targets: dict[str, list[str]] = {}
        for pair in pairs:
            targets.setdefault(pair["origin"], []).append(pair["target"])
        found: dict[str, list[SeriesRow]] = {}
        for row in self.series(series_instance_uid=list(targets)):
            for target in targets[row.series_instance_uid]:
                found.setdefault(target, []).append(row)
        return found

    def dangling(self) -> list[dict[str, Any]]:
        """References to instances, and to whole series, that the archive does not hold."""
        return self.sql(
            "SELECT * FROM reference_list WHERE (to_instance IS NOT NULL AND to_instance NOT IN"
            " (SELECT sop_instance_uid FROM instances)) OR (to_instance IS NULL AND to_series NOT IN"
            " (SELECT series_instance_uid FROM series_parts))"
        )

    def problems(self) -> list[dict[str, str]]:
        """Files that look like DICOM and cannot be read, and zip and gzip files of DICOM, which are not indexed:
        ``path`` and ``problem``."""
        rows = self.sql("SELECT folder, name, problem FROM files WHERE problem != '' ORDER BY folder, name")
        return [{"path": self._place(r["folder"], r["name"]), "problem": r["problem"]} for r in rows]

    def records(self, *, labels: bool = True, **equal: Any) -> list[dict[str, Any]]:
        """Series as the datasets of :mod:`dicom_ml.data` take them.

        Parameters
        ----------
        labels : bool
            Put the files of segmentations that refer to a series under its ``"label"``.
        **equal
            As for :meth:`series`: ``modality="CT"``.

        Returns
        -------
        list of dict
            ``"image"`` (list of files), ``"label"`` where there are any, ``"patient"`` (a digest that names
            nobody), ``"study_instance_uid"``, ``"series_instance_uid"``, ``"modality"``.

        Raises
        ------
        SeriesError
            If no series matches.
        """
        found = []
        rows = [row for row in self.series(**equal) if row.sop_class_uid not in sop.SEGMENTATIONS]
        referring = self._referring(row.series_instance_uid for row in rows) if labels else {}
        for row in rows:
            record: dict[str, Any] = {
                "image": list(row.files),
                "patient": patient_digest(row.patient_id, row.patient_id_issuer),
                "study_instance_uid": row.study_instance_uid,
                "series_instance_uid": row.series_instance_uid,
                "modality": row.modality,
            }
            if labels:
                files = [
                    path
                    for other in referring.get(row.series_instance_uid, [])
                    if other.sop_class_uid in sop.SEGMENTATIONS
                    for path in other.files
                ]
                if files:
                    record["label"] = files
            found.append(record)
        if not found:
            raise SeriesError(f"the index holds no series of {equal or 'any kind'}")
        return found

    def to_parquet(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write ``patients``, ``studies``, ``series``, ``instances`` and ``references`` as Parquet files.

        Raises
        ------
        MissingPackageError
            If pyarrow is not installed.
        """
        from dicom_ml.reading.index.parquet import write_parquet

        return write_parquet(self, Path(folder))

    def columns(self, query: str) -> list[str]:
        """Names of the columns of a query's rows."""
        return self._database.columns(query)

    def iterate(self, query: str, values: Iterable[Any] = ()) -> Iterator[dict[str, Any]]:
        """As :meth:`sql`, one row at a time."""
        return self._database.rows(query, values)


def open_index(path: str | os.PathLike[str]) -> Index:
    """Open an index file that :func:`dicom_ml.scan` made.

    Raises
    ------
    FileError
        If it does not exist or is no index.
    """
    database = Database(os.fspath(path), create=False)
    return Index(database, database.fact("root") or "")


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _KEY)


def _where(equal: Mapping[str, Any]) -> tuple[str, list[Any]]:
    parts, values = [], []
    for column, value in equal.items():
        if not column.isidentifier():
            raise SeriesError(f"{column!r} is no column")
        several = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
        if len(several) > _MANY:  # than may be given one by one
            parts.append(f"{column} IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(several))
            continue
        parts.append(f"{column} IN ({', '.join('?' * len(several))})")
        values += several
    return (f" WHERE {' AND '.join(parts)}" if parts else ""), values
