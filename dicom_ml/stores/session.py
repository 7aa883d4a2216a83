"""A session of requests that trusts no server: answers end, come at some speed, and stay with the host that was asked.

requests waits for ever where a server sends a byte now and then, expands whatever is packed, and follows redirects to
anywhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from dicom_ml.encoding.limits import ANSWER, LISTING, PATIENCE
from dicom_ml.encoding.untrusted import DEFLATED, check_deflated
from dicom_ml.errors import StoreError
from dicom_ml.stores.addresses import printable
from dicom_ml.stores.pace import Pace

__all__ = ["GuardedSession"]

_CHUNK = 1 << 16
_ENCODINGS = frozenset(["", "identity", "gzip", "x-gzip", "deflate"])


class GuardedSession(requests.Session):  # type: ignore[misc]
    """As :class:`requests.Session`, but every answer is limited in size, time and origin; see
    :mod:`dicom_ml.encoding.limits`. What breaks a limit is a :class:`dicom_ml.StoreError`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.headers["Accept-Encoding"] = "gzip, deflate"
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter())
        self.hooks["response"].append(_no_bomb)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where an answer leads; never to another host, and never from TLS to none."""
        target: str | None = super().get_redirect_target(resp)
        if target is None:
            return None
        here, there = urlsplit(str(resp.url)), urlsplit(urljoin(str(resp.url), target))
        same = (here.hostname, here.port) == (there.hostname, there.port) and here.scheme == there.scheme
        upgraded = here.hostname == there.hostname and (here.scheme, there.scheme) == ("http", "https")
        if not (same or upgraded):
            raise StoreError(
                f"{printable(str(resp.url))} redirects to {printable(there.geturl())[:200]}, another host: it is not "
                "followed; name that server itself if it is meant"
            )
        return target


class _PacedSocket:
    """A socket of which what is read is counted."""

    def __init__(self, socket: Any, pace: Pace) -> None:
        self._socket, self._pace = socket, pace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_PacedFile(self._socket.makefile("rb", buffering=0), self._pace), _CHUNK)


class _PacedFile(io.RawIOBase):
    def __init__(self, raw: Any, pace: Pace) -> None:
        self._raw, self._pace = raw, pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count: int | None = self._raw.readinto(buffer)
        problem = self._pace.count(count or 0)
        if problem:
            raise StoreError(f"the server {problem}; {PATIENCE.advice} seconds")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Paced:
    """What both kinds of connections do more than their bases."""

    _pace: Pace
    sock: Any

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._pace = Pace()
        self.sock = _PacedSocket(self.sock, self._pace)

    def getresponse(self) -> Any:
        self._pace.start()
        return super().getresponse()  # type: ignore[misc]


class _Connection(_Paced, HTTPConnection):
    pass


class _SafeConnection(_Paced, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SafePool(HTTPSConnectionPool):
    ConnectionCls = _SafeConnection


class _Adapter(HTTPAdapter):  # type: ignore[misc]
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SafePool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SafePool}
        return manager

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().send(request, *args, **kwargs)
        coding = response.headers.get("Content-Encoding", "").strip().lower()
        if coding not in _ENCODINGS:
            response.raw.close()
            raise StoreError(f"{printable(str(request.url))} answers in {coding[:60]!r}, which was not asked for")
        response.raw = _Limited(response.raw, printable(str(request.url)), "json" in _kind(response))
        return response


class _Limited:
    """A raw answer that ends at the limit."""

    def __init__(self, raw: Any, name: str, listing: bool) -> None:
        self._raw, self._name = raw, name
        self._limit = LISTING if listing else ANSWER

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, amount: int = _CHUNK, decode_content: bool | None = None) -> Iterator[bytes]:
        most, total = self._limit.value, 0
        announced = str(self._raw.headers.get("Content-Length", ""))
        if announced.isdigit() and int(announced[:20]) > most:
            self._refuse(f"{announced[:20]}")
        for chunk in self._raw.stream(min(max(amount, 1), _CHUNK), decode_content=decode_content):
            total += len(chunk)
            if total > most:
                self._refuse(f"more than {most}")
            yield chunk

    def _refuse(self, size: str) -> None:
        self._raw.close()
        raise StoreError(f"{self._name} answers with {size} bytes; {self._limit.advice}")


def _kind(response: requests.Response) -> str:
    return str(response.headers.get("Content-Type", "")).lower()


def _no_bomb(response: requests.Response, **_: Any) -> None:
    """Refuse instances whose deflated data set expands without end."""
    if not response.ok or "json" in _kind(response) or DEFLATED.encode() not in response.content:
        return
    content = response.content
    at = content.find(b"DICM")
    while at >= 0:
        check_deflated(io.BytesIO(memoryview(content)[max(at - 128, 0) :]), "an instance of the answer")
        at = content.find(b"DICM", at + 4)
