"""The index file: one SQLite database, whose tables and views may be queried as they are."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import Any

from dicom_ml.errors import FileError
from dicom_ml.reading.index.entries import Entry

__all__ = ["Database"]

#: Kept in the file, so that a later version knows what it reads.
_VERSION = 1
_MOST_TABLES = 1000

_SERIES_COLUMNS = (
    "series_instance_uid", "study_instance_uid", "frame_of_reference_uid", "modality", "series_number",
    "series_description", "body_part", "manufacturer", "manufacturer_model", "study_date", "study_description",
    "accession_number", "patient_id", "patient_id_issuer", "patient_sex",
)  # fmt: skip
_INSTANCE_COLUMNS = (
    "sop_instance_uid", "sop_class_uid", "transfer_syntax_uid", "instance_number", "image_type", "rows", "columns",
    "frames",
)  # fmt: skip

_SCHEMA = f"""
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE files (
    id INTEGER PRIMARY KEY, folder TEXT NOT NULL, name TEXT NOT NULL, size INTEGER, changed INTEGER, status TEXT,
    problem TEXT, UNIQUE (folder, name));
CREATE TABLE series_parts (
    id INTEGER PRIMARY KEY, {", ".join(_SERIES_COLUMNS)}, UNIQUE ({", ".join(_SERIES_COLUMNS)}));
CREATE TABLE instances (
    file_id INTEGER PRIMARY KEY REFERENCES files (id) ON DELETE CASCADE,
    part_id INTEGER NOT NULL REFERENCES series_parts (id), {", ".join(_INSTANCE_COLUMNS)});
CREATE INDEX instances_by_uid ON instances (sop_instance_uid);
CREATE INDEX instances_by_part ON instances (part_id);
CREATE INDEX parts_by_series ON series_parts (series_instance_uid);
CREATE TABLE refs (
    file_id INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE, kind TEXT, series_instance_uid TEXT,
    sop_instance_uid TEXT);
CREATE INDEX refs_by_file ON refs (file_id);
CREATE INDEX refs_by_series ON refs (series_instance_uid);
CREATE INDEX refs_by_instance ON refs (sop_instance_uid);
CREATE VIEW series AS
    SELECT p.series_instance_uid, p.study_instance_uid, p.patient_id, p.patient_id_issuer, p.modality,
        i.sop_class_uid, MIN(p.series_number) AS series_number, MIN(p.series_description) AS series_description,
        MIN(p.body_part) AS body_part, MIN(p.manufacturer) AS manufacturer,
        MIN(p.manufacturer_model) AS manufacturer_model, MIN(p.frame_of_reference_uid) AS frame_of_reference_uid,
        MIN(p.study_date) AS study_date, COUNT(*) AS files, COUNT(DISTINCT i.sop_instance_uid) AS instances,
        SUM(i.frames) AS frames, SUM(f.size) AS bytes
    FROM instances i JOIN series_parts p ON p.id = i.part_id JOIN files f ON f.id = i.file_id
    GROUP BY p.patient_id, p.patient_id_issuer, p.study_instance_uid, p.series_instance_uid, p.modality,
        i.sop_class_uid;
CREATE VIEW studies AS
    SELECT study_instance_uid, patient_id, patient_id_issuer, MIN(study_date) AS study_date,
        GROUP_CONCAT(DISTINCT modality) AS modalities, COUNT(DISTINCT series_instance_uid) AS series,
        SUM(files) AS files, SUM(bytes) AS bytes
    FROM series GROUP BY patient_id, patient_id_issuer, study_instance_uid;
CREATE VIEW patients AS
    SELECT patient_id, patient_id_issuer, COUNT(DISTINCT study_instance_uid) AS studies,
        COUNT(DISTINCT series_instance_uid) AS series, SUM(files) AS files, SUM(bytes) AS bytes
    FROM series GROUP BY patient_id, patient_id_issuer;
CREATE VIEW reference_list AS
    SELECT p.series_instance_uid AS from_series, i.sop_instance_uid AS from_instance,
        i.sop_class_uid AS from_class, p.modality AS from_modality, r.kind,
        COALESCE(NULLIF(r.series_instance_uid, ''),
            (SELECT tp.series_instance_uid FROM instances t JOIN series_parts tp ON tp.id = t.part_id
             WHERE t.sop_instance_uid = r.sop_instance_uid)) AS to_series,
        NULLIF(r.sop_instance_uid, '') AS to_instance
    FROM refs r JOIN instances i ON i.file_id = r.file_id JOIN series_parts p ON p.id = i.part_id;
"""


class Database:
    """Reads and writes an index file.

    Parameters
    ----------
    path : str
        ``":memory:"`` for an index that is not kept.

    Raises
    ------
    FileError
        If the file is no index, or of a later version.
    """

    def __init__(self, path: str, *, create: bool) -> None:
        self.path = path
        if not create and not os.path.exists(path):
            raise FileError(f"{path} does not exist: make the index with dicom_ml.scan(folder, index=...)")
        try:
            self.connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
            self.connection.row_factory = sqlite3.Row
            self.connection.execute("PRAGMA foreign_keys = ON")
            self.connection.execute("PRAGMA trusted_schema = OFF")
            self.connection.execute("PRAGMA cell_size_check = ON")
            known = self.connection.execute("SELECT name FROM sqlite_master WHERE name = 'about'").fetchone()
            if known is None:
                if self.connection.execute("SELECT name FROM sqlite_master").fetchone() is not None:
                    raise FileError(f"{path} is a database, but no index of dicom_ml; give another name")
                if not create:
                    raise FileError(f"{path} is no index of dicom_ml")
                self.connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
                self.keep("version", str(_VERSION))
                self.connection.commit()
            self.connection.execute("PRAGMA query_only = ON")
            self._check_tables()
            version = self.fact("version")
            if version != str(_VERSION):
                raise FileError(f"{path} is an index of version {version}; this is version {_VERSION}: scan anew")
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise FileError(f"{path} cannot be used as an index: {error}") from error

    def _check_tables(self) -> None:
        """Refuse views and triggers that are not ours: they run when the index is read or written."""
        if _tables(self.connection) != _own_tables():
            raise FileError(
                f"{self.path} has other tables, views or triggers than an index of this version: it is damaged, of "
                "another version, or not made by dicom_ml; scan anew"
            )

    # ------------------------------------------------------------------ about the index
    def fact(self, key: str) -> str | None:
        """A fact about the index itself."""
        try:
            row = self.connection.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise FileError(f"{self.path} cannot be used as an index: {error}") from error
        return None if row is None else str(row[0])

    def keep(self, key: str, value: str) -> None:
        """Keep a fact about the index itself."""
        self.connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, value))

    # ------------------------------------------------------------------ writing
    @contextmanager
    def writable(self) -> Iterator[None]:
        """While the index may be changed."""
        try:
            self.connection.execute("PRAGMA query_only = OFF")
            yield
            self.connection.commit()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise FileError(f"the index {self.path} cannot be written: {error}") from error
        finally:
            self.connection.rollback()
            self.connection.execute("PRAGMA query_only = ON")

    def files_of(self, folder: str) -> dict[str, tuple[int, int]]:
        """Name to size and time of change, of the files known in a folder."""
        rows = self.connection.execute("SELECT name, size, changed FROM files WHERE folder = ?", (folder,))
        return {row[0]: (row[1], row[2]) for row in rows}

    def folders(self) -> set[str]:
        """The folders in which files are known."""
        return {row[0] for row in self.connection.execute("SELECT DISTINCT folder FROM files")}

    def forget(self, folder: str, names: Iterable[str]) -> None:
        """Take files out that are no longer there."""
        self.connection.executemany(
            "DELETE FROM files WHERE folder = ? AND name = ?", [(folder, name) for name in names]
        )

    def forget_folder(self, folder: str) -> int:
        """Take all files of a folder out; how many there were."""
        return self.connection.execute("DELETE FROM files WHERE folder = ?", (folder,)).rowcount

    def put(self, entries: Iterable[Entry]) -> None:
        """Put files in, in place of what was known of them, and make it last."""
        cursor = self.connection.cursor()
        parts: dict[tuple[Any, ...], int] = {}
        for entry in entries:
            cursor.execute("DELETE FROM files WHERE folder = ? AND name = ?", (entry.folder, entry.name))
            if entry.status == "gone":
                continue
            cursor.execute(
                "INSERT INTO files (folder, name, size, changed, status, problem) VALUES (?, ?, ?, ?, ?, ?)",
                (entry.folder, entry.name, entry.size, entry.changed, entry.status, entry.problem),
            )
            file_id = cursor.lastrowid
            if entry.status != "dicom":
                continue
            part = tuple(_plain(entry.facts.get(column)) for column in _SERIES_COLUMNS)
            if part not in parts:
                parts[part] = self._part(cursor, part)
            facts = [_plain(entry.facts.get(column), None) for column in _INSTANCE_COLUMNS]
            marks = ", ".join("?" * (2 + len(facts)))
            cursor.execute(f"INSERT INTO instances VALUES ({marks})", (file_id, parts[part], *facts))
            cursor.executemany("INSERT INTO refs VALUES (?, ?, ?, ?)", [(file_id, *r) for r in entry.references])
        self.connection.commit()

    @staticmethod
    def _part(cursor: sqlite3.Cursor, part: tuple[Any, ...]) -> int:
        same = " AND ".join(f"{column} = ?" for column in _SERIES_COLUMNS)
        row = cursor.execute(f"SELECT id FROM series_parts WHERE {same}", part).fetchone()
        if row is not None:
            return int(row[0])
        cursor.execute(
            f"INSERT INTO series_parts ({', '.join(_SERIES_COLUMNS)}) VALUES ({', '.join('?' * len(part))})", part
        )
        return int(cursor.lastrowid or 0)

    def tidy(self) -> None:
        """Take out what no file stands for any more."""
        self.connection.execute("DELETE FROM series_parts WHERE id NOT IN (SELECT part_id FROM instances)")
        self.connection.commit()

    # ------------------------------------------------------------------ reading
    def rows(self, query: str, values: Iterable[Any] | Mapping[str, Any] = ()) -> Iterator[dict[str, Any]]:
        """Rows of a query that only reads.

        Raises
        ------
        FileError
            If the query cannot be run, or would change the index.
        """
        try:
            given = values if isinstance(values, Mapping) else tuple(values)
            for row in self.connection.execute(query, given):
                yield dict(row)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise FileError(f"the index cannot answer: {error}") from error

    def columns(self, query: str) -> list[str]:
        """Names of the columns of a query's rows."""
        return [column[0] for column in self.connection.execute(f"SELECT * FROM ({query}) LIMIT 0").description]

    def close(self) -> None:
        """Close the file."""
        self.connection.close()


def _tables(connection: sqlite3.Connection) -> set[tuple[Any, ...]]:
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%'")
    return {tuple(row) for row in found.fetchmany(_MOST_TABLES)}


@lru_cache(maxsize=1)
def _own_tables() -> set[tuple[Any, ...]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_SCHEMA)
        return _tables(connection)


def _plain(value: Any, empty: Any = "") -> Any:
    # NULLs are all different in a UNIQUE constraint, so what is absent is an empty text there
    return empty if value is None else value
