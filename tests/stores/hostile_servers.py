"""Servers that mean harm: answers without end, of another kind, from elsewhere, or byte by byte."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.stores.servers import Quiet, serving

__all__ = ["Answer", "answering", "hostile", "qido"]

#: Gets the request, its path and its query, and answers as it likes.
Answer = Callable[["Hostile", str, dict[str, str]], None]


class Hostile(Quiet):
    """A handler with the tricks of the trade."""

    def start(self, kind: str, headers: dict[str, str] | None = None, status: int = 200) -> None:
        """Headers of an answer in chunks."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, content: bytes) -> None:
        """A piece of such an answer."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))

    def endless(self, kind: str, content: bytes, headers: dict[str, str] | None = None, first: bytes = b"") -> None:
        """An answer that goes on until the other side has had enough, or 20 s and 4 GiB at most."""
        self.start(kind, headers)
        self.chunk(first + content)
        until = time.monotonic() + 20
        for _ in range((4 << 30) // len(content)):
            if time.monotonic() > until:
                break
            self.chunk(content)
        self.wfile.write(b"0\r\n\r\n")

    def trickle(self, content: bytes, pause: float = 0.1) -> None:
        """Bytes one by one."""
        for number in range(len(content)):
            self.wfile.write(content[number : number + 1])
            self.wfile.flush()
            time.sleep(pause)


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Host and port of a server, and what it was asked: path and credentials."""
    asked: list[tuple[str, str | None]] = []

    class Handler(Hostile):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked.append((parts.path, self.headers.get("Authorization")))
            if self.command == "POST":
                self.rfile.read(int(self.headers["Content-Length"]))
            with suppress(OSError):
                answer(self, parts.path, {key: values[0] for key, values in parse_qs(parts.query).items()})
                return
            self.close_connection = True

        do_POST = do_HEAD = do_GET

    with serving(Handler) as host:
        yield host, asked


def qido(study: str = "1.2.3", series: str = "1.2.3.1", instance: str = "1.2.3.4") -> bytes:
    """One row of a query for instances."""
    return json.dumps(
        [
            {
                "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
                "00080018": {"vr": "UI", "Value": [instance]},
                "0020000D": {"vr": "UI", "Value": [study]},
                "0020000E": {"vr": "UI", "Value": [series]},
            }
        ]
    ).encode()


def hostile(instance: Callable[[Hostile], Any], row: bytes | None = None) -> Answer:
    """A DICOMweb server that answers queries well, and the request for an instance as it likes."""

    def answer(handler: Hostile, path: str, query: dict[str, str]) -> None:
        if path.endswith("/instances"):
            rows = (row or qido()) if int(query.get("offset", 0)) == 0 else b"[]"
            handler.answer(200, rows, {"Content-Type": "application/dicom+json"})
        else:
            instance(handler)

    return answer
