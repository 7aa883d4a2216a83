"""Chromium without a window, asked over its debugging port: what a page says, and what it looks like."""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import shutil
import socket
import struct
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

__all__ = ["Tab", "browse", "has_chromium"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def _program() -> str | None:
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


def has_chromium() -> bool:
    return _program() is not None


class Tab:
    """One page, over a WebSocket (RFC 6455) of the debugging protocol."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=90)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self._socket.sendall(
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._file = self._socket.makefile("rb")
        while self._file.readline().strip():
            pass
        self._number = 0

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        self._number += 1
        content = json.dumps({"id": self._number, "method": method, "params": values}).encode()
        mask = secrets.token_bytes(4)
        head = b"\x81" + (
            bytes([0x80 | len(content)]) if len(content) < 126 else bytes([0xFE]) + struct.pack(">H", len(content))
        )
        self._socket.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(content)))
        while True:
            answer = json.loads(self._message())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _message(self) -> bytes:
        whole = b""
        while True:
            first, second = self._file.read(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack(">H", self._file.read(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", self._file.read(8))
            whole += self._file.read(size)
            if first & 0x80:
                return whole

    def value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.value(expression)
            if found:
                return found
            time.sleep(0.2)
        raise AssertionError(f"{expression} stayed false: {self.value('document.body.innerText')}")

    def picture(self) -> np.ndarray:
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@contextmanager
def browse(address: str, folder: Path, size: tuple[int, int] = (1000, 700)) -> Iterator[Tab]:
    program = _program()
    assert program is not None
    command = [
        program, "--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
        "--remote-debugging-port=0", f"--window-size={size[0]},{size[1]}", f"--user-data-dir={folder / 'profile'}",
        "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run", address,
    ]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        port_file = folder / "profile" / "DevToolsActivePort"
        for _ in range(300):
            if port_file.exists() and port_file.read_text().count("\n"):
                break
            time.sleep(0.1)
        port = int(port_file.read_text().split()[0])
        for _ in range(100):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            if pages:
                break
            time.sleep(0.1)
        yield Tab(pages[0]["webSocketDebuggerUrl"])
    finally:
        process.kill()
        process.wait()
