"""DICOM nodes that announce immense units, send without end, or send what nobody asked for."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pydicom
import pytest

from tests.fuzz.bombs import DEFLATED, dicom, element, image
from tests.fuzz.watch import refused as refused_soon
from tests.stores.servers import free_port

pynetdicom = pytest.importorskip("pynetdicom")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches memory by Linux's limits")

LITTLE = {
    "DICOM_ML_MOST_ANSWER": "3e7", "DICOM_ML_MOST_FOUND": "300", "DICOM_ML_PATIENCE": "1",
    "DICOM_ML_MOST_UNPACKED": "1e8",
}  # fmt: skip
SECONDS = 12.0
CT = "1.2.840.10008.5.1.4.1.1.2"


refused = partial(refused_soon, seconds=SECONDS, errors=("StoreError",))


# ---------------------------------------------------------------------- bytes that are no protocol
@contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A node that takes a connection and then says whatever it likes."""
    server = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            with suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1 << 16)
                    talk(connection)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"dicom://127.0.0.1:{server.getsockname()[1]}/PEER|1.2.3"
    finally:
        ended.set()
        server.close()


def unit(kind: int, length: int) -> bytes:
    return struct.pack(">BBL", kind, 0, length)


def slowly(connection: socket.socket) -> None:
    connection.sendall(unit(2, 5000))
    for _ in range(60):
        connection.sendall(b"\0")
        time.sleep(0.05)


def without_end(connection: socket.socket) -> None:
    connection.sendall(unit(2, 0xFFFFFFFF))
    for _ in range(3000):
        connection.sendall(bytes(1 << 20))


TALK = {
    "a unit of 4 GiB": (without_end, "message unit"),
    "a unit byte by byte": (slowly, "slowly"),
    "no such unit": (lambda c: c.sendall(unit(99, 10) + bytes(10)), ""),
    "HTTP": (lambda c: c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ""),
    "nothing": (lambda c: None, ""),
    "an empty acceptance": (lambda c: c.sendall(unit(2, 0)), ""),
    "lengths within that lie": (
        lambda c: c.sendall(unit(2, 74 + 40) + bytes(68) + b"\x10\0\xff\xff" + b"\x21\0\xff\xff" * 10 + bytes(2)), ""
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", TALK)
def test_units(watch, kind):
    talk, words = TALK[kind]
    with listening(talk) as address:
        refused(watch("fetch", address, **LITTLE), words)


# ---------------------------------------------------------------------- a node that keeps to the protocol
class Peer:
    """What a node answers; each may be replaced."""

    def __init__(self) -> None:
        self.rows: Callable[[str], Iterator[pydicom.Dataset]] = self._rows
        self.instances: Callable[[], Iterator[pydicom.Dataset]] = lambda: iter([instance("1.2.3.4")])
        self.count = 1

    @staticmethod
    def _rows(level: str) -> Iterator[pydicom.Dataset]:
        yield row()

    def find(self, event: Any) -> Iterator[tuple[int, Any]]:
        for answer in self.rows(str(event.identifier.QueryRetrieveLevel)):
            yield 0xFF00, answer
        yield 0x0000, None

    def get(self, event: Any) -> Iterator[Any]:
        yield self.count
        for dataset in self.instances():
            yield 0xFF00, dataset


def row(uid: str = "1.2.3.4", series: str = "1.2.3.1") -> pydicom.Dataset:
    answer = pydicom.Dataset()
    for name, value in (
        ("StudyInstanceUID", "1.2.3"), ("SeriesInstanceUID", series), ("SOPInstanceUID", uid), ("SOPClassUID", CT),
    ):  # fmt: skip
        answer.add_new(name, "UI" if "/" not in value else "LO", value)
    return answer


def instance(uid: str) -> pydicom.Dataset:
    import io

    made = pydicom.dcmread(io.BytesIO(dicom(image(8, 8, pixels=element(0x7FE00010, "OW", bytes(128))))))
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = uid
    return made


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Iterator[tuple[Peer, str]]:
    syntaxes = getattr(request, "param", pynetdicom.ALL_TRANSFER_SYNTAXES)
    state, port = Peer(), free_port()
    entity = pynetdicom.AE(ae_title="PEER")
    for uid in (CT, "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"):
        kinds = syntaxes if uid == CT else pynetdicom.ALL_TRANSFER_SYNTAXES
        entity.add_supported_context(uid, kinds, scp_role=True, scu_role=True)
    events = pynetdicom.evt
    handlers = [(events.EVT_C_FIND, state.find), (events.EVT_C_GET, state.get)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    yield state, f"dicom://127.0.0.1:{port}/PEER|1.2.3"
    server.shutdown()


def test_a_good_node(peer, watch):
    found = watch("fetch", peer[1], **LITTLE)
    assert (found.kind, found.value) == ("read", "(1, ())"), found


def test_rows_without_end(peer, watch):
    def rows(level: str) -> Iterator[pydicom.Dataset]:
        for number in range(3000):
            yield row(f"1.2.9.{number}", f"1.2.8.{number}")

    state, address = peer
    state.rows = rows
    refused(watch("fetch", address, **LITTLE), "DICOM_ML_MOST_FOUND")


@pytest.mark.parametrize("uid", ["../../x", "/etc/x", "", "a.b", "1" * 65])
def test_uids_are_no_paths(peer, watch, uid):
    state, address = peer

    def rows(level: str) -> Iterator[pydicom.Dataset]:
        made = row()
        with pydicom.config.disable_value_validation():
            made["SOPInstanceUID" if level == "IMAGE" else "SeriesInstanceUID"].value = uid
        yield made

    state.rows = rows
    refused(watch("fetch", address, **LITTLE))


def test_what_was_not_asked_for_is_not_kept(peer, watch):
    state, address = peer
    state.instances = lambda: iter([instance("1.2.3.77"), instance("1.2.3.4")])
    state.count = 2
    found = watch("fetch", address, **LITTLE)
    assert found.kind == "read" and found.value.startswith("(1,") and "not asked for" in found.value, found


def test_instances_without_end(peer, watch):
    state, address = peer
    state.instances = lambda: (instance(f"1.2.7.{number}") for number in range(60_000))
    state.count = 60_000
    refused(watch("fetch", address, **LITTLE), "may come")


@pytest.mark.parametrize("peer", [[DEFLATED]], indirect=True)
def test_a_deflated_bomb(peer, watch):
    state, address = peer
    big = instance("1.2.3.4")
    big.PixelData = bytes(120_000_000)
    big.file_meta.TransferSyntaxUID = DEFLATED
    state.instances = lambda: iter([big])
    refused(watch("fetch", address, **LITTLE), "bomb")


def test_a_message_without_end(peer, watch):
    state, address = peer
    big = instance("1.2.3.4")
    big.PixelData = bytes(60_000_000)
    state.instances = lambda: iter([big])
    refused(watch("fetch", address, **LITTLE), "DICOM_ML_MOST_ANSWER")
