"""Structured reports as labels: boxes, classes and scores on an image, classes of whole images."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms.transform import MapTransform, Transform
from monai.utils import PostFix

from dicom_ml.bridge.boxes import CORNERS, boxes_to_source
from dicom_ml.bridge.consensus import Consensus
from dicom_ml.bridge.detections import ReportTargets
from dicom_ml.bridge.image_grid import PlacedImage
from dicom_ml.bridge.report_classes import ReportClasses
from dicom_ml.bridge.tensors import series_name
from dicom_ml.errors import EncodingError, GeometryError

__all__ = [
    "Consensus",
    "LoadReport",
    "LoadReportD",
    "LoadReportDict",
    "LoadReportd",
    "WorldBoxToImage",
    "WorldBoxToImageD",
    "WorldBoxToImageDict",
    "WorldBoxToImaged",
]


class LoadReport(Transform):
    """Read measurement reports (TID 1500) as labels of the image that they are about.

    Boxes have corners at voxel edges, as MONAI's have: ``image[:, x0:x1, y0:y1, z0:z1]`` is what a box of an image
    ``(C, W, H, D)`` holds, and flipping, zooming, cropping and masking by MONAI's box transforms keep it so. The image
    may have been turned, cropped or resampled before: boxes are those of the image as it is, and where its axes no
    longer run along the series', those of the turned region. A flat region is as thick as its slice. Boxes that reach
    over the edge of a cropped image stay whole until ``ClipBoxToImaged`` cuts them.

    Parameters
    ----------
    classes : sequence, mapping or callable, optional
        What findings mean: a sequence of codes counts from 0, a mapping gives numbers of its own,
        ``{"SCT:27925004": 0}``. Without it everything is of class 0. More in
        :class:`dicom_ml.bridge.report_classes.ReportClasses`.
    kind : {"boxes", "class", "classes"}
        Boxes with their labels; one class for the whole image; or a vector of 0 and 1, which classes there are.
    question : code, optional
        Evaluation or measurement whose answers ``classes`` explains, such as ``"RADLEX:RID36042"`` (Malignancy),
        instead of the finding. Answers are codes, texts or numbers.
    space : {"image", "world"}
        Boxes in the image's coordinates, or in RAS millimetres, where edges are where they truly are.
        :class:`WorldBoxToImaged` takes those to any image exactly; MONAI's ``AffineBoxToImageCoordinated`` counts from
        the centre of the first voxel, and its boxes are half a voxel lower.
    corners : {"edge", "center"}
        ``"center"`` gives boxes in the image as that transform of MONAI's would, for networks that were trained so.
    unmapped : {"error", "drop"} or int
        What to do with what has no class: refuse it, leave it out, or give it this number.
    elsewhere : {"error", "drop"}
        What to do with regions on other images, in other frames of reference, or on segments of segmentations that are
        not given.
    point_size : float or code, optional
        Diameter in mm that single points stand for, or the code of the measurement that says it.
    consensus : Consensus, optional
        Join what several reports show of one finding; otherwise every box of every report counts.
    several : {"error", "majority", "median", "highest", "lowest", "first"}
        Which class the whole image has, where its findings have several.
    missing : "error" or int
        Class of an image of which reports say nothing.
    """

    def __init__(
        self,
        classes: Any = None,
        kind: str = "boxes",
        *,
        question: Any = None,
        space: str = "image",
        corners: str = "edge",
        unmapped: str | int = "error",
        elsewhere: str = "error",
        point_size: Any = None,
        consensus: Consensus | None = None,
        several: str = "error",
        missing: str | int = "error",
    ) -> None:
        if kind not in ("boxes", "class", "classes"):
            raise EncodingError(f"kind is 'boxes', 'class' or 'classes', found {kind!r}")
        if space not in ("image", "world"):
            raise EncodingError(f"space is 'image' or 'world', found {space!r}")
        if corners not in CORNERS:
            raise EncodingError(f"corners is one of {', '.join(CORNERS)}, found {corners!r}")
        self.kind = kind
        self.space = space
        self.shift = 0.5 if corners == "center" and space == "image" else 0.0
        self.targets = ReportTargets(
            ReportClasses(classes, question, unmapped),
            elsewhere=elsewhere,
            point_size=point_size,
            consensus=consensus,
            several=several,
            missing=missing,
        )

    def __call__(self, source: Any, on: Any = None, segmentations: Any = ()) -> Any:
        """Read ``source``, a report or several.

        Parameters
        ----------
        source : path, Report, or a list of these
            Several are several readers of one image.
        on : MetaTensor, Volume, SourceSeries or handle
            The image; not needed for classes of whole images.
        segmentations : path, Segmentation, or a list of these
            That regions may be segments of.

        Returns
        -------
        dict
            ``"boxes"`` float32 (N, 6) as ``xyzxyz``, or (N, 4) of a flat image; ``"labels"`` int64 (N,); ``"scores"``
            float32 (N,), NaN where there is none.
        int
            For ``kind="class"``.
        Tensor of float32, shape (number of classes,)
            For ``kind="classes"``.

        Raises
        ------
        CodeError
            If something has no class.
        GeometryError
            If a region lies elsewhere, or has no extent.
        """
        return self._targets(source, on, None, segmentations)

    def _targets(self, source: Any, on: Any, meta: Any, segmentations: Any) -> Any:
        if self.kind == "class":
            return self.targets.label(source)
        if self.kind == "classes":
            return torch.from_numpy(self.targets.present(source))
        if on is None:
            raise GeometryError("boxes lie on an image; pass it as on=")
        found = self.targets.boxes(source, PlacedImage.of(on, meta), segmentations, self.space)
        return {
            "boxes": torch.from_numpy(found.boxes - np.float32(self.shift)),
            "labels": torch.from_numpy(found.labels),
            "scores": torch.from_numpy(found.scores),
        }


class LoadReportd(MapTransform):
    """Dictionary form of :class:`LoadReport`.

    Parameters
    ----------
    keys : str or sequence of str
        Whose values name reports, a file or a list of files each; the reports of all keys are read together, and the
        keys keep their names.
    on : str
        Key of the image, loaded before.
    classes, kind, **options
        As in :class:`LoadReport`.
    box_key, label_key : str
        Where boxes and labels go; of whole images only the label.
    score_key : str, optional
        Where scores go, where they are wanted. Give it to MONAI's box transforms among their ``label_keys``.
    segmentation_key : str, optional
        Key of the segmentation files that regions may be segments of.
    allow_missing_keys : bool
        Items without any of the keys pass as they are.

    Examples
    --------
    >>> LoadReportd("report", on="image", classes=["SCT:27925004"])  # doctest: +SKIP
    """

    def __init__(
        self,
        keys: KeysCollection,
        on: str = "image",
        classes: Any = None,
        kind: str = "boxes",
        *,
        box_key: str = "box",
        label_key: str = "label",
        score_key: str | None = None,
        segmentation_key: str | None = None,
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.on = on
        self.outputs = {"boxes": box_key, "labels": label_key, "scores": score_key}
        self.segmentation_key = segmentation_key
        self._load = LoadReport(classes, kind, **options)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        reports: list[Any] = []
        present = list(self.key_iterator(d))
        for key in present:
            reports += list(d[key]) if isinstance(d[key], (list, tuple)) else [d[key]]
        if not present:
            return d
        image: Any = None
        if self._load.kind == "boxes":
            if self.on not in d:
                raise KeyError(f"LoadReportd places boxes on the image under {self.on!r}, which is not there")
            image = d[self.on]
        masks = d.get(self.segmentation_key, ()) if self.segmentation_key is not None else ()
        found = self._load._targets(reports, image, d.get(PostFix.meta(self.on)), masks)
        if self._load.kind == "boxes":
            d |= {key: found[name] for name, key in self.outputs.items() if key is not None}
        else:
            d[self.outputs["labels"]] = found
        for key in present:
            # an item holds text and tensors, which every collation takes
            d[key] = series_name(d[key])
        return d


class WorldBoxToImage(Transform):
    """Boxes in RAS millimetres in the coordinates of an image as it is.

    Edges are where they are in space: other than MONAI's ``AffineBoxToImageCoordinate``, which counts from the centre
    of the first voxel and turns two corners only, boxes have their corners at voxel edges, and one that the image's
    axes do not run along is enclosed.
    """

    def __call__(self, boxes: Any, on: Any) -> Any:
        """Change ``boxes``, of shape (N, 6) as ``xyzxyz``, to those of ``on``, a MetaTensor or Volume."""
        return self.change(boxes, PlacedImage.of(on))

    @staticmethod
    def change(boxes: Any, image: PlacedImage) -> Any:
        """Boxes in the image's coordinates, of the type that they have."""
        if image.grid is None or boxes.ndim != 2 or boxes.shape[1] != 6:
            raise GeometryError(
                f"boxes of shape (N, 6) and an image in space were expected, found {tuple(boxes.shape)}"
            )
        values = np.asarray(torch.as_tensor(boxes).detach().cpu().to(torch.float64))
        moved = boxes_to_source(values, None, image.grid, space="world").reshape(-1, 2, 3)[..., ::-1].reshape(-1, 6)
        if isinstance(boxes, torch.Tensor):
            return torch.from_numpy(moved.copy()).to(boxes)
        return moved.astype(boxes.dtype)


class WorldBoxToImaged(MapTransform):
    """Dictionary form of :class:`WorldBoxToImage`.

    Parameters
    ----------
    keys : str or sequence of str
        Of boxes.
    on : str
        Key of the image.
    allow_missing_keys : bool
    """

    def __init__(self, keys: KeysCollection, on: str = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.on = on

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        image = PlacedImage.of(d[self.on], d.get(PostFix.meta(self.on)))
        for key in self.key_iterator(d):
            d[key] = WorldBoxToImage.change(d[key], image)
        return d


LoadReportD = LoadReportDict = LoadReportd
WorldBoxToImageD = WorldBoxToImageDict = WorldBoxToImaged
