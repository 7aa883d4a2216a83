"""Training: volumes and tiles that the data modules deliver to a model, against decoding alone; and transcoding."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import page_cache
from benchmarks.registry import FLOOR, OURS, Case, Competitor, Job, Row, WrongResult, register
from benchmarks.rows.ct import check as check_volume
from benchmarks.rows.ct import floor_encoded, floor_native
from benchmarks.slide_phantom import TILE, Layout

VOLUMES = 4  # in an epoch: the series and its copies
BATCH = 32
_KEPT_EVERY = 16  # batches


@dataclass
class Delivered:
    """What an epoch brought: how many items, some of them, and what is to be told of it."""

    delivered: int = 0
    items: list[tuple[Any, np.ndarray]] = field(default_factory=list)
    told: str = ""


@dataclass(frozen=True)
class Epoch:
    """How an epoch is delivered: by how many workers, from the module's own cache, or with files not in memory."""

    workers: int = 1
    cached: bool = False
    cold: bool = False

    def before(self, folders: Sequence[Path]) -> None:
        """Before files are opened: the system keeps what a process has mapped."""
        if self.cold:
            page_cache.drop(page_cache.files_below(folders))

    def job(self, one: Callable[[], Delivered], folders: Sequence[Path]) -> Job:
        """The job of an epoch, after what has to come before it."""
        if self.cold:
            share = page_cache.share_in_memory(page_cache.files_below(folders))
            told = "" if share is None else f"{share:.0%} of the files in memory"

            def cold() -> Delivered:
                found = one()
                found.told = told
                return found

            return cold
        if self.workers or self.cached:
            one()  # workers are started and stay; where there is a cache, it is filled
        return one


# ---- volumes


def _series(case: Case, dataset: str) -> list[Path]:
    copies = case.path(f"{dataset}-copies")
    return [case.path(dataset, "series"), *(copies / str(number) for number in range(VOLUMES - 1))]


def volume_epoch(dataset: str, how: Epoch) -> Any:
    def prepare(case: Case) -> Job:
        from dicom_ml.data import VolumeDataModule

        options: dict[str, Any] = {"monai": False}
        if how.cached:
            options["cache"] = case.output.parent / "cache"
        series = _series(case, dataset)
        records = [str(folder) for folder in series]
        how.before(series)
        loader = VolumeDataModule(train=records, num_workers=how.workers, dataset=options).train_dataloader()

        def one() -> Delivered:
            found = Delivered()
            for batch in loader:
                found.delivered += len(batch["image"])
                found.items = [(None, batch["image"][0, 0].numpy())]
            return found

        return how.job(one, series)

    return prepare


def floor_volumes(dataset: str) -> Any:
    def prepare(case: Case) -> Job:
        once = floor_native(dataset)(case) if dataset == "ct-raw" else floor_encoded(dataset)(case)

        def job() -> Delivered:
            found = Delivered()
            for _ in range(VOLUMES):
                found.items = [(None, once())]
                found.delivered += 1
            return found

        return job

    return prepare


def check_volumes(case: Case, found: Delivered) -> None:
    if found.delivered != VOLUMES:
        raise WrongResult(f"{found.delivered} volumes, expected {VOLUMES}")
    check_volume(case, found.items[0][1])


# ---- tiles


def tile_epoch(dataset: str, how: Epoch) -> Any:
    def prepare(case: Case) -> Job:
        from dicom_ml.data import TileDataModule

        options = {"cache": case.output.parent / "cache"} if how.cached else {}
        folder = case.path(dataset, "slide")
        how.before([folder])
        module = TileDataModule(train=[str(folder)], batch_size=BATCH, num_workers=how.workers, dataset=options)
        loader = module.train_dataloader()

        def one() -> Delivered:
            found = Delivered()
            for number, batch in enumerate(loader):
                images = batch["image"]
                if number % _KEPT_EVERY == 0:
                    places = np.column_stack([np.asarray(part) for part in batch["position"]])
                    found.items += [
                        (tuple(place), image.permute(1, 2, 0).numpy())
                        for place, image in zip(places.tolist(), images, strict=True)
                    ]
                found.delivered += len(images)
            return found

        return how.job(one, [folder])

    return prepare


def floor_tiles(dataset: str) -> Any:
    def prepare(case: Case) -> Job:
        import imagecodecs

        info = case.info(dataset)
        along = Layout(info["side"]).along
        data = case.path(dataset, "slide", "base.dcm").read_bytes()
        if dataset == "tiles-raw":
            size = TILE * TILE * 3
            start = len(data) - size * along**2
            frames = [data[start + i * size : start + (i + 1) * size] for i in range(along**2)]
        else:
            frames = [data[at : at + length] for at, length in case.array(dataset, "frames.npy").tolist()]

        def raw(code: bytes) -> np.ndarray:
            return np.frombuffer(code, np.uint8).reshape(TILE, TILE, 3).copy()

        def rle(code: bytes) -> np.ndarray:
            planes = imagecodecs.dicomrle_decode(code, np.dtype(np.uint8))
            return np.frombuffer(planes, np.uint8).reshape(3, TILE, TILE).transpose(1, 2, 0).copy()

        def htj2k(code: bytes) -> np.ndarray:
            return imagecodecs.htj2k_decode(code, planar=False)

        decode = {
            "tiles-raw": raw,
            "tiles-rle": rle,
            "tiles-jpeg-ls": imagecodecs.jpegls_decode,
            "tiles-jpeg2000": imagecodecs.jpeg2k_decode,
            "tiles-htj2k": htj2k,
        }.get(dataset, imagecodecs.jpeg8_decode)

        def job() -> Delivered:
            found = Delivered()
            for number, frame in enumerate(frames):
                tile = decode(frame)
                if number // BATCH % _KEPT_EVERY == 0:
                    row, column = divmod(number, along)
                    found.items.append(((row * TILE, column * TILE), tile))
                found.delivered += 1
            return found

        return job

    return prepare


def check_tiles(dataset: str) -> Any:
    # JPEG decoders round differently
    allowed = 4 if dataset == "slide" else 0

    def check(case: Case, found: Delivered) -> None:
        at, truth = Layout(case.info(dataset)["side"]), case.array(dataset, "tiles.npy")
        if found.delivered != at.along**2:
            raise WrongResult(f"{found.delivered} tiles, expected {at.along**2}")
        for (row, column), tile in found.items:
            height, width = (min(TILE, at.side - place) for place in (row, column))
            expected = at.read(truth, row, column, height, width)
            off = int(np.abs(tile[:height, :width].astype(np.int16) - expected).max())
            if off > allowed:
                raise WrongResult(f"the tile at {row}, {column} is off by {off} of 255")

    return check


def _competitors(floor: Any, epoch: Any, dataset: str) -> tuple[Competitor, ...]:
    modules = ("lightning", "dicom_ml.data")
    waits = "workers' CPU time is not counted"
    cold = "the first epoch, files not in memory, workers' start counted"
    return (
        Competitor(FLOOR, floor(dataset), ("imagecodecs",)),
        Competitor(OURS, epoch(dataset, Epoch()), modules, note=waits),
        Competitor("dicom_ml-2-workers", epoch(dataset, Epoch(workers=2)), modules, note=waits),
        Competitor("dicom_ml-here", epoch(dataset, Epoch(workers=0)), modules, note="in the process that trains"),
        Competitor("dicom_ml-cold", epoch(dataset, Epoch(cold=True)), modules, note=cold),
        Competitor("dicom_ml-2-cold", epoch(dataset, Epoch(workers=2, cold=True)), modules, note=cold),
        Competitor("dicom_ml-cached", epoch(dataset, Epoch(cached=True)), modules, note=f"from its own cache; {waits}"),
    )


for _dataset, _name in (
    ("ct-raw", "uncompressed"),
    ("ct-rle", "RLE"),
    ("ct-jpegls", "JPEG-LS"),
    ("ct-jpeg2000", "JPEG 2000"),
    ("ct-htj2k", "HTJ2K"),
):
    register(
        Row(
            name=f"train-{_dataset}",
            title=f"An epoch of {VOLUMES} CT volumes, {_name}, from VolumeDataModule",
            floor_text="the row of reading such a series: its floor, one after the other, 1 thread",
            datasets=("ct-volume", _dataset, f"{_dataset}-copies"),
            competitors=_competitors(floor_volumes, volume_epoch, _dataset),
            check=check_volumes,
            long=True,
            forked=True,
        )
    )
for _dataset, _name in (
    ("slide", "JPEG"),
    ("tiles-raw", "uncompressed"),
    ("tiles-rle", "RLE"),
    ("tiles-jpeg-ls", "JPEG-LS"),
    ("tiles-jpeg2000", "JPEG 2000"),
    ("tiles-htj2k", "HTJ2K"),
):
    register(
        Row(
            name=f"train-{_dataset.replace('slide', 'tiles-jpeg')}",
            title=f"An epoch of a slide's tiles in random order, {_name}, from TileDataModule",
            floor_text="imagecodecs decode of frames in memory, in order, 1 thread",
            datasets=(_dataset,),
            competitors=_competitors(floor_tiles, tile_epoch, _dataset),
            check=check_tiles(_dataset),
            long=True,
            forked=True,
        )
    )


# ---- transcoding


def floor_transcode(case: Case) -> Job:
    import imagecodecs

    info = case.info("ct-raw")
    folder = str(case.path("ct-raw", "series"))
    files = [(os.path.join(folder, file["name"]), file["offset"]) for file in info["files"]]
    target = case.output.parent / "floor"
    target.mkdir(exist_ok=True)

    def job() -> None:
        stored = np.empty(case.size.shape[1:], np.int16)
        for path, offset in files:
            with open(path, "rb", buffering=0) as file:
                file.seek(offset)
                file.readinto(memoryview(stored).cast("B"))
            (target / os.path.basename(path)).write_bytes(imagecodecs.htj2k_encode(stored, reversible=True))

    return job


def prepare_transcode(case: Case) -> Job:
    from dicom_ml.encoding.transcoding import transcode

    return lambda: transcode(case.path("ct-raw", "series"), case.output.parent / "series", "htj2k")


def check_transcoded(case: Case, _: Any) -> None:
    from pydicom import dcmread

    stored = case.array("ct-volume", "stored.npy", mapped=True)
    for d, file in enumerate(case.info("ct-raw")["files"]):
        path = case.output.parent / "series" / Path(file["name"]).name
        if not path.is_file():
            raise WrongResult(f"there is no file {path.name}")
        if not np.array_equal(dcmread(path).pixel_array, stored[d]):
            raise WrongResult(f"{path.name} holds other pixels")


register(
    Row(
        name="transcode-htj2k",
        title="CT series, uncompressed, to HTJ2K files, each decoded again and compared",
        floor_text="imagecodecs encode and write, 1 thread; nothing is compared, no header is written",
        datasets=("ct-volume", "ct-raw"),
        competitors=(
            Competitor(FLOOR, floor_transcode, ("imagecodecs",), check=lambda case, _: None),
            Competitor(OURS, prepare_transcode, ("dicom_ml",)),
        ),
        check=check_transcoded,
        writes=True,
        array=lambda case: 2 * case.size.voxels,
        long=True,
    )
)
