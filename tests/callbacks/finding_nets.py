"""Networks that find what is known to be there, and a real detector."""

from __future__ import annotations

import lightning.pytorch as L
import numpy as np
import torch

import dicom_ml as dml
from dicom_ml.bridge.boxes import boxes_from_source

#: What is there, in array indices of every series: start and stop (d, h, w).
TRUE = np.array([[[3, 4, 5], [6, 11, 9]], [[1, 2, 2], [2, 5, 4]]], float)


class Finder(L.LightningModule):
    """Gives the true boxes of each image, where that image now lies; ``form``: "list", "mapping", "items"."""

    def __init__(self, form: str = "list") -> None:
        super().__init__()
        self.form = form
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.steps: list[str] = []

    def predict_step(self, batch, batch_idx):
        items = batch if isinstance(batch, list) else None
        images = [item["image"] for item in items] if items else list(batch["image"])
        self.steps += [item["case"] for item in items] if items else list(batch["case"])
        handles = [item["image"].meta["dicom_source"] for item in items] if items else _handles(batch)
        affines = [i.affine for i in images] if items else list(_affines(batch))
        found = []
        for handle, affine in zip(handles, affines, strict=True):
            grid = dml.SourceSeries.from_string(handle).grid
            boxes = torch.tensor(boxes_from_source(TRUE, np.asarray(affine), grid), dtype=torch.float32)
            found.append({"boxes": boxes, "labels": torch.tensor([1, 0]), "scores": torch.tensor([0.5, 0.75])})
        if self.form == "mapping":
            return {"pred": found, "other": 1}
        return [{"pred": one} for one in found] if self.form == "items" else found


def _handles(batch):
    meta = getattr(batch["image"], "meta", None)
    return meta["dicom_source"] if meta else batch["dicom_source"]


def _affines(batch):
    image = batch["image"]
    return image.affine if image.affine.ndim == 3 else [image.affine] * len(image)


class Retina(L.LightningModule):
    """What a recipe's module is: the detector's answer is the step's answer."""

    def __init__(self) -> None:
        super().__init__()
        from tests.transforms.detector import retinanet

        self.detector = retinanet()

    def predict_step(self, batch, batch_idx):
        return self.detector([item["image"].as_tensor() for item in batch])


class Classifier(L.LightningModule):
    """Two logits an image, from its mean; or from a tile's redness."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen: list[tuple] = []

    def predict_step(self, batch, batch_idx):
        image = torch.as_tensor(batch["image"])
        image = image.as_tensor() if hasattr(image, "as_tensor") else image
        if "tile_position" in batch:
            self.seen += [tuple(p) for p in batch["tile_position"].tolist()]
        mean = image.float().mean(dim=tuple(range(1, image.ndim))) / 255
        return torch.stack([torch.zeros_like(mean), 4 * mean - 2], dim=1)


class Squares(L.LightningModule):
    """Finds the dark squares of a tile's first channel as boxes, or as an instance map, cut where the tile ends."""

    def __init__(self, form: str = "boxes", threshold: int = 60) -> None:
        super().__init__()
        self.form, self.threshold = form, threshold
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen: list[tuple[str, int, int]] = []

    def predict_step(self, batch, batch_idx):
        import scipy.ndimage

        self.seen += [(s, *p) for s, p in zip(batch["slide"], batch["tile_position"].tolist(), strict=True)]
        out = []
        for image in np.asarray(batch["image"][:, 0]):
            labels, count = scipy.ndimage.label(image < self.threshold)
            places = scipy.ndimage.find_objects(labels)
            if self.form == "instances":
                scores = [0.5 + 0.01 * (i % 7) for i in range(count)]
                out.append({"instances": torch.tensor(labels), "scores": torch.tensor(scores)})
                continue
            boxes = [[c.start, r.start, c.stop, r.stop] for r, c in places]
            if self.form == "rows":  # as MONAI's detectors count
                boxes = [[r, c, s, t] for c, r, t, s in boxes]
            sizes = [min(0.99, 0.5 + (b[2] - b[0]) / 100) for b in boxes]
            name = "labels_scores" if self.form == "rows" else "scores"
            out.append({
                "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                "labels": torch.zeros(count, dtype=torch.int64), name: torch.tensor(sizes),
            })  # fmt: skip
        return out
