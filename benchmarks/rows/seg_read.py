"""SEG in: a sparse BINARY segmentation becomes a label map on the source's grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import judge
from benchmarks.executables import call
from benchmarks.registry import FLOOR, OURS, Case, Competitor, Job, Row, register


def check(dataset: str) -> Any:
    return lambda case, labels: judge.compare_labels(labels, case.array(dataset, "labels.npy", mapped=True))


def floor(dataset: str) -> Any:
    def prepare(case: Case) -> Job:
        info = case.info(dataset)
        frames, offset = info["frames"], info["offset"]
        path = case.path(dataset, "binary.seg.dcm")
        size = case.size.rows * case.size.columns // 8

        def job() -> np.ndarray:
            labels = np.zeros(case.size.shape, np.uint8)
            packed = np.fromfile(path, np.uint8, len(frames) * size, offset=offset).reshape(len(frames), size)
            for (number, d), bits in zip(frames, packed, strict=True):
                mask = np.unpackbits(bits, bitorder="little").view(bool)
                labels[d].reshape(-1)[mask] = number
            return labels

        return job

    return prepare


def prepare_dicom_ml(dataset: str) -> Any:
    def prepare(case: Case) -> Job:
        import dicom_ml as dml

        path = case.path(dataset, "binary.seg.dcm")
        grid = dml.read_volume(case.path("ct-raw", "series")).grid
        return lambda: dml.read_segmentation(path).label_map(on=grid)

    return prepare


def prepare_highdicom(dataset: str) -> Any:
    def prepare(case: Case) -> Job:
        import highdicom as hd

        path = case.path(dataset, "binary.seg.dcm")

        def job() -> Any:
            return hd.seg.segread(path).get_volume(combine_segments=True, skip_overlap_checks=True)

        return job

    return prepare


def view_highdicom(volume: Any) -> np.ndarray:
    return volume.array if volume.affine[2, 0] > 0 else volume.array[::-1]


def prepare_dcmqi(dataset: str) -> Any:
    def prepare(case: Case) -> Job:
        import SimpleITK as sitk

        path, folder = case.path(dataset, "binary.seg.dcm"), case.output.parent / "dcmqi"

        def job() -> Any:
            folder.mkdir(exist_ok=True)
            # Of its formats the one that is not deflated, which would take most of its time.
            call(
                "segimage2itkimage",
                *("--inputDICOM", path),
                *("--outputDirectory", folder),
                *("--outputType", "hdr"),
                *("--prefix", "s"),
                "--mergeSegments",
            )
            (image,) = folder.glob("s*.hdr")
            return sitk.ReadImage(str(image))

        return job

    return prepare


def view_dcmqi(image: Any) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayViewFromImage(image)


def prepare_pydicom_seg(dataset: str) -> Any:
    def prepare(case: Case) -> Job:
        import pydicom
        import pydicom_seg

        path = case.path(dataset, "binary.seg.dcm")
        return lambda: pydicom_seg.MultiClassReader().read(pydicom.dcmread(path)).data

    return prepare


def prepare_pydcm(dataset: str) -> Any:
    def prepare(case: Case) -> Job:
        from pydcm import seg

        path = case.path(dataset, "binary.seg.dcm")
        return lambda: seg.read_seg(path)[0]

    return prepare


for _count in (20, 50, 104):  # 50 is for the chart of growth
    _seg, _labels = f"seg-binary-{_count}", f"labels-{_count}"
    register(
        Row(
            name=f"seg-binary-read-{_count}",
            title=f"SEG BINARY read to a label map, {_count} segments",
            floor_text="read, unpackbits, assign",
            datasets=(_seg, _labels, "ct-raw"),
            competitors=(
                Competitor(FLOOR, floor(_seg)),
                Competitor(OURS, prepare_dicom_ml(_seg), ("dicom_ml",)),
                Competitor("pydicom-seg", prepare_pydicom_seg(_seg), ("pydicom_seg",)),
                Competitor("pydcm", prepare_pydcm(_seg), ("pydcm",)),
                Competitor("highdicom", prepare_highdicom(_seg), ("highdicom",), view=view_highdicom),
                Competitor("dcmqi", prepare_dcmqi(_seg), ("SimpleITK",), ("segimage2itkimage",), view=view_dcmqi),
            ),
            check=check(_labels),
            array=lambda case: case.size.voxels,
            goal=1.5,
            goal_text="<= 1.5",
            listed=_count != 50,
        )
    )
