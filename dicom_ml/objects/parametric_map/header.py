"""What the headers of parametric maps of volumes and of slides have in common (PS3.3 C.8.32)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.codecs import is_encapsulated
from dicom_ml.encoding.writer import dataset_bytes, sequence_bytes
from dicom_ml.errors import EncodingError
from dicom_ml.objects.parametric_map.values import Quantity, Storage, mapping_dataset, window

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "BY_POSITION",
    "BY_QUANTITY",
    "add_map_groups",
    "add_map_image",
    "check_syntax",
    "mapping_elements",
    "pixel_element",
]

BY_QUANTITY = (0x00409210, 0x00409096, "Quantity")
BY_POSITION = (0x00200032, 0x00209113, "Image Position Patient")
_IMAGE_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
_PIXEL_ELEMENTS = {"f4": (0x7FE00008, "OF"), "f8": (0x7FE00009, "OD"), "u2": (0x7FE00010, "OW")}


def pixel_element(storage: Storage) -> tuple[int, str]:
    """Tag and VR of native pixel data."""
    return _PIXEL_ELEMENTS[storage.dtype.str[1:]]


def check_syntax(storage: Storage, syntax: str) -> None:
    """Refuse compressed floats."""
    if is_encapsulated(syntax) and storage.is_float:
        raise EncodingError(
            "floating point pixel data cannot be compressed (PS3.5 8.2); leave compression out, or store the map "
            "with dtype='uint16'"
        )


def mapping_elements(quantities: Sequence[Quantity], storage: Storage) -> list[bytes]:
    """Real World Value Mapping of each channel, for its frames."""
    items = (mapping_dataset(q, storage, c) for c, q in enumerate(quantities))
    return [sequence_bytes(0x00409096, [dataset_bytes(item)]) for item in items]


def add_map_image(ds: Dataset, storage: Storage, qualification: str, frame_count: int) -> None:
    """Parametric Map Image and Image Pixel modules, but for rows and columns."""
    ds.SOPClassUID = sop.PARAMETRIC_MAP
    ds.ImageType = _IMAGE_TYPE
    ds.PixelPresentation = "MONOCHROME"
    ds.ContentQualification = qualification
    ds.AcquisitionContextSequence = []
    if "LossyImageCompression" not in ds:
        ds.LossyImageCompression = "00"
    ds.BurnedInAnnotation = ds.RecognizableVisualFeatures = "NO"
    ds.PresentationLUTShape = "IDENTITY"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.NumberOfFrames = frame_count
    bits = 8 * storage.dtype.itemsize
    ds.BitsAllocated = bits
    if not storage.is_float:
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, 0
    elif storage.padding is not None:
        prefix = "Float" if bits == 32 else "DoubleFloat"
        setattr(ds, f"{prefix}PixelPaddingValue", storage.padding)
        # the range of values that stand for no value holds just this one
        setattr(ds, f"{prefix}PixelPaddingRangeLimit", storage.padding)


def add_map_groups(groups: Dataset, quantities: Sequence[Quantity], storage: Storage) -> None:
    """Shared functional groups of what values mean: frame type, window, and the mapping of a single quantity."""
    from pydicom import Dataset

    kind, transformation, voi = Dataset(), Dataset(), Dataset()
    kind.FrameType = _IMAGE_TYPE
    groups.ParametricMapFrameTypeSequence = [kind]
    transformation.RescaleIntercept, transformation.RescaleSlope, transformation.RescaleType = "0", "1", "US"
    groups.PixelValueTransformationSequence = [transformation]
    voi.WindowCenter, voi.WindowWidth = window(storage)
    voi.VOILUTFunction = "LINEAR_EXACT"
    groups.FrameVOILUTSequence = [voi]
    if len(quantities) == 1:
        groups.RealWorldValueMappingSequence = [mapping_dataset(quantities[0], storage, 0)]
