"""The page that shows a folder: what it lists, what it gives out and what not, and what a person sees."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.cli import main
from dicom_ml.phantom import axial_affine, write_ct_series
from dicom_ml.phantom.slide import write_slide
from dicom_ml.viewer import open_library
from dicom_ml.viewer.server import Server
from tests.viewer.browser import browse, has_chromium

nibabel = pytest.importorskip("nibabel")
MADE_BY = dml.Algorithm("Net", "1.0")
ORANGE, BLUE = (255, 120, 0), (0, 90, 255)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("viewer")
    shape = (24, 48, 40)
    array = np.full(shape, -1000, np.float32)
    array[:, 6:42, 5:35] = 40
    write_ct_series(root / "ct", array, axial_affine(shape, (3.0, 2.0, 2.0), (0, 0, 0)), "viewer")
    volume = dml.read_volume(root / "ct")
    mask = np.zeros(shape, np.uint8)
    mask[8:16, 10:24, 22:34] = 1  # behind the middle, to the patient's left
    liver = dml.Segment("Liver", type="SCT:10200004", category="SCT:123037004", algorithm=MADE_BY, color=ORANGE)
    dml.Segmentation.from_array(mask, source=volume, segments=[liver], kind="labelmap").save(root / "liver.seg.dcm")
    group = dml.MeasurementGroup(
        finding="SCT:27925004", tracking_id="Nodule 1", region=dml.Box((2, 30, 8), (6, 38, 16)),
        measurements=[dml.Measurement("SCT:81827009", 7.3, "mm")],
    )  # fmt: skip
    dml.Report(source=volume, algorithm=MADE_BY, groups=[group]).save(root / "nodules.sr.dcm")
    write_slide(root / "sm", seed=3, size=(1024, 1024))
    slide = dml.open_slide(root / "sm")
    ring = np.array([[200, 600], [200, 800], [400, 800], [400, 600]], np.float32)
    area = dml.AnnotationGroup(
        "Area", type="SCT:108369006", graphic="polygon", points=ring, offsets=np.array([0]), algorithm=MADE_BY
    )
    dml.Annotations.from_groups([area], source=slide).save(root / "area.ann.dcm")
    return root


@pytest.fixture(scope="module")
def server(study: Path) -> Iterator[Server]:
    made = Server(open_library(study))
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def get(server: Server, path: str, method: str = "GET", host: str | None = None) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=60)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_address[1]}")
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def key_of(server: Server, kind: str) -> str:
    return next(key for key, shown in server.library.shown.items() if shown.kind == kind)


def test_what_is_listed(server):
    status, page, _ = get(server, "/")
    assert status == 200 and b"CT Image" in page and b"Slide" in page and b"annotations" in page
    volume = server.library.shown[key_of(server, "volume")]
    assert sorted(overlay.kind for overlay in volume.overlays) == ["report", "segmentation"]


def test_volumes_lie_where_they_are(server, study):
    key = key_of(server, "volume")
    shown = server.library.shown[key]
    status, content, _ = get(server, f"/data/{key}/image.nii.gz")
    assert status == 200
    volume = dml.read_volume(study / "ct")
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume.array.transpose(2, 1, 0))
    for index in ((0, 0, 0), (3, 20, 31)):
        lps = volume.affine @ [*index, 1]
        np.testing.assert_allclose(image.affine @ [*index[::-1], 1], lps * [-1, -1, 1, 1], atol=1e-4)
    for overlay in shown.overlays:
        labels = json.loads(get(server, f"/data/{key}/{overlay.key}.json")[1])
        content = gzip.decompress(get(server, f"/data/{key}/{overlay.key}.nii.gz")[1])
        drawn = np.asarray(nibabel.Nifti1Image.from_bytes(content).dataobj).transpose(2, 1, 0)
        if overlay.kind == "segmentation":
            assert labels[0]["name"] == "Liver" and np.abs(np.subtract(labels[0]["color"], ORANGE)).max() <= 2
            expected = dml.read_segmentation(study / "liver.seg.dcm").label_map(on=volume)
        else:
            assert labels[0]["name"] == "Nodule Nodule 1"
            expected = np.zeros(volume.shape, int)
            expected[2:6, 30:38, 8:16] = 1
        np.testing.assert_array_equal(drawn, expected)


def test_slides_as_dicomweb_gives_them(server, study):
    shown = server.library.shown[key_of(server, "slide")]
    base = f"/dicomweb/studies/{shown.row.study_instance_uid}/series/{shown.row.series_instance_uid}"
    headers = json.loads(get(server, f"{base}/metadata")[1])
    assert len(headers) == len(shown.row.files)
    instance = headers[0]["00080018"]["Value"][0]
    status, content, kind = get(server, f"{base}/instances/{instance}/frames/1")
    assert status == 200 and "image/jpeg" in kind["Content-Type"] and b"\xff\xd8\xff" in content
    assert get(server, f"{base}/instances/{instance}/frames/99999")[0] == 404
    assert get(server, f"{base}/instances/1.2.3/frames/1")[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd", "/assets/../server.py", "/assets/%2e%2e/server.py", "/assets/..%2fserver.py",
        "/assets//etc/passwd", "/data/v1/..%2f..%2fx.nii.gz", "/data/v1/o1.nii", "/volume/../../x", "/volume/zzz",
        "/dicomweb/studies/1/series/..%2f..%2fetc/metadata", "/dicomweb/studies/1/series/1.2.3/metadata", "/%00",
    ],
)  # fmt: skip
def test_no_path_leads_out(server, path):
    status, content, _ = get(server, path)
    assert status == 404 and content == b"not found"


def test_only_this_machine_and_only_reading(server):
    assert server.server_address[0] == "127.0.0.1"
    assert get(server, "/", host="evil.example")[0] == 403
    assert get(server, "/", host=f"evil.example:{server.server_address[1]}")[0] == 403
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert get(server, "/", method=method)[0] == 501
    headers = get(server, "/")[2]
    assert "default-src 'self'" in headers["Content-Security-Policy"] and headers["Cache-Control"] == "no-store"


def test_pages_hold_no_header_values_as_html(study, tmp_path):
    """A Modality that is a script is text."""
    import pydicom

    path = sorted((study / "ct").iterdir())[0]
    ds = pydicom.dcmread(path)
    ds.SeriesInstanceUID = "1.2.3</script><script>alert(1)</script>"
    ds.save_as(tmp_path / "bad.dcm")
    made = Server(open_library(tmp_path))
    try:
        for path in ("/", f"/volume/{next(iter(made.library.shown))}"):
            content = made.answer(path)[2]
            assert b"<script>alert" not in content
    finally:
        made.server_close()


def test_nothing_to_show(tmp_path, capsys):
    assert main(["view", str(tmp_path)]) == 2
    assert "no volume and no slide" in capsys.readouterr().err


def near(picture: np.ndarray, color: tuple[int, int, int], tolerance: int = 60) -> np.ndarray:
    return np.abs(picture.astype(int) - color).max(axis=-1) < tolerance


@pytest.mark.skipif(not has_chromium(), reason="Chromium is not installed")
def test_a_person_sees_the_volume(server, tmp_path):
    address = f"{server.address}volume/{key_of(server, 'volume')}"
    with browse(address, tmp_path) as tab:
        tab.wait("document.body.dataset.state")
        assert tab.value("document.body.dataset.state") == "ready", tab.value("document.body.innerText")
        assert "Liver" in tab.value("document.body.innerText")
        tab.wait("(window.seen = (window.seen || 0) + 1) > 5")
        shown = tab.picture()
        tab.value(
            "document.querySelectorAll('input[type=checkbox]').forEach(b => { b.checked = false; b.onchange(); })"
        )
        tab.wait("(window.gone = (window.gone || 0) + 1) > 5")
        hidden = tab.picture()
    stage = slice(50, None), slice(0, 680)
    changed = np.abs(shown[stage].astype(int) - hidden[stage]).max(axis=-1) > 40
    assert 500 < changed.sum() < 0.5 * changed.size
    orange = (shown[stage][..., 0].astype(int) - shown[stage][..., 2] > 60)[changed]
    assert orange.mean() > 0.5


@pytest.mark.skipif(not has_chromium(), reason="Chromium is not installed")
def test_a_person_sees_the_slide(server, study, tmp_path):
    address = f"{server.address}slide/{key_of(server, 'slide')}"
    with browse(address, tmp_path, (900, 646)) as tab:
        tab.wait("document.body.dataset.state")
        assert tab.value("document.body.dataset.state") == "ready", tab.value("document.body.innerText")
        assert "Area" in tab.value("document.body.innerText")
        stage, box = None, None
        for _ in range(60):  # tiles come one after the other
            stage = tab.picture()[46:, :600]
            line = near(stage, (230, 97, 1), 40)
            if (stage < 235).all(axis=-1).mean() > 0.02 and line.any():
                rows, columns = np.nonzero(line)
                box = rows.min(), rows.max(), columns.min(), columns.max()
                if box[1] - box[0] > 20:
                    break
            tab.wait("(window.n = (window.n || 0) + 1) % 3 == 0")
    assert box is not None
    # a square of 200 pixels whose middle lies at row 300, column 700 of 1024
    assert abs((box[1] - box[0]) - (box[3] - box[2])) <= 4
