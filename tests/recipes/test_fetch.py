"""Fetching, from a folder that is laid out as IDC's buckets are."""

from __future__ import annotations

import pytest

from dicom_ml.errors import FileError
from recipes.common.fetch import LocalStore, fetch_series
from recipes.common.manifest import Row
from tests.series import write_series


@pytest.fixture
def bucket(tmp_path):
    """Two series in a bucket, and their rows."""
    rows = []
    for name in "ab":
        folder = tmp_path / "bucket" / f"uuid-{name}"
        write_series(folder, name=name)
        files = sorted(folder.iterdir())
        size = sum(path.stat().st_size for path in files)
        url = f"s3://idc-open-data/uuid-{name}/*"
        rows.append(Row("c", name, "1.2", uid_of(files[0]), "image", instances=len(files), size=size, url=url))
    return tmp_path / "bucket", rows


def uid_of(path) -> str:
    import pydicom

    return str(pydicom.dcmread(path, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID)


class Counting(LocalStore):
    """A store that counts, and breaks after some series."""

    def __init__(self, root, after: int = 99) -> None:
        super().__init__(root)
        self.calls, self.after = 0, after

    def get(self, row, folder) -> None:
        self.calls += 1
        if self.calls > self.after:
            (folder / "half.dcm").write_bytes(b"x")
            raise FileError("the line is down")
        super().get(row, folder)


def test_series_arrive_whole_and_once(bucket, tmp_path):
    root, rows = bucket
    target = tmp_path / "here"
    store = Counting(root)
    found = fetch_series(rows, store, target)
    assert [one.new and not one.problem for one in found] == [True, True]
    for row in rows:
        assert len(list((target / row.series).iterdir())) == row.instances
        assert {uid_of(path) for path in (target / row.series).iterdir()} == {row.series}
    again = fetch_series(rows, store, target)
    assert store.calls == 2 and not any(one.new or one.problem for one in again)


def test_a_stopped_fetch_goes_on(bucket, tmp_path):
    root, rows = bucket
    target = tmp_path / "here"
    first = fetch_series(rows, Counting(root, after=1), target, workers=1)
    assert [bool(one.problem) for one in first] == [False, True]
    assert not (target / rows[1].series).exists()
    second = Counting(root)
    # what the broken attempt left is no part of the series, and is found out
    assert "files" in fetch_series(rows, second, target)[1].problem
    assert not fetch_series(rows, second, target)[1].problem
    assert second.calls == 2


def test_what_is_not_as_the_manifest_says_is_refused(bucket, tmp_path):
    root, rows = bucket
    store = LocalStore(root)
    few = rows[0].with_(instances=3)
    assert "12 files, the manifest says 3" in fetch_series([few], store, tmp_path / "1")[0].problem
    large = rows[0].with_(size=10**9)
    assert "the manifest says 1000000000" in fetch_series([large], store, tmp_path / "2")[0].problem
    other = rows[0].with_(url=rows[1].url)
    assert "another series" in fetch_series([other], store, tmp_path / "3")[0].problem
    absent = rows[0].with_(url="s3://idc-open-data/none/*")
    assert fetch_series([absent], store, tmp_path / "4")[0].problem == "not fetched: FileError"


def test_a_damaged_copy_is_fetched_again(bucket, tmp_path):
    root, rows = bucket
    target = tmp_path / "here"
    fetch_series(rows, LocalStore(root), target)
    next((target / rows[0].series).iterdir()).unlink()
    found = fetch_series(rows, LocalStore(root), target)
    assert [one.new for one in found] == [True, False]


def test_folders_by_their_own_address(bucket, tmp_path):
    root, rows = bucket
    row = rows[0].with_(url=(root / "uuid-a").as_uri())
    assert not fetch_series([row], LocalStore(), tmp_path / "here")[0].problem
