"""C-STORE, C-FIND and C-GET against a node of pynetdicom's own, which may break off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.stores.dimse import Node, parse_node
from dicom_ml.stores.transfer import fetch, send
from tests.stores.servers import free_port

pynetdicom = pytest.importorskip("pynetdicom")


class Peer:
    def __init__(self) -> None:
        self.stored: list[str] = []
        self.abort_after = -1
        self.breaks: list[int] = []  # how many instances each C-GET gives before it breaks off
        self.status = 0
        self.files: list[Path] = []

    def store(self, event: Any) -> int:
        if len(self.stored) == self.abort_after:
            self.abort_after = -1
            event.assoc.abort()
            return 0xC000
        if self.status:
            return self.status
        self.stored.append(str(event.dataset.SOPInstanceUID))
        return 0

    def find(self, event: Any) -> Iterator[tuple[int, Any]]:
        query, seen = event.identifier, set()
        for path in self.files:
            head = pydicom.dcmread(path, stop_before_pixels=True)
            if query.StudyInstanceUID not in ("", head.StudyInstanceUID):
                continue
            key = head.SeriesInstanceUID if query.QueryRetrieveLevel == "SERIES" else head.SOPInstanceUID
            if key in seen:
                continue
            seen.add(key)
            answer = pydicom.Dataset()
            answer.QueryRetrieveLevel = query.QueryRetrieveLevel
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
                setattr(answer, name, head[name].value)
            yield 0xFF00, answer
        yield 0x0000, None

    def get(self, event: Any) -> Iterator[Any]:
        breaks = self.breaks.pop(0) if self.breaks else len(self.files)
        yield len(self.files)
        for number, path in enumerate(self.files):
            if number == breaks:
                event.assoc.abort()
                return
            yield 0xFF00, pydicom.dcmread(path)


@pytest.fixture
def peer() -> Iterator[tuple[Peer, str]]:
    state, port = Peer(), free_port()
    entity = pynetdicom.AE(ae_title="PEER")
    entity.require_called_aet = True
    for context in pynetdicom.StoragePresentationContexts[:100]:
        entity.add_supported_context(
            context.abstract_syntax, pynetdicom.ALL_TRANSFER_SYNTAXES, scp_role=True, scu_role=True
        )
    for uid in (
        "1.2.840.10008.5.1.4.1.1.66.4",
        "1.2.840.10008.5.1.4.1.2.2.1",
        "1.2.840.10008.5.1.4.1.2.2.3",
        "1.2.840.10008.1.1",
    ):
        entity.add_supported_context(uid, pynetdicom.ALL_TRANSFER_SYNTAXES, scp_role=True, scu_role=True)
    events = pynetdicom.evt
    server = entity.start_server(
        ("127.0.0.1", port),
        block=False,
        evt_handlers=[
            (events.EVT_C_STORE, state.store),
            (events.EVT_C_FIND, state.find),
            (events.EVT_C_GET, state.get),
        ],
    )
    yield state, f"dicom://127.0.0.1:{port}/PEER"
    server.shutdown()


def test_send(ct, peer, tmp_path):
    state, address = peer
    junk = tmp_path / "junk"
    junk.write_text("no DICOM")
    files = sorted(ct.iterdir())
    outcomes = list(send([*files, junk], address))
    assert sorted(o.path for o in outcomes if o.ok) == [str(path) for path in files]
    assert [o.path for o in outcomes if not o.ok] == [str(junk)]
    assert len(state.stored) == 6


def test_a_broken_association_goes_on_where_it_was(ct, peer):
    state, address = peer
    state.abort_after = 3
    outcomes = list(send(sorted(ct.iterdir()), address))
    assert all(o.ok for o in outcomes) and len(outcomes) == 6
    assert len(set(state.stored)) == 6


def test_refusals(ct, peer):
    state, address = peer
    state.status = 0xA700
    outcomes = list(send(sorted(ct.iterdir())[:2], address))
    assert [o.ok for o in outcomes] == [False, False] and "A700H" in outcomes[0].detail
    state.status = 0xB000  # a warning: stored
    assert [o.ok for o in send(sorted(ct.iterdir())[:1], address)] == [True]


def test_no_node(ct):
    outcomes = list(send(sorted(ct.iterdir())[:2], f"dicom://127.0.0.1:{free_port()}/PEER"))
    assert [o.ok for o in outcomes] == [False, False] and "does not answer" in outcomes[0].detail


def test_wrong_title(peer):
    _, address = peer
    with pytest.raises(dml.StoreError, match="AE titles"):
        parse_node(address.replace("PEER", "OTHER")).echo()
    parse_node(address).echo()


def test_fetch(ct, peer, tmp_path):
    state, address = peer
    state.files = sorted(ct.iterdir())
    study = str(pydicom.dcmread(state.files[0]).StudyInstanceUID)
    done = fetch(address, tmp_path / "copy", study=study)
    assert done.new == 6 and not done.problems
    assert {p.read_bytes()[-960:] for p in done.files} == {p.read_bytes()[-960:] for p in state.files}
    done.files[0].unlink()
    assert fetch(address, tmp_path / "copy", study=study).new == 1
    assert fetch(address, tmp_path / "copy", study=study).new == 0


def test_a_fetch_that_breaks_off_asks_again(ct, peer, tmp_path):
    state, address = peer
    state.files, state.breaks = sorted(ct.iterdir()), [2, 0, 4]
    study = str(pydicom.dcmread(state.files[0]).StudyInstanceUID)
    done = fetch(address, tmp_path / "copy", study=study)
    assert done.new == 6 and not done.problems and state.breaks == []
    state.breaks = [3] * 4
    some = fetch(address, tmp_path / "some", study=study)
    assert len(some.files) == 3 and "C-GET" in some.problems[0] and len(some.problems) == 4
    state.breaks = [0] * 3
    with pytest.raises(dml.StoreError, match="C-GET"):
        fetch(address, tmp_path / "none", study=study)


@pytest.mark.parametrize(
    "address", ["dicom://host", "dicom://host:0/X", "dicom://host:99999/X", "dicom://h:104/" + "x" * 17]
)
def test_addresses(address):
    with pytest.raises(dml.StoreError):
        parse_node(address)


def test_titles():
    with pytest.raises(dml.StoreError, match="AE title"):
        Node("host", 104, "back\\slash")
