"""A DICOM node of pynetdicom's own, which may break off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom

from tests.stores.servers import free_port

__all__ = ["Peer", "dicom_node"]


class Peer:
    def __init__(self) -> None:
        self.stored: list[str] = []
        self.abort_after = -1
        self.find_breaks = -1
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
            if len(seen) == self.find_breaks:
                event.assoc.abort()
                return
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


@contextmanager
def dicom_node() -> Iterator[tuple[Peer, str]]:
    """A node and its address."""
    import pynetdicom

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
    try:
        yield state, f"dicom://127.0.0.1:{port}/PEER"
    finally:
        server.shutdown()
