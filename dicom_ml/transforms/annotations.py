"""Bulk annotations and regions of reports, drawn as label maps on the image that they belong to."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms.transform import MapTransform, Transform
from monai.utils import PostFix

from dicom_ml.bridge.detections import ReportTargets
from dicom_ml.bridge.drawn_labels import DrawnLabels
from dicom_ml.bridge.image_grid import PlacedImage, tile_window
from dicom_ml.bridge.tensors import mask_tensor, series_name, torch_array
from dicom_ml.errors import EncodingError

__all__ = ["LoadAnnotations", "LoadAnnotationsD", "LoadAnnotationsDict", "LoadAnnotationsd"]

KINDS = ("label", "channels", "boxes")


class LoadAnnotations(Transform):
    """Draw what was outlined on an image as a label map on the image's own grid.

    Of a volume these are the regions of measurement reports (SR); of a tile of a slide, as
    :class:`dicom_ml.data.TileDataset` gives it, bulk annotations (ANN) as well. A voxel belongs to a region when its
    centre lies inside; outlines of one finding on one slice go together, so that one within another is a hole. Regions
    are drawn on the planes of the series, and an image that was turned, cropped or resampled before takes the nearest
    of these voxels.

    Parameters
    ----------
    classes : sequence, mapping or callable, optional
        What findings, or types or labels of annotation groups, mean: a sequence of codes counts from 1, a mapping gives
        numbers of its own. Without it regions of reports are 1, and annotation groups have their number in their file.
    kind : {"label", "channels", "boxes"}
        One channel of class numbers, a channel of booleans for each class, or boxes and their classes.
    question : code, optional
        Of reports: evaluation or measurement whose answers are the classes, instead of the finding.
    unmapped : {"error", "drop"} or int
        What to do with what has no class.
    overlap : {"error", "first", "last"}
        Which region keeps a voxel that several of different classes claim, in a label map.
    elsewhere : {"error", "drop"}
        What to do with regions on other images, or on segments of segmentations that are not given.
    point_size : float or code, optional
        Millimetres that points and lines are wide; of volumes also the measurement of their group that says it.
    min_visible : float
        Share of a box that must lie in a tile; boxes are cut at its edge.
    """

    def __init__(
        self,
        classes: Any = None,
        kind: str = "label",
        *,
        question: Any = None,
        unmapped: str | int = "error",
        overlap: str = "last",
        elsewhere: str = "error",
        point_size: Any = None,
        min_visible: float = 0.5,
    ) -> None:
        if kind not in KINDS:
            raise EncodingError(f"kind is one of {', '.join(KINDS)}, found {kind!r}")
        self.kind = kind
        self.labels = DrawnLabels(
            classes,
            question=question,
            unmapped=unmapped,
            overlap=overlap,
            elsewhere=elsewhere,
            point_size=point_size,
            min_visible=min_visible,
        )
        self._targets = ReportTargets(self.labels.classes, elsewhere=elsewhere, point_size=point_size)

    def __call__(self, source: Any, on: Any, segmentations: Any = ()) -> Any:
        """Draw ``source``, a file or several, on an image.

        Parameters
        ----------
        source : path, Report, Annotations, or a list of these
        on : MetaTensor, Volume, SourceSeries, handle or mapping
            The image; of a tile the whole item.
        segmentations : path, Segmentation, or a list of these
            That regions of reports may be segments of.

        Returns
        -------
        MetaTensor of shape (C, W, H, D), or Tensor of shape (C, rows, columns)
        dict
            For ``kind="boxes"``: ``"boxes"`` float32 along the axes of the image's array, as MONAI has them, and
            ``"labels"`` int64.

        Raises
        ------
        CodeError
            If something has no class.
        GeometryError
            If a region lies elsewhere, or covers no voxels by itself.
        """
        if isinstance(on, Mapping):
            return self._tile(source, on)
        return self._volume(source, PlacedImage.of(on), segmentations)

    def _volume(self, source: Any, image: PlacedImage, segmentations: Any) -> Any:
        if self.kind == "boxes":
            found = self._targets.boxes(source, image, segmentations)
            return {"boxes": torch.from_numpy(found.boxes), "labels": torch.from_numpy(found.labels)}
        array = self.labels.of_volume(source, image, segmentations, self.kind == "channels")
        return mask_tensor(array, image.source.on(image.grid), image.handle, series_name(source))

    def _tile(self, source: Any, item: Mapping[Any, Any]) -> Any:
        if self.kind == "boxes":
            return {k: torch.from_numpy(v) for k, v in self.labels.boxes_of_tile(source, item).items()}
        array = self.labels.of_tile(source, item, self.kind == "channels")
        return torch.from_numpy(torch_array(np.ascontiguousarray(array)))


class LoadAnnotationsd(MapTransform):
    """Dictionary form of :class:`LoadAnnotations`.

    Parameters
    ----------
    keys : str or sequence of str
        Whose values name annotations or reports; each is replaced by its label map. Among the transforms of a
        :class:`dicom_ml.data.TileDataset`, records bring them: ``{"image": "slide/", "ann": "nuclei.ann.dcm"}``.
    on : str
        Key of the image.
    classes, kind, **options
        As in :class:`LoadAnnotations`.
    box_key, label_key : str
        Where boxes and their labels go, for ``kind="boxes"``; the keys keep their names then.
    segmentation_key : str, optional
        Key of the segmentation files that regions may be segments of.
    allow_missing_keys : bool

    Examples
    --------
    >>> LoadAnnotationsd("label", on="image", classes=["SCT:27925004"])  # doctest: +SKIP
    """

    def __init__(
        self,
        keys: KeysCollection,
        on: str = "image",
        classes: Any = None,
        kind: str = "label",
        *,
        box_key: str = "box",
        label_key: str = "label",
        segmentation_key: str | None = None,
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if kind == "boxes" and len(self.keys) > 1:
            raise EncodingError("boxes of several keys would take each other's place; give one key a list of files")
        self.on = on
        self.outputs = {"boxes": box_key, "labels": label_key}
        self.segmentation_key = segmentation_key
        self._load = LoadAnnotations(classes, kind, **options)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if isinstance(d[key], torch.Tensor):
                continue  # loaded before, by a dataset
            if self.on not in d:
                raise KeyError(f"LoadAnnotationsd draws {key!r} on the image under {self.on!r}, which is not there")
            source, image = d[key], d[self.on]
            if tile_window(d) is not None:
                found = self._load._tile(source, d)
                if isinstance(found, torch.Tensor) and isinstance(image, MetaTensor):
                    found = MetaTensor(found, meta=dict(image.meta))
            else:
                masks = d.get(self.segmentation_key, ()) if self.segmentation_key is not None else ()
                placed = PlacedImage.of(image, d.get(PostFix.meta(self.on)))
                found = self._load._volume(source, placed, masks)
            if self._load.kind == "boxes":
                d |= {name: found[what] for what, name in self.outputs.items()}
                d[key] = series_name(source)
            else:
                d[key] = found
        return d


LoadAnnotationsD = LoadAnnotationsDict = LoadAnnotationsd
