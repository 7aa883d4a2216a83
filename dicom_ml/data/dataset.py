"""A map-style dataset of volumes and their labels."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import tempfile
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dicom_ml.bridge.classes import class_channels, class_labels
from dicom_ml.bridge.label_files import open_labels
from dicom_ml.bridge.tensors import SOURCE_KEY, has_monai, image_tensor, mask_tensor, series_name, torch, torch_array
from dicom_ml.data.records import Record, as_record
from dicom_ml.data.report_items import ReportItems
from dicom_ml.encoding.writer import atomic_file
from dicom_ml.errors import DicomMLError, DicomMLWarning, EncodingError, SeriesError
from dicom_ml.reading import Volume, read_volume

__all__ = ["VolumeDataset", "collate_items"]

#: Part of the key of cached items: another number makes items that an older version cached be read anew.
_CACHE_FORMAT = 1


class VolumeDataset(torch.utils.data.Dataset):
    """Image series, and their labels where they have some, as tensors.

    Map-style, picklable, and safe in forked and spawned workers. An item is a dictionary: what the record holds,
    with ``"image"`` and ``"label"`` replaced by tensors. With MONAI they are MetaTensors ``(C, W, H, D)`` with RAS
    affines, the source's handle in their meta. Without, they are plain tensors ``(C, D, H, W)``, and ``"affine"``
    (LPS) and ``"dicom_source"`` stand beside them.

    Parameters
    ----------
    records : sequence of path or mapping
        A path is an image. A mapping has ``"image"`` (a folder, zip, file or list of files) and may have ``"label"``
        (a file of a segmentation or an RT structure set, or several), ``"report"`` (a measurement report, or several
        of several readers) and anything else.
    transform : callable, optional
        From item to item, such as MONAI's ``Compose``. Where it loads images itself (``LoadDicomd``,
        ``LoadImaged``), it gets the record as it is.
    read : mapping, optional
        Policies of :func:`dicom_ml.read_volume`, such as ``{"gaps": "fill"}``.
    labels : mapping, optional
        How segmentations become labels: ``segments``, ``kind`` (``"label"`` or ``"channels"``), ``overlap``,
        ``missing``, ``outside``, ``resample``, ``threshold``, ``contours``, as in
        :class:`dicom_ml.transforms.LoadSegmentation`.
    reports : mapping, optional
        How reports become labels: ``kind`` is ``"boxes"`` (``"box"`` and ``"label"``, along the axes of the image's
        array), ``"class"`` or ``"classes"`` of the whole image, as in :class:`dicom_ml.transforms.LoadReport`, or
        ``"label"`` or ``"channels"``, drawn as by :class:`dicom_ml.transforms.LoadAnnotations`; with the options of
        these. Without it ``"report"`` stays as it is.
    on_error : {"raise", "skip"}
        What a study that cannot be read does. ``"skip"`` reports it with a warning and in :attr:`failures`, and
        gives the next study that can be read in its place; the number of items stays.
    cache : {"memory"} or path, optional
        Keep what was read, before ``transform``: in the memory of the process, or in a folder, where it is found
        again by later runs as long as the files have not changed. The folder then holds patient data.
    monai : bool, optional
        By default whether MONAI is installed.

    Examples
    --------
    >>> data = VolumeDataset([{"image": "ct/", "label": "liver.seg.dcm"}], labels={"segments": ["Liver"]})
    """

    def __init__(
        self,
        records: Sequence[Any],
        transform: Callable[[Any], Any] | None = None,
        *,
        read: Mapping[str, Any] | None = None,
        labels: Mapping[str, Any] | None = None,
        reports: Mapping[str, Any] | None = None,
        on_error: str = "raise",
        cache: str | os.PathLike[str] | None = None,
        monai: bool | None = None,
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise SeriesError(f"on_error is 'raise' or 'skip', found {on_error!r}")
        if isinstance(records, (str, os.PathLike)):
            raise SeriesError("records are a list; find the series of a folder with dicom_ml.data.find_series(folder)")
        self.records: list[Record] = [as_record(item) for item in records]
        for number, record in enumerate(self.records):
            if "image" not in record:
                raise SeriesError(f"record {number} names no 'image'; it has {sorted(map(str, record))}")
        self.transform = transform
        self.read = dict(read or {})
        self.labels = _label_options(labels)
        self.reports = None if reports is None else ReportItems(reports)
        self.on_error = on_error
        self.monai = has_monai() if monai is None else monai
        self.loads = not _loads_itself(transform)
        self._memory: dict[int, Any] | None = {} if cache == "memory" else None
        self._folder = None if cache in (None, "memory") else os.fspath(cache)
        self._bad: set[int] = set()
        # failures in workers reach the process that made the dataset through this file
        self._journal = ""
        if on_error == "skip":
            handle, self._journal = tempfile.mkstemp(prefix="dicom_ml-failures-", suffix=".jsonl")
            os.close(handle)
            self._cleanup = weakref.finalize(self, _remove, self._journal, os.getpid())

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.pop("_cleanup", None)
        return state

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Any:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"item {index} of {count}")
        index %= count
        if self.on_error == "raise":
            return self._item(index)
        for step in range(count):
            number = (index + step) % count
            if number in self._bad:
                continue
            try:
                return self._item(number)
            except Exception as error:
                cause = _fault_of_study(error)
                if cause is None:
                    raise  # a fault of the program, which no other study would be without
                self._report(number, cause)
        raise SeriesError(f"none of the {count} studies can be read; the first: {next(iter(self.failures.values()))}")

    # ------------------------------------------------------------------ failures
    @property
    def failures(self) -> dict[int, str]:
        """Number of each record that could not be read, in any worker, and why."""
        found: dict[int, str] = {}
        if self._journal and os.path.exists(self._journal):
            with open(self._journal, encoding="utf-8") as file:
                for line in file:
                    entry = json.loads(line)
                    found.setdefault(entry["record"], entry["why"])
        return dict(sorted(found.items()))

    def check(self) -> dict[int, str]:
        """Read every study once, take those that cannot be read out of :attr:`records`, and say why.

        Afterwards the number of items is right, and none stands in for another. With a cache the reading is not lost.

        Returns
        -------
        dict of int to str
            By the record's number before.
        """
        found: dict[int, str] = {}
        for number in range(len(self)):
            try:
                self._load(number) if self.loads else self._item(number)
            except Exception as error:
                cause = _fault_of_study(error)
                if cause is None:
                    raise
                found[number] = str(cause)
                warnings.warn(f"record {number} is left out: {cause}", DicomMLWarning, stacklevel=2)
        if found:
            kept = [number for number in range(len(self)) if number not in found]
            self.records = [self.records[number] for number in kept]
            if self._memory is not None:
                self._memory = {new: self._memory[old] for new, old in enumerate(kept) if old in self._memory}
            self._bad = set()
        return found

    def _report(self, number: int, error: Exception) -> None:
        self._bad.add(number)
        line = json.dumps({"record": number, "why": str(error)}) + "\n"
        with open(self._journal, "a", encoding="utf-8") as file:
            file.write(line)
        warnings.warn(f"record {number} is skipped: {error}", DicomMLWarning, stacklevel=3)

    # ------------------------------------------------------------------ items
    def _item(self, number: int) -> Any:
        item = self._load(number) if self.loads else dict(self.records[number])
        if self.transform is not None:
            item = self.transform(item)
        if self.monai and _spawned():
            from monai.transforms.utils import reset_ops_id

            # transforms are known by id, which another process does not share: Invertd has to go by their order
            reset_ops_id(item)
        return item

    def _load(self, number: int) -> dict[str, Any]:
        if self._memory is not None:
            if number not in self._memory:
                self._memory[number] = self._read(self.records[number])
            return _copied(self._memory[number])
        if self._folder is not None:
            return self._from_folder(self.records[number])
        return self._read(self.records[number])

    def _read(self, record: Record) -> dict[str, Any]:
        source = record["image"]
        volume = source if isinstance(source, Volume) else read_volume(source, **self.read)
        label = record.get("label")
        rest = {k: _plain(v) for k, v in record.items() if k not in ("image", "label")}
        if self.reports is not None and "report" in record:
            rest |= {"report": series_name(record["report"])} | self.reports.of(record, volume, self.monai)
        mask = None if label is None else self._mask(label, volume)
        if self.monai:
            item = rest | {"image": image_tensor(volume, series_name(source))}
            if mask is not None:
                record_of = _source_on(volume)
                item["label"] = mask_tensor(mask, record_of, _handle(volume), series_name(label))
            return item
        item = rest | {
            "image": torch.from_numpy(torch_array(volume.array))[None],
            "affine": torch.from_numpy(np.array(volume.affine)),
            SOURCE_KEY: _handle(volume),
        }
        if mask is not None:
            item["label"] = torch.from_numpy(torch_array(mask))
        return item

    def _mask(self, label: Any, volume: Volume) -> Any:
        o = self.labels
        files = [open_labels(one, o["contours"]) for one in (label if isinstance(label, (list, tuple)) else [label])]
        on = _source_on(volume)
        placing = {"outside": o["outside"], "resample": o["resample"]}
        if o["kind"] == "channels":
            return class_channels(files, on, o["segments"], o["missing"], **placing)
        return class_labels(files, on, o["segments"], o["missing"], o["overlap"], o["threshold"], **placing)[None]

    def _from_folder(self, record: Record) -> dict[str, Any]:
        assert self._folder is not None
        path = Path(self._folder) / f"{self._key(record)}.pt"
        if path.exists():
            try:
                return torch.load(path, weights_only=True)
            except Exception as error:
                warnings.warn(f"{path} cannot be loaded and is made anew: {error}", DicomMLWarning, stacklevel=3)
        item = self._read(record)
        with atomic_file(path) as file:
            torch.save(item, file)
        return item

    def _key(self, record: Record) -> str:
        """What a cached item depends on: the files, by name, size and time, and how they are read."""
        parts = {k: [str(v), _stamp(v) if k in ("image", "label", "report") else None] for k, v in record.items()}
        how = {"read": str(self.read), "labels": str(self.labels), "monai": self.monai, "format": _CACHE_FORMAT}
        if self.reports is not None:
            how["reports"] = self.reports.text
        return hashlib.sha256(json.dumps([parts, how], sort_keys=True).encode()).hexdigest()


# ---------------------------------------------------------------------- collating
def collate_items(batch: Sequence[Any]) -> Any:
    """Items to a batch: MONAI's collation where it is installed (it keeps meta, and merges lists of samples), else
    torch's."""
    if has_monai():
        from monai.data.utils import list_data_collate

        return list_data_collate(batch)
    return torch.utils.data.default_collate(list(batch))


# ---------------------------------------------------------------------- helpers
def _label_options(labels: Mapping[str, Any] | None) -> dict[str, Any]:
    known = {
        "segments": None,
        "kind": "label",
        "overlap": "error",
        "missing": "error",
        "outside": "error",
        "resample": False,
        "threshold": 0.5,
        "contours": None,
    }
    unknown = set(labels or {}) - set(known)
    if unknown:
        raise EncodingError(f"unknown options of labels {sorted(unknown)}; known are {sorted(known)}")
    options = known | dict(labels or {})
    if options["kind"] not in ("label", "channels"):
        raise EncodingError(f"labels are of kind 'label' or 'channels', found {options['kind']!r}")
    return options


def _loads_itself(transform: Any) -> bool:
    """Whether a transform, or one inside a Compose, loads images from their paths."""
    if transform is None:
        return False
    inner = getattr(transform, "transforms", None)
    if isinstance(inner, (list, tuple)):
        return any(_loads_itself(one) for one in inner)
    return type(transform).__name__.startswith(("LoadDicom", "LoadImage"))


def _source_on(volume: Volume) -> Any:
    if volume.source is None:
        raise SeriesError("the volume was not read from DICOM, so no segmentation can be placed on it")
    return volume.source.on(volume.grid)


def _handle(volume: Volume) -> str:
    return "" if volume.source is None else volume.source.to_string()


def _plain(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _copied(item: dict[str, Any]) -> dict[str, Any]:
    return {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in item.items()}


def _stamp(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [_stamp(one) for one in value]
    if not isinstance(value, (str, os.PathLike)):
        return [repr(value)]
    path = Path(value)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stats = [(p.name, p.stat()) for p in files if p.exists()]
    return [[name, s.st_size, s.st_mtime_ns] for name, s in stats]


def _spawned() -> bool:
    """Whether this is a worker process that shares no objects with the one that started it."""
    inside = torch.utils.data.get_worker_info() is not None
    return inside and multiprocessing.get_start_method(allow_none=True) in ("spawn", "forkserver")


def _fault_of_study(error: BaseException | None) -> Exception | None:
    """The fault of the files behind an error, which MONAI may have wrapped; None where the fault is elsewhere."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, (DicomMLError, OSError)):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked worker
        Path(path).unlink(missing_ok=True)
