"""Secondary captures: made from pictures as arrays, or read from any maker's file."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import parse_code
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.codecs import FrameInfo, encode_frame, is_encapsulated, transfer_syntax
from dicom_ml.encoding.writer import EncapsulatedFrames, NativeFrames, atomic_file, dataset_bytes, file_head, save_bytes
from dicom_ml.errors import EncodingError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.derived import Description, describe, frame_groups
from dicom_ml.objects.key_objects.selecting import record_of
from dicom_ml.objects.pixels import EXTENDED_FROM, encode_ahead
from dicom_ml.objects.report.items import Reference
from dicom_ml.objects.secondary_capture.header import Look, header_of, sop_class_of
from dicom_ml.objects.secondary_capture.pictures import (
    CONVERSION_TYPES,
    Pictures,
    Provenance,
    pictures_of,
    shown_objects,
    slices_of,
)
from dicom_ml.objects.secondary_capture.reading import StoredCapture, open_capture
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["SecondaryCapture", "read_secondary_capture"]

_SEGMENTATION = "DCM:113076"
_FROM_VOLUME = "DCM:113091"
# JPEG 2000 and HTJ2K transform colour without loss; the others keep RGB (PS3.5 8.2).
_TRANSFORMED = frozenset(["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201"])


class SecondaryCapture:
    """Pictures made from images (PS3.3 A.8): made by :meth:`from_array`, or read by :func:`read_secondary_capture`."""

    def __init__(self, content: _Made | StoredCapture) -> None:
        self._content = content

    @classmethod
    def from_array(
        cls,
        array: Any,
        *,
        source: Any,
        images: Sequence[Any] | None = None,
        shows: Sequence[Any] = (),
        aligned: bool = False,
        algorithm: Algorithm | None = None,
        derivation: Any = None,
        derivation_description: str = "",
        conversion_type: str = "WSD",
        spacing: Sequence[float] | None = None,
        calibration: str = "",
        window: Sequence[float] | None = None,
        burned_in_annotation: bool = False,
        recognizable_features: bool | None = None,
        multiframe: bool | None = None,
        deterministic: bool = False,
        **settings: Any,
    ) -> SecondaryCapture:
        """Describe a picture or a stack of them.

        Parameters
        ----------
        array : array_like or list of them
            ``(H, W)`` or ``(N, H, W)`` of uint8 or uint16, ``(H, W, 3)`` or ``(N, H, W, 3)`` of uint8 in sRGB; Pillow
            images too. A three-dimensional array whose last axis is 3 is one picture in colour.
        source : Volume, Slide, SourceSeries, str or list of pydicom Dataset
            The series that is shown; the capture belongs to its patient and study.
        images : sequence of int, str or Reference, optional
            The slice of the source's array, by index or SOP Instance UID, that each picture shows, in order; of a
            single picture, all those that it shows. By default all images of the source are named for the whole.
        shows : sequence, optional
            Segmentations, parametric maps or other image objects that the pictures show.
        aligned : bool
            Each picture has the pixels of the slice that it shows: it is written with its place in patient space.
        algorithm : Algorithm, optional
            What made the result that is shown; listed as processing equipment.
        derivation : code, optional
            What was done (PS3.16 CID 7203); segmentation where one is shown, else frames taken from a volume.
        derivation_description : str
        conversion_type : str
            ``"WSD"`` (workstation), ``"SYN"`` (synthetic image), ``"DRW"``, or another of PS3.3 C.8.6.1.
        spacing : (float, float), optional
            Between rows and between columns in mm, of pictures that are not aligned. Only where it is proved, which
            ``calibration`` has to say.
        calibration : str
            What proves the spacing.
        window : (float, float), optional
            Center and width to show a picture in grey with.
        burned_in_annotation : bool
            Whether the pixels hold text that identifies the patient or the date.
        recognizable_features : bool, optional
            Whether the pixels show a face or other features by which the patient could be recognised.
        multiframe : bool, optional
            Of a single picture too; by default a stack is multi-frame and a picture is not.
        deterministic : bool
            Derive the object's UIDs from source, pixels and settings.
        **settings
            As in :class:`dicom_ml.objects.derived.Description`.

        Raises
        ------
        EncodingError, GeometryError
            Naming what the array or the source lacks.
        """
        record = record_of(source)
        pictures = pictures_of(array)
        slices, references = slices_of(source, record, pictures, images, aligned)
        shown = shown_objects(shows)
        if conversion_type not in CONVERSION_TYPES:
            raise EncodingError(
                f"conversion_type is one of {', '.join(CONVERSION_TYPES)} (PS3.3 C.8.6.1), found {conversion_type!r}"
            )
        segmented = any(".66." in r.sop_class_uid for r in shown)
        code = parse_code(derivation or (_SEGMENTATION if segmented else _FROM_VOLUME))
        text = derivation_description or code.meaning + (f", {algorithm.name}" if algorithm is not None else "")
        provenance = Provenance(slices, references, shown, aligned, code, text, algorithm, conversion_type)
        look = Look(*_spacing(spacing, calibration, aligned), _window(window, pictures), burned_in_annotation,
                    recognizable_features)  # fmt: skip
        many = pictures.is_stack if multiframe is None else bool(multiframe)
        if not many and len(pictures.frames) > 1:
            raise EncodingError("a stack of pictures needs a multi-frame object; leave multiframe out")
        defaults: dict[str, Any] = {"series_description": "Secondary capture"}
        if algorithm is not None and not algorithm.is_manual:
            defaults |= {"model": algorithm.name, "software_versions": algorithm.version}
        seed = None
        if deterministic:
            named = [r.sop_instance_uid for r in (*references, *shown)]
            seed = ("sc", record.series_instance_uid, repr(named), repr(pictures.frames.shape),
                    pictures.frames.tobytes(), repr(look))  # fmt: skip
        return cls(_Made(pictures, record, provenance, look, describe(settings, defaults, seed), many))

    # ------------------------------------------------------------------ facts
    @property
    def array(self) -> npt.NDArray[Any]:
        """The pictures: ``(N, H, W)`` or ``(N, H, W, 3)`` of a multi-frame object, else without the first axis.

        Colour is RGB, whatever it is stored as; a palette is applied. Values are the stored ones.
        """
        frames = self._content.frames
        return frames if self.is_multiframe else frames[0]

    @property
    def is_multiframe(self) -> bool:
        """Whether the object holds a stack of pictures."""
        if isinstance(self._content, _Made):
            return self._content.multiframe
        return self.sop_class_uid != sop.SECONDARY_CAPTURE or self._content.frame_count > 1

    @property
    def is_color(self) -> bool:
        """Whether pictures are in colour."""
        if isinstance(self._content, _Made):
            return self._content.pictures.is_color
        ds = self._content.dataset
        return bool(ds.get("SamplesPerPixel") == 3 or ds.get("PhotometricInterpretation") == "PALETTE COLOR")

    @property
    def problems(self) -> list[str]:
        """What of a file that was read is malformed and left out."""
        return [] if isinstance(self._content, _Made) else self._content.problems

    @property
    def references(self) -> list[Reference]:
        """Images that the pictures were made from."""
        if isinstance(self._content, _Made):
            return [*self._content.provenance.images, *self._content.provenance.shown]
        return self._content.references

    @property
    def frame_references(self) -> list[list[Reference]]:
        """Images that each frame was made from; empty where that is not said frame by frame."""
        return self._stored.frame_references

    @property
    def derivation_description(self) -> str:
        """What was done, in words."""
        return str(self._header.get("DerivationDescription") or "")

    @property
    def conversion_type(self) -> str:
        """How the pixels came to be, such as ``"WSD"``."""
        return str(self._header.get("ConversionType") or "")

    @property
    def burned_in_annotation(self) -> bool | None:
        """Whether the pixels hold text that identifies the patient; None where the file does not say."""
        return {"YES": True, "NO": False}.get(str(self._header.get("BurnedInAnnotation") or ""))

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Between rows and between columns in mm, where the file gives a calibrated one."""
        ds = self._header
        value = ds.get("PixelSpacing")
        if not value:
            groups = (ds.get("SharedFunctionalGroupsSequence") or [{}])[0].get("PixelMeasuresSequence") or [{}]
            value = groups[0].get("PixelSpacing")
        try:
            return (float(value[0]), float(value[1])) if value else None
        except (TypeError, ValueError, IndexError):
            return None

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID."""
        return self._content.sop_class if isinstance(self._content, _Made) else str(self._header.SOPClassUID)

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""
        if isinstance(self._content, _Made):
            return self._content.description.sop_instance_uid
        return str(self._header.get("SOPInstanceUID", ""))

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID of the object itself."""
        if isinstance(self._content, _Made):
            return self._content.description.series_instance_uid
        return str(self._header.get("SeriesInstanceUID", ""))

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID."""
        if isinstance(self._content, _Made):
            return self._content.source.study_instance_uid
        return str(self._header.get("StudyInstanceUID", ""))

    @property
    def _header(self) -> Dataset:
        return self._content.header() if isinstance(self._content, _Made) else self._content.dataset

    @property
    def _stored(self) -> StoredCapture:
        if isinstance(self._content, StoredCapture):
            return self._content
        with tempfile.TemporaryFile(buffering=0) as file:
            self._content.write(file, transfer_syntax(None))
            file.seek(0)
            return StoredCapture(file.read(), "secondary capture")

    def __repr__(self) -> str:
        ds = self._header
        count = self._content.frame_count if isinstance(self._content, StoredCapture) else len(self._content.frames)
        size = f"{count} of {ds.get('Rows')} x {ds.get('Columns')}"
        kind = "colour" if self.is_color else "grey"
        return f"SecondaryCapture({size} in {kind}, {len(self.references)} images)"

    # ------------------------------------------------------------------ writing
    def save(self, path: str | os.PathLike[str], compression: str | None = None) -> str:
        """Write the object; the file takes its name only when it is complete.

        Parameters
        ----------
        path : path
        compression : str, optional
            As in :meth:`Segmentation.save`, all without loss. An object that was read is written as it was.
        """
        if isinstance(self._content, StoredCapture):
            if compression is not None:
                raise EncodingError(
                    "a capture that was read is written as it was; make a new one of its array to compress it"
                )
            save_bytes(path, self._content.data)
            return os.fspath(path)
        with atomic_file(path) as file:
            self._content.write(file, transfer_syntax(compression))
        return os.fspath(path)

    @property
    def dataset(self) -> Dataset:
        """The whole object as a pydicom Dataset."""
        from dicom_ml.encoding.untrusted import dcmread

        return dcmread(io.BytesIO(self._stored.data), force=True)


class _Made:
    """A secondary capture made from an array, encoded only when it is written."""

    def __init__(
        self,
        pictures: Pictures,
        source: SourceSeries,
        provenance: Provenance,
        look: Look,
        description: Description,
        multiframe: bool,
    ) -> None:
        self.pictures, self.source, self.provenance, self.look = pictures, source, provenance, look
        self.description, self.multiframe = description, multiframe
        self.sop_class = sop_class_of(pictures, multiframe)
        self.frames = pictures.frames

    def header(self, photometric: str | None = None) -> Dataset:
        """The data set without per-frame groups of aligned pictures, and without pixels."""
        plain = "RGB" if self.pictures.is_color else "MONOCHROME2"
        return header_of(
            self.pictures,
            self.source,
            self.provenance,
            self.look,
            self.description,
            self.sop_class,
            photometric or plain,
        )

    def write(self, file: BinaryIO, syntax: str) -> None:
        """Write the whole file."""
        pictures = self.pictures
        photometric = "MONOCHROME2" if not pictures.is_color else "YBR_RCT" if syntax in _TRANSFORMED else "RGB"
        ds = self.header(photometric)
        file.write(file_head(self.sop_class, self.description.sop_instance_uid, syntax) + dataset_bytes(ds))
        if self.multiframe and self.provenance.aligned:
            grid, slices = self.source.grid, self.provenance.slices
            assert grid is not None
            slice_of = np.asarray(slices, dtype=np.intp)
            file.write(frame_groups(self.source, grid, True, self.provenance.derivation, slice_of))
        frames = pictures.frames
        if not is_encapsulated(syntax):
            native = NativeFrames(file, "OB" if pictures.bits == 8 else "OW", frames.nbytes)
            native.write(0, frames.astype(frames.dtype.newbyteorder("<"), copy=False).data)
            native.close()
            return
        info = FrameInfo(
            frames.shape[1],
            frames.shape[2],
            samples_per_pixel=3 if pictures.is_color else 1,
            bits_allocated=pictures.bits,
            photometric_interpretation=photometric,
            transfer_syntax_uid=syntax,
        )
        sink = EncapsulatedFrames(file, len(frames), extended=frames.nbytes > EXTENDED_FROM)
        for data in encode_ahead(lambda frame: encode_frame(frame, info), iter(frames)):
            sink.append(data)
        sink.close()


def read_secondary_capture(path: str | os.PathLike[str] | bytes) -> SecondaryCapture:
    """Read a secondary capture of any maker: single-frame or multi-frame, in grey, colour or with a palette.

    Pixels are decoded when :attr:`SecondaryCapture.array` is asked for.

    Parameters
    ----------
    path : path or bytes

    Raises
    ------
    FileError
        If it is no secondary capture, or cannot be parsed.
    CodecError
        When pixels are asked for that cannot be decoded.
    """
    return SecondaryCapture(open_capture(path))


def _spacing(
    spacing: Sequence[float] | None, calibration: str, aligned: bool
) -> tuple[tuple[float, float] | None, str]:
    if spacing is None:
        return None, ""
    if aligned:
        raise EncodingError("aligned pictures have the source's spacing; leave spacing out")
    values = tuple(float(v) for v in spacing)
    if len(values) != 2 or min(values) <= 0 or not np.isfinite(values).all():
        raise EncodingError(f"spacing is (between rows, between columns) in mm, found {spacing!r}")
    if not calibration.strip():
        raise EncodingError(
            "distances would be measured by this spacing: say what proves it, such as "
            "calibration='Resampled from CT slices of known spacing', or leave it out"
        )
    return (values[0], values[1]), calibration[:64]


def _window(window: Sequence[float] | None, pictures: Pictures) -> tuple[float, float] | None:
    if window is None:
        return None
    if pictures.is_color:
        raise EncodingError("a picture in colour has no window")
    center, width = (float(v) for v in window)
    if not np.isfinite([center, width]).all() or width < 1:
        raise EncodingError(f"a window has a finite center and a width of at least 1, found {window!r}")
    return center, width
