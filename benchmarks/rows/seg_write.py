"""SEG out: a label map or probabilities in memory become a file."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np

from benchmarks import judge, rle
from benchmarks.executables import call
from benchmarks.phantom import ANATOMICAL_STRUCTURE
from benchmarks.registry import FLOOR, OURS, Case, Competitor, Job, Row, WrongResult, register

RLE_LOSSLESS = "1.2.840.10008.1.2.5"


# ---- floors: the bytes of the pixel data, and nothing of DICOM


def floor_binary(dataset: str) -> Any:
    def prepare(case: Case) -> Job:
        labels = case.array(dataset, "labels.npy")

        def job() -> list[tuple[int, int]]:
            held, frames = [], []
            for d, plane in enumerate(labels):
                for number in np.unique(plane).tolist():
                    if number:
                        frames.append(np.packbits(plane == number, bitorder="little"))
                        held.append((number, d))
            with case.output.open("wb") as file:
                for frame in frames:
                    file.write(frame)
            return held

        return job

    return prepare


def check_floor_binary(dataset: str) -> Any:
    def check(case: Case, held: Any) -> None:
        labels = np.zeros(case.size.shape, np.uint8)
        frames = np.fromfile(case.output, np.uint8).reshape(len(held), -1)
        for (number, d), packed in zip(held, frames, strict=True):
            bits = np.unpackbits(packed, bitorder="little").reshape(case.size.shape[1:])
            labels[d][bits != 0] = number
        judge.compare_labels(labels, case.array(dataset, "labels.npy", mapped=True))

    return check


def floor_labelmap(dataset: str, compressed: bool) -> Any:
    def prepare(case: Case) -> Job:
        labels = case.array(dataset, "labels.npy")

        def raw() -> None:
            case.output.write_bytes(labels.tobytes())

        def encoded() -> list[int]:
            frames = [rle.encode_frame(plane) for plane in labels]
            with case.output.open("wb") as file:
                for frame in frames:
                    file.write(frame)
            return [len(frame) for frame in frames]

        return encoded if compressed else raw

    return prepare


def check_floor_labelmap(dataset: str, compressed: bool) -> Any:
    def check(case: Case, lengths: Any) -> None:
        truth = case.array(dataset, "labels.npy", mapped=True)
        data = case.output.read_bytes()
        if not compressed:
            judge.compare_labels(np.frombuffer(data, np.uint8).reshape(truth.shape), truth)
            return
        import imagecodecs

        start = 0
        for d, length in enumerate(lengths):
            plane = np.frombuffer(
                imagecodecs.dicomrle_decode(data[start : start + length], np.dtype(np.uint8)), np.uint8
            )
            if not np.array_equal(plane[: truth[d].size].reshape(truth[d].shape), truth[d]):
                raise WrongResult(f"slice {d} comes back changed")
            start += length

    return check


def probabilities(case: Case, *, channels_last: bool = False) -> np.ndarray:
    """All organs' probabilities, (S, D, H, W) float32, every page of it real memory as a network's output is.

    ``channels_last`` gives (D, H, W, S), contiguous as well.
    """
    info = case.info("probability-20")
    count = len(info["boxes"])
    volume = np.empty((*case.size.shape, count) if channels_last else (count, *case.size.shape), np.float32)
    volume.fill(0)
    channels = np.moveaxis(volume, -1, 0) if channels_last else volume
    for number, (channel, box) in enumerate(zip(channels, info["boxes"], strict=True), start=1):
        channel[tuple(slice(*side) for side in box)] = case.array("probability-20", f"organ-{number}.npy")
    return volume


def floor_fractional(case: Case) -> Job:
    mask = probabilities(case)

    def job() -> list[tuple[int, int]]:
        held = []
        scaled = np.empty(case.size.shape[1:], np.float32)
        with case.output.open("wb") as file:
            for number, volume in enumerate(mask, start=1):
                for d, plane in enumerate(volume):
                    if plane.any():
                        np.multiply(plane, np.float32(255), out=scaled)
                        np.rint(scaled, out=scaled)
                        file.write(scaled.astype(np.uint8))
                        held.append((number, d))
        return held

    return job


def check_floor_fractional(case: Case, held: Any) -> None:
    frames = np.fromfile(case.output, np.uint8).reshape(-1, *case.size.shape[1:])
    if len(frames) != len(held):
        raise WrongResult(f"{len(frames)} frames, {len(held)} expected")
    info = case.info("probability-20")
    for (number, d), frame in zip(held, frames, strict=True):
        box = info["boxes"][number - 1]
        values = case.array("probability-20", f"organ-{number}.npy", mapped=True)[d - box[0][0]]
        if np.abs(frame[slice(*box[1]), slice(*box[2])] - values * 255).max() > 1:
            raise WrongResult(f"segment {number}, slice {d} is off")


# ---- dicom_ml


def prepare_dicom_ml(dataset: str, kind: str, compression: str | None = None) -> Any:
    def prepare(case: Case) -> Job:
        import dicom_ml as dml

        source = dml.read_volume(case.path("ct-raw", "series")).source
        gc.collect()
        mask = probabilities(case) if kind == "fractional" else case.array(dataset, "labels.npy")
        algorithm = dml.Algorithm("Benchmark", version="1")
        segments = [
            dml.Segment(
                name["label"],
                type=(name["value"], name["scheme"], name["meaning"]),
                category=(ANATOMICAL_STRUCTURE[0], "SCT", ANATOMICAL_STRUCTURE[1]),
                algorithm=algorithm,
            )
            for name in case.info(dataset)["segments"]
        ]

        def job() -> None:
            segmentation = dml.Segmentation.from_array(mask, source=source, segments=segments, kind=kind)
            segmentation.save(case.output, compression=compression)

        return job

    return prepare


# ---- peers


def source_images(case: Case) -> list[Any]:
    """The CT's headers, in the order of the slices."""
    from pydicom import dcmread

    folder = case.path("ct-raw", "series")
    return [dcmread(folder / file["name"], stop_before_pixels=True) for file in case.info("ct-raw")["files"]]


def prepare_highdicom(dataset: str, kind: str, transfer_syntax: str = "1.2.840.10008.1.2.1") -> Any:
    def prepare(case: Case) -> Job:
        import highdicom as hd
        from pydicom.sr.coding import Code
        from pydicom.uid import UID

        # Its channels come last, and it flattens the array: a transposed view would cost it a copy.
        soft = kind == "FRACTIONAL"
        mask = probabilities(case, channels_last=True) if soft else case.array(dataset, "labels.npy")
        images = source_images(case)
        algorithm = hd.AlgorithmIdentificationSequence(
            "Benchmark", Code("123110", "DCM", "Artificial Intelligence"), "1"
        )
        descriptions = [
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=name["label"],
                segmented_property_category=Code(ANATOMICAL_STRUCTURE[0], "SCT", ANATOMICAL_STRUCTURE[1]),
                segmented_property_type=Code(name["value"], name["scheme"], name["meaning"]),
                algorithm_type="AUTOMATIC",
                algorithm_identification=algorithm,
            )
            for number, name in enumerate(case.info(dataset)["segments"], start=1)
        ]

        def job() -> None:
            segmentation = hd.seg.Segmentation(
                source_images=images,
                pixel_array=mask,
                segmentation_type=kind,
                segment_descriptions=descriptions,
                series_instance_uid=hd.UID(),
                series_number=100,
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="dicom_ml",
                manufacturer_model_name="Benchmark",
                software_versions="1",
                device_serial_number="1",
                transfer_syntax_uid=UID(transfer_syntax),
            )
            segmentation.save_as(case.output)

        return job

    return prepare


def prepare_dcmqi(dataset: str, kind: str) -> Any:
    def prepare(case: Case) -> Job:
        def job() -> None:
            call(
                "itkimage2segimage",
                *("--inputImageList", case.path(dataset, "labels.nrrd")),
                *("--inputDICOMDirectory", case.path("ct-raw", "series")),
                *("--inputMetadata", case.path(dataset, "dcmqi.json")),
                *("--outputDICOM", case.output),
                *("--segmentationType", kind),
                *("--skip", "1"),
                "--useLabelIDAsSegmentNumber",
            )

        return job

    return prepare


def prepare_pydicom_seg(dataset: str) -> Any:
    def prepare(case: Case) -> Job:
        import pydicom_seg
        import SimpleITK as sitk

        template = pydicom_seg.template.from_dcmqi_metainfo(str(case.path(dataset, "dcmqi.json")))
        info = case.info(dataset)
        image = sitk.GetImageFromArray(case.array(dataset, "labels.npy"))
        image.SetOrigin(info["origin"])
        image.SetSpacing(info["spacing"][::-1])
        images = source_images(case)

        def job() -> None:
            writer = pydicom_seg.MultiClassWriter(template, skip_empty_slices=True)
            writer.write(image, images).save_as(case.output)

        return job

    return prepare


def prepare_pydcm(dataset: str, kind: str) -> Any:
    def prepare(case: Case) -> Job:
        from pydcm import seg

        folder = case.path("ct-raw", "series")
        reference = [str(folder / file["name"]) for file in case.info("ct-raw")["files"]]
        segments = [
            {
                "label": name["label"],
                "labelID": number,
                "rgb": (number % 256, 255 - number % 256, 90),
                "category": (ANATOMICAL_STRUCTURE[0], "SCT", ANATOMICAL_STRUCTURE[1]),
                "type": (name["value"], name["scheme"], name["meaning"]),
                "algorithm_type": "AUTOMATIC",
                "algorithm_name": "Benchmark",
            }
            for number, name in enumerate(case.info(dataset)["segments"], start=1)
        ]
        if kind == "FRACTIONAL":
            mask = probabilities(case)
            return lambda: seg.write_seg_fractional(reference, mask, segments, output=case.output)
        labels = case.array(dataset, "labels.npy").astype(np.uint16)  # the type it works on
        return lambda: seg.write_seg(reference, labels, segments, output=case.output)

    return prepare


PYDCM_NOTE = "takes paths: it reads the source's headers inside the timed region"
DCMQI_NOTE = "takes files: it reads the NRRD and the source's headers inside the timed region"

for _count in (20, 50, 104):  # 50 is for the chart of growth
    _labels = f"labels-{_count}"
    register(
        Row(
            name=f"seg-binary-write-{_count}",
            title=f"SEG BINARY write, {_count} segments",
            floor_text="np.packbits of the planes that hold anything, then write",
            datasets=(_labels, "ct-raw"),
            competitors=(
                Competitor(FLOOR, floor_binary(_labels), check=check_floor_binary(_labels)),
                Competitor(OURS, prepare_dicom_ml(_labels, "binary"), ("dicom_ml",)),
                Competitor("pydcm", prepare_pydcm(_labels, "BINARY"), ("pydcm",), note=PYDCM_NOTE),
                Competitor("highdicom", prepare_highdicom(_labels, "BINARY"), ("highdicom",)),
                Competitor("dcmqi", prepare_dcmqi(_labels, "binary"), (), ("itkimage2segimage",), note=DCMQI_NOTE),
                Competitor("pydicom-seg", prepare_pydicom_seg(_labels), ("pydicom_seg",)),
            ),
            check=judge.check_labels(_labels),
            writes=True,
            array=lambda case: case.size.voxels,
            goal=1.6,
            goal_text="<= 1.6, memory <= the mask + 64 MiB",
            listed=_count != 50,
        )
    )
for _compressed in (False, True):
    _labels = "labels-104"
    _syntax = {"transfer_syntax": RLE_LOSSLESS} if _compressed else {}
    _competitors = [
        Competitor(
            FLOOR,
            floor_labelmap(_labels, _compressed),
            ("imagecodecs",) if _compressed else (),
            check=check_floor_labelmap(_labels, _compressed),
        ),
        Competitor(OURS, prepare_dicom_ml(_labels, "labelmap", "rle" if _compressed else None), ("dicom_ml",)),
        Competitor("highdicom", prepare_highdicom(_labels, "LABELMAP", **_syntax), ("highdicom",)),
    ]
    if not _compressed:  # dcmqi writes no RLE
        _dcmqi = prepare_dcmqi(_labels, "labelmap")
        _competitors.append(Competitor("dcmqi", _dcmqi, (), ("itkimage2segimage",), note=DCMQI_NOTE))
    register(
        Row(
            name="seg-labelmap-write-rle" if _compressed else "seg-labelmap-write-raw",
            title=f"SEG LABELMAP write, {'RLE' if _compressed else 'raw'}",
            floor_text="imagecodecs PackBits of each plane, then write" if _compressed else "tobytes, then write",
            datasets=(_labels, "ct-raw"),
            competitors=tuple(_competitors),
            check=judge.check_labels(_labels),
            writes=True,
            array=lambda case: case.size.voxels,
            compare="cpu",
            goal=4.0,
            goal_text="<= 4",
        )
    )
register(
    Row(
        name="seg-fractional-write-20",
        title="SEG FRACTIONAL write, 20 segments",
        floor_text="scale to uint8, write the planes that hold anything",
        datasets=("probability-20", "ct-raw"),
        competitors=(
            Competitor(FLOOR, floor_fractional, check=check_floor_fractional),
            Competitor(OURS, prepare_dicom_ml("probability-20", "fractional"), ("dicom_ml",)),
            Competitor("pydcm", prepare_pydcm("probability-20", "FRACTIONAL"), ("pydcm",), note=PYDCM_NOTE),
            Competitor("highdicom", prepare_highdicom("probability-20", "FRACTIONAL"), ("highdicom",)),
        ),
        check=judge.check_fractional,
        writes=True,
        array=lambda case: 20 * 4 * case.size.voxels,
        goal=1.8,
        goal_text="<= 1.8",
        note="The input alone takes 6.3 GB at full size; memory above it is in the JSON.",
    )
)
