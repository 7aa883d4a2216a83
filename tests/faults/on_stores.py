"""Servers that drop connections or answer half, nodes that break off, fetches that are killed or find the disk full."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.phantom import axial_affine, write_ct_series
from dicom_ml.stores import dicomweb, open_store, transfer
from dicom_ml.stores.dicomweb import DicomWeb
from dicom_ml.stores.dimse import Node
from dicom_ml.stores.local import LocalStore
from dicom_ml.stores.remote import RemoteFile
from dicom_ml.stores.transfer import fetch, send
from tests.faults.on_files import STRAIGHT, halves
from tests.faults.registry import Changed, Scene, Set, fault, holds, without
from tests.reading.slides import _make as make
from tests.stores.nodes import dicom_node
from tests.stores.servers import JPEG, dicomweb_server, s3_server

_WEB, _NODE, _OBJECTS = ("dicomweb_client",), ("pynetdicom",), ("obstore",)
_ONCE = Set("dicom_ml.stores.dicomweb", "_ATTEMPTS", 1)


def _series(scene: Scene) -> list[Path]:
    """Six slices of 8 KiB."""
    array = np.random.default_rng(0).integers(-1000, 400, (6, 60, 64)).astype(np.float32)
    write_ct_series(scene.folder / "ct", array, axial_affine(array.shape, (2.5, 0.8, 0.8), (0, 0, 0)), "stores")
    return sorted((scene.folder / "ct").iterdir())


def _address(root: str, files: list[Path]) -> str:
    head = pydicom.dcmread(files[0], stop_before_pixels=True)
    return f"{root}/studies/{head.StudyInstanceUID}/series/{head.SeriesInstanceUID}"


@contextmanager
def _server(files: list[Path]) -> Iterator[Any]:
    """A server, asked again without long waits."""
    with pytest.MonkeyPatch.context() as patch, dicomweb_server(files) as (root, archive):
        patch.setattr(dicomweb, "_FIRST_WAIT", 0.002)
        yield _address(root, files), archive


def _whole(files: list[Path], folder: Path) -> int:
    """How many instances are in a folder; each has to be whole, and to be called as it is."""
    wanted = {str(pydicom.dcmread(path).SOPInstanceUID): pydicom.dcmread(path).PixelData for path in files}
    found = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    for path in found:
        try:
            pixels = pydicom.dcmread(path).get("PixelData", b"")
        except Exception:
            pixels = b""
        uid = path.name.removesuffix(".dcm")
        holds(pixels in wanted.values(), "half an instance has the name of a whole one")
        holds(pixels == wanted.get(uid, pixels), "an instance has the name of another")
    return len(found)


def _fetch(address: str, folder: Path, **named: str) -> Any:
    try:
        return fetch(address, folder, **named)
    except Exception as error:
        holds(False, f"nothing could be fetched: {error}")


# ---------------------------------------------------------------------- DICOMweb
def _unchecked_lengths(patch: pytest.MonkeyPatch) -> None:
    """urllib3: enforce_content_length"""
    import urllib3.response

    real = urllib3.response.HTTPResponse.__init__

    def unchecked(self: Any, *given: Any, **options: Any) -> None:
        real(self, *given, **options | {"enforce_content_length": False})

    patch.setattr(urllib3.response.HTTPResponse, "__init__", unchecked)


@fault(
    "a PACS drops connections, is busy and answers half",
    without("it is asked again", _ONCE, seen="cannot be read"),
    needs=_WEB,
)
def drops(scene: Scene) -> None:
    files = _series(scene)
    with _server(files) as (address, archive):
        archive.failures = ["drop", "half", "503", "", "half", "drop", "429", "half"]
        try:
            there = dml.read_volume(address)
        except dml.DicomMLError as error:
            holds(False, f"the series cannot be read: {error}")
        holds(np.array_equal(there.array, dml.read_volume(scene.folder / "ct").array), "other pixels came")


@fault(
    "an answer of a PACS ends before its length",
    without(
        "lengths and ends of answers are looked at",
        _unchecked_lengths,
        Changed(dicomweb._complete, ("response.content.rfind", "0 and response.content.rfind")),
        seen="half an instance",
    ),
    needs=_WEB,
)
def shorter_than_told(scene: Scene) -> None:
    _half(scene, "half")


@fault(
    "an answer of a PACS ends early and its length is right",
    without(
        "an answer of several parts has its end",
        Changed(dicomweb._complete, ("response.content.rfind", "0 and response.content.rfind")),
        seen="half an instance",
    ),
    needs=_WEB,
)
def cut_by_a_proxy(scene: Scene) -> None:
    _half(scene, "cut")


@fault(
    "an instance of a PACS comes alone, and ends early",
    without(
        "its last element is as long as it says",
        Changed(dicomweb._is_cut, ("view = FileView(content)", "return False")),
        seen="half an instance",
    ),
    needs=_WEB,
)
def cut_alone(scene: Scene) -> None:
    _half(scene, "alone")


@fault(
    "a PACS gives another instance than was asked for",
    without(
        "instances are who they are to be",
        Changed(DicomWeb.instance, ('if str(dataset.get("SOPInstanceUID", "")) != instance:', "if False:")),
        seen="the name of another",
    ),
    needs=_WEB,
)
def another_instance(scene: Scene) -> None:
    _half(scene, "other")


def _half(scene: Scene, how: str) -> None:
    files = _series(scene)
    with _server(files) as (address, archive):
        archive.failures = ["", "", *[how] * 3]
        _fetch(address, scene.folder / "copy")
        holds(_whole(files, scene.folder / "copy") == 6, "not all came, though it was asked again")
        archive.failures = ["", "", *[how] * 500]
        with pytest.raises(dml.StoreError):
            holds(not fetch(address, scene.folder / "never").files, "half is taken for whole")
        holds(_whole(files, scene.folder / "never") == 0, "half is kept")


@fault(
    "a PACS gives fewer rows than it has",
    without(
        "it is asked for more until there is no more",
        Changed(DicomWeb.search, ("if not page or len(found) == before:", "if True:")),
        seen="2 of 6",
    ),
    needs=_WEB,
)
def short_pages(scene: Scene) -> None:
    files = _series(scene)
    with _server(files) as (address, archive):
        archive.most = 2
        _fetch(address, scene.folder / "copy")
        holds(_whole(files, scene.folder / "copy") == 6, f"{_whole(files, scene.folder / 'copy')} of 6 came")


def _slide(scene: Scene) -> Path:
    return make.pyramid(scene.folder / "sm", make.picture((150, 130), 3), (1, 2), tile=(64, 48), **JPEG)


@fault(
    "a PACS gives the metadata of half a slide",
    without(
        "all instances that it is known to have are wanted",
        Changed(DicomWeb.metadata, ("if missing:", "if False:")),
        seen="levels|cannot be read",
    ),
    needs=_WEB,
)
def half_the_metadata(scene: Scene) -> None:
    folder = _slide(scene)
    with _server(sorted(folder.iterdir())) as (address, archive):
        archive.failures = ["", "", "fewer", "fewer"]
        _slides_equal(folder, address)


@fault(
    "a PACS gives fewer frames than were asked for",
    without(
        "frames are counted",
        Changed(DicomWeb.frames, ("len(found) != len(numbers) or not all(found)", "False")),
        seen="cannot be read",
    ),
    needs=_WEB,
)
def fewer_frames(scene: Scene) -> None:
    folder = _slide(scene)
    with _server(sorted(folder.iterdir())) as (address, archive):
        _slides_equal(folder, address, lambda: archive.failures.extend(["fewer"] * 2))


def _slides_equal(folder: Path, address: str, meanwhile: Any = lambda: None) -> None:
    here = dml.open_slide(folder)
    try:
        there = dml.open_slide(address)
        levels = [level.shape for level in there.levels]
        meanwhile()
        tiles = there.read_tiles(0, here.tile_positions(0))
    except Exception as error:
        holds(False, f"the slide cannot be read: {error}")
    holds(levels == [level.shape for level in here.levels], f"the slide has other levels: {levels}")
    holds(np.array_equal(tiles, here.read_tiles(0, here.tile_positions(0))), "other tiles came")


@fault(
    "a PACS drops what is sent, and refuses some",
    without("it is sent again", _ONCE, seen="5 of 6 are told|were stored"),
    without(
        "every instance has an answer of its own",
        Changed(dicomweb._outcome, ('"00081198"', '"none"'), ("if status >= 400:", "if False:")),
        seen="told to be stored",
    ),
    needs=_WEB,
)
def sending(scene: Scene) -> None:
    files = _series(scene)
    with _server(files[:1]) as (address, archive):
        refused = str(pydicom.dcmread(files[2]).SOPInstanceUID)
        archive.refused[refused] = 0xA700
        archive.failures = ["drop", "503"]
        outcomes = list(send(files, address.split("/studies")[0]))
    told = {outcome.sop_instance_uid for outcome in outcomes if outcome.ok}
    holds(refused not in told, "what was refused is told to be stored")
    holds(told == set(archive.stored), "not what is told is stored")
    holds(len(archive.stored) == 5, f"{len(archive.stored)} of the 5 that are taken were stored")


# ---------------------------------------------------------------------- DICOM nodes
@fault(
    "a node breaks off while it takes instances",
    without("it goes on where it was", Set("dicom_ml.stores.dimse", "_ATTEMPTS", 0), seen="3 of 6"),
    needs=_NODE,
)
def breaks_off_taking(scene: Scene) -> None:
    with dicom_node() as (peer, address):
        peer.abort_after = 3
        sent = [outcome for outcome in send(_series(scene), address) if outcome.ok]
        holds(len(sent) == len(set(peer.stored)) == 6, f"{len(sent)} of 6 are sent")


@fault(
    "a node breaks off while it gives a series",
    without("it is asked for the rest", Set("dicom_ml.stores.transfer", "_ATTEMPTS", 1), seen="2 of 6"),
    without(
        "what is missing is told",
        Changed(
            transfer._fetch_dimse, ("(*broken, *(", "(*broken[:0], *("), (" for uid in missing))", " for uid in ()))")
        ),
        Set("dicom_ml.stores.transfer", "_ATTEMPTS", 1),
        seen="not told",
    ),
    needs=_NODE,
)
def breaks_off_giving(scene: Scene) -> None:
    files = _series(scene)
    study = str(pydicom.dcmread(files[0]).StudyInstanceUID)
    with dicom_node() as (peer, address):
        peer.files, peer.breaks = files, [2, 0]
        done = _fetch(address, scene.folder / "copy", study=study)
    came = _whole(files, scene.folder / "copy")
    holds(came == 6 or done.problems, f"{came} of 6 came, which is not told")
    holds(came == 6, f"{came} of 6 came")


@fault(
    "a node breaks off in its list of instances",
    without(
        "half a list is none",
        Changed(Node.find, ("if not last or last.Status != 0:", "if False:")),
        seen="passes for whole",
    ),
    needs=_NODE,
)
def breaks_off_listing(scene: Scene) -> None:
    files = _series(scene)
    study = str(pydicom.dcmread(files[0]).StudyInstanceUID)
    with dicom_node() as (peer, address):
        peer.files, peer.find_breaks = files, 3
        try:
            found = transfer.parse_node(address).find("IMAGE", {"StudyInstanceUID": study})
        except dml.StoreError:
            return
    holds(False, f"a list of {len(found)} of 6 passes for whole")


# ---------------------------------------------------------------------- object stores
@fault(
    "an object store is busy",
    without("it is asked again", Set("dicom_ml.stores.objects", "_RETRIES", 0), seen="cannot be read"),
    needs=_OBJECTS,
)
def busy(scene: Scene) -> None:
    _series(scene)
    with s3_server(scene.folder / "ct") as (address, bucket):
        bucket.failures = ["503", "", "503"]
        try:
            dml.read_volume(address)
        except dml.DicomMLError as error:
            holds(False, f"the series cannot be read: {error}")


@fault(
    "a file of a store shrinks while it is read",
    without(
        "what comes is as long as what was asked for",
        Changed(
            RemoteFile._fetch,
            ("if len(content) != end - start:", "if False:"),
            ("self._target[start:end] = content", "self._target[start : start + len(content)] = content"),
        ),
        seen="zeros",
    ),
)
def shrinks(scene: Scene) -> None:
    path = scene.folder / "a"
    path.write_bytes(b"x" * 200_000)
    file = RemoteFile(open_store(scene.folder.as_uri()), "a", 200_000)
    os.truncate(path, 1000)
    try:
        found = bytes(file.need(150_000, 10))
    except dml.StoreError:
        return
    holds(False, f"zeros stand for what is gone: {found!r}")


@fault(
    "a file of a store shrinks while it is fetched",
    without(
        "what came is as long as the list said",
        Changed(transfer._fetch_objects, ("if handle.tell() != size:", "if False:")),
        seen="half an instance",
    ),
)
def shrinks_fetched(scene: Scene) -> None:
    files = _series(scene)
    real = LocalStore.list

    def and_shrink(self: LocalStore) -> Any:
        found = real(self)
        os.truncate(scene.folder / "in" / files[2].name, 3000)
        return found

    shutil.copytree(scene.folder / "ct", scene.folder / "in")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalStore, "list", and_shrink)
        done = _fetch((scene.folder / "in").as_uri(), scene.folder / "copy")
    holds(_whole(files, scene.folder / "copy") == 5, "the 5 whole ones did not come")
    holds(len(done.problems) == 1, "it is not told which one is missing")


# ---------------------------------------------------------------------- fetching to a disk
def _disk_full(scene: Scene, kind: str) -> None:
    files = _series(scene)
    with _place(kind, files) as (address, named):
        ended = scene.apart(_fetch_there, address, scene.folder / "copy", named, limit=3000)
        holds("OSError" in ended.error, f"it does not say so, but: {ended.error}")
        holds(_whole(files, scene.folder / "copy") == 0, "half is kept")
        holds(not halves(scene.folder / "copy"), "half a file is left behind")
        _fetch(address, scene.folder / "copy", **named)
        holds(_whole(files, scene.folder / "copy") == 6, "the next fetch does not complete")


def _killed(scene: Scene, kind: str) -> None:
    files = _series(scene)
    with _place(kind, files) as (address, named):
        for number in (7,) if kind == "C-GET" else (7, 5):  # three steps a file: its write, its name before and after
            ended = scene.apart(_fetch_there, address, scene.folder / "copy", named, kill_at=number)
            holds(ended.killed, f"it was to be killed: {ended}")
            holds(_whole(files, scene.folder / "copy") < 6, "all were there before it was killed")
        done = _fetch(address, scene.folder / "copy", **named)
        holds(_whole(files, scene.folder / "copy") == len(done.files) == 6, "the next fetch does not complete")
        holds(not halves(scene.folder / "copy"), "half a file is left behind")


def _fetch_there(address: str, folder: Path, named: dict[str, str]) -> None:
    transfer._CONNECTIONS = 1
    fetch(address, folder, **named)


@contextmanager
def _place(kind: str, files: list[Path]) -> Iterator[tuple[str, dict[str, str]]]:
    if kind == "DICOMweb":
        with _server(files) as (address, _):
            yield address, {}
    elif kind == "C-GET":
        with dicom_node() as (peer, address):
            peer.files = files
            yield address, {"study": str(pydicom.dcmread(files[0]).StudyInstanceUID)}
    else:
        yield files[0].parent.as_uri(), {}


for _kind, _needs in (("DICOMweb", _WEB), ("C-GET", _NODE), ("files", ())):
    _hidden = without("a hidden name until the file is whole", STRAIGHT, seen="half an instance")
    fault(f"disk full while a series is fetched: {_kind}", _hidden, needs=_needs, kind=_kind)(_disk_full)
    fault(f"kill -9 while a series is fetched: {_kind}", _hidden, needs=_needs, kind=_kind)(_killed)
