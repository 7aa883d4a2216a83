from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("monai")
pytest.importorskip("lightning.pytorch")

import dicom_ml as dml
from tests.series import blobs, write_series


class Cohort:
    """Three series, each with a label map on its grid and a SEG of it."""

    def __init__(self, root, segments) -> None:
        self.names = "abc"
        self.volumes, self.labels, self.records = {}, {}, []
        for name in self.names:
            grid = write_series(root / name, name=name, patient=f"P{name}")
            self.volumes[name] = dml.read_volume(root / name)
            self.labels[name] = blobs(grid, seed=ord(name))
            seg = dml.Segmentation.from_array(self.labels[name], source=self.volumes[name], segments=segments)
            seg.save(root / f"{name}.seg.dcm")
            self.records.append({"image": str(root / name), "label": str(root / f"{name}.seg.dcm"), "case": name})

    def uid(self, name: str) -> str:
        return self.volumes[name].source.series_instance_uid

    def check(self, folder, wanted=None) -> None:
        """Every source has one file, and in it the labels, to the voxel."""
        wanted = self.labels if wanted is None else wanted
        files = sorted(folder.glob("*.dcm"))
        assert len(files) == len(wanted)
        for name, labels in wanted.items():
            (file,) = [f for f in files if f.name.startswith(self.uid(name))]
            found = dml.read_segmentation(file).label_map(on=self.volumes[name])
            assert (found == labels).all()


@pytest.fixture(scope="session")
def segments():
    made_by = dml.Algorithm("TestNet", version="1")
    return [
        dml.Segment("Liver", type="SCT:10200004", category="SCT:123037004", algorithm=made_by),
        dml.Segment("Spleen", type="SCT:78961009", category="SCT:123037004", algorithm=made_by),
    ]


@pytest.fixture(scope="session")
def cohort(tmp_path_factory, segments) -> Cohort:
    return Cohort(tmp_path_factory.mktemp("cohort"), segments)
