"""Servers that answer without end, slowly, packed, elsewhere or falsely: one error soon, and no secret given away."""

from __future__ import annotations

import json
import sys
from functools import partial

import pytest

from tests.fuzz.bombs import DEFLATED, deflate_zeros, dicom, element, gzip_bomb, image
from tests.fuzz.watch import Result, Watch
from tests.fuzz.watch import refused as refused_soon
from tests.stores.hostile_servers import Answer, Hostile, answering, hostile, qido

pytest.importorskip("dicomweb_client")
pytest.importorskip("obstore")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches memory by Linux's limits")

SERIES = "studies/1.2.3/series/1.2.3.1"
JSON, PARTS = "application/dicom+json", 'multipart/related; type="application/dicom"; boundary=b'
LITTLE = {
    "DICOM_ML_MOST_ANSWER": "3e7", "DICOM_ML_MOST_LISTING": "3e7", "DICOM_ML_MOST_FOUND": "3000",
    "DICOM_ML_MOST_UNPACKED": "1e8", "DICOM_ML_PATIENCE": "1",
}  # fmt: skip
SECONDS = 12.0


refused = partial(refused_soon, seconds=SECONDS, errors=("StoreError", "FileError"))


def part(content: bytes) -> bytes:
    return b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--b--\r\n"


def volume_from(watch: Watch, answer: Answer, **environment: str) -> Result:
    with answering(answer) as (host, _):
        return watch("volume at", f"http://{host}/dicom-web/{SERIES}", **(LITTLE | environment))


# ---------------------------------------------------------------------- bodies
def whole(kind: str, body: bytes, **headers: str) -> object:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.answer(200, body, {"Content-Type": kind, **names})


def announced(handler: Hostile) -> None:
    handler.answer(200, b"", {"Content-Type": PARTS}, size=1 << 50)


def slow_body(handler: Hostile) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", PARTS)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    handler.trickle(bytes(200))


def slow_head(handler: Hostile) -> None:
    handler.trickle(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 200)


def slow_chunks(handler: Hostile) -> None:
    handler.start(PARTS)
    for _ in range(80):
        handler.trickle(b"1\r\na\r\n", 0.02)


BODIES = {
    "without end": (lambda h: h.endless(PARTS, bytes(1 << 20), first=b"\r\n--b\r\n\r\n"), "DICOM_ML_MOST_ANSWER"),
    "of a petabyte": (announced, "DICOM_ML_MOST_ANSWER"),
    "parts without end": (lambda h: h.endless(PARTS, b"\r\n--b\r\n\r\n" * 10_000), "DICOM_ML_MOST_ANSWER"),
    "slow": (slow_body, "DICOM_ML_PATIENCE"),
    "a slow head": (slow_head, "DICOM_ML_PATIENCE"),
    "slow chunks": (slow_chunks, "DICOM_ML_PATIENCE"),
    "packed": (
        lambda h: h.answer(200, gzip_bomb(4 << 30), {"Content-Type": PARTS, "Content-Encoding": "gzip"}), "ANSWER"
    ),
    "packed twice": (
        lambda h: h.answer(200, gzip_bomb(1 << 20), {"Content-Type": PARTS, "Content-Encoding": "gzip, gzip"}),
        "was not asked for",
    ),
    "packed otherwise": (
        lambda h: h.answer(200, bytes(100), {"Content-Type": PARTS, "Content-Encoding": "br"}), "was not asked for"
    ),
    "no boundary": (lambda h: h.answer(200, bytes(5000), {"Content-Type": "multipart/related"}), ""),
    "an empty boundary": (lambda h: h.answer(200, bytes(5000), {"Content-Type": "multipart/related; boundary="}), ""),
    "no parts": (lambda h: h.answer(200, b"--b--\r\n", {"Content-Type": PARTS}), ""),
    "no type": (lambda h: h.answer(200, bytes(5000)), ""),
    "a large head of a part": (
        lambda h: h.answer(200, b"\r\n--b\r\n" + b"X: y\r\n" * 500_000 + part(b"")[2:], {"Content-Type": PARTS}), ""
    ),
    "large headers": (lambda h: h.answer(200, b"", {"Content-Type": PARTS, "X": "a" * 100_000}), ""),
    "many headers": (lambda h: h.answer(200, b"", {"Content-Type": PARTS} | {f"X-{i}": "" for i in range(5000)}), ""),
    "another instance": (
        lambda h: h.answer(200, part(dicom(image()).replace(b"1.2.3.4\0", b"1.2.3.9\0")), {"Content-Type": PARTS}),
        "another instance",
    ),
    "a deflated bomb": (
        lambda h: h.answer(
            200,
            part(dicom(deflate_zeros(4 << 30, image() + element(0x7FE00010, "OW", b"", 0xF0000000)), DEFLATED)),
            {"Content-Type": PARTS},
        ),
        "bomb",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BODIES)
def test_instance(watch, kind):
    answer, words = BODIES[kind]
    refused(volume_from(watch, hostile(answer)), words)


# ---------------------------------------------------------------------- listings
def forever(handler: Hostile, path: str, query: dict[str, str]) -> None:
    start = int(query.get("offset", 0))
    rows = [json.loads(qido(study=f"1.2.{start + i}", instance=f"1.2.{start + i}"))[0] for i in range(1000)]
    handler.answer(200, json.dumps(rows).encode(), {"Content-Type": JSON})


LISTINGS: dict[str, tuple[Answer, str]] = {
    "rows without end": (forever, "DICOM_ML_MOST_FOUND"),
    "an array without end": (lambda h, *_: h.endless(JSON, b"1," * 100_000, first=b"["), "DICOM_ML_MOST_LISTING"),
    "spaces without end": (lambda h, *_: h.endless(JSON, b" " * 100_000), "DICOM_ML_MOST_LISTING"),
    "nested without end": (lambda h, *_: h.answer(200, b"[" * 500_000, {"Content-Type": JSON}), "understood"),
    "nested objects": (lambda h, *_: h.answer(200, b'[{"a":' * 100_000, {"Content-Type": JSON}), "understood"),
    "a giant number": (lambda h, *_: h.answer(200, b"[" + b"9" * 500_000 + b"]", {"Content-Type": JSON}), ""),
    "no list": (lambda h, *_: h.answer(200, b"7", {"Content-Type": JSON}), ""),
    "no JSON": (lambda h, *_: h.answer(200, b"<html>", {"Content-Type": JSON}), ""),
    "bytes of no text": (lambda h, *_: h.answer(200, b"\xff\xfe\xfa" * 99, {"Content-Type": JSON}), ""),
    "packed": (
        lambda h, *_: h.answer(200, gzip_bomb(4 << 30), {"Content-Type": JSON, "Content-Encoding": "gzip"}),
        "LISTING",
    ),
    "redirected in a circle": (lambda h, *_: h.answer(302, b"", {"Location": h.path}), ""),
}


@pytest.mark.parametrize("kind", LISTINGS)
def test_listing(watch, kind):
    answer, words = LISTINGS[kind]
    with answering(answer) as (host, _):
        refused(watch("search", f"http://{host}/dicom-web", **LITTLE), words)
        refused(watch("volume at", f"http://{host}/dicom-web/{SERIES}", **LITTLE))


@pytest.mark.parametrize(
    "rows",
    [
        b'[1, null, [], "x"]', b'[{"00080018": 5}]', b'[{"00080018": {"Value": {"a": 1}}}]',
        b'[{"00080018": {"Value": [{}]}}]',
    ],
)  # fmt: skip
def test_rows_that_are_none(watch, rows):
    answer = hostile(lambda h: h.answer(404), rows)
    refused(volume_from(watch, answer))


@pytest.mark.parametrize(
    "uid", ["../../../../etc/cron.d/x", "/etc/x", "1.2\0.3", "..", "a" * 300, "1.2.3/../../x", "C:\\x"]
)
def test_uids_are_no_paths(watch, uid):
    answer = hostile(lambda h: h.answer(200, part(dicom(image())), {"Content-Type": PARTS}), qido(instance=uid))
    with answering(answer) as (host, _):
        refused(watch("fetch", f"http://{host}/dicom-web/{SERIES}", **LITTLE))


def test_the_same_page_for_ever_ends(watch):
    answer: Answer = lambda h, *_: h.answer(200, qido(), {"Content-Type": JSON})  # noqa: E731
    with answering(answer) as (host, asked):
        assert watch("search", f"http://{host}/dicom-web", **LITTLE).value == "1"
        assert len(asked) < 4


# ---------------------------------------------------------------------- elsewhere
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_stay_with_the_host(watch, status):
    """Neither a token nor a request goes to another host."""
    with answering(lambda h, *_: h.answer(200, qido(), {"Content-Type": JSON})) as (other, stolen):
        places = [f"http://{other}/x", f"//{other}/x", "file:///etc/passwd", "ftp://127.0.0.1/x"]
        for place in places[: None if status == 302 else 1]:
            with answering(lambda h, *_, to=place: h.answer(status, b"", {"Location": to})) as (host, asked):
                found = watch("search", f"http://{host}/dicom-web", **LITTLE, DICOM_ML_DICOMWEB_TOKEN="secret-token")
                refused(found, "not followed")
                assert asked[0][1] == "Bearer secret-token" and "secret" not in found.message
        assert stolen == []


def test_redirects_within_the_host_are_followed(watch):
    def answer(handler: Hostile, path: str, query: dict[str, str]) -> None:
        if path.startswith("/old"):
            handler.answer(307, b"", {"Location": handler.path.replace("/old", "/new", 1)})
        else:
            handler.answer(200, qido(), {"Content-Type": JSON})

    with answering(answer) as (host, _):
        assert watch("search", f"http://{host}/old", **LITTLE).value == "1"


def test_bulk_data_stays_with_the_host(watch):
    with answering(lambda h, *_: h.answer(200, bytes(9), {"Content-Type": "application/octet-stream"})) as (
        host,
        asked,
    ):
        root = f"http://{host}/dicom-web"
        for uri in ("http://127.0.0.1:1/x", "file:///etc/passwd", "//127.0.0.1:1/x", f"https://{host}/x", "ftp:x"):
            refused(watch("bulk", f"{root}|{uri}", **LITTLE), "another server")
        assert asked == []


def test_answers_to_what_is_sent(watch, tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(image()))
    bodies = [
        b"[" * 200_000, b'{"00081198": 7, "00081199": {"Value": 5}}', b'{"00081198": {"Value": [1, null]}}', b"[[[]]]",
        b"\xff\xfe", b'{"00081199": {"Value": [{"00081155": {"Value": []}}]}}',
    ]  # fmt: skip
    for body in bodies:
        with answering(lambda h, *_, body=body: h.answer(200, body, {"Content-Type": JSON})) as (host, _):
            found = watch("send", f"http://{host}/dicom-web|{path}", **LITTLE)
            assert found.kind == "read" and found.seconds < SECONDS, found
    with answering(lambda h, *_: h.endless(JSON, b" " * 100_000)) as (host, _):
        found = watch("send", f"http://{host}/dicom-web|{path}", **LITTLE)
        assert found.kind == "read" and "(False," in found.value, found
