"""The scans of a run as a Lightning data module: boxes come from the label reports, parts from the manifest."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import numpy.typing as npt
import torch
from monai.data import CacheDataset, PersistentDataset
from monai.data import Dataset as PreparedDataset
from monai.transforms import Compose, Orientationd, ScaleIntensityRanged, Spacingd
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from dicom_ml.errors import SeriesError
from dicom_ml.transforms import LoadDicomd, LoadReportd
from recipes.radiology.nodules import NODULE

__all__ = ["HU_RANGE", "PatchSampler", "RunScans", "TrainingPatches", "cut_patch", "scans_of"]

Array = npt.NDArray[Any]
#: Hounsfield units that become 0 and 1.
HU_RANGE = (-1024.0, 300.0)


def scans_of(folder: Path, parts: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Scans of a run: ``"image"`` (folder), ``"report"`` (labels, where there are any), ``"part"``, ``"series"``.

    Parameters
    ----------
    folder : path
        Of the run; its steps fetch and labels are done.
    parts : sequence of str, optional
        ``"train"``, ``"val"``, ``"test"``, ``"external"``; by default all.
    """
    listed = folder / "labels" / "scans.csv"
    if not listed.is_file():
        raise SeriesError(f"{folder} is no run whose scans have labels; do its steps cohort, fetch and labels first")
    found = []
    with open(listed, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if parts is None or row["split"] in parts:
                series = row["series"]
                one = {"image": str(folder / "fetch" / series), "part": row["split"], "series": series}
                if row["labelled"] == "yes":
                    one["report"] = str(folder / "labels" / f"{series}.sr.dcm")
                found.append(one)
    return found


def cut_patch(
    image: Array, boxes: Array, start: Sequence[int], size: Sequence[int]
) -> tuple[Array, Array, npt.NDArray[np.intp]]:
    """A patch of an image ``(1, W, H, D)``, and the boxes whose middles lie in it.

    Parameters
    ----------
    image : ndarray
    boxes : ndarray of shape (N, 6)
        ``xyzxyz``, at voxel edges.
    start, size : sequence of int
        What lies outside of the image is 0.

    Returns
    -------
    patch : ndarray of shape (1, *size)
    boxes : ndarray of shape (M, 6)
        In the patch, and cut at its edges.
    kept : ndarray of int
        Their numbers among those given.
    """
    first, extent = np.asarray(start), np.asarray(size)
    shape = np.array(image.shape[1:])
    low, high = np.maximum(first, 0), np.minimum(first + extent, shape)
    patch = np.zeros((image.shape[0], *size), dtype=image.dtype)
    into = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))
    patch[(slice(None), *into)] = image[(slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))]
    middles = (boxes[:, :3] + boxes[:, 3:]) / 2
    kept = np.flatnonzero(((middles >= low) & (middles < high)).all(axis=1))
    moved = boxes[kept] - np.tile(first, 2)
    return patch, np.clip(moved, 0, np.tile(extent, 2)), kept


class TrainingPatches(Dataset):
    """Patches of prepared scans. What item ``n`` is depends on ``n`` and the seed alone, whatever was drawn before.

    Parameters
    ----------
    scans : sequence of mapping
        Prepared: ``"image"``, ``"box"``, ``"label"``.
    size : sequence of int
        Of a patch (W, H, D).
    per_scan : int
        Patches of a scan in an epoch.
    positive : float
        Share of patches that hold a nodule, where a scan has any.
    seed : int
    """

    def __init__(self, scans: Any, size: Sequence[int], per_scan: int, positive: float, seed: int) -> None:
        self.scans, self.size, self.per_scan = scans, tuple(size), per_scan
        self.positive, self.seed = positive, seed

    def __len__(self) -> int:
        return len(self.scans) * self.per_scan

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([self.seed, number])
        scan = self.scans[number % len(self.scans)]
        image, boxes = _plain(scan["image"]), _plain(scan["box"]).astype(np.float64).reshape(-1, 6)
        patch, own, kept = cut_patch(image, boxes, self._start(image.shape[1:], boxes, rng).tolist(), self.size)
        for axis in np.flatnonzero(rng.random(3) < 0.5).tolist():
            patch = np.flip(patch, axis + 1)
            own[:, [axis, axis + 3]] = self.size[axis] - own[:, [axis + 3, axis]]
        if self.size[0] == self.size[1] and rng.random() < 0.5:
            patch, own = patch.swapaxes(1, 2), own[:, [1, 0, 2, 4, 3, 5]]
        changed = patch.astype(np.float32) * rng.uniform(0.9, 1.1) + rng.uniform(-0.05, 0.05)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(changed, dtype=np.float32)),
            "box": torch.from_numpy(own.astype(np.float32)),
            "label": torch.from_numpy(_plain(scan["label"]).astype(np.int64).reshape(-1)[kept]),
        }

    def _start(self, shape: Sequence[int], boxes: Array, rng: np.random.Generator) -> Array:
        """Where a patch begins: anywhere in the image, or such that a nodule's middle lies well in it."""
        size, whole = np.array(self.size), np.array(shape)
        most = np.maximum(whole - size, 0)
        if len(boxes) and rng.random() < self.positive:
            box = boxes[rng.integers(len(boxes))]
            middle = (box[:3] + box[3:]) / 2
            start = np.floor(middle - size * rng.uniform(0.2, 0.8, 3)).astype(int)
            return np.clip(start, 0, most)
        return rng.integers(0, most + 1)


def _plain(value: Any) -> Array:
    return np.asarray(value.as_tensor() if hasattr(value, "as_tensor") else value)


class PatchSampler(DistributedSampler):
    """Numbers of an epoch's patches in another order, none of which any other epoch has; shared among processes."""

    def __init__(self, count: int, seed: int) -> None:
        # the base class would want torch.distributed to run already
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this."""
        self.epoch = int(epoch)

    def _place(self) -> tuple[int, int]:
        runs = torch.distributed.is_available() and torch.distributed.is_initialized()
        return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if runs else (0, 1)

    def __len__(self) -> int:
        return self.count // self._place()[1]

    def __iter__(self) -> Iterator[int]:
        rank, world = self._place()
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count) + self.epoch * self.count
        return iter(order[rank::world][: len(self)].tolist())


class RunScans(L.LightningDataModule):
    """Scans of a run, on a grid of one spacing, with values from 0 (-1024 HU) to 1 (300 HU).

    Parameters
    ----------
    folder : str
        Of the run.
    spacing : sequence of float, optional
        Millimetres along (w, h, d) that scans are brought to; by default they stay as they are.
    patch_size : sequence of int
    patches_per_scan : int
        In an epoch.
    positive : float
        Share of patches that hold a nodule.
    batch_size : int
    num_workers : int
    cache : str, optional
        ``"memory"``, or a folder, for prepared scans of training and validation.
    predict_parts : sequence of str
    seed : int
    """

    def __init__(
        self,
        folder: str = "out/radiology",
        spacing: Sequence[float] | None = None,
        patch_size: Sequence[int] = (48, 48, 48),
        patches_per_scan: int = 4,
        positive: float = 0.7,
        batch_size: int = 4,
        num_workers: int = 0,
        cache: str | None = None,
        predict_parts: Sequence[str] = ("test", "external"),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.spacing = None if spacing is None else tuple(spacing)
        self.patch_size, self.patches_per_scan, self.positive = tuple(patch_size), patches_per_scan, positive
        self.batch_size, self.num_workers, self.cache = batch_size, num_workers, cache
        self.predict_parts, self.seed = tuple(predict_parts), seed
        self._prepared: dict[str, Any] = {}
        self._records: dict[str, list[dict[str, Any]]] | None = None

    @property
    def records(self) -> dict[str, list[dict[str, Any]]]:
        """Scans of each part; read on first use."""
        if self._records is None:
            parts = {"train": ("train",), "val": ("val",), "test": ("test",), "predict": self.predict_parts}
            found = scans_of(self.folder)
            self._records = {name: [one for one in found if one["part"] in own] for name, own in parts.items()}
        return self._records

    @property
    def prepare(self) -> Callable[[Mapping[str, Any]], Any]:
        """From the files of a scan to what the network sees, and its boxes there."""
        steps: list[Any] = [LoadDicomd("image"), Orientationd("image", axcodes="RAS", labels=None)]
        if self.spacing is not None:
            steps.append(Spacingd("image", pixdim=self.spacing, padding_mode="border"))
        steps += [
            LoadReportd("report", on="image", classes={NODULE: 0}, allow_missing_keys=True),
            ScaleIntensityRanged("image", *HU_RANGE, 0.0, 1.0, clip=True),
        ]
        return Compose(steps)

    def prepared(self, name: str) -> Any:
        """Prepared scans of a part."""
        if name not in self._prepared:
            records = self.records[name]
            if self.cache is None or name not in ("train", "val"):
                made = PreparedDataset(records, self.prepare)
            elif self.cache == "memory":
                made = CacheDataset(records, self.prepare, progress=False, num_workers=1, copy_cache=False)
            else:
                made = PersistentDataset(records, self.prepare, cache_dir=self.cache)
            self._prepared[name] = made
        return self._prepared[name]

    # ------------------------------------------------------------------ loaders
    def train_dataloader(self) -> Any:
        """Batches of patches, as lists of items."""
        data = TrainingPatches(self.prepared("train"), self.patch_size, self.patches_per_scan, self.positive, self.seed)
        return self._loader(data, self.batch_size, PatchSampler(len(data), self.seed), drop_last=True)

    def val_dataloader(self) -> Any:
        """Whole scans of the validation part."""
        return self._loader(self.prepared("val"))

    def test_dataloader(self) -> Any:
        """Whole scans of the test part."""
        return self._loader(self.prepared("test"))

    def predict_dataloader(self) -> Any:
        """Whole scans of the parts that are predicted."""
        return self._loader(self.prepared("predict"))

    def _loader(self, data: Any, batch_size: int = 1, sampler: Any = None, **options: Any) -> Any:
        return DataLoader(
            data, batch_size=batch_size, sampler=sampler, num_workers=self.num_workers, collate_fn=list, **options
        )
