"""CT in: a series or an enhanced file becomes a float32 volume of Hounsfield units."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.registry import FLOOR, OURS, Case, Competitor, Job, Row, WrongResult, register


def check(case: Case, volume: Any) -> None:
    """Every voxel, against the generator's stored values."""
    stored = case.array("ct-volume", "stored.npy", mapped=True)
    info = case.info("ct-volume")
    volume = np.asarray(volume)
    if volume.shape != stored.shape:
        raise WrongResult(f"shape {volume.shape}, expected {stored.shape}")
    if volume.dtype.kind not in "fi":
        raise WrongResult(f"values are {volume.dtype}")
    for d in range(stored.shape[0]):
        expected = stored[d].astype(np.float32) * np.float32(info["slope"]) + np.float32(info["intercept"])
        if np.array_equal(volume[d], expected):
            continue
        if np.array_equal(volume[d], stored[d]):
            raise WrongResult("stored values, not Hounsfield units: the rescale was not applied")
        off = np.abs(volume[d] - expected).max()
        raise WrongResult(f"slice {d} differs from the truth by up to {off:g} HU")


def volume_bytes(case: Case) -> int:
    """Of the float32 volume."""
    return 4 * case.size.voxels


# ---- floors


def floor_native(dataset: str) -> Any:
    def prepare(case: Case) -> Job:
        info = case.info(dataset)
        folder = str(case.path(dataset, "series"))
        files = [(os.path.join(folder, file["name"]), file["offset"]) for file in info["files"]]
        slope, intercept = np.float32(info["slope"]), np.float32(info["intercept"])

        def job() -> np.ndarray:
            # One slice's buffer, which stays in the processor's cache: a buffer for the whole volume takes a third
            # more time, and a floor should be the least.
            stored = np.empty(case.size.shape[1:], np.int16)
            volume = np.empty(case.size.shape, np.float32)
            for plane, (path, offset) in zip(volume, files, strict=True):
                descriptor = os.open(path, os.O_RDONLY)
                os.preadv(descriptor, [stored], offset)
                os.close(descriptor)
                np.multiply(stored, slope, out=plane, dtype=np.float32)
                plane += intercept
            return volume

        return job

    return prepare


def floor_encoded(dataset: str) -> Any:
    def prepare(case: Case) -> Job:
        import imagecodecs

        def rle(code: bytes) -> np.ndarray:
            # The bytes of a frame come back as they lie in memory.
            decoded = imagecodecs.dicomrle_decode(code, np.dtype(np.int16))
            return np.frombuffer(decoded, np.int16).reshape(case.size.shape[1:])

        decode = {
            "ct-rle": rle,
            "ct-jpegls": imagecodecs.jpegls_decode,
            "ct-jpeg2000": imagecodecs.jpeg2k_decode,
            "ct-htj2k": imagecodecs.htj2k_decode,
        }
        info = case.info(dataset)
        folder = str(case.path(dataset, "series"))
        files = [(os.path.join(folder, file["name"]), file["offset"], file["length"]) for file in info["files"]]
        slope, intercept = np.float32(info["slope"]), np.float32(info["intercept"])
        to_frame = decode[dataset]

        def job() -> np.ndarray:
            volume = np.empty(case.size.shape, np.float32)
            for plane, (path, offset, length) in zip(volume, files, strict=True):
                descriptor = os.open(path, os.O_RDONLY)
                code = os.pread(descriptor, length, offset)
                os.close(descriptor)
                np.multiply(to_frame(code), slope, out=plane, dtype=np.float32)
                plane += intercept
            return volume

        return job

    return prepare


def floor_enhanced(case: Case) -> Job:
    path, offset = str(case.path("ct-enhanced", "enhanced.dcm")), case.info("ct-enhanced")["offset"]

    def job() -> np.ndarray:
        stored = np.empty(case.size.shape, np.int16)
        flat = memoryview(stored).cast("B")
        descriptor = os.open(path, os.O_RDONLY)
        done = 0
        while done < len(flat):  # one call reads 2 GiB at most
            done += os.preadv(descriptor, [flat[done:]], offset + done)
        os.close(descriptor)
        return stored

    return job


def check_stored(case: Case, stored: Any) -> None:
    if not np.array_equal(stored, case.array("ct-volume", "stored.npy", mapped=True)):
        raise WrongResult("stored values differ from the truth")


# ---- everyone else. Each prepare takes the path of a folder or a file.


def prepare_dicom_ml(path: Path) -> Job:
    import dicom_ml as dml

    return lambda: dml.read_volume(path).array


def prepare_pydicom(path: Path) -> Job:
    from pydicom import dcmread

    def series() -> np.ndarray:
        images = sorted((dcmread(file) for file in path.iterdir()), key=lambda ds: ds.ImagePositionPatient[2])
        volume = np.empty((len(images), images[0].Rows, images[0].Columns), np.float32)
        for plane, ds in zip(volume, images, strict=True):
            np.multiply(ds.pixel_array, np.float32(ds.RescaleSlope), out=plane)
            plane += np.float32(ds.RescaleIntercept)
        return volume

    def enhanced() -> np.ndarray:
        ds = dcmread(path)
        rescale = ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
        heights = [
            item.PlanePositionSequence[0].ImagePositionPatient[2] for item in ds.PerFrameFunctionalGroupsSequence
        ]
        frames = ds.pixel_array
        if heights != sorted(heights):
            frames = frames[np.argsort(heights)]
        volume = np.multiply(frames, np.float32(rescale.RescaleSlope), dtype=np.float32)
        volume += np.float32(rescale.RescaleIntercept)
        return volume

    return series if path.is_dir() else enhanced


def prepare_highdicom(path: Path) -> Job:
    import highdicom as hd
    from pydicom import dcmread

    def series() -> Any:
        images = [dcmread(file) for file in path.iterdir()]
        return hd.get_volume_from_series(images, dtype=np.float32)

    return series if path.is_dir() else lambda: hd.imread(path).get_volume(dtype=np.float32)


def view_highdicom(volume: Any) -> np.ndarray:
    # Its affine says which way its slices run; the truth's run upwards.
    return volume.array if volume.affine[2, 0] > 0 else volume.array[::-1]


def prepare_simpleitk(path: Path) -> Job:
    import SimpleITK as sitk

    def series() -> Any:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        reader.SetOutputPixelType(sitk.sitkFloat32)
        return reader.Execute()

    return series if path.is_dir() else lambda: sitk.ReadImage(str(path), sitk.sitkFloat32)


def view_simpleitk(image: Any) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayViewFromImage(image)


def prepare_dicomsdl(path: Path) -> Job:
    import dicomsdl

    def series() -> np.ndarray:
        images = [dicomsdl.open(str(file)) for file in path.iterdir()]
        images.sort(key=lambda ds: ds.ImagePositionPatient[2])
        volume = np.empty((len(images), images[0].Rows, images[0].Columns), np.float32)
        # As its own pixelData() does, but into one buffer and without two copies a slice.
        stored = np.empty(volume.shape[1:], images[0].getPixelDataInfo()["dtype"])
        for plane, ds in zip(volume, images, strict=True):
            ds.copyFrameData(0, stored)
            np.multiply(stored, np.float32(ds.RescaleSlope), out=plane)
            plane += np.float32(ds.RescaleIntercept)
        return volume

    return series


def prepare_monai(reader_name: str) -> Any:
    def prepare(path: Path) -> Job:
        from monai.data import image_reader

        reader = getattr(image_reader, reader_name)()

        def job() -> Any:
            array, _ = reader.get_data(reader.read(str(path)))
            return array

        return job

    return prepare


def view_monai(array: Any) -> np.ndarray:
    return np.asarray(array).transpose(2, 1, 0)  # (column, row, slice)


def view_monai_multi_frame(array: Any) -> np.ndarray:
    # PydicomReader exchanges the first two axes of a multi-frame's (slice, row, column).
    return np.asarray(array).swapaxes(0, 1)


def _peers(dataset: str, leaf: str) -> tuple[Competitor, ...]:
    def at(prepare: Any) -> Any:
        return lambda case: prepare(case.path(dataset, leaf))

    peers = [
        Competitor(OURS, at(prepare_dicom_ml), ("dicom_ml",)),
        Competitor("dicomsdl", at(prepare_dicomsdl), ("dicomsdl",)),
        Competitor("simpleitk", at(prepare_simpleitk), ("SimpleITK",), view=view_simpleitk),
        Competitor("pydicom", at(prepare_pydicom), ("pydicom",)),
        Competitor("highdicom", at(prepare_highdicom), ("highdicom",), view=view_highdicom),
        Competitor("monai-itk", at(prepare_monai("ITKReader")), ("itk", "monai.data.image_reader"), view=view_monai),
        Competitor(
            "monai-pydicom", at(prepare_monai("PydicomReader")), ("pydicom", "monai.data.image_reader"), view=view_monai
        ),
    ]
    if leaf != "series":
        # dicomsdl has no reader of a whole multi-frame volume: what it would take to write one is not its time.
        peers = [peer for peer in peers if peer.name != "dicomsdl"]
        peers[-1] = replace(peers[-1], view=view_monai_multi_frame)
    return tuple(peers)


register(
    Row(
        name="ct-raw",
        title="CT series, uncompressed, to a float32 volume of HU",
        floor_text="read each file's pixels straight into one slice's buffer, scale into the volume",
        datasets=("ct-volume", "ct-raw"),
        competitors=(Competitor(FLOOR, floor_native("ct-raw")), *_peers("ct-raw", "series")),
        check=check,
        array=volume_bytes,
        goal=1.8,
        goal_text="<= 1.8",
    )
)
register(
    Row(
        name="ct-enhanced",
        title="Enhanced CT, uncompressed, to a float32 volume of HU",
        floor_text="preadv into one buffer (stored values, not scaled)",
        datasets=("ct-volume", "ct-enhanced"),
        competitors=(
            Competitor(FLOOR, floor_enhanced, check=check_stored),
            *_peers("ct-enhanced", "enhanced.dcm"),
        ),
        check=check,
        array=volume_bytes,
        goal=2.5,
        goal_text="<= 2.5",
    )
)
for _dataset, _name in (("ct-rle", "RLE"), ("ct-jpegls", "JPEG-LS"), ("ct-jpeg2000", "JPEG 2000")):
    register(
        Row(
            name=_dataset,
            title=f"CT series, {_name}, to a float32 volume of HU",
            floor_text="imagecodecs decode and scale, 1 thread",
            datasets=("ct-volume", _dataset),
            competitors=(
                Competitor(FLOOR, floor_encoded(_dataset), ("imagecodecs",)),
                *_peers(_dataset, "series"),
            ),
            check=check,
            array=volume_bytes,
            goal=0.65,
            goal_text="<= 0.65 with 2 threads",
        )
    )
