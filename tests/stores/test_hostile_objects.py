"""Object stores that lie about names, sizes and ranges, or never end."""

from __future__ import annotations

import re
import sys
from functools import partial

import pytest

from tests.fuzz.bombs import dicom, element, image
from tests.fuzz.watch import refused as refused_soon
from tests.stores.hostile_servers import Answer, Hostile, answering

pytest.importorskip("obstore")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches memory by Linux's limits")

GOOD = dicom(image(16, 16, pixels=element(0x7FE00010, "OW", bytes(512))))
LITTLE = {"DICOM_ML_MOST_FOUND": "2500", "DICOM_ML_PATIENCE": "2", "DICOM_ML_MOST_ANSWER": "3e7"}
SECONDS = 12.0


refused = partial(refused_soon, seconds=SECONDS)


def listing(names: list[str], size: int = len(GOOD), more: str = "") -> bytes:
    rows = "".join(
        f"<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>1</ETag>"
        f"<Size>{size}</Size></Contents>"
        for name in names
    )
    token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    return (
        f'<?xml version="1.0"?><ListBucketResult><IsTruncated>{"true" if more else "false"}</IsTruncated>{token}'
        f"<KeyCount>{len(names)}</KeyCount>{rows}</ListBucketResult>"
    ).encode()


def bucket(rows: bytes, answer: Answer) -> Answer:
    def all_of(handler: Hostile, path: str, query: dict[str, str]) -> None:
        if "list-type" in query:
            handler.answer(200, rows, {"Content-Type": "application/xml"})
        else:
            answer(handler, path, query)

    return all_of


def asked_range(handler: Hostile) -> tuple[int, int]:
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range") or "")
    return (int(found[1]), int(found[2])) if found else (0, len(GOOD) - 1)


HEADERS = {"ETag": "1", "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}


def content(handler: Hostile, body: bytes, span: str, status: int = 206) -> None:
    handler.answer(status, body, {**HEADERS, "Content-Range": f"bytes {span}"})


def honest(handler: Hostile, *_: object) -> None:
    first, last = asked_range(handler)
    content(handler, GOOD[first : last + 1], f"{first}-{min(last, len(GOOD) - 1)}/{len(GOOD)}")


OBJECTS: dict[str, tuple[bytes, Answer]] = {
    "another range": (listing(["a.dcm"]), lambda h, *_: content(h, GOOD[5:99], f"5-98/{len(GOOD)}")),
    "more than was asked for": (
        listing(["a.dcm"]), lambda h, *_: content(h, GOOD + bytes(99), f"0-{len(GOOD) + 98}/{len(GOOD) + 99}")
    ),
    "no range at all": (listing(["a.dcm"]), lambda h, *_: h.answer(200, GOOD * 2, HEADERS)),
    "a range that is none": (listing(["a.dcm"]), lambda h, *_: content(h, GOOD, "x-y/z")),
    "an immense size": (listing(["a.dcm"], 1 << 62), honest),
    "a negative size": (listing(["a.dcm"], -1), honest),
    "a terabyte": (listing(["a.dcm"], 1 << 40), honest),
    "half of it": (listing(["a.dcm"], 2 * len(GOOD)), honest),
    "nothing": (listing(["a.dcm"]), lambda h, *_: content(h, b"", f"0-{len(GOOD) - 1}/{len(GOOD)}")),
    "no list": (b"<html>" * 999, honest),
    "entities": (
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
        + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(12))
        + b"]><ListBucketResult><Name>&m;</Name></ListBucketResult>",
        honest,
    ),
    "another syntax": (listing(["a.dcm"])[:-30], honest),
}  # fmt: skip


SIZES = [OBJECTS[kind][0] for kind in ("an immense size", "a terabyte", "half of it")]


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects(watch, kind):
    rows, answer = OBJECTS[kind]
    with answering(bucket(rows, answer)) as (host, _):
        found = watch("volume at", f"s3+http://{host}/bucket/", **LITTLE)
        if rows not in SIZES:  # what is read of those is there
            refused(found)
        assert found.kind == "refused" or found.value == "(1, 16, 16)", found
        refused(watch("slide at", f"s3+http://{host}/bucket/", **LITTLE))


def test_listings_without_end(watch):
    def pages(handler: Hostile, path: str, query: dict[str, str]) -> None:
        number = int(query.get("continuation-token", "0"))
        names = [f"{number}-{i}.dcm" for i in range(200)]
        handler.answer(200, listing(names, more=str(number + 1)), {"Content-Type": "application/xml"})

    with answering(pages) as (host, asked):
        assert "DICOM_ML_MOST_FOUND" in refused(watch("volume at", f"s3+http://{host}/bucket/", **LITTLE)).message
        assert len(asked) < 200


def test_empty_pages_without_end(watch):
    with answering(lambda h, *_: h.answer(200, listing([], more="again"), {"Content-Type": "application/xml"})) as (
        host,
        _,
    ):
        assert "DICOM_ML_PATIENCE" in refused(watch("volume at", f"s3+http://{host}/bucket/", **LITTLE)).message


@pytest.mark.parametrize(
    "name", ["../../escape.dcm", "/etc/x.dcm", "a/../../../x.dcm", "..", "a\\..\\b.dcm", "%2e%2e/x"]
)
def test_names_lead_nowhere(watch, name):
    with answering(bucket(listing([name]), honest)) as (host, _):
        found = watch("fetch", f"s3+http://{host}/bucket/", **LITTLE)
        assert found.kind in ("refused", "read") and found.seconds < SECONDS, found


def test_redirects_carry_no_signature(watch):
    secret = {"AWS_ACCESS_KEY_ID": "AKIASECRET", "AWS_SECRET_ACCESS_KEY": "hidden"}
    with answering(lambda h, *_: h.answer(200, listing([]), {"Content-Type": "application/xml"})) as (other, stolen):
        with answering(lambda h, *_: h.answer(307, b"", {"Location": f"http://{other}/bucket/"})) as (host, _):
            found = refused(watch("volume at", f"s3+http://{host}/bucket/", **LITTLE, **secret))
            assert "AKIASECRET" not in found.message
        assert all(credentials is None for _, credentials in stolen)


@pytest.mark.parametrize("kind", ["slow", "without end"])
def test_bodies(watch, kind):
    def answer(handler: Hostile, *_: object) -> None:
        if kind == "slow":
            handler.send_response(206)
            for name, value in HEADERS.items():
                handler.send_header(name, value)
            handler.send_header("Content-Range", f"bytes 0-{len(GOOD) - 1}/{len(GOOD)}")
            handler.send_header("Content-Length", str(len(GOOD)))
            handler.end_headers()
            handler.trickle(GOOD[:100])
        else:
            handler.endless("application/dicom", bytes(1 << 20), HEADERS)

    with answering(bucket(listing(["a.dcm"]), answer)) as (host, _):
        refused(watch("volume at", f"s3+http://{host}/bucket/", **LITTLE))
