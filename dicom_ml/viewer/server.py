"""The server: this machine only, reading only, and no path from an address ever reaches the file system."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from urllib.parse import quote, unquote, urlsplit

from dicom_ml.errors import DicomMLError, FileError
from dicom_ml.viewer.dicomweb import Instances
from dicom_ml.viewer.library import Library
from dicom_ml.viewer.pages import list_page, slide_page, volume_page
from dicom_ml.viewer.volumes import image_file, overlay_file, overlay_labels

__all__ = ["Server", "serve"]

_ASSETS = {
    "volume.js": "text/javascript",
    "slide.js": "text/javascript",
    "niivue.umd.js": "text/javascript",
    "dicomweb-client.js": "text/javascript",
    "dicomMicroscopyViewer.bundle.min.js": "text/javascript",
    "dataLoader.worker.bundle.min.js": "text/javascript",
    "dataLoader.worker.min.js": "text/javascript",
    "3d418194a2212819e790.wasm": "application/wasm",
    "5004fdc02f329ce53b69.wasm": "application/wasm",
    "982b0633e475d94949df.wasm": "application/wasm",
    "c22b37c3488e1d6c3aa4.wasm": "application/wasm",
}
#: Names that a viewer asks for, and what they are called here.
_RENAMED = {"dataLoader.worker.min.js": "dataLoader.worker.bundle.min.js"}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    # the viewers compile WebAssembly and start workers; nothing may be loaded from anywhere else
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' data: blob:; font-src data:"
    ),
}
_HOSTS = ("127.0.0.1", "localhost", "[::1]")

Answer = tuple[int, str, bytes, bool]


class Server(ThreadingHTTPServer):
    """Serves a library on the loopback interface.

    Parameters
    ----------
    library : Library
    port : int
        0 for any that is free.
    """

    daemon_threads = True

    def __init__(self, library: Library, port: int = 0) -> None:
        self.library = library
        self.instances = Instances(library)
        self.data = lru_cache(maxsize=8)(self._data)
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    # ------------------------------------------------------------------ what is answered
    def answer(self, path: str) -> Answer:
        """Status, type and content for a path, and whether the content is packed by gzip."""
        parts = [unquote(part) for part in path.strip("/").split("/")] if path.strip("/") else []
        try:
            match parts:
                case []:
                    return _html(list_page(self.library))
                case ["assets", name] | ["static", "js", name]:  # the second is where the viewer of slides looks
                    return _asset(name)
                case ["volume" | "slide" as kind, key] if key in self.library.shown:
                    shown = self.library.shown[key]
                    return (
                        _html((volume_page if kind == "volume" else slide_page)(shown)) if shown.kind == kind else _GONE
                    )
                case ["data", key, name] if key in self.library.shown:
                    return self.data(key, name)
                case ["dicomweb", "studies", study, "series", series, *rest] if series in self.library.series:
                    return self._dicomweb(study, series, rest)
        except DicomMLError as error:
            return 422, "text/plain; charset=utf-8", str(error).encode(), False
        return _GONE

    def _data(self, key: str, name: str) -> Answer:
        shown = self.library.shown[key]
        if name == "image.nii.gz":
            return 200, "application/octet-stream", image_file(shown), False
        stem, _, ending = name.partition(".")
        overlay = next((o for o in shown.overlays if o.key == stem and o.shown), None)
        if overlay is None or shown.kind != "volume":
            return _GONE
        if ending == "nii.gz":
            return 200, "application/octet-stream", overlay_file(shown, overlay), False
        if ending == "json":
            return 200, "application/json", json.dumps(overlay_labels(shown, overlay)).encode(), False
        return _GONE

    def _dicomweb(self, study: str, series: str, rest: list[str]) -> Answer:
        base = f"{self.address}dicomweb/studies/{quote(study, safe='')}/series/{series}"
        match rest:
            case ["metadata"]:
                found = self.instances.metadata(series, base)
                return _GONE if found is None else (200, "application/dicom+json", json.dumps(found).encode(), False)
            case ["instances", instance, "frames", numbers] if all(n.isdigit() for n in numbers.split(",")):
                frames = self.instances.frames(series, instance, [int(n) for n in numbers.split(",")])
                return _GONE if frames is None else _multipart(*frames)
            case ["instances", instance, "bulk", *places] if places:
                value = self.instances.bulk(series, instance, places)
                return _GONE if value is None else _multipart([value], "application/octet-stream")
        return _GONE


_GONE: Answer = (404, "text/plain; charset=utf-8", b"not found", False)


def _html(content: bytes) -> Answer:
    return 200, "text/html; charset=utf-8", content, False


@lru_cache(maxsize=32)
def _asset(name: str) -> Answer:
    if name not in _ASSETS:
        return _GONE
    folder = files("dicom_ml.viewer").joinpath("assets")
    stored = _RENAMED.get(name, name)
    packed = folder.joinpath(f"{stored}.gz")
    if packed.is_file():
        return 200, _ASSETS[name], packed.read_bytes(), True
    return 200, _ASSETS[name], folder.joinpath(stored).read_bytes(), False


def _multipart(parts: list[bytes], media: str) -> Answer:
    border = b"dicom-ml-part"
    body = b"".join(
        b"--" + border + b"\r\nContent-Type: " + media.encode() + b"\r\n\r\n" + part + b"\r\n" for part in parts
    )
    kind = f'multipart/related; type="{media.partition(";")[0]}"; boundary={border.decode()}'
    return 200, kind, body + b"--" + border + b"--\r\n", False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        """Addresses hold UIDs: nothing is logged."""

    def do_GET(self) -> None:
        """Answer, if it is this machine's own browser that asks for this server."""
        host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host") or ""
        if host not in _HOSTS:
            # a page elsewhere may have its own name point here (DNS rebinding)
            self._send(403, "text/plain; charset=utf-8", b"this server answers to 127.0.0.1 only", False)
            return
        self._send(*self.server.answer(urlsplit(self.path).path))

    do_HEAD = do_GET

    def _send(self, status: int, kind: str, content: bytes, packed: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if packed:
            self.send_header("Content-Encoding", "gzip")
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            try:
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the page was left


def serve(library: Library, port: int = 0, *, ready: Callable[[str], object] | None = None) -> None:
    """Serve until interrupted.

    Parameters
    ----------
    library : Library
    port : int
        0 for any that is free.
    ready : callable, optional
        Called with the address.

    Raises
    ------
    FileError
        If the port is taken.
    """
    try:
        server = Server(library, port)
    except OSError as error:
        raise FileError(f"port {port} cannot be used: {error.strerror}") from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        if ready is not None:
            ready(server.address)
        thread.join()
    except KeyboardInterrupt:
        pass
    finally:
        server.shutdown()
        server.server_close()
