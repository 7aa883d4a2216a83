"""DICOM nodes (PS3.7, PS3.8): C-ECHO, C-FIND, C-STORE and C-GET through pynetdicom."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pydicom

from dicom_ml.encoding.limits import ANSWER, FOUND, LISTING, Limit
from dicom_ml.encoding.untrusted import DEFLATED, check_inflates, dcmread
from dicom_ml.errors import FileError, MissingPackageError, StoreError
from dicom_ml.stores.dicomweb import Sent
from dicom_ml.stores.pace import Pace

__all__ = ["Node", "parse_node"]

_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_PLAIN = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
_MOST_CONTEXTS = 128
_TITLE = re.compile(r"[ -\[\]-~]{1,16}")
_ATTEMPTS = 3
_PENDING = (0xFF00, 0xFF01)
#: Bytes of a message unit: nodes agree on some 16 KiB to 1 MiB, and none is to send more.
_LARGEST_UNIT = 16 << 20


@dataclass(frozen=True)
class Node:
    """An application entity on the network.

    Attributes
    ----------
    host : str
    port : int
    title : str
        AE title of the node.
    own_title : str
        AE title of this side.
    timeout : float
        Seconds to wait for the network.
    """

    host: str
    port: int
    title: str = "ANY-SCP"
    own_title: str = "DICOM_ML"
    timeout: float = 30.0

    def __post_init__(self) -> None:
        for title in (self.title, self.own_title):
            if not _TITLE.fullmatch(title) or not title.strip():
                raise StoreError(f"{title!r} is no AE title: 1 to 16 printable characters without backslash (PS3.5)")
        if not 0 < self.port < 65536:
            raise StoreError(f"{self.port} is no port")

    def __str__(self) -> str:
        return f"dicom://{self.host}:{self.port}/{self.title}"

    # ------------------------------------------------------------------ asking
    def echo(self) -> None:
        """C-ECHO.

        Raises
        ------
        StoreError
            If the node does not answer.
        """
        with self._association([("1.2.840.10008.1.1", _PLAIN)]) as association:
            status = association.send_c_echo()
            if not status or status.Status != 0:
                raise StoreError(f"{self} does not answer C-ECHO: {_status(status)}")

    def find(self, level: str, keys: Mapping[str, str], returning: Sequence[str] = ()) -> list[pydicom.Dataset]:
        """C-FIND (Study Root).

        Parameters
        ----------
        level : {"STUDY", "SERIES", "IMAGE"}
        keys : mapping of str to str
            Keyword to value that must match; wildcards as PS3.4 C.2.2.2 has them.
        returning : sequence of str
            Further keywords to return.
        """
        query = pydicom.Dataset()
        query.QueryRetrieveLevel = level
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", *returning):
            setattr(query, keyword, "")
        for keyword, value in keys.items():
            setattr(query, keyword, value)
        found = []
        wire = _Wire(LISTING)
        with self._association([(_STUDY_ROOT_FIND, _PLAIN)], wire=wire) as association:
            last: Any = None
            for status, answer in association.send_c_find(query, _STUDY_ROOT_FIND):
                last = status
                if status and status.Status in _PENDING and answer is not None:
                    found.append(answer)
                if len(found) > FOUND.value:
                    association.abort()
                    raise StoreError(f"{self} answers C-FIND with more than {FOUND.value} rows; {FOUND.advice}")
            if not last or last.Status != 0:
                raise StoreError(f"{self} does not answer C-FIND: {wire.problem or _status(last)}")
        return found

    # ------------------------------------------------------------------ sending
    def send(self, paths: Iterable[str | os.PathLike[str]]) -> Iterator[Sent]:
        """C-STORE files, each in the transfer syntax in which it is; what became of each.

        An association that breaks is made anew, and goes on with the file that it broke at.
        """
        files = [os.fspath(path) for path in paths]
        kinds: dict[str, tuple[str, str, str]] = {}
        for path in files:
            try:
                head = dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
                kinds[path] = (
                    str(head.SOPClassUID), str(head.file_meta.TransferSyntaxUID), str(head.SOPInstanceUID),
                )  # fmt: skip
            except Exception as error:
                yield Sent(path, "", False, f"it is no DICOM file that can be read ({type(error).__name__})")
        todo = [path for path in files if path in kinds]
        failures = 0
        while todo:
            some, contexts = _batch(todo, kinds)
            done = 0
            try:
                with self._association([(sop_class, [syntax]) for sop_class, syntax in contexts]) as association:
                    for path in some:
                        outcome = self._store(association, path, *kinds[path])
                        if outcome is None:
                            break
                        done += 1
                        yield outcome
                problem = f"{self} broke off the association"
            except StoreError as error:
                problem = str(error)
            todo = todo[done:]
            failures = 0 if done else failures + 1
            if failures >= _ATTEMPTS:
                for path in todo:
                    yield Sent(path, kinds[path][2], False, problem)
                return

    def _store(self, association: Any, path: str, sop_class: str, syntax: str, uid: str) -> Sent | None:
        """What became of a file; None where the association is gone."""
        accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
        if (sop_class, syntax) not in accepted:
            name = pydicom.uid.UID(syntax).name
            return Sent(path, uid, False, f"{self} takes no {pydicom.uid.UID(sop_class).name} in {name}")
        if not association.is_established:
            return None
        try:
            status = association.send_c_store(path)
        except (RuntimeError, OSError):
            return None
        except (ValueError, AttributeError) as error:
            return Sent(path, uid, False, f"it cannot be encoded to be sent: {error}")
        if not status:
            return None
        code = int(status.Status)
        if code == 0:
            return Sent(path, uid, True)
        return Sent(path, uid, code >> 12 == 0xB, f"{self} answers {_status(status)}")

    # ------------------------------------------------------------------ fetching
    def get(
        self,
        study: str,
        series: str,
        keep: Callable[[pydicom.Dataset], None],
        classes: Sequence[str],
        most: int | None = None,
    ) -> int:
        """C-GET a study or series; each instance goes to ``keep`` as it comes.

        Parameters
        ----------
        study, series : str
            UIDs; without a series the whole study comes.
        keep : callable
        classes : sequence of str
            SOP classes that may come (as C-FIND tells).
        most : int, optional
            Instances that may come before the association is broken off: a node may send for ever.

        Returns
        -------
        int
            Number of instances that came.
        """
        pynetdicom = _pynetdicom()
        query = pydicom.Dataset()
        query.QueryRetrieveLevel = "SERIES" if series else "STUDY"
        query.StudyInstanceUID = study
        if series:
            query.SeriesInstanceUID = series
        came = 0
        problems: list[Exception] = []
        limit = FOUND.value if most is None else most
        wire = _Wire()

        def store(event: Any) -> int:
            nonlocal came
            if came + len(problems) >= limit:
                wire.problem = f"it sends more than the {limit} instances that may come"
                return 0xA700
            try:
                if str(event.context.transfer_syntax) == DEFLATED:
                    event.request.DataSet.seek(0)
                    check_inflates(event.request.DataSet, f"instance of {series or study}")
                dataset = event.dataset
                dataset.file_meta = event.file_meta
                keep(dataset)
            except Exception as error:  # the node has to be answered whatever happened here
                problems.append(StoreError(str(error)) if type(error) is FileError else error)
                return 0xA700
            came += 1
            return 0x0000

        syntaxes = pynetdicom.ALL_TRANSFER_SYNTAXES
        storage = [(uid, syntaxes) for uid in list(classes)[: _MOST_CONTEXTS - 1]]
        roles = [pynetdicom.build_role(uid, scp_role=True) for uid, _ in storage]
        contexts = [(_STUDY_ROOT_GET, _PLAIN), *storage]
        handlers = [(pynetdicom.evt.EVT_C_STORE, store)]
        with self._association(contexts, roles=roles, handlers=handlers, wire=wire) as association:
            last: Any = None
            for status, _ in association.send_c_get(query, _STUDY_ROOT_GET):
                last = status
        if problems:
            raise problems[0]
        if not last or last.Status != 0:
            raise StoreError(f"{self} does not give {series or study} by C-GET: {wire.problem or _status(last)}")
        return came

    @contextmanager
    def _association(
        self,
        contexts: Sequence[tuple[str, Sequence[str]]],
        roles: Sequence[Any] = (),
        handlers: Sequence[Any] = (),
        wire: _Wire | None = None,
    ) -> Iterator[Any]:
        pynetdicom = _pynetdicom()
        wire = wire or _Wire()
        entity = pynetdicom.AE(ae_title=self.own_title)
        entity.acse_timeout = entity.connection_timeout = self.timeout
        entity.dimse_timeout = entity.network_timeout = 4 * self.timeout
        requested = [pynetdicom.build_context(uid, list(syntaxes)) for uid, syntaxes in contexts]
        association = entity.associate(
            self.host, self.port, contexts=requested, ae_title=self.title, ext_neg=list(roles),
            evt_handlers=[
                *handlers, (pynetdicom.evt.EVT_CONN_OPEN, wire.opened), (pynetdicom.evt.EVT_DIMSE_RECV, wire.received)
            ],
        )  # fmt: skip
        if not association.is_established:
            why = "rejects the association" if association.is_rejected else "does not answer"
            if wire.problem:
                raise StoreError(f"{self}: {wire.problem}")
            raise StoreError(f"{self} {why}: check host, port and both AE titles ({self.own_title!r} is this side's)")
        try:
            yield association
        finally:
            if association.is_established:
                association.release()


class _Wire:
    """What a node sends, byte by byte: no unit without end, no message without end, none that trickles.

    Attributes
    ----------
    problem : str
        Why the connection is broken off; empty where it is not. May be set.
    """

    def __init__(self, limit: Limit = ANSWER) -> None:
        self.problem = ""
        self._limit = limit
        self._message = 0
        self._pace = Pace()

    def opened(self, event: Any) -> None:
        """Watch the socket of an association."""
        transport = event.assoc.dul.socket
        receive, plain = transport.recv, transport.socket

        def unit(size: int) -> bytearray:
            if self.problem:
                self._break(self.problem)
            if size > _LARGEST_UNIT:
                self._break(f"it announces a message unit of {size} bytes, where {_LARGEST_UNIT} are the most")
            self._pace.start()
            return receive(size)  # type: ignore[no-any-return]

        transport.recv = unit
        transport.socket = _Watched(plain, self._count)

    def received(self, event: Any) -> None:
        """A message is whole."""
        self._message = 0

    def _count(self, size: int) -> None:
        self._message += size
        slow = self._pace.count(size)
        if slow:
            self._break(f"it {slow}")
        if self._message > self._limit.value:
            self._break(f"a message has more than {self._limit.value} bytes; {self._limit.advice}")

    def _break(self, problem: str) -> None:
        self.problem = problem
        raise ConnectionError(problem)


class _Watched:
    """A socket that tells how much it receives."""

    def __init__(self, socket: Any, count: Callable[[int], None]) -> None:
        self._socket, self._told = socket, count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def recv(self, size: int) -> bytes:
        content: bytes = self._socket.recv(size)
        self._told(len(content))
        return content


def _batch(paths: Sequence[str], kinds: Mapping[str, tuple[str, str, str]]) -> tuple[list[str], list[tuple[str, str]]]:
    """As many of the first files as one association has presentation contexts for."""
    some: list[str] = []
    contexts: dict[tuple[str, str], None] = {}
    for path in paths:
        key = kinds[path][:2]
        if key not in contexts and len(contexts) == _MOST_CONTEXTS:
            break
        contexts[key] = None
        some.append(path)
    return some, list(contexts)


def _status(status: Any) -> str:
    if not status:
        return "no answer"
    text = f"status {int(status.Status):04X}H"
    comment = str(status.get("ErrorComment") or "")
    return f"{text} ({comment[:64]})" if comment else text


def _pynetdicom() -> Any:
    try:
        import pynetdicom
    except ImportError as error:
        raise MissingPackageError(
            "DICOM nodes are spoken to through pynetdicom, which is not installed: pip install pynetdicom"
        ) from error
    return pynetdicom


def parse_node(address: str, own_title: str = "DICOM_ML") -> Node:
    """The node of an address ``dicom://host:port/AE_TITLE``.

    Raises
    ------
    StoreError
        If it is no such address.
    """
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "dicom" or not parts.hostname or port is None:
        raise StoreError(f"{address!r} is no address of a DICOM node; expected dicom://host:port/AE_TITLE")
    return Node(parts.hostname, port, parts.path.strip("/") or "ANY-SCP", own_title)
