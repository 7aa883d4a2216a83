"""C-STORE, C-FIND and C-GET against a node of pynetdicom's own, which may break off."""

from __future__ import annotations

from collections.abc import Iterator

import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.stores.dimse import Node, parse_node
from dicom_ml.stores.transfer import fetch, send
from tests.stores.nodes import Peer, dicom_node
from tests.stores.servers import free_port

pytest.importorskip("pynetdicom")


@pytest.fixture
def peer() -> Iterator[tuple[Peer, str]]:
    with dicom_node() as found:
        yield found


def test_send(ct, peer, tmp_path):
    state, address = peer
    junk = tmp_path / "junk"
    junk.write_text("no DICOM")
    files = sorted(ct.iterdir())
    outcomes = list(send([*files, junk], address))
    assert sorted(o.path for o in outcomes if o.ok) == [str(path) for path in files]
    assert [o.path for o in outcomes if not o.ok] == [str(junk)]
    assert len(state.stored) == 6


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


@pytest.mark.parametrize(
    "address", ["dicom://host", "dicom://host:0/X", "dicom://host:99999/X", "dicom://h:104/" + "x" * 17]
)
def test_addresses(address):
    with pytest.raises(dml.StoreError):
        parse_node(address)


def test_titles():
    with pytest.raises(dml.StoreError, match="AE title"):
        Node("host", 104, "back\\slash")
