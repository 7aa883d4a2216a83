"""DICOM SEG from MONAI's own SaveImage, for pipelines and bundles that have one already.

:class:`dicom_ml.transforms.SaveSegmentationd` is the plainer way: it names files by UIDs and raises the very error
that occurred. Where ``SaveImage`` must stay, this is what one meets there, and what happens to it here:

- For ``.dcm``, ``SaveImage`` asks its writer for uint8; labels above 255 and probabilities would suffer. The writer
  here takes the values as they are, and refuses ``scale=``.
- ``SaveImage`` catches a writer's error, tries the next writer registered, and in the end raises a ``RuntimeError``
  that quotes the errors. So this writer must be the only one: pass ``writer=``, or register it with
  :func:`register_segmentation_writer`.
- ``monai.data.register_writer``, called before MONAI has set up its table of writers, leaves NIfTI and PNG without
  any. :func:`register_segmentation_writer` has the table set up first.
- Files are named after the input's file or folder, without what follows its last dot: folders that are named by UIDs
  may share what is left, and overwrite each other. :func:`series_name_formatter` names them by the series.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from monai.data import image_writer
from monai.data.image_writer import ImageWriter

from dicom_ml.bridge.output import SegmentationOutput, WrittenSegmentation, as_segments
from dicom_ml.bridge.tensors import SOURCE_KEY, handle_of, prediction_array
from dicom_ml.errors import EncodingError
from dicom_ml.objects.iod import validated
from dicom_ml.source import as_source

__all__ = ["DicomSegmentationWriter", "register_segmentation_writer", "series_name_formatter"]


class DicomSegmentationWriter(ImageWriter):
    """Writer of DICOM SEG for MONAI's ``SaveImage``.

    Parameters
    ----------
    segments, kind, algorithm, compression, on_mismatch, model, validate, **options
        As in :class:`dicom_ml.transforms.SaveSegmentation`.
    output_dtype
        Given by ``SaveImage``, and not heeded: labels and probabilities are written as they are.
    scale
        Must be None.

    Examples
    --------
    >>> SaveImaged(
    ...     "pred", output_dir="out", output_ext=".dcm", writer=DicomSegmentationWriter.configured(segments=segments)
    ... )  # doctest: +SKIP
    """

    def __init__(
        self,
        segments: Any = None,
        kind: str = "binary",
        *,
        algorithm: Any = None,
        compression: str | None = None,
        on_mismatch: str = "error",
        model: str = "",
        validate: bool = True,
        output_dtype: Any = None,
        scale: Any = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if scale is not None:
            raise EncodingError(f"scale={scale!r} would change labels and probabilities; leave it None")
        if segments is None:
            raise EncodingError(
                "the writer has to know the segments: "
                "SaveImage(writer=DicomSegmentationWriter.configured(segments=...))"
            )
        self.output = SegmentationOutput(
            as_segments(segments, algorithm), kind, compression, on_mismatch, options=options
        )
        self.model = model
        self.validate = validate
        self.meta: Mapping[str, Any] = {}
        self.written: WrittenSegmentation | None = None

    @classmethod
    def configured(cls, **settings: Any) -> Any:
        """What ``SaveImage(writer=)`` takes: this class with its settings filled in (picklable)."""
        return partial(cls, **settings)

    def set_data_array(self, data_array: Any, channel_dim: int | None = 0, **kwargs: Any) -> None:
        """Take ``(C, W, H, D)``, or with ``channel_dim=None`` ``(W, H, D)``."""
        if channel_dim is None:
            data_array = data_array[None]
        elif channel_dim != 0:
            data_array = data_array.movedim(channel_dim, 0)
        self.data_obj = data_array

    def set_metadata(self, meta_dict: Mapping[str, Any] | None, resample: bool = False, **options: Any) -> None:
        """Take the meta of one item; ``resample=True`` of ``SaveImage`` allows resampling onto the source's grid."""
        if handle_of(meta_dict) is None:
            raise EncodingError(
                "the prediction does not say which series it was made from: load the image with LoadDicomd or "
                "DicomReader, and keep the prediction a MetaTensor (is monai.data.set_track_meta on?)"
            )
        self.meta = meta_dict or {}
        if resample and self.output.on_mismatch == "error":
            self.output = SegmentationOutput(
                self.output.segments, self.output.kind, self.output.compression, "resample", options=self.output.options
            )

    def write(self, filename: str | os.PathLike[str], verbose: bool = True, **kwargs: Any) -> None:
        """Write to ``filename``; the file appears when it is complete."""
        super().write(filename, verbose=verbose)
        array, affine = prediction_array(self.data_obj, self.meta.get("affine"))
        source = as_source(self.meta[SOURCE_KEY])
        with validated(source, self.validate):
            self.written = self.output.write(
                array, affine, source, os.path.dirname(filename), model=self.model, path=filename
            )


def register_segmentation_writer(extension: str = "dcm", **settings: Any) -> None:
    """Make :class:`DicomSegmentationWriter` what MONAI writes files of ``extension`` with, and the only one.

    Parameters
    ----------
    extension : str
    **settings
        As in :class:`DicomSegmentationWriter`; ``segments=`` is needed.
    """
    if not image_writer.SUPPORTED_WRITERS:
        image_writer.init()  # a table that is not empty is taken for complete
    image_writer.SUPPORTED_WRITERS[extension.lower().lstrip(".")] = (DicomSegmentationWriter.configured(**settings),)


def series_name_formatter(metadict: Mapping[str, Any] | None, saver: Any) -> dict[str, Any]:
    """Name files of ``SaveImage(output_name_formatter=)`` by the Series Instance UID of the source.

    Dots become underscores, because ``SaveImage`` takes what follows the last one for a file's suffix.
    """
    meta: Mapping[str, Any] = metadict or {}
    uid = str(meta.get("series_instance_uid") or "")
    index = meta.get("patch_index")
    subject = uid.replace(".", "_") or str(getattr(saver, "_data_index", 0))
    return {"subject": subject, "idx": index}
