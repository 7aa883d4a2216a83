"""Servers on loopback that the tests talk to: an S3-like store, a DICOMweb server that may misbehave, and Orthanc."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import imagecodecs
import pydicom
from pydicom.encaps import generate_frames

from tests.reading.slides import _make as make

#: Options of a slide with JPEG tiles.
JPEG = {
    "syntax": make.JPEG,
    "photometric": "YBR_FULL_422",
    "encoder": lambda frame: bytes(imagecodecs.jpeg8_encode(frame, level=90, subsampling="422")),
}


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, size: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if size is None else size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            if size is not None and size > len(body):
                self.close_connection = True


@contextmanager
def serving(handler: type[Quiet]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


# ---------------------------------------------------------------------- S3
class Bucket:
    """Files of a folder as a bucket; counts requests and bytes, and fails when told to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.requests, self.sent = folder, [], 0
        self.failures: list[str] = []
        self.lock = threading.Lock()

    def failure(self) -> str:
        with self.lock:
            return self.failures.pop(0) if self.failures else ""


@contextmanager
def s3_server(folder: Path) -> Iterator[tuple[str, Bucket]]:
    """Address ``s3+http://host/bucket/`` and the bucket."""
    bucket = Bucket(folder)

    class Handler(Quiet):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            name = unquote(parts.path).removeprefix("/bucket").lstrip("/")
            with bucket.lock:
                bucket.requests.append((self.command, name, self.headers.get("Range")))
            failure = bucket.failure()
            if failure == "503":
                self.answer(503, b"<Error><Code>SlowDown</Code></Error>")
                return
            if failure == "403":
                self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
                return
            if query.get("list-type") == "2":
                self.answer(200, _listing(bucket.folder, query), {"Content-Type": "application/xml"})
                return
            path = bucket.folder / name
            if not path.is_file():
                self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
                return
            content = path.read_bytes()
            headers = {
                "ETag": f'"{path.stat().st_mtime_ns}"',
                "Last-Modified": self.date_time_string(path.stat().st_mtime),
            }
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            status = 200
            if asked:
                start = int(asked[1])
                end = min(int(asked[2]) if asked[2] else len(content) - 1, len(content) - 1)
                headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
                content, status = content[start : end + 1], 206
            with bucket.lock:
                bucket.sent += 0 if self.command == "HEAD" else len(content)
            if failure == "half":
                self.answer(status, content[: len(content) // 2], headers, size=len(content))
                return
            self.answer(status, content, headers)

        do_HEAD = do_GET

    with serving(Handler) as host:
        yield f"s3+http://{host}/bucket/", bucket


def _listing(folder: Path, query: dict[str, str]) -> bytes:
    prefix = query.get("prefix", "")
    items = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name.startswith(prefix):
            items.append(
                f"<Contents><Key>{escape(name)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f'<ETag>"{path.stat().st_mtime_ns}"</ETag><Size>{path.stat().st_size}</Size></Contents>'
            )
    return (
        '<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>'
        f"<KeyCount>{len(items)}</KeyCount>{''.join(items)}</ListBucketResult>"
    ).encode()


# ---------------------------------------------------------------------- DICOMweb
class Archive:
    """Instances that a DICOMweb server has; what went wrong next is taken from ``failures``."""

    def __init__(self, files: list[Path]) -> None:
        self.instances: dict[str, tuple[pydicom.Dataset, bytes]] = {}
        for path in files:
            dataset = pydicom.dcmread(path)
            self.instances[str(dataset.SOPInstanceUID)] = dataset, path.read_bytes()
        self.failures: list[str] = []
        self.requests: list[tuple[str, str, str | None]] = []
        self.stored: dict[str, bytes] = {}
        self.refused: dict[str, int] = {}
        self.most = 1000  # rows of an answer to a search, whatever was asked for
        self.lock = threading.Lock()

    def failure(self) -> str:
        with self.lock:
            return self.failures.pop(0) if self.failures else ""


@contextmanager
def dicomweb_server(files: list[Path]) -> Iterator[tuple[str, Archive]]:
    archive = Archive(files)

    class Handler(Quiet):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            with archive.lock:
                archive.requests.append(("GET", parts.path, self.headers.get("Authorization")))
            failure = archive.failure()
            if failure == "drop":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if failure.isdigit():
                self.answer(int(failure))
                return
            if failure == "other":  # an instance is taken for its neighbour
                asked = parts.path.rsplit("/", 1)[1]
                parts = parts._replace(path=parts.path.replace(asked, next(u for u in archive.instances if u != asked)))
            body, kind = self._body(parts.path, query)
            if body is None:
                self.answer(404)
                return
            if failure == "half":
                self.answer(200, body[: len(body) // 2], {"Content-Type": kind}, size=len(body))
                return
            if failure == "fewer":  # valid, and not all
                if kind.endswith("json"):
                    rows = json.loads(body)
                    body = json.dumps(rows[: len(rows) // 2]).encode()
                else:
                    border = b"\r\n--the-border"
                    body = border.join([*body.split(border)[:-2], b"--\r\n"])
            if failure == "alone":  # not as one of several parts, as from some servers, and cut off
                body = body.split(b"\r\n\r\n", 1)[1].rpartition(b"\r\n--the-border--")[0][:-400]
                kind = "application/dicom"
            if failure == "cut":  # as by a proxy that was cut off itself: the length is that of the part
                body = body[: len(body) * 3 // 4]
            self.answer(200, body, {"Content-Type": kind})

        def _body(self, path: str, query: dict[str, str]) -> tuple[bytes | None, str]:
            named = dict(zip(path.strip("/").split("/")[1::2], path.strip("/").split("/")[2::2], strict=False))
            ends = path.rsplit("/", 1)[-1]
            found = [
                (dataset, content)
                for dataset, content in archive.instances.values()
                if named.get("studies", dataset.StudyInstanceUID) == dataset.StudyInstanceUID
                and named.get("series", dataset.SeriesInstanceUID) == dataset.SeriesInstanceUID
                and named.get("instances", dataset.SOPInstanceUID) == dataset.SOPInstanceUID
            ]
            if not found:
                return None, ""
            if ends == "instances":
                start, most = int(query.get("offset", 0)), min(int(query.get("limit", 1000)), archive.most)
                rows = [
                    {
                        "00080016": {"vr": "UI", "Value": [d.SOPClassUID]},
                        "00080018": {"vr": "UI", "Value": [d.SOPInstanceUID]},
                        "0020000E": {"vr": "UI", "Value": [d.SeriesInstanceUID]},
                    }
                    for d, _ in found
                ][start : start + most]
                return json.dumps(rows).encode(), "application/dicom+json"
            if ends == "metadata":
                rows = []
                for dataset, _ in found:
                    row = dataset.to_json_dict(bulk_data_threshold=1 << 30)
                    row.pop("7FE00010", None)
                    rows.append(row)
                return json.dumps(rows).encode(), "application/dicom+json"
            if "frames" in named:
                dataset = found[0][0]
                syntax = dataset.file_meta.TransferSyntaxUID
                count = int(dataset.get("NumberOfFrames") or 1)
                if syntax.is_compressed:
                    frames = list(generate_frames(dataset.PixelData, number_of_frames=count))
                else:
                    size = len(dataset.PixelData) // count
                    frames = [dataset.PixelData[i * size : (i + 1) * size] for i in range(count)]
                kind = "image/jpeg" if syntax.is_compressed else "application/octet-stream"
                return _multipart([frames[int(n) - 1] for n in named["frames"].split(",")], kind)
            return _multipart([content for _, content in found], "application/dicom")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with archive.lock:
                archive.requests.append(("POST", self.path, self.headers.get("Authorization")))
            failure = archive.failure()
            if failure == "drop":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if failure.isdigit():
                self.answer(int(failure))
                return
            border = b"--" + re.search(r"boundary=([^;]+)", self.headers["Content-Type"])[1].encode()
            content = body.split(border)[1].split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
            dataset = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
            reference = {
                "00081150": {"vr": "UI", "Value": [dataset.SOPClassUID]},
                "00081155": {"vr": "UI", "Value": [dataset.SOPInstanceUID]},
            }
            reason = archive.refused.get(dataset.SOPInstanceUID)
            if reason is None:
                archive.stored[dataset.SOPInstanceUID] = content
                answer, status = {"00081199": {"vr": "SQ", "Value": [reference]}}, 200
            else:
                reference["00081197"] = {"vr": "US", "Value": [reason]}
                answer, status = {"00081198": {"vr": "SQ", "Value": [reference]}}, 409
            self.answer(status, json.dumps(answer).encode(), {"Content-Type": "application/dicom+json"})

    with serving(Handler) as host:
        yield f"http://{host}/dicom-web", archive


def _multipart(parts: list[bytes], kind: str) -> tuple[bytes, str]:
    border = "the-border"
    body = b"".join(f"\r\n--{border}\r\nContent-Type: {kind}\r\n\r\n".encode() + part for part in parts)
    return body + f"\r\n--{border}--\r\n".encode(), f'multipart/related; type="{kind}"; boundary={border}'


# ---------------------------------------------------------------------- Orthanc
ORTHANC_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def has_orthanc() -> bool:
    return shutil.which("Orthanc") is not None and ORTHANC_PLUGIN.exists()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def orthanc(folder: Path) -> Iterator[tuple[str, int]]:
    """Address of Orthanc's DICOMweb, and its DICOM port. Others than this machine are refused."""
    http, dicom = free_port(), free_port()
    settings = folder / "orthanc.json"
    settings.write_text(
        json.dumps(
            {
                "Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
                "Plugins": [str(ORTHANC_PLUGIN)], "HttpPort": http, "DicomPort": dicom, "DicomAet": "ORTHANC",
                "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomCheckCalledAet": True,
                "DicomAlwaysAllowStore": False, "DicomAlwaysAllowFind": False, "DicomAlwaysAllowGet": False,
                "DicomModalities": {"us": {
                    "AET": "DICOM_ML", "Host": "127.0.0.1", "Port": 1, "AllowEcho": True, "AllowFind": True,
                    "AllowGet": True, "AllowStore": True,
                }},
                "UnknownSopClassAccepted": True,
                "DicomWeb": {
                    "Enable": True, "Root": "/dicom-web/", "StudiesMetadata": "Full", "SeriesMetadata": "Full",
                },
            }
        )
    )  # fmt: skip
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(["Orthanc", str(settings)], stdout=log, stderr=log, env=dict(os.environ))
    address = f"http://127.0.0.1:{http}/dicom-web"
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{address}/studies", timeout=2).read()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.1)
        else:
            raise AssertionError((folder / "log").read_text()[-2000:])
        yield address, dicom
    finally:
        process.terminate()
        process.wait(20)
