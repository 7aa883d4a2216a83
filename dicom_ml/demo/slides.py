"""The demo's slide: a classifier trained on generated slides, a probability map of another one as DICOM."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.identity import model_fingerprint
from dicom_ml.bridge.tile_labels import SegmentationLabels
from dicom_ml.demo.slide_cases import SPACING, SlideCase, make_held_out_slide, make_slides
from dicom_ml.demo.surroundings import calm, progress_bar, seeded, timed
from dicom_ml.encoding.writer import atomic_file
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.parametric_map import ParametricMap, Quantity, read_parametric_map
from dicom_ml.objects.segmentation import read_segmentation
from dicom_ml.phantom import TEXTURES
from dicom_ml.reading.slides import Slide, open_slide
from dicom_ml.source import as_source

__all__ = ["SlideResult", "run_slide"]

Array = npt.NDArray[Any]

_BATCH = 12
_TILE, _OVERLAP = 512, 128
_PROBABILITY = ("2931005", "SCT", "Probability")


@dataclass
class SlideResult:
    """What the demo did with a slide.

    Attributes
    ----------
    case : SlideCase
        The slide that was predicted, and its truth.
    map : Path
        The parametric map: a channel of probability for each texture.
    accuracy : dict of str to float
        Share of the tissue whose most probable texture is the true one: of all, and of each texture.
    area : dict of str to float
        Square millimetres of each texture, as predicted.
    checks : dict of str to bool
        What was verified on the map that was read back.
    seconds : dict of str to float
        By step.
    predicted, truth : numpy.ndarray
        Most probable and true texture of each pixel of the map; 0 on glass.
    probability : numpy.ndarray
        Of the most probable texture.
    """

    case: SlideCase
    map: Path
    accuracy: dict[str, float] = field(default_factory=dict)
    area: dict[str, float] = field(default_factory=dict)
    checks: dict[str, bool] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    predicted: Array = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    truth: Array = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    probability: Array = field(default_factory=lambda: np.zeros((0, 0)), repr=False)

    def facts(self, output: Path) -> dict[str, Any]:
        """For the summary."""
        return {
            "map": self.map.relative_to(output).as_posix(),
            "accuracy": self.accuracy,
            "area": self.area,
            "checks": self.checks,
        }


def run_slide(folder: Path, seed: int, steps: int, *, count: int, processes: int = 1) -> SlideResult:
    """Make slides, train on them, predict another one, write the map, read it back, compare.

    Parameters
    ----------
    folder : Path
        Of all that is written.
    seed : int
    steps : int
        Optimiser steps of the training.
    count : int
        Slides to train on.
    processes : int
        Slides are made side by side in so many processes.

    Returns
    -------
    SlideResult
    """
    seconds: dict[str, float] = {}
    with timed(seconds, "slides"):
        cases = make_slides(folder / "training", count, seed, processes=processes)
        case = make_held_out_slide(folder / "held-out", seed)
    with timed(seconds, "training on slides"), calm():
        network = _train(cases, seed, steps, folder)
    with timed(seconds, "prediction of the slide"), open_slide(case.series) as slide:
        path = _predict(network, slide, folder)
        result = SlideResult(case, path, seconds=seconds)
        _read_back(result, network, slide)
    return result


def _train(cases: list[SlideCase], seed: int, steps: int, folder: Path) -> Any:
    import lightning as L
    import torch

    from dicom_ml.data import TileDataset
    from dicom_ml.demo.slide_network import TextureNet

    labels = SegmentationLabels([str(case.truth) for case in cases], kind="mask")
    tiles = TileDataset(
        [case.series for case in cases], 256, spacing=SPACING, overlap=128, min_tissue=0.15, labels=labels,
        cache="memory", transform=_image_and_label,
    )  # fmt: skip
    with seeded(seed):
        network = TextureNet(steps)
        generator = torch.Generator().manual_seed(seed)
        sampler = torch.utils.data.RandomSampler(
            tiles, replacement=True, num_samples=steps * _BATCH, generator=generator
        )
        trainer = L.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
            default_root_dir=folder, log_every_n_steps=10, callbacks=[progress_bar()],
        )  # fmt: skip
        trainer.fit(network, torch.utils.data.DataLoader(tiles, _BATCH, sampler=sampler))
        with atomic_file(folder / "network.pt") as file:
            torch.save(network.state_dict(), file)
    return network.eval()


def _image_and_label(item: dict[str, Any]) -> dict[str, Any]:
    return {"image": item["image"], "label": item["label"]}


def _predict(network: Any, slide: Slide, folder: Path) -> Path:
    """Predict tiles that overlap, and write what they say together."""
    from dicom_ml.data import predict_slide

    maps = folder / "parametric-maps"
    maps.mkdir(exist_ok=True)
    path = maps / f"textures_{model_fingerprint(network)[:8]}.pm.dcm"
    predict_slide(
        network, slide, path, quantity=[Quantity(_PROBABILITY, "1", label=name) for name in TEXTURES.values()],
        spacing=SPACING, tile_size=_TILE, overlap=_OVERLAP, batch_size=2, activation="softmax",
        channels=tuple(TEXTURES), dtype="uint16", value_range=(0.0, 1.0),
        algorithm=Algorithm("dicom_ml demo slide network", "1"), series_description="Textures, dicom_ml demo",
    )  # fmt: skip
    return path


def _read_back(result: SlideResult, network: Any, slide: Slide) -> None:
    """Compare what is in the file with the truth, and with the network's answer to the whole slide at once."""
    pm = read_parametric_map(result.map)
    values = pm.channels().reshape(len(TEXTURES), *pm.grid.shape[1:])
    truth = _on(read_segmentation(result.case.truth), pm)
    names = np.array(list(TEXTURES))
    best = values.argmax(axis=0)
    result.probability = np.take_along_axis(values, best[None], axis=0)[0]
    result.predicted = np.where(values.sum(axis=0) > 0.5, names[best], 0)
    result.truth = truth
    tissue = truth > 0
    right = result.predicted == truth
    result.accuracy = {"All": float(right[tissue].mean())}
    result.accuracy |= {name: float(right[truth == k].mean()) for k, name in TEXTURES.items() if (truth == k).any()}
    _, height, width = pm.grid.spacing
    result.area = {k: float((result.predicted == n).sum() * height * width) for n, k in TEXTURES.items()}
    source = as_source(slide)
    level = pm.grid.affine @ np.array([0, -0.5, -0.5, 1])
    corner = slide.levels[0].affine @ np.array([0, -0.5, -0.5, 1])
    whole = _at_once(network, slide)[:, : values.shape[1], : values.shape[2]]
    result.checks = {
        "probabilities are those of the whole slide at once": bool(np.abs(values - whole).mean() < 0.02),
        "probabilities add up to 1 at most": bool(values.min() >= 0 and values.sum(axis=0).max() < 1 + 1e-4),
        "the map refers to the slide's series": list(pm.referenced_series) == [source.series_instance_uid],
        "frame of reference is the slide's": pm.frame_of_reference_uid == source.frame_of_reference_uid,
        "the map begins where the slide begins": bool(np.allclose(level, corner, atol=1e-4)),
    }


def _on(truth: Any, pm: ParametricMap) -> Array:
    """Labels at the centres of the map's pixels."""
    rows, columns = pm.grid.shape[1:]
    index = np.zeros((rows, columns, 3))
    index[..., 1], index[..., 2] = np.arange(rows)[:, None], np.arange(columns)[None, :]
    at = np.rint(truth.grid.to_index(pm.grid.to_lps(index))[..., 1:] - 1e-6).astype(np.intp)
    labels = truth.label_map().reshape(truth.grid.shape[1:])
    at = np.clip(at, 0, np.array(labels.shape) - 1)
    return np.asarray(labels[at[..., 0], at[..., 1]])


def _at_once(network: Any, slide: Slide) -> Array:
    """Probabilities of the textures, from one look at the whole slide."""
    import torch

    from dicom_ml.demo.slide_network import CELL

    factor = SPACING / (slide.spacing or (SPACING,))[0]
    shape = [-(-round(n / factor) // CELL) * CELL for n in slide.shape]
    pixels = slide.read_region((0, 0), shape, spacing=SPACING)
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        return np.asarray(torch.softmax(network(batch), dim=1)[0, list(TEXTURES)])
