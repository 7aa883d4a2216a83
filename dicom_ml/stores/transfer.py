"""Whole series and studies from and to a store: resumable, each file complete or not there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pydicom

from dicom_ml.encoding.writer import atomic_file, save_dataset
from dicom_ml.errors import StoreError
from dicom_ml.stores.addresses import is_address, kind_of, printable
from dicom_ml.stores.dicomweb import Sent, open_dicomweb, parse_resource
from dicom_ml.stores.dimse import Node, parse_node
from dicom_ml.stores.opening import open_store

__all__ = ["Fetched", "fetch", "send"]

_UID = re.compile(r"(?=.{1,64}$)[0-9]+(\.[0-9]+)*")
_CONNECTIONS = 4
#: Instances that a node may send twice, or unasked, before it is stopped.
_SOME_MORE = 10
#: How often a node is asked for a series of which nothing more comes.
_ATTEMPTS = 3


@dataclass(frozen=True)
class Fetched:
    """What a fetch did.

    Attributes
    ----------
    folder : Path
    files : tuple of Path
        All files of what was asked for, those that were there before, too.
    new : int
        How many of them came now.
    problems : tuple of str
        What could not be had.
    """

    folder: Path
    files: tuple[Path, ...]
    new: int
    problems: tuple[str, ...] = ()


# ---------------------------------------------------------------------- fetching
def fetch(
    address: str,
    folder: str | os.PathLike[str],
    *,
    study: str = "",
    series: str = "",
    own_title: str = "DICOM_ML",
    progress: Callable[[int], object] | None = None,
) -> Fetched:
    """Copy a series or study from a store into a folder.

    Files are named by their SOP Instance UIDs (those of an object store keep their names). What is already there is
    not fetched again, so a fetch that was broken off goes on where it was. One instance that cannot be had does not
    keep back the rest.

    Parameters
    ----------
    address : str
        A DICOMweb study, series or instance (``https://.../studies/UID/series/UID``); a prefix of an object store
        (``s3://bucket/prefix/``); or a DICOM node (``dicom://host:port/AE_TITLE``), asked by C-GET.
    folder : path
        Made when missing.
    study, series : str
        UIDs, for a DICOM node, or where the address does not name them.
    own_title : str
        AE title of this side.
    progress : callable, optional
        Called with the number of files as they come.

    Returns
    -------
    Fetched

    Raises
    ------
    StoreError
        If the store cannot be reached, or has nothing of what was asked for.
    """
    target = Path(folder)
    told = progress or (lambda number: None)
    if address.startswith("dicom://"):
        return _fetch_dimse(address, target, study, series, own_title, told)
    kind = kind_of(address)
    if kind == "dicomweb" or study:
        return _fetch_dicomweb(address, target, study, series, told)
    return _fetch_objects(address, target, told)


def _fetch_dicomweb(address: str, folder: Path, study: str, series: str, told: Callable[[int], object]) -> Fetched:
    named = parse_resource(address)
    study, series = study or named.study, series or named.series
    if not study:
        raise StoreError(f"{printable(address)} names no study; expected .../studies/UID or study=")
    server = open_dicomweb(named.root)
    rows = server.instances(study, series)
    if named.instance:
        rows = [row for row in rows if row[2] == named.instance]

    def one(row: tuple[str, str, str]) -> bool:
        path = _named(folder, row[2])
        if path.exists():
            return False
        save_dataset(path, server.instance(study, row[0], row[2]))
        return True

    return _all(folder, [(_named(folder, row[2]), row) for row in rows], one, told)


def _fetch_objects(address: str, folder: Path, told: Callable[[int], object]) -> Fetched:
    store = open_store(address)
    found = store.list()
    if not found:
        raise StoreError(f"{printable(address)} holds no file")
    rows = []
    for file in found:
        parts = Path(file.name).parts
        if Path(file.name).is_absolute() or ".." in parts:
            raise StoreError(f"{printable(address)} holds a file whose name leads out of the folder: {file.name!r}")
        rows.append((folder.joinpath(*parts), file))

    def one(row: tuple[Path, object]) -> bool:
        path, file = row
        size = file.size  # type: ignore[attr-defined]
        if path.exists() and path.stat().st_size == size:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as handle:
            for offset in range(0, size, 1 << 24):
                handle.write(store.read(file.name, offset, min(1 << 24, size - offset)))  # type: ignore[attr-defined]
            if handle.tell() != size:
                raise StoreError(f"{file.name} came with {handle.tell()} bytes of {size}")  # type: ignore[attr-defined]
        return True

    return _all(folder, [(row[0], row) for row in rows], one, told)


def _all(
    folder: Path, rows: Sequence[tuple[Path, object]], one: Callable[..., bool], told: Callable[[int], object]
) -> Fetched:
    folder.mkdir(parents=True, exist_ok=True)
    files, problems, new = [], [], 0
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for (path, _), outcome in zip(rows, pool.map(lambda row: _tried(one, row[1]), rows), strict=True):
            if isinstance(outcome, StoreError):
                problems.append(str(outcome))
                continue
            files.append(path)
            new += int(outcome)
            told(1)
    if not files:
        raise StoreError(f"nothing could be fetched: {problems[0]}")
    return Fetched(folder, tuple(files), new, tuple(problems))


def _tried(one: Callable[..., bool], row: object) -> bool | StoreError:
    try:
        return one(row)
    except StoreError as error:
        return error


def _fetch_dimse(
    address: str, folder: Path, study: str, series: str, own_title: str, told: Callable[[int], object]
) -> Fetched:
    node = parse_node(address, own_title)
    if not study:
        raise StoreError(f"a DICOM node gives a study or series: pass study= (and series=) for {node}")
    keys = {"StudyInstanceUID": study} | ({"SeriesInstanceUID": series} if series else {})
    wanted, classes, of_series = set(), set(), {}
    every = list(dict.fromkeys(_uid_of(row, "SeriesInstanceUID", node) for row in node.find("SERIES", keys)))
    for uid in every:
        for row in node.find("IMAGE", {"StudyInstanceUID": study, "SeriesInstanceUID": uid}, ["SOPClassUID"]):
            instance = _uid_of(row, "SOPInstanceUID", node)
            wanted.add(instance)
            of_series[instance] = uid
            if row.get("SOPClassUID"):
                classes.add(str(row.SOPClassUID))
    if not wanted:
        raise StoreError(f"{node} holds no instance of {series or study}")
    folder.mkdir(parents=True, exist_ok=True)
    before = {uid for uid in wanted if _named(folder, uid).exists()}
    came: set[str] = set()
    unasked: set[str] = set()

    def keep(dataset: pydicom.Dataset) -> None:
        uid = str(dataset.SOPInstanceUID)
        if uid not in wanted:
            unasked.add(uid)
            return
        path = _named(folder, uid)
        if not path.exists():
            save_dataset(path, dataset)
        came.add(uid)
        told(1)

    broken: list[str] = []
    for uid in every:
        paths = [_named(folder, sop) for sop in wanted if of_series[sop] == uid]
        problem = _get_series(node, study, uid, keep, sorted(classes) or _storage_classes(), paths)
        broken += [problem] if problem else []
    missing = sorted(uid for uid in wanted if not _named(folder, uid).exists())
    files = tuple(_named(folder, uid) for uid in sorted(wanted) if uid not in missing)
    problems = (*broken, *(f"{node} did not give instance {uid}" for uid in missing))
    if unasked:
        problems += (f"{node} sent {len(unasked)} instances that were not asked for; they were not kept",)
    if not files:
        raise StoreError(problems[0])
    return Fetched(folder, files, len(files) - len(before), problems)


def _uid_of(row: pydicom.Dataset, keyword: str, node: Node) -> str:
    uid = str(row.get(keyword) or "")
    if not _UID.fullmatch(uid):
        raise StoreError(f"{node} answers C-FIND with {uid[:70]!r} as {keyword}, which is no UID")
    return uid


def _get_series(
    node: Node, study: str, series: str, keep: Callable[[pydicom.Dataset], None], classes: list[str], paths: list[Path]
) -> str:
    """Ask for a series until all of it is there, or nothing more comes; why it does not.

    A series of which all is there is not asked for. An association that breaks is made anew, and what had come stays.
    """
    problem, failures = "", 0
    while failures < _ATTEMPTS:
        missing = sum(not path.exists() for path in paths)
        if not missing:
            return ""
        try:
            node.get(study, series, keep, classes, most=2 * len(paths) + _SOME_MORE)
        except StoreError as error:
            problem = str(error)
        failures = 0 if sum(not path.exists() for path in paths) < missing else failures + 1
    return problem


def _storage_classes() -> list[str]:
    from pynetdicom.presentation import AllStoragePresentationContexts

    return [str(context.abstract_syntax) for context in AllStoragePresentationContexts]


def _named(folder: Path, uid: str) -> Path:
    if not _UID.fullmatch(uid):
        raise StoreError(f"{uid[:70]!r} is no UID, so no file can be named by it")
    return folder / f"{uid}.dcm"


# ---------------------------------------------------------------------- sending
def send(paths: Iterable[str | os.PathLike[str]], address: str, *, own_title: str = "DICOM_ML") -> Iterator[Sent]:
    """Store files on a server.

    Parameters
    ----------
    paths : iterable of path
    address : str
        Root of a DICOMweb server (``https://host/dicom-web``) for STOW-RS, or ``dicom://host:port/AE_TITLE`` for
        C-STORE.
    own_title : str
        AE title of this side.

    Yields
    ------
    Sent
        What became of each file. One that is refused does not keep back the others; one that is already there may be
        sent again.

    Raises
    ------
    StoreError
        If the address is no server's.
    """
    files = list(paths)
    if address.startswith("dicom://"):
        yield from parse_node(address, own_title).send(files)
        return
    if not is_address(address) or kind_of(address) not in ("dicomweb", "object"):
        raise StoreError(f"{address!r} is no server; expected https://host/dicom-web or dicom://host:port/AE_TITLE")
    server = open_dicomweb(parse_resource(address).root)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        yield from pool.map(server.send, files)
