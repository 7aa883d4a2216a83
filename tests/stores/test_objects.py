"""Volumes and slides from object stores: the same pixels, and only the bytes that they need."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.stores import open_store
from dicom_ml.stores.transfer import fetch
from tests.reading.slides import _make as make
from tests.stores.servers import JPEG, s3_server

pytest.importorskip("obstore")


def test_volume(ct):
    here = dml.read_volume(ct)
    with s3_server(ct) as (address, _):
        there = dml.read_volume(address)
    np.testing.assert_array_equal(there.array, here.array)
    assert np.array_equal(there.affine, here.affine)
    assert there.source.sop_instance_uids == here.source.sop_instance_uids


def test_slide_fetches_what_it_reads(slide):
    here = dml.open_slide(slide)
    size = sum(path.stat().st_size for path in slide.iterdir())
    with s3_server(slide) as (address, bucket):
        there = dml.open_slide(address)
        assert [level.shape for level in there.levels] == [level.shape for level in here.levels]
        bucket.sent = 0
        place, shape = (130, 200), (60, 90)
        np.testing.assert_array_equal(there.read_region(place, shape), here.read_region(place, shape))
        assert 0 < bucket.sent < size / 2
        sent = bucket.sent
        there.read_region(place, shape)
        assert bucket.sent == sent  # nothing comes twice
        np.testing.assert_array_equal(there.thumbnail(64), here.thumbnail(64))
        positions = here.tile_positions()
        np.testing.assert_array_equal(there.read_tiles(0, positions), here.read_tiles(0, positions))
        assert there.source == here.source
        copy = pickle.loads(pickle.dumps(there))
        np.testing.assert_array_equal(copy.read_region(place, shape), here.read_region(place, shape))


@pytest.mark.parametrize(
    "options", [{"table": "empty"}, {"syntax": make.EXPLICIT}, {"table": "extended"}, {"fragments": 3}]
)
def test_slides_of_other_kinds(tmp_path, options):
    options = JPEG | ({"photometric": "RGB", "encoder": None} if "syntax" in options else {}) | options
    folder = make.pyramid(tmp_path / "sm", make.smooth((200, 170), 1), (1, 2), tile=(64, 48), **options)
    here = dml.open_slide(folder)
    with s3_server(folder) as (address, _):
        there = dml.open_slide(address)
        np.testing.assert_array_equal(there.read_region((3, 5), (180, 150)), here.read_region((3, 5), (180, 150)))


def test_in_processes_of_a_loader(slide, tmp_path):
    """Fork and spawn: every process opens its own connections."""
    code = (
        "import sys, multiprocessing, numpy as np, dicom_ml as dml\n"
        "def read(job):\n"
        "    slide, place = job\n"
        "    return slide.read_region(place, (40, 40))\n"
        "if __name__ == '__main__':\n"
        "    there, here = dml.open_slide(sys.argv[1]), dml.open_slide(sys.argv[2])\n"
        "    jobs = [(there, (r, 100)) for r in (0, 100, 300, 400)]\n"
        "    there.read_region((0, 0), (10, 10))\n"
        "    for method in ('fork', 'spawn'):\n"
        "        with multiprocessing.get_context(method).Pool(2) as pool:\n"
        "            for (_, place), found in zip(jobs, pool.map(read, jobs)):\n"
        "                assert np.array_equal(found, here.read_region(place, (40, 40))), (method, place)\n"
    )
    with s3_server(slide) as (address, _):
        script = tmp_path / "loader.py"
        script.write_text(code)
        subprocess.run([sys.executable, script, address, str(slide)], check=True, timeout=60)


def test_a_store_that_refuses_says_so(ct):
    with s3_server(ct) as (address, bucket):
        bucket.failures = ["403"] * 9
        with pytest.raises(dml.StoreError, match=r"bucket.* cannot be read"):
            dml.read_volume(address)
        with pytest.raises(dml.StoreError, match="holds no file"):
            bucket.failures = []
            dml.read_volume(address + "nothing/")


def test_half_an_answer_is_never_taken_for_whole(slide):
    here = dml.open_slide(slide)
    with s3_server(slide) as (address, bucket):
        there = dml.open_slide(address)
        bucket.failures = ["half"] * 2
        try:
            found = there.read_region((0, 0), (64, 48))
        except dml.DicomMLError:
            return
        np.testing.assert_array_equal(found, here.read_region((0, 0), (64, 48)))


def test_fetch_goes_on_where_it_was(ct, tmp_path):
    target = tmp_path / "copy"
    with s3_server(ct) as (address, bucket):
        first = fetch(address, target)
        assert first.new == 6 and not first.problems
        victim = first.files[2]
        victim.write_bytes(b"cut")
        again = fetch(address, target)
        assert again.new == 1 and len(again.files) == 6
    for path in ct.iterdir():
        assert (target / path.name).read_bytes() == path.read_bytes()
    assert not list(target.glob(".*"))


def test_addresses():
    for address in ("ftp://host/x", "s3://user:secret@bucket/x", "https://user:secret@host/dicom-web/studies/1"):
        with pytest.raises(dml.StoreError) as caught:
            dml.read_volume(address)
        assert "secret" not in str(caught.value)


def test_file_addresses(ct, slide):
    assert dml.read_volume(ct.as_uri()).shape == (6, 20, 24)
    assert dml.open_slide(slide.as_uri()).shape == (700, 900)
    with pytest.raises(dml.StoreError, match="leads out"):
        open_store(ct.as_uri()).read("../liver.seg.dcm")
