"""Segmentations: loaded onto an image's own voxels, saved onto them again."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms.transform import MapTransform, Transform
from monai.utils import PostFix

from dicom_ml.bridge.classes import class_channels, class_labels
from dicom_ml.bridge.label_files import open_labels
from dicom_ml.bridge.output import SegmentationOutput, as_segments
from dicom_ml.bridge.tensors import handle_of, mask_tensor, series_name
from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.geometry import Grid, monai_affine
from dicom_ml.source import SourceSeries, as_source
from dicom_ml.transforms.saving import GridSaver, GridSaverd

__all__ = [
    "LoadSegmentation",
    "LoadSegmentationD",
    "LoadSegmentationDict",
    "LoadSegmentationd",
    "SaveSegmentation",
    "SaveSegmentationD",
    "SaveSegmentationDict",
    "SaveSegmentationd",
]


# ---------------------------------------------------------------------- loading
class LoadSegmentation(Transform):
    """Read segmentations onto the voxels of the image they belong to, as a MetaTensor ``(C, W, H, D)``.

    RT structure sets are read as well: their regions, filled on the image's slices, stand in for segments.

    Parameters
    ----------
    segments : sequence or mapping, optional
        Classes wanted, each named by a segment's label, coded type (``"SCT:10200004"``) or number. The first becomes
        label 1 or channel 0, and so on; a mapping gives labels of its own, ``{"Liver": 3}``. Every segment that fits
        a name goes into its class. Without it, labels are the file's own segment numbers.
    kind : {"label", "channels"}
        One channel of class numbers, or a channel of booleans for each class (float32 where the file holds fractions).
    overlap : {"error", "first", "last"}
        Which class keeps a voxel that several claim, in a label map.
    missing : {"error", "empty"}
        What to do when the files have no segment for a class: refuse them, or leave the class empty.
    outside : {"error", "drop"}
        What to do with voxels that lie outside the image.
    resample : bool
        Take nearest neighbours where the segmentation lies on a lattice of its own; otherwise that is an error.
    threshold : float
        Fraction from which a voxel of a fractional segmentation belongs to its segment, in a label map.
    contours : mapping, optional
        Policies for structure sets, as in :meth:`dicom_ml.StructureSet.mask`: ``{"between": "nearest"}``.
    """

    def __init__(
        self,
        segments: Sequence[Any] | Mapping[Any, int] | None = None,
        kind: str = "label",
        *,
        overlap: str = "error",
        missing: str = "error",
        outside: str = "error",
        resample: bool = False,
        threshold: float = 0.5,
        contours: Mapping[str, Any] | None = None,
    ) -> None:
        if kind not in ("label", "channels"):
            raise EncodingError(f"kind is 'label' or 'channels', found {kind!r}")
        if missing not in ("error", "empty"):
            raise EncodingError(f"missing is 'error' or 'empty', found {missing!r}")
        self.segments = [segments] if isinstance(segments, (str, int)) else segments
        self.kind = kind
        self.overlap = overlap
        self.missing = missing
        self.placing = {"outside": outside, "resample": resample}
        self.threshold = threshold
        self.contours = contours

    def __call__(self, source: Any, on: Any) -> Any:
        """Read ``source``, a file or several, onto the grid of ``on``.

        Parameters
        ----------
        source : path, Segmentation, StructureSet, or a list of these
        on : MetaTensor, Volume, SourceSeries or handle
            The image. A MetaTensor must not have been moved or resampled yet.

        Raises
        ------
        GeometryError
            If the image has been transformed, or the grids do not go together.
        CodeError
            If a class is missing.
        """
        handle, record = _image_source(on)
        items = source if isinstance(source, (list, tuple)) else [source]
        files = [open_labels(item, self.contours) for item in items]
        if not files:
            raise EncodingError("no segmentation was given")
        assert record.grid is not None
        if self.kind == "label":
            array = class_labels(
                files, record, self.segments, self.missing, self.overlap, self.threshold, **self.placing
            )[None]
        else:
            array = class_channels(files, record, self.segments, self.missing, **self.placing)
        return mask_tensor(array, record, handle, series_name(source))


def _image_source(on: Any) -> tuple[str, SourceSeries]:
    """Handle and record of the image that a mask is wanted on."""
    if isinstance(on, torch.Tensor):
        handle = handle_of(getattr(on, "meta", None))
        if handle is None:
            raise EncodingError(
                "the image does not say which series it is; load it with LoadDicomd, or LoadImaged and "
                "reader=DicomReader(), before the segmentation"
            )
        # the image's own grid: read_volume(tilt="resample") puts it on another one than the source's
        return handle, SourceSeries.from_string(handle).on(_untouched_grid(on))
    record = as_source(on)
    if record.grid is None:
        raise GeometryError("the image has no patient geometry, so no mask can be placed on it")
    return record.to_string(), record


def _untouched_grid(image: Any) -> Grid:
    """Grid of an image that is as it was loaded."""
    affine = torch.as_tensor(image.affine)
    original = torch.as_tensor(image.meta.get("original_affine", affine))
    shape = [int(n) for n in image.meta.get("spatial_shape", image.shape[-3:])]
    if affine.shape != (4, 4) or not torch.allclose(affine, original) or shape != list(image.shape[-3:]):
        raise GeometryError(
            "the image has been moved, cropped or resampled since it was loaded; put LoadSegmentationd directly after "
            "LoadDicomd, and let the transforms that follow work on both keys"
        )
    w, h, d = shape
    return Grid((d, h, w), monai_affine(affine.numpy()))


class LoadSegmentationd(MapTransform):
    """Dictionary form of :class:`LoadSegmentation`.

    Parameters
    ----------
    keys : str or sequence of str
        Whose values name segmentation files, or RT structure sets.
    on : str
        Key of the image, loaded before.
    segments, kind, **options
        As in :class:`LoadSegmentation`.
    allow_missing_keys : bool
    """

    def __init__(
        self,
        keys: KeysCollection,
        on: str = "image",
        segments: Sequence[Any] | Mapping[Any, int] | None = None,
        kind: str = "label",
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.on = on
        self._load = LoadSegmentation(segments, kind, **options)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if isinstance(d[key], torch.Tensor) and handle_of(getattr(d[key], "meta", None)):
                continue  # loaded before, by a dataset
            if self.on not in d:
                raise KeyError(f"LoadSegmentationd places {key!r} on the image under {self.on!r}, which is not there")
            image: Any = d[self.on]
            if not hasattr(image, "meta"):
                # under set_track_meta(False) the meta stands beside the tensor
                image = handle_of(d.get(PostFix.meta(self.on))) or image
            d[key] = self._load(d[key], image)
        return d


# ---------------------------------------------------------------------- saving
class SaveSegmentation(GridSaver):
    """Write a prediction as a DICOM SEG on the voxels of its source series.

    The source is found by the handle in the meta that :class:`LoadDicom` or :class:`DicomReader` made. A prediction
    whose voxels are voxels of the source, in whatever order or part of it, lands there exactly; anything else is
    refused, unless ``on_mismatch`` says otherwise. Writing the same prediction again gives the same UIDs. The file
    takes its name only when it is complete, and errors are raised.

    Parameters
    ----------
    segments : sequence of Segment or mapping, or path of a JSON file of these
        What labels 1, 2, ... or the channels mean.
    output_dir : path
        Made where missing.
    kind : {"binary", "labelmap", "fractional"}
    algorithm : Algorithm, mapping or ``"manual"``, optional
        For segments that name none.
    compression : {"rle", "jpeg-ls", "jpeg2000", "htjpeg2000", "deflate"}, optional
    on_mismatch : {"error", "own-grid", "resample"}
        For predictions that do not lie on the source's voxels: refuse them, write them on their own grid, or
        resample them onto the source's.
    filename : str, optional
        Template; see :class:`dicom_ml.bridge.output.SegmentationOutput`. Only UIDs, a digest and the algorithm's
        name may stand in it, never a header's free text.
    model : str
        What tells this model from another with the same name and version, such as a checkpoint's hash: it takes
        part in the UIDs.
    validate : bool
        Check each object against the standard and its source before it takes its name, as :func:`dicom_ml.validate`
        does; one with an error is not written, and whatever had its name before stays.
    **options
        Further arguments of :meth:`dicom_ml.Segmentation.from_array`, such as ``series_description``.

    Notes
    -----
    The prediction's meta (for a plain tensor, in the dictionary form, ``"<key>_meta_dict"``) gets ``"saved_to"`` (the
    path) and ``"saved_sop_instance_uid"``.
    """

    def __init__(
        self,
        segments: Any,
        output_dir: str | os.PathLike[str] = ".",
        kind: str = "binary",
        *,
        algorithm: Any = None,
        compression: str | None = None,
        on_mismatch: str = "error",
        filename: str | None = None,
        model: str = "",
        validate: bool = True,
        **options: Any,
    ) -> None:
        made = as_segments(segments, algorithm)
        self.output = SegmentationOutput(made, kind, compression, on_mismatch, filename, options)
        self.output_dir = os.fspath(output_dir)
        self.model = model
        self.validate = validate


class SaveSegmentationd(GridSaverd):
    """Dictionary form of :class:`SaveSegmentation`.

    Parameters
    ----------
    keys : str or sequence of str
        Keys of predictions.
    segments, output_dir, kind, **options
        As in :class:`SaveSegmentation`.
    on : str
        Key of the image, which gives source and affine to predictions that have lost theirs but have kept its shape.
    allow_missing_keys : bool
    """

    def __init__(
        self,
        keys: KeysCollection,
        segments: Any,
        output_dir: str | os.PathLike[str] = ".",
        kind: str = "binary",
        *,
        on: str = "image",
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(keys, lambda: SaveSegmentation(segments, output_dir, kind, **options), on, allow_missing_keys)


LoadSegmentationD = LoadSegmentationDict = LoadSegmentationd
SaveSegmentationD = SaveSegmentationDict = SaveSegmentationd
