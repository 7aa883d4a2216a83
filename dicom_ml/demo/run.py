"""The demo from end to end."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.demo.cases import PREDICTED_BY, Case, demo_segments, make_cases, make_held_out
from dicom_ml.demo.reference import Reference, dice, read_reference
from dicom_ml.demo.repair import repair_series
from dicom_ml.demo.report import write_report
from dicom_ml.demo.slides import SlideResult, run_slide
from dicom_ml.demo.surroundings import calm, need_packages, progress_bar, seeded, timed
from dicom_ml.encoding.writer import atomic_file, save_bytes
from dicom_ml.errors import FileError, GeometryError, SeriesError
from dicom_ml.objects.segmentation import Segmentation, read_segmentation
from dicom_ml.reading import Volume, read_volume
from dicom_ml.source import as_source

__all__ = ["DemoOptions", "DemoResult", "run_demo"]

_COMPARABLE = 80_000_000
"""Voxels up to which the prediction is taken back a second time, by MONAI alone, to be compared with the file."""


@dataclass(frozen=True)
class DemoOptions:
    """What the demo is asked to do.

    Attributes
    ----------
    output : Path
        Folder of everything that is written.
    source : Path, optional
        A chest CT series; a phantom that the network has not seen when there is none.
    labels : Path, optional
        Reference labels of the source: DICOM SEG, NIfTI or NRRD.
    lung_values : tuple of int, optional
        Which values of a label map are lung.
    seed : int
    cases, steps : int
        Generated cases, and optimiser steps of the training.
    kind : str
        "labelmap" or "binary".
    repair_uids : bool
        Where the source lacks identifiers, work on a repaired copy.
    network : Path, optional
        ``network.pt`` of an earlier demo, to be used without training.
    processes : int, optional
        For making the cases; by default as many as there are processors, 4 at most.
    slides, slide_steps : int
        Generated slides, and optimiser steps of the training on them; no slides leave the slide out.
    """

    output: Path
    source: Path | None = None
    labels: Path | None = None
    lung_values: tuple[int, ...] | None = None
    seed: int = 0
    cases: int = 40
    steps: int = 480
    kind: str = "labelmap"
    repair_uids: bool = False
    network: Path | None = None
    processes: int | None = None
    slides: int = 28
    slide_steps: int = 220


@dataclass
class DemoResult:
    """What the demo did.

    Attributes
    ----------
    segmentation : Path
        The DICOM SEG.
    page : Path
        The HTML page that shows it.
    dice : dict of str to float
        By what was compared; empty without a reference.
    voxels : dict of str to int
        By segment, as read back.
    checks : dict of str to bool or None
        What was verified on the file that was read back; None for what could not be.
    seconds : dict of str to float
        By step.
    notes : list of str
        What the user should know.
    slide : SlideResult or None
        What was done with the slide.
    """

    segmentation: Path
    page: Path
    dice: dict[str, float] = field(default_factory=dict)
    voxels: dict[str, int] = field(default_factory=dict)
    checks: dict[str, bool | None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    slide: SlideResult | None = None


def run_demo(options: DemoOptions) -> DemoResult:
    """Make cases, train, predict, write, read back, compare, show.

    Parameters
    ----------
    options : DemoOptions

    Returns
    -------
    DemoResult

    Raises
    ------
    SeriesError
        The source cannot be read as one CT volume, or lacks identifiers and `repair_uids` is off.
    MissingPackageError
        MONAI, Lightning, SciPy or Pillow is not installed.
    """
    need_packages()
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    processes = options.processes or min(4, os.cpu_count() or 1)
    seconds: dict[str, float] = {}
    notes: list[str] = []
    with timed(seconds, "source"):  # first: what is wrong with it should not be found out after the training
        source, volume, truth = _source(options, notes)
        reference = read_reference(truth, volume, options.lung_values) if truth is not None else None
    if options.network is not None:
        network = _trained_before(options.network, options.steps)
    else:
        with timed(seconds, "cases"):
            cases = make_cases(output / "cases", options.cases, options.seed, processes=processes)
        with timed(seconds, "training"), calm():
            network = _train(cases, options)
    with timed(seconds, "prediction"), calm():
        path, expected = _predict(network, source, volume, options)
    with timed(seconds, "reading back"):
        seg = read_segmentation(path)
        labels = seg.label_map(on=volume)
        result = DemoResult(path, output / "report.html", seconds=seconds, notes=notes)
        result.checks = _checks(seg, volume, labels, expected)
        _measure(result, labels, reference)
    if reference is not None and not reference.same_lattice:
        notes.append(
            "The reference labels lie on another grid; they were brought to the source's by nearest neighbour."
        )
    if not result.voxels["Right lung"] + result.voxels["Left lung"]:
        notes.append("No lung was found in this series.")
    if options.slides:
        folder = output / "slide"
        result.slide = run_slide(folder, options.seed, options.slide_steps, count=options.slides, processes=processes)
        seconds.update(result.slide.seconds)
    with timed(seconds, "page"):
        write_report(result, options, seg, volume, labels, reference)
    facts = {
        "dice": result.dice,
        "voxels": result.voxels,
        "checks": result.checks,
        "notes": notes,
        "seed": options.seed,
        "seconds": {k: round(v, 1) for k, v in seconds.items()},
        "segmentation": path.relative_to(output).as_posix(),
    }
    if result.slide is not None:
        facts["slide"] = result.slide.facts(output)
    save_bytes(output / "summary.json", (json.dumps(facts, indent=2) + "\n").encode())
    return result


# ---------------------------------------------------------------------- steps
def _source(options: DemoOptions, notes: list[str]) -> tuple[Any, Volume, Path | None]:
    """What is predicted: its path or files, its volume, and the path of its reference labels."""
    if options.source is None:
        case: Case = make_held_out(options.output / "held-out", options.seed)
        return str(case.series), read_volume(case.series), options.labels or case.labels
    volume = read_volume(options.source)
    source: Any = str(options.source)
    if volume.modality != "CT":
        raise SeriesError(f"the demo's network knows CT; the series is {volume.modality or 'of no stated modality'}")
    problems = as_source(volume).problems
    if problems:
        why = "; ".join(problems)
        if not options.repair_uids:
            raise SeriesError(
                f"a segmentation cannot refer to this series: {why}. Pass --repair-uids to work on a copy of the "
                "images that is given identifiers"
            )
        if not options.source.is_dir():
            raise SeriesError("--repair-uids needs a folder with the files of the one series")
        files = sorted(p for p in options.source.rglob("*") if p.is_file())
        copies = options.output / "repaired"
        repair_series(files, copies)
        notes.append(f"The series was copied to {copies} and the copies got the identifiers it lacks ({why}).")
        source, volume = str(copies), read_volume(copies)
        as_source(volume).check()
    if not volume.grid.is_orthogonal:
        raise GeometryError("the slices are sheared (gantry tilt); the demo takes straight stacks only")
    return source, volume, options.labels


def _train(cases: Sequence[Case], options: DemoOptions) -> Any:
    import lightning as L
    import torch

    from dicom_ml.demo.data import DemoData
    from dicom_ml.demo.network import LungNet

    with seeded(options.seed):
        network = LungNet(options.steps)
        data = DemoData([case.record() for case in cases], options.steps, batch_size=2, seed=options.seed)
        trainer = L.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
            default_root_dir=options.output, log_every_n_steps=10, callbacks=[progress_bar()],
        )  # fmt: skip
        trainer.fit(network, data)
        with atomic_file(options.output / "network.pt") as file:
            torch.save(network.state_dict(), file)
    return network


def _trained_before(path: Path, steps: int) -> Any:
    import torch

    from dicom_ml.demo.network import LungNet

    network = LungNet(steps)
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise FileError(f"{path} is no network.pt of this demo: {str(error).splitlines()[0]}") from None
    return network


def _predict(
    network: Any, source: Any, volume: Volume, options: DemoOptions
) -> tuple[Path, npt.NDArray[np.integer[Any]] | None]:
    """Predict and write; returns the file, and what should be in it by another way than the writer's."""
    import lightning as L

    from dicom_ml.callbacks import SegmentationWriter
    from dicom_ml.data import VolumeDataModule
    from dicom_ml.demo.data import prediction_transform

    transform = prediction_transform()
    data = VolumeDataModule(predict=[{"image": source}], eval_transform=transform, dataset={"monai": True})
    writer = SegmentationWriter(
        options.output / "segmentations", demo_segments(), options.kind, algorithm=PREDICTED_BY, decide="argmax",
        transform=transform, resume=False, series_description="Lungs and body, dicom_ml demo",
    )  # fmt: skip
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
        default_root_dir=options.output, callbacks=[writer, progress_bar()],
    )  # fmt: skip
    predictions = trainer.predict(network, data)
    path = Path(writer.written[0].path)
    if volume.array.size > _COMPARABLE:
        return path, None
    return path, _taken_back(predictions[0][0], next(iter(data.predict_dataloader())), transform)


def _taken_back(prediction: Any, batch: Any, transform: Any) -> npt.NDArray[np.integer[Any]]:
    """Labels (D, H, W) on the source's voxels, by MONAI's own inversion."""
    from monai.data import MetaTensor, decollate_batch
    from monai.transforms import AsDiscreted, Compose, Invertd

    from dicom_ml.geometry import from_monai

    image = decollate_batch(batch["image"])[0]
    item = {"image": image, "pred": MetaTensor(prediction, meta=dict(image.meta))}
    undo = Compose(
        [Invertd("pred", transform, orig_keys="image", nearest_interp=False), AsDiscreted("pred", argmax=True)]
    )
    pred = undo(item)["pred"]
    array, _ = from_monai(pred.numpy(), pred.affine.numpy())
    return np.asarray(array[0]).astype(np.int64)


def _checks(
    seg: Segmentation, volume: Volume, labels: npt.NDArray[Any], expected: npt.NDArray[Any] | None
) -> dict[str, bool | None]:
    """What must be true of the file that was read back."""
    source = as_source(volume)
    referenced = {uid for uids in seg.referenced_series.values() for uid in uids}
    again = Segmentation.from_array(labels, source=volume, segments=seg.segments, kind=seg.kind)
    return {
        "voxels are what the network said": None if expected is None else bool(np.array_equal(labels, expected)),
        "written once more, it is the same": bool(np.array_equal(again.label_map(on=volume), labels)),
        "every image of the source is referenced": set(source.sop_instance_uids) == referenced,
        "it refers to the source's series": list(seg.referenced_series) == [source.series_instance_uid],
        "frame of reference is the source's": seg.frame_of_reference_uid == source.frame_of_reference_uid,
        "voxels lie on the source's lattice": seg.grid.align(volume.grid) is not None,
    }


def _measure(result: DemoResult, labels: npt.NDArray[Any], reference: Reference | None) -> None:
    masks = {"Body outside the lungs": labels == 1, "Right lung": labels == 2, "Left lung": labels == 3}
    result.voxels = {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}
    if reference is not None:
        masks["Lungs"] = labels >= 2
        # Against an empty mask the Dice is 0 or 1 by a single voxel: it says nothing.
        result.dice = {name: dice(masks[name], mask) for name, mask in sorted(reference.masks.items()) if mask.any()}
        if "Lungs" not in result.dice:
            result.notes.append(
                "The reference holds no voxel of lung in this series, so there is no Dice of the lungs."
            )
