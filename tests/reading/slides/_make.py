"""Small slides for the tests: any layout of frames and files, every pixel known."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom import Sequence as DicomSequence
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import UID

from dicom_ml.encoding.codecs import FrameInfo, encode_frame, is_encapsulated

SM = "1.2.840.10008.5.1.4.1.1.77.1.6"
EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
HTJ2K = "1.2.840.10008.1.2.4.201"
ROOT = "1.2.826.0.1.3680043.10.999.7."
_numbers = itertools.count(1)


def picture(shape: Sequence[int], seed: int = 0, samples: int = 3, dtype: Any = np.uint8) -> np.ndarray:
    """Pixels that all differ from their neighbours, and from other seeds."""
    top = np.iinfo(dtype).max
    full = (*shape, samples) if samples > 1 else tuple(shape)
    return np.random.default_rng(seed).integers(0, top, full, dtype=dtype, endpoint=True)


def smooth(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """A picture that lossy codecs keep nearly unchanged."""
    rows, columns = np.indices(shape) / 40.0
    waves = [np.sin(rows * (1 + i / 3) + seed) * np.cos(columns * (1 + i / 5)) for i in range(3)]
    return np.rint(np.stack(waves, axis=-1) * 90 + 128).astype(np.uint8)


def halved(pixels: np.ndarray, factor: int = 2) -> np.ndarray:
    """A level below: means of squares, the rest at the edges left out."""
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    cut = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, -1)
    return np.rint(cut.mean(axis=(1, 3))).astype(pixels.dtype).reshape(height, width, *pixels.shape[2:])


@dataclass
class Image:
    """How to write one tiled image.

    ``pixels`` is ``(rows, columns[, 3])``, or has two axes more in front: optical path and focal plane.
    """

    pixels: np.ndarray
    tile: tuple[int, int] = (32, 24)
    organization: str | None = "TILED_FULL"
    syntax: str = EXPLICIT
    series: int = 1
    flavor: str = "VOLUME"
    spacing: tuple[float, float] | None = (0.0005, 0.0004)
    origin: tuple[float, ...] | None = (20.5, 30.25)
    orientation: Sequence[float] | None = (0, -1, 0, -1, 0, 0)
    paths: Sequence[str] = ("1",)
    z_step: float = 0.002
    photometric: str | None = None
    table: str = "basic"
    fragments: int = 1
    #: Which frames to write, by (path, plane, tile row, tile column); all where None.
    keep: Callable[[int, int, int, int], bool] | None = None
    #: Pixels by which the positions of sparse frames are moved.
    shift: tuple[int, int] = (0, 0)
    attributes: dict[str, Any] = field(default_factory=dict)
    change: Callable[[Dataset], Any] | None = None
    shuffle: bool = False
    undefined: bool = False
    encoder: Callable[[np.ndarray], bytes] | None = None

    @property
    def stack(self) -> np.ndarray:
        color = self.pixels.ndim in (3, 5) and self.pixels.shape[-1] == 3
        plain = 3 if color else 2
        return self.pixels if self.pixels.ndim > plain else self.pixels[None, None]

    @property
    def color(self) -> bool:
        return self.stack.ndim == 5

    def frames(self) -> list[tuple[tuple[int, int, int, int], np.ndarray]]:
        """Key and pixels of the frames, those at the edges padded with noise that must never be seen."""
        found = []
        stack, (rows, columns) = self.stack, self.tile
        height, width = stack.shape[2:4]
        noise = np.random.default_rng(99)
        for p, z in itertools.product(range(stack.shape[0]), range(stack.shape[1])):
            for r, c in itertools.product(range(-(-height // rows)), range(-(-width // columns))):
                if self.keep is not None and not self.keep(p, z, r, c):
                    continue
                shape = (rows, columns, 3) if self.color else (rows, columns)
                tile = noise.integers(0, np.iinfo(stack.dtype).max, shape, dtype=stack.dtype)
                part = stack[p, z, r * rows : (r + 1) * rows, c * columns : (c + 1) * columns]
                tile[: part.shape[0], : part.shape[1]] = part
                found.append(((p, z, r, c), tile))
        if self.shuffle:
            np.random.default_rng(5).shuffle(found)
        return found

    def dataset(self, part: slice | None = None) -> Dataset:
        frames = self.frames()
        chosen = frames if part is None else frames[part]
        ds = self._header(len(chosen))
        if self.organization != "TILED_FULL":
            ds.PerFrameFunctionalGroupsSequence = DicomSequence([self._groups(key) for key, _ in chosen])
            if self.undefined:
                _undefine(ds["PerFrameFunctionalGroupsSequence"])
        self._pixels(ds, [frame for _, frame in chosen])
        for keyword, value in self.attributes.items():
            setattr(ds, keyword, value)
        if self.change is not None:
            self.change(ds)
        return ds

    def _header(self, frames: int) -> Dataset:
        stack = self.stack
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = SM, f"{ROOT}3.{next(_numbers)}"
        ds.Modality = "SM"
        ds.ImageType = ["ORIGINAL", "PRIMARY", self.flavor, "NONE"]
        ds.PatientName, ds.PatientID = "Phantom^Anna", "P-1"
        ds.PatientBirthDate, ds.PatientSex = "19700101", "F"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{ROOT}1.1", f"{ROOT}2.{self.series}"
        ds.FrameOfReferenceUID = f"{ROOT}4.1"
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20200101", "120000", "1", "A1"
        ds.ContainerIdentifier = "S-1"
        if self.organization:
            ds.DimensionOrganizationType = self.organization
        ds.Rows, ds.Columns = self.tile
        ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = stack.shape[2:4]
        ds.TotalPixelMatrixFocalPlanes = stack.shape[1]
        ds.NumberOfOpticalPaths = len(self.paths)
        ds.NumberOfFrames = frames
        ds.SamplesPerPixel = 3 if self.color else 1
        ds.PhotometricInterpretation = self.photometric or ("RGB" if self.color else "MONOCHROME2")
        if self.color:
            ds.PlanarConfiguration = 0
        bits = stack.dtype.itemsize * 8
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits, bits - 1, 0
        if self.origin is not None:
            origin = {
                "XOffsetInSlideCoordinateSystem": self.origin[0],
                "YOffsetInSlideCoordinateSystem": self.origin[1],
            }
            if len(self.origin) > 2:
                origin["ZOffsetInSlideCoordinateSystem"] = self.origin[2] * 1000
            ds.TotalPixelMatrixOriginSequence = one(**origin)
        if self.orientation is not None:
            ds.ImageOrientationSlide = list(self.orientation)
        shared = Dataset()
        if self.spacing is not None:
            shared.PixelMeasuresSequence = one(
                PixelSpacing=list(self.spacing), SliceThickness=0.001, SpacingBetweenSlices=self.z_step
            )
        ds.SharedFunctionalGroupsSequence = DicomSequence([shared])
        paths = []
        for name in self.paths:
            path = Dataset()
            path.OpticalPathIdentifier, path.OpticalPathDescription = name, f"path {name}"
            paths.append(path)
        ds.OpticalPathSequence = DicomSequence(paths)
        return ds

    def _groups(self, key: tuple[int, int, int, int]) -> Dataset:
        p, z, r, c = key
        item = Dataset()
        item.PlanePositionSlideSequence = one(
            XOffsetInSlideCoordinateSystem=f"{20 - r * 0.016:.6g}",
            YOffsetInSlideCoordinateSystem=f"{30 - c * 0.01:.6g}",
            ZOffsetInSlideCoordinateSystem=f"{z * self.z_step * 1000:.6g}",
            ColumnPositionInTotalImagePixelMatrix=c * self.tile[1] + 1 + self.shift[1],
            RowPositionInTotalImagePixelMatrix=r * self.tile[0] + 1 + self.shift[0],
        )
        item.FrameContentSequence = one(DimensionIndexValues=[c + 1, r + 1])
        if len(self.paths) > 1:
            item.OpticalPathIdentificationSequence = one(OpticalPathIdentifier=self.paths[p])
        return item

    def _pixels(self, ds: Dataset, frames: list[np.ndarray]) -> None:
        if not is_encapsulated(self.syntax):
            data = b"".join(np.ascontiguousarray(frame).tobytes() for frame in frames)
            ds.PixelData = data + b"\0" * (len(data) % 2)
            ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
            return
        info = FrameInfo.from_dataset(ds, self.syntax)
        encoded = [(self.encoder or (lambda frame: encode_frame(frame, info)))(frame) for frame in frames]
        if self.table == "extended":
            ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(encoded)
        else:
            ds.PixelData = encapsulate(encoded, self.fragments, has_bot=self.table == "basic")
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True

    def write(self, path: Path, part: slice | None = None, **attributes: Any) -> Path:
        """Write the image, or a part of its frames with attributes of its own."""
        ds = self.dataset(part)
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        return write(ds, path, self.syntax)

    def concatenation(self, folder: Path, sizes: Iterable[int]) -> list[Path]:
        """Write the image as a concatenation of files of that many frames."""
        folder.mkdir(parents=True, exist_ok=True)
        sizes, found, start = list(sizes), [], 0
        uid = f"{ROOT}5.{next(_numbers)}"
        for number, size in enumerate(sizes, start=1):
            name = folder / f"{(number * 7) % 10}-{number}.dcm"  # names are in no order
            found.append(
                self.write(
                    name,
                    slice(start, start + size),
                    ConcatenationUID=uid,
                    InConcatenationNumber=number,
                    InConcatenationTotalNumber=len(sizes),
                    ConcatenationFrameOffsetNumber=start,
                    SOPInstanceUIDOfConcatenationSource=f"{uid}.1",
                )
            )
            start += size
        return found


def write(ds: Dataset, path: Path, syntax: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta = meta
    dcmwrite(path, ds, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG, enforce_file_format=True)
    return path


def one(**values: Any) -> DicomSequence:
    """A sequence of one item."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return DicomSequence([ds])


def _undefine(element: Any) -> None:
    """Give a sequence, and all within it, undefined lengths."""
    element.is_undefined_length = True
    for item in element.value:
        item.is_undefined_length_sequence_item = True
        for inner in item:
            if inner.VR == "SQ":
                _undefine(inner)


def pyramid(folder: Path, pixels: np.ndarray, factors: Sequence[int] = (1, 2, 4), **options: Any) -> Path:
    """A pyramid, each level with an origin that jitters by less than a pixel of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    spacing = options.pop("spacing", (0.0005, 0.0004))
    origin = options.pop("origin", (20.5, 30.25))
    for number, factor in enumerate(factors):
        jitter = factor * 0.0002
        Image(
            pixels if factor == 1 else halved(pixels, factor),
            spacing=(spacing[0] * factor, spacing[1] * factor),
            origin=(origin[0] - jitter, origin[1] + jitter),
            **options,
        ).write(folder / f"{(number * 7) % 10}.dcm")
    return folder
