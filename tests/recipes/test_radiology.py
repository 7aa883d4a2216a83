"""The radiology recipe from end to end, as small as it goes; what it writes, and that a killed run loses nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

pytest.importorskip("monai")
pytest.importorskip("lightning.pytorch")
pytest.importorskip("jsonargparse")

import torch

import dicom_ml as dml
from dicom_ml.cli import main
from recipes.common.manifest import read_manifest
from recipes.common.run import Run
from recipes.common.settings import config_file, load_settings
from recipes.radiology.data import PatchSampler, RunScans, TrainingPatches, cut_patch, scans_of
from recipes.radiology.evaluation import scan_results
from recipes.radiology.learning import predicted_scans
from recipes.radiology.model import NoduleDetector
from recipes.radiology.network import make_detector
from recipes.radiology.nodules import CODINGS, DIAMETER, LUNG, NODULE, RATINGS, SURFACE, VOLUME
from recipes.radiology.recipe import RECIPE
from recipes.radiology.standin import marks_of, plan_scans, scan_with_nodules
from recipes.radiology.steps import others_file, reference_standard
from tests import judges
from tests.recipes.runs import copied, kill_while_it_predicts, run_bundle

TINY = [
    "--recipe.cohort.scans=7",
    "--recipe.cohort.shape=[20, 40, 52]",
    "--recipe.cohort.spacing=5",
    "--recipe.cohort.nodules=1.2",
    "--recipe.cohort.workers=0",
    "--recipe.evaluate.bootstraps=20",
    "--recipe.predict.untrained=1",
    "--trainer.max_epochs=1",
    "--trainer.check_val_every_n_epoch=1",
    "--data.init_args.spacing=[5, 5, 5]",
    "--data.init_args.patch_size=[16, 16, 16]",
    "--data.init_args.patches_per_scan=1",
    "--data.init_args.batch_size=2",
    "--model.init_args.detector.window=[32, 32, 32]",
    "--model.init_args.detector.min_score=0.0",
    "--model.init_args.detector.most=3",
    "--model.init_args.detector.network.channels=[8, 8, 8, 8]",
    "--model.init_args.detector.network.out_channels=8",
]


def tiny(folder: Path, *more: str) -> Run:
    return Run(RECIPE, folder, load_settings(config_file("radiology", "stand-in"), [*TINY, *more]), quiet=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Run:
    """A run that was done, by the command line."""
    folder = tmp_path_factory.mktemp("radiology")
    assert main(["recipe", "run", "radiology", "--output", str(folder), *TINY]) == 0
    return tiny(folder)


def marks_in(run: Run) -> dict[str, list[Path]]:
    """Files of the readers, by their role."""
    found: dict[str, list[Path]] = {"report": [], "segmentation": []}
    for row in read_manifest(run.path("fetch", "manifest.csv")):
        if row.role in found:
            found[row.role] += sorted(run.path("fetch", row.series).iterdir())
    return found


def test_all_steps_are_done(done, capsys):
    assert main(["recipe", "status", "radiology", "--output", str(done.output), *TINY]) == 0
    assert capsys.readouterr().out.count("done in") == 7
    counts = done.facts("labels")
    assert counts["nodules"] and counts["marks"] > counts["nodules"]


def test_readers_objects_are_laid_out_as_those_of_lidc(done):
    """One reader, one nodule: a binary segmentation and a report, in either coding, with all that is rated."""
    rows = read_manifest(done.path("cohort", "manifest.csv"))
    pairs: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if row.role != "image":
            pairs.setdefault((row.study, f"{row.group} {row.annotation}"), set()).add(row.role)
    assert pairs and all(roles == {"report", "segmentation"} for roles in pairs.values())
    found = marks_in(done)
    schemes, segments, readers = set(), {}, {}
    for path in found["segmentation"]:
        seg = dml.read_segmentation(path)
        assert seg.kind == "binary" and len(seg.segments) == 1 and seg.segments[0].type == NODULE
        segments[seg.sop_instance_uid] = seg
        schemes.add(pydicom.dcmread(path).SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue)
    assert schemes == {CODINGS["SRT"].nodule.value, CODINGS["SCT"].nodule.value}
    for path in found["report"]:
        (group,) = dml.read_report(path).groups
        assert group.finding == NODULE and group.site[0].location == LUNG
        assert [e.name for e in group.evaluations] == list(RATINGS)
        seg = segments[group.region.reference.sop_instance_uid]
        voxels = int(seg.channels().sum()) if hasattr(seg, "channels") else 0
        assert group.value(VOLUME) == pytest.approx(voxels * 125, rel=1e-3)
        assert group.value(DIAMETER) > 0 and group.value(SURFACE) > 0
        readers.setdefault(group.tracking_uid, []).append(group)
    assert max(map(len, readers.values())) <= 4 and len({len(own) for own in readers.values()}) > 1
    for path in (found["report"][0], found["segmentation"][0], found["report"][-1], found["segmentation"][-1]):
        assert [said for said in judges.dciodvfy(path) if said.startswith("Error")] == [], path.name


def test_nodules_count_as_the_rules_say(done):
    """Three readers or more, 3 mm or more, the box of what half of them mark; the rest is known, and not counted."""
    rows = read_manifest(done.path("fetch", "manifest.csv"))
    counted = other = 0
    for row in rows:
        if row.role != "image":
            continue
        volume = dml.read_volume(done.path("fetch", row.series))
        marks: dict[str, list] = {}
        for mark in rows:
            if mark.study == row.study and mark.role == "report":
                (group,) = dml.read_report(next(done.path("fetch", mark.series).iterdir())).groups
                marks.setdefault(group.tracking_uid, []).append(group)
        masks: dict[str, np.ndarray] = {}
        for mark in rows:
            if mark.study == row.study and mark.role == "segmentation":
                seg = dml.read_segmentation(next(done.path("fetch", mark.series).iterdir()))
                mask = seg.channels(on=volume)[0] > 0
                uid = seg.segments[0].tracking_uid
                masks[uid] = masks.get(uid, 0) + mask.astype(int)
        report = dml.read_report(done.path("labels", f"{row.series}.sr.dcm"), source=volume)
        found = {g.tracking_uid: g for g in report.groups}
        wanted = {
            uid
            for uid, own in marks.items()
            if len(own) >= 3 and np.mean([g.value(DIAMETER) for g in own]) >= 3 and (masks[uid] * 2 >= len(own)).any()
        }
        assert set(found) == wanted
        for uid, group in found.items():
            where = np.argwhere(masks[uid] * 2 >= len(marks[uid]))
            low, high = group.region.bounds
            if group.region.space == "mm":
                low, high = boxed(group.region, volume)
            np.testing.assert_allclose(low, where.min(0), atol=1e-2)
            np.testing.assert_allclose(high, where.max(0) + 1, atol=1e-2)
            assert group.value(DIAMETER) == pytest.approx(np.mean([g.value(DIAMETER) for g in marks[uid]]))
        others = dml.read_report(others_file(done.output, row.series))
        assert {g.tracking_uid for g in others.groups} == set(marks) - wanted
        counted, other = counted + len(wanted), other + len(marks) - len(wanted)
    assert (counted, other) == (done.facts("labels")["nodules"], done.facts("labels")["others"])


def boxed(region, volume) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of a region in millimetres, in indices with corners at voxel edges."""
    low, high = region.bounds
    corners = np.array([[(low, high)[k >> axis & 1][axis] for axis in range(3)] for k in range(8)])
    index = volume.grid.to_index(corners) + 0.5
    return index.min(0), index.max(0)


def test_what_network_and_report_say_is_the_same(done):
    """Boxes, scores and diameters come back from the reports as the detector gave them."""
    results = {one.series: one for one in scan_results(done)}
    assert set(results) == {one["series"] for one in scans_of(done.output, ("test",))}
    data = RunScans(str(done.output), spacing=(5, 5, 5), patch_size=(16, 16, 16))
    model = trained(done)
    items = data.prepared("predict")
    for number in range(len(items)):
        item = items[number]
        with torch.inference_mode():
            (given,) = model.predict_step([item], 0)
        one = results[item["series"]]
        order = np.argsort(-one.scan.scores, kind="stable")
        assert one.scan.scores[order] == pytest.approx(np.sort(given["label_scores"].numpy())[::-1], abs=1e-4)
        # the scan's own voxels are those the network saw, along other directions
        flips = np.diag(item["image"].affine.numpy()[:3, :3] @ np.linalg.inv(scanner_axes(one.series, done))) < 0
        boxes = given["box"].numpy().astype(float)
        size = np.array(item["image"].shape[1:])
        for axis in np.flatnonzero(flips):
            boxes[:, [axis, axis + 3]] = size[axis] - boxes[:, [axis + 3, axis]]
        boxes = np.clip(boxes, 0, np.tile(size, 2))
        mine = sorted(map(tuple, np.round(one.scan.boxes, 2)))
        np.testing.assert_allclose(mine, sorted(map(tuple, np.round(boxes, 2))), atol=0.02)
        sides = (boxes[:, 3:] - boxes[:, :3])[:, :2].max(axis=1) * 5
        assert (np.sort(one.diameters) >= np.sort(sides) - 0.05).all()


def scanner_axes(series: str, run: Run) -> np.ndarray:
    from dicom_ml.transforms import LoadDicomd

    return LoadDicomd("image")({"image": str(run.path("fetch", series))})["image"].affine.numpy()[:3, :3]


def trained(run: Run):
    from recipes.common.training import best_checkpoint, load_weights
    from recipes.radiology.model import NoduleDetector

    model = NoduleDetector(**run.setting("model.init_args")).eval()
    load_weights(model, best_checkpoint(run))
    return model


def test_judges(done):
    series, file = next(iter(predicted_scans(done).items()))
    for path in (file, done.path("labels", f"{series}.sr.dcm"), others_file(done.output, series)):
        assert judges.dciodvfy(path) == [], path.name
        assert judges.highdicom_read_sr(path) is not None
    report = dml.read_report(file)
    assert report.groups and all(g.finding == NODULE and g.site[0].location == LUNG for g in report.groups)
    assert all(g.tracking_uid and g.tracking_id and g.value(DIAMETER) and g.value("DCM:111012") for g in report.groups)
    card = json.loads(done.path("train", "model-card.json").read_text())
    algorithm = report.algorithm or report.groups[0].algorithm
    assert (algorithm.name, algorithm.version) == (card["name"], card["version"]) and "nms=0.22" in algorithm.parameters


def test_page_and_log(done):
    page = done.path("report.html").read_text()
    assert "These figures test the software only" in page and "random weights" in page and "10.7937" in page
    assert page.count("<img") >= 3 and "Sensitivity at 0.125 false detections" in page
    said = done.path("log.txt").read_text()
    assert "PHANTOM" not in said and "2.25." not in said and str(done.output) not in said
    metrics = done.facts("evaluate")["metrics"]
    assert set(metrics["untrained"]) == {"froc", "ap", "each"} and metrics["parts"]["test"]["draws"] == 20


def test_bundle_finds_what_the_recipe_does(done, tmp_path):
    series, file = next(iter(predicted_scans(done).items()))
    run_bundle(done, series=str(done.path("fetch", series)), output=str(tmp_path))
    (made,) = tmp_path.glob("*.dcm")
    own, recipes = (dml.read_report(path).boxes() for path in (made, file))
    np.testing.assert_allclose(own[0], recipes[0], atol=1e-3)
    np.testing.assert_allclose(own[1], recipes[1], atol=1e-4)


def test_same_seed_same_figures(done, tmp_path):
    copied(done, tmp_path / "again", {"train", "predict"})
    again = tiny(tmp_path / "again")
    for step in ("train", "predict", "evaluate"):
        again.do(step)
        assert again.facts(step) == done.facts(step), step


def test_prediction_that_was_killed_goes_on(done, tmp_path):
    """SIGKILL in the middle of predict, then the same command again: each report once, none missing, all the same."""
    folder = tmp_path / "killed"
    copied(done, folder, {"predict"})
    arguments = ["recipe", "run", "radiology", "--output", str(folder), *TINY, "--recipe.predict.untrained=0"]
    has_begun = lambda: bool(list(folder.glob("predict/reports/*.dcm")))  # noqa: E731
    kill_while_it_predicts(arguments, NoduleDetector, has_begun, 120)
    assert len(list(folder.glob("predict/reports/*.dcm"))) < done.facts("predict")["scans"]
    assert main(arguments) == 0
    finished = tiny(folder, "--recipe.predict.untrained=0")
    assert finished.marker("predict").starts == 2
    own, whole = predicted_scans(finished), predicted_scans(done)
    assert own.keys() == whole.keys() == {one["series"] for one in scans_of(folder, ("test",))}
    assert len(list(folder.glob("predict/reports/*.dcm"))) == len(own)
    assert not [path for path in folder.glob("predict/reports/.*") if path.suffix == ".part"]
    for series, path in own.items():
        assert path.name == whole[series].name
        assert pydicom.dcmread(path).SOPInstanceUID == pydicom.dcmread(whole[series]).SOPInstanceUID
    assert finished.facts("evaluate")["metrics"]["parts"] == done.facts("evaluate")["metrics"]["parts"]


# ---------------------------------------------------------------------- parts of it
def test_patches_hold_their_boxes():
    """What a box holds is the same in the image and in any patch, turned and flipped as it may be."""
    image = np.zeros((1, 30, 26, 22), np.float32)
    boxes = np.array([[4, 5, 6, 9, 9, 10], [20, 14, 3, 23, 20, 8], [25, 2, 15, 29, 6, 21]], float)
    for number, (x0, y0, z0, x1, y1, z1) in enumerate(boxes.astype(int), start=1):
        image[:, x0:x1, y0:y1, z0:z1] = number
    patch, own, kept = cut_patch(image, boxes, (-2, 3, 1), (16, 16, 16))
    assert patch.shape == (1, 16, 16, 16) and kept.tolist() == [0] and own.tolist() == [[6, 2, 5, 11, 6, 9]]
    scan = {"image": torch.from_numpy(image), "box": torch.from_numpy(boxes), "label": torch.zeros(3)}
    patches = TrainingPatches([scan], (16, 16, 16), 4, 1.0, 7)
    seen = 0
    for number in range(60):
        item = patches[number]
        assert item["image"].shape == (1, 16, 16, 16) and len(item["box"]) == len(item["label"]) > 0
        for box in item["box"].numpy():
            first, last = np.round(box[:3]).astype(int), np.round(box[3:]).astype(int)
            held = item["image"].numpy()[0][tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
            assert held.min() > 0.5 and np.ptp(held) < 1e-5, "the nodule, all of it and nothing else"
            seen += 1
    assert seen >= 60
    same, other = patches[3], patches[4]
    assert torch.equal(patches[3]["image"], same["image"]) and not torch.equal(same["image"], other["image"])


def test_no_patch_is_drawn_twice():
    sampler = PatchSampler(20, 1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(first) == list(range(20)) and sorted(second) == list(range(20, 40))
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_anchors_meet_nodules():
    """The matcher gives anchors to boxes of every size, and none to patches without."""
    detector = make_detector({"out_channels": 8, "channels": [8, 8, 8, 8]}, anchors=[[2, 2, 2], [4, 4, 4]]).train()
    image = torch.zeros(2, 1, 32, 32, 32)
    heads = detector.network(image)
    detector.generate_anchors(image, heads)
    counts = [maps.shape[2:].numel() for maps in heads["classification"]]
    boxes = torch.tensor([[4.0, 4, 4, 6, 6, 6], [14, 14, 14, 24, 24, 24]])
    found = detector.compute_anchor_matched_idxs(detector.anchors, [{"box": boxes}, {"box": torch.zeros(0, 6)}], counts)
    assert {0, 1} <= set(found[0].tolist()) and set(found[1].tolist()) == {-1}


def test_stand_ins_are_hard_in_the_ways_that_nodules_are():
    """Sizes and densities vary; readers disagree; the middle of each nodule is denser than the lung around it."""
    sizes, readers, agree = [], [], []
    for planned in plan_scans(4, 5, shape=(24, 44, 60), spacing=4.0, nodules=5):
        phantom, nodules = scan_with_nodules(planned)
        marks = marks_of(nodules, 4.0, planned.seed)
        for number, nodule in enumerate(nodules, start=1):
            own = [mark for mark in marks if mark.nodule == number]
            readers.append(len(own))
            sizes.append(nodule.diameter)
            part = phantom.array[nodule.window()]
            assert part[own[0].mask].mean() > np.median(part) - 50
            common = np.logical_and.reduce([mark.mask for mark in own]).sum()
            agree.append(common / np.logical_or.reduce([mark.mask for mark in own]).sum())
    assert 2.5 <= min(sizes) < 9 < max(sizes) <= 30
    assert 1 <= min(readers) and max(readers) == 4 and np.mean(agree) < 0.95


def test_readers_of_nothing(done):
    volume = dml.read_volume(scans_of(done.output)[0]["image"])
    found = reference_standard(volume, [], [])
    assert len(found.nodules) == len(found.others) == 0


@pytest.mark.parametrize(("size", "divisible", "anchors"), [("small", (8, 8, 4), 3), ("full", (16, 16, 8), 3)])
def test_settings_of_real_sizes_make_detectors(size, divisible, anchors):
    """As the bundle of MONAI has them at the full size."""
    settings = load_settings(config_file("radiology", size))["model"]["init_args"]["detector"]
    with torch.device("meta"):
        detector = make_detector(**settings)
    assert tuple(detector.size_divisible) == divisible and detector.num_anchors_per_loc == anchors
    assert (detector.box_selector.nms_thresh, detector.box_selector.score_thresh) == (0.22, 0.02)
    patch = load_settings(config_file("radiology", size))["data"]["init_args"]["patch_size"]
    assert all(n % by == 0 for n, by in zip(patch, divisible, strict=True))
