"""Labels of tiles by annotations and reports: what is drawn on a slide is found in its tiles, at any level."""

from __future__ import annotations

import pickle
import time

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.errors import CodeError, EncodingError, FileError, GeometryError, SeriesError
from tests.data.slides import STROMA, TUMOUR, make

torch = pytest.importorskip("torch")
from matplotlib.path import Path as Outline  # noqa: E402

from dicom_ml.data import AnnotationLabels, EvaluationLabels, TileDataset, collate_detections  # noqa: E402

NET = dml.Algorithm("NucleiNet", "1")
NUCLEUS, CELL = "SCT:84640000", "SCT:4421005"
GRADE = "99LAB:1|Grade"
SHAPE = (300, 420)


def stars(count: int, seed: int = 0, reach: float = 12.0):
    """Outlines of a few corners, ``(row, column)``, all over the slide and a little beyond."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        corners = int(rng.integers(3, 9))
        angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radius = rng.uniform(0.3, 1, corners) * reach
        center = rng.uniform(0, SHAPE)
        found.append(center + np.stack([np.sin(angle), np.cos(angle)], axis=1) * radius[:, None])
    return [np.float32(np.clip(one, 0, SHAPE)).astype(float) for one in found]


def covered(outlines, shape=SHAPE) -> np.ndarray:
    """Pixels whose centres each outline holds, by another package; shape (N, rows, columns)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    centers = np.stack([rows.ravel(), columns.ravel()], axis=1)
    return np.array([Outline(o).contains_points(centers).reshape(shape) for o in outlines])


def painted(masks, values, shape=SHAPE) -> np.ndarray:
    out = np.zeros(shape, int)
    for mask, value in zip(masks, values, strict=True):
        out[mask] = value
    return out


def group(outlines, label="Nuclei", type=NUCLEUS, change=None, **options):
    points = [o[:, ::-1] for o in outlines] if change is None else [change(o) for o in outlines]
    offsets = np.cumsum([0, *(len(p) for p in points)])[:-1]
    options = {"graphic": "polygon", "offsets": offsets, "algorithm": NET, **options}
    if options["graphic"] != "polygon" and options["graphic"] != "polyline":
        options.pop("offsets")
    return dml.AnnotationGroup(label, type, points=np.concatenate(points), **options)


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    root = tmp_path_factory.mktemp("annotated")
    return [make(root, i)[0] for i in (1, 2)]


@pytest.fixture(scope="module")
def scene(slides, tmp_path_factory):
    """A slide, two groups of outlines on it, their masks, and the file."""
    slide = dml.open_slide(slides[0])
    nuclei, cells = stars(60), stars(20, seed=1, reach=40)
    path = tmp_path_factory.mktemp("ann") / "a.ann.dcm"
    dml.Annotations.from_groups([group(cells, "Cells", CELL), group(nuclei)], source=slide).save(path)
    return slide, nuclei, cells, path


def tile_of(whole, item, size=64):
    row, column = item["position"]
    part = np.zeros((size, size), whole.dtype)
    cut = whole[row : row + size, column : column + size]
    part[: cut.shape[0], : cut.shape[1]] = cut
    return part


# ---------------------------------------------------------------------- masks
@pytest.mark.parametrize("overlap", ["last", "first"])
def test_masks_are_those_of_another_package(scene, overlap):
    slide, nuclei, cells, path = scene
    every, values = covered([*cells, *nuclei]), [1] * len(cells) + [2] * len(nuclei)
    whole = painted(every, values) if overlap == "last" else painted(every[::-1], values[::-1])
    data = TileDataset([slide], 64, labels=AnnotationLabels(path, [CELL, NUCLEUS], "mask", overlap=overlap))
    different = sum((item["label"][0].numpy() != tile_of(whole, item)).sum() for item in data)
    assert different <= 2  # a centre on an outline


def test_files_alone_are_labels(scene):
    slide, nuclei, cells, path = scene
    whole = painted(covered([*cells, *nuclei]), [1] * len(cells) + [2] * len(nuclei))
    ways = [path, str(path), [path], dml.read_annotations(path), {0: path}, {slide.source.series_instance_uid: [path]}]
    expected = None
    for way in ways:
        found = TileDataset([slide], 64, labels=way).tile_labels()
        assert expected is None or found == expected
        expected = found
    for label, item in zip(expected, TileDataset([slide], 64), strict=True):
        shares = np.bincount(tile_of(whole, item).ravel(), minlength=3)[1:] / 64**2
        best = int(shares.argmax())
        assert label == (best + 1 if shares[best] >= 0.5 else 0)


@pytest.mark.parametrize("cut", [{"level": 1}, {"level": 2}, {"spacing": 0.00125}])
def test_other_resolutions(scene, cut):
    """A pixel of a coarser tile has the class at its centre."""
    slide, nuclei, cells, path = scene
    data = TileDataset([slide], 32, labels=AnnotationLabels(path, {NUCLEUS: 7}, "mask", unmapped="drop"), **cut)
    down = np.array(data.grids[0].downsamples)
    for item in data:
        first = item["tile_position"].numpy()
        rows, columns = ((first[i] + np.arange(32) + 0.5) * down[i] for i in (0, 1))
        centers = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
        expected = np.any([Outline(o).contains_points(centers) for o in nuclei], axis=0).reshape(32, 32) * 7
        assert (item["label"][0].numpy() != expected).sum() <= 2


def test_millimetres_and_other_levels_lie_alike(scene, tmp_path):
    slide, nuclei, _, _ = scene
    in_mm = dml.Annotations.from_groups([group(nuclei, change=lambda o: slide.to_mm(o, corner=True))], source=slide)
    flat = group(nuclei, change=lambda o: slide.to_mm(o, corner=True)[:, :2], z=0.0)
    in_plane = dml.Annotations.from_groups([flat], source=slide)
    in_mm.save(tmp_path / "mm.dcm")
    in_plane.save(tmp_path / "plane.dcm")
    level = dml.Annotations.from_groups([group([o / 2 for o in nuclei])], source=slide)
    level._header = level.dataset
    level._header.ReferencedImageSequence[0].ReferencedSOPInstanceUID = slide.levels[1].sop_instance_uids[0]
    pixels = dml.Annotations.from_groups([group(nuclei)], source=slide)
    masks = [
        np.array(
            [item["label"].numpy() for item in TileDataset([slide], 64, labels=AnnotationLabels(way, kind="mask"))]
        )
        for way in (pixels, tmp_path / "mm.dcm", tmp_path / "plane.dcm", level)
    ]
    for other in masks[1:]:
        assert (masks[0] != other).mean() < 1e-4


def test_pixels_of_frames_are_refused(scene):
    slide, nuclei, _, _ = scene
    ann = dml.Annotations.from_groups([group(nuclei)], source=slide)
    ann.pixel_origin = "FRAME"
    with pytest.raises(GeometryError, match="from the corner of a frame"):
        TileDataset([slide], 64, labels=ann).label(0)


def test_every_graphic(slides):
    slide = dml.open_slide(slides[0])
    ends = np.array([[20, 30], [60, 30], [40, 20], [40, 40]], float)  # (row, column)
    box = np.array([[100, 100], [100, 140], [130, 140], [130, 100]], float)
    points = [np.array([[200.0, 50.0]]), np.array([[200.0, 80.0]])]
    line = [np.array([[250.0, 50.0], [250.0, 150.0]])]
    groups = [
        group([ends], "E", graphic="ellipse"),
        group([box], "R", graphic="rectangle"),
        group(points, "P", graphic="point"),
        group(line, "L", graphic="polyline"),
    ]
    ann = dml.Annotations.from_groups(groups, source=slide)
    with pytest.raises(GeometryError, match="cover no pixels: pass point_size="):
        TileDataset([slide], 300, labels=AnnotationLabels(ann, kind="mask")).label(0)
    labels = AnnotationLabels(ann, ["E", "R", "P", "L"], "mask", point_size=0.005)  # ten pixels
    mask = TileDataset([slide], 300, labels=labels).label(0)[0]
    rows, columns = np.mgrid[:300, :300] + 0.5
    expected = np.zeros((300, 300), int)
    expected[((rows - 40) / 20) ** 2 + ((columns - 30) / 10) ** 2 <= 1] = 1
    expected[100:130, 100:140] = 2
    for column in (50, 80):
        expected[np.hypot(rows - 200, columns - column) <= 5] = 3
    expected[(np.abs(rows - 250) <= 5) & (np.abs(columns - 100) <= 50)] = 4
    for x in (50, 150):
        expected[np.hypot(rows - 250, columns - x) <= 5] = 4
    assert (mask != expected).sum() <= 12
    found = TileDataset([slide], 300, labels=AnnotationLabels(ann, kind="boxes", point_size=0.005)).label(0)
    boxes = [[20, 20, 40, 60], [100, 100, 140, 130], [45, 195, 55, 205], [75, 195, 85, 205], [45, 245, 155, 255]]
    np.testing.assert_allclose(found["boxes"], boxes, atol=1e-3)
    assert found["labels"].tolist() == [1, 2, 3, 3, 4]


# ---------------------------------------------------------------------- other kinds
def test_every_item_is_counted_once(scene):
    slide, nuclei, cells, path = scene
    data = TileDataset([slide], 64, labels=AnnotationLabels(path, {CELL: 1, NUCLEUS: 3}, "count"))
    counts = np.array(data.tile_labels())
    assert counts.shape == (len(data), 3) and counts.sum(axis=0).tolist() == [20, 0, 60]
    middles = [(o.min(0) + o.max(0)) / 2 for o in nuclei]
    for item in data:
        row, column = item["position"]
        inside = sum(row <= y < row + 64 and column <= x < column + 64 for y, x in middles)
        assert item["label"][2] == inside


def test_boxes(scene):
    slide, nuclei, cells, path = scene
    labels = AnnotationLabels(path, [CELL, NUCLEUS], "boxes", min_visible=0.5)
    data = TileDataset([slide], 64, labels=labels, level=1)
    bounds = [(o.min(0), o.max(0)) for o in [*cells, *nuclei]]
    for item in data:
        low = np.array(item["position"], float)
        expected = []
        for (a, b), value in zip(bounds, [1] * 20 + [2] * 60, strict=True):
            c, d = np.maximum(a, low), np.minimum(b, low + 128)
            if (d > c).all() and (d - c).prod() >= 0.5 * (b - a).prod():
                expected.append([*((c - low) / 2)[::-1], *((d - low) / 2)[::-1], value])
        found = np.column_stack([item["label"]["boxes"], item["label"]["labels"]])
        np.testing.assert_allclose(found, np.array(expected).reshape(-1, 5), atol=1e-3)
    as_array = TileDataset([slide], 64, labels=AnnotationLabels(path, [CELL, NUCLEUS], "boxes", axes="rc"), level=1)
    np.testing.assert_array_equal(as_array[3]["label"]["boxes"][:, [1, 0, 3, 2]], data[3]["label"]["boxes"])


def test_boxes_there_and_back(slides, tmp_path):
    """What tiles get as targets is written as annotations, and is the same."""
    pytest.importorskip("monai")
    from dicom_ml.transforms import SaveAnnotations

    slide = dml.open_slide(slides[0])
    corners = np.random.default_rng(2).uniform((2, 2), (44, 44), (30, 2)) + np.mgrid[:5, :6].reshape(2, -1).T * 64
    boxes = np.float32(np.concatenate([corners, corners + (9, 17)], axis=1))  # rows first; within a tile each
    outlines = [b[[0, 1, 0, 3, 2, 3, 2, 1]].reshape(4, 2) for b in boxes[:25]]
    ann = dml.Annotations.from_groups([group(outlines, graphic="rectangle")], source=slide)
    for axes in ("xy", "rc"):
        data = TileDataset([slide], 64, labels=AnnotationLabels(ann, kind="boxes", axes=axes))
        save = SaveAnnotations({1: "SCT:84640000"}, tmp_path / axes, algorithm=NET, axes=axes)
        for item in data:
            save(item["label"], item)
        (path,) = (tmp_path / axes).rglob("*.ann.dcm")
        again = TileDataset([slide], 64, labels=AnnotationLabels(path, kind="boxes", axes=axes))
        for one, other in zip(data, again, strict=True):
            np.testing.assert_allclose(_sorted(one), _sorted(other), atol=1e-3)


def _sorted(item) -> np.ndarray:
    boxes = item["label"]["boxes"].numpy()
    return boxes[np.lexsort(boxes.T)]


def test_rules_of_a_tiles_class(scene):
    slide, nuclei, cells, path = scene
    names = [CELL, NUCLEUS]
    whole = painted(covered([*cells, *nuclei], (320, 448)), [1] * 20 + [2] * 60, (320, 448))
    center = TileDataset([slide], 64, labels=AnnotationLabels(path, names, rule="center"))
    assert center.tile_labels() == [int(whole[r + 32, c + 32]) for r, c in center.positions]
    most = TileDataset([slide], 64, labels=AnnotationLabels(path, names, rule="count")).tile_labels()
    counts = TileDataset([slide], 64, labels=AnnotationLabels(path, names, "count")).tile_labels()
    assert most == [int(c.argmax()) + 1 if c.any() else 0 for c in counts]
    shares = np.array(TileDataset([slide], 64, labels=AnnotationLabels(path, names, "share")).tile_labels())
    np.testing.assert_allclose(shares[:, 1].sum() * 64**2, (whole == 2).sum(), atol=2)


def test_overlaps_are_refused_where_asked(scene):
    slide, _, _, path = scene
    labels = AnnotationLabels(path, [CELL, NUCLEUS], "mask", overlap="error")
    with pytest.raises(EncodingError, match="different classes overlap"):
        TileDataset([slide], 300, labels=labels).label(0)
    same = AnnotationLabels(path, {CELL: 4, NUCLEUS: 4}, "mask", overlap="error")
    assert set(np.unique(TileDataset([slide], 300, labels=same).label(0))) == {0, 4}


# ---------------------------------------------------------------------- which files, which classes
def test_each_slide_has_its_own_files(slides, tmp_path):
    files = []
    for i, folder in enumerate(slides):
        slide = dml.open_slide(folder)
        square = np.array([[0, 0], [0, 64], [64, 64], [64, 0]], float) + [0, 64 * i]
        ann = dml.Annotations.from_groups([group([square])], source=slide)
        ann.save(tmp_path / f"{i}.ann.dcm")
        files.append(tmp_path / f"{i}.ann.dcm")
    data = TileDataset(slides, 64, labels=files)
    assert [i for i, label in enumerate(data.tile_labels()) if label] == [0, 35 + 1]
    again = pickle.loads(pickle.dumps(data))
    assert again.tile_labels() == data.tile_labels()
    with pytest.raises(SeriesError, match="no annotations or report refers to slide"):
        TileDataset(slides, 64, labels=files[:1]).tile_labels()
    assert sum(TileDataset(slides, 64, labels=AnnotationLabels(files[:1], missing="empty")).tile_labels()) == 1
    with pytest.raises(EncodingError, match="count their groups from 1"):
        TileDataset(slides[:1], 64, labels={0: files}).label(0)


def test_classes_of_groups(scene, tmp_path):
    slide, _, _, path = scene
    with pytest.raises(CodeError, match=r"annotation group 1 is of type SCT:4421005.* none of the classes"):
        TileDataset([slide], 64, labels=AnnotationLabels(path, [NUCLEUS])).label(0)
    with pytest.raises(EncodingError, match="classes count from 1"):
        AnnotationLabels(path, {NUCLEUS: 0})
    by_label = AnnotationLabels(path, {"Nuclei": 3}, "count", unmapped="drop")
    by_function = AnnotationLabels(path, _three_for_nuclei, "count", unmapped="drop")
    counts = [sum(TileDataset([slide], 64, labels=way).tile_labels()).tolist() for way in (by_label, by_function)]
    assert counts[0] == [0, 0, 60] and counts[1][2] == 60
    with pytest.raises(FileError, match="no DICOM file"):
        (tmp_path / "x.dcm").write_text("x")
        TileDataset([slide], 64, labels=tmp_path / "x.dcm")


def _three_for_nuclei(one) -> int | None:
    return 3 if one.label == "Nuclei" else None


def test_segmentations_by_path(slides, tmp_path):
    slide = dml.open_slide(slides[0])
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, 64:192] = 1
    seg = dml.Segmentation.from_array(mask, source=slide, segments=[TUMOUR, STROMA])
    seg.save(tmp_path / "s.seg.dcm")
    ways = [tmp_path / "s.seg.dcm", {0: dml.read_segmentation(tmp_path / "s.seg.dcm")}]
    for way in ways:
        assert TileDataset([slide], 64, labels=way).tile_labels()[:4] == [0, 1, 1, 0]
    ann = dml.Annotations.from_groups([group(stars(3))], source=slide)
    with pytest.raises(EncodingError, match="segmentations and other files"):
        TileDataset([slide], 64, labels=[ann, tmp_path / "s.seg.dcm"])
    assert TileDataset([slide], 64, labels={0: "tumour"}).label(0) == "tumour"


# ---------------------------------------------------------------------- reports
@pytest.mark.parametrize("coordinates", ["auto", "image"])
def test_regions_of_reports(slides, tmp_path, coordinates):
    slide = dml.open_slide(slides[0])
    outline = stars(1, seed=5, reach=60)[0]
    groups = [
        dml.MeasurementGroup(finding=CELL, region=dml.Box((0, 0), (64, 64))),
        dml.MeasurementGroup(finding=NUCLEUS, region=dml.Polygon(outline)),
        dml.MeasurementGroup(finding=NUCLEUS, region=dml.Circle((200, 300), 20)),
        dml.MeasurementGroup(finding=CELL),
    ]
    report = dml.Report(slide, groups, NET, coordinates=coordinates)
    report.save(tmp_path / "r.sr.dcm")
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    expected = np.zeros(SHAPE, int)
    expected[:64, :64] = 1
    expected[covered([outline])[0] | (np.hypot(rows - 200, columns - 300) <= 20)] = 2
    for way in (tmp_path / "r.sr.dcm", report):
        data = TileDataset([slide], 64, labels=AnnotationLabels(way, [CELL, NUCLEUS], "mask"))
        assert sum((item["label"][0].numpy() != tile_of(expected, item)).sum() for item in data) <= 4
    assert TileDataset([slide], 64, labels=report).tile_labels()[0] == 1
    boxes = TileDataset([slide], 512, labels=AnnotationLabels(report, [CELL, NUCLEUS], "boxes")).label(0)
    expected_boxes = [[0, 0, 64, 64], [*outline.min(0)[::-1], *outline.max(0)[::-1]], [280, 180, 320, 220]]
    np.testing.assert_allclose(boxes["boxes"], expected_boxes, atol=2e-2)


def test_reports_on_several_slides(slides, tmp_path):
    """Each slide takes what was outlined on it."""
    first, second = (dml.open_slide(folder) for folder in slides)
    groups = [
        dml.MeasurementGroup(finding=CELL, region=dml.Box((0, 0), (64, 64))),
        dml.MeasurementGroup(finding=NUCLEUS, region=dml.Box((0, 64), (64, 128)), source=second),
    ]
    report = dml.Report(first, groups, NET, coordinates="image")
    data = TileDataset(slides, 64, labels=AnnotationLabels(report, {CELL: 1, NUCLEUS: 2}))
    assert [(i, label) for i, label in enumerate(data.tile_labels()) if label] == [(0, 1), (36, 2)]
    only = dml.Report(second, groups[1:], NET, coordinates="image")
    with pytest.raises(GeometryError, match="none of which lies on the slide"):
        TileDataset(slides[:1], 64, labels={0: only}).label(0)
    report = dml.Report(first, groups[:1], NET, coordinates="image")
    ds = report.dataset
    _outline_item(ds).PixelOriginInterpretation = "FRAME"
    ds.save_as(tmp_path / "frame.sr.dcm")
    with pytest.raises(GeometryError, match="from the corner of a frame"):
        TileDataset(slides[:1], 64, labels=tmp_path / "frame.sr.dcm").label(0)
    answer = dml.Report(first, algorithm=NET, evaluations=[dml.Evaluation(GRADE, text="grade 1")])
    with pytest.raises(EncodingError, match="is for EvaluationLabels"):
        TileDataset(slides[:1], 64, labels=answer).label(0)


def _outline_item(ds):
    for item in ds.get("ContentSequence") or []:
        if item.ValueType == "SCOORD":
            return item
        found = _outline_item(item)
        if found is not None:
            return found
    return None


def test_slides_by_what_reports_say_of_them(slides, tmp_path):
    files = []
    for i, folder in enumerate(slides):
        slide = dml.open_slide(folder)
        answers = [dml.Evaluation(GRADE, text=f"grade {i + 1}")]
        whole = dml.Report(slide, algorithm=NET, evaluations=answers)
        by_group = dml.Report(slide, [dml.MeasurementGroup(measurements=[dml.Measurement(GRADE, i + 1, "1")])], NET)
        for name, report in (("whole", whole), ("group", by_group)):
            report.save(tmp_path / f"{name}{i}.sr.dcm")
            files.append(tmp_path / f"{name}{i}.sr.dcm")
    classes = {"grade 1": 0, "grade 2": 1, 1: 0, 2: 1}
    data = TileDataset(slides, 64, labels=EvaluationLabels(files, classes, GRADE))
    assert data.tile_labels() == [0] * 35 + [1] * 35
    mixed = EvaluationLabels({0: files, 1: files[2:]}, classes, GRADE, several="highest")
    assert TileDataset(slides, 64, labels=mixed).tile_labels() == [1] * 70
    with pytest.raises(EncodingError, match=r"slide .* has several classes, \[0, 1\]"):
        TileDataset(slides, 64, labels=EvaluationLabels({0: files}, classes, GRADE)).label(0)
    with pytest.raises(SeriesError, match="pass default="):
        TileDataset(slides, 64, labels=EvaluationLabels(files[2:], classes, GRADE)).label(0)
    assert TileDataset(slides, 64, labels=EvaluationLabels(files[2:], classes, GRADE, default=9)).label(0) == 9


# ---------------------------------------------------------------------- batches, millions
def test_batches_in_workers(scene):
    slide, _, _, path = scene
    data = TileDataset([slide], 64, labels=AnnotationLabels(path, kind="boxes"))
    data.label(0)
    sent = pickle.loads(pickle.dumps(data))  # as a spawned worker gets it
    assert not sent.labels._items
    loader = torch.utils.data.DataLoader(sent, batch_size=8, num_workers=1, collate_fn=collate_detections)
    batches = list(loader)
    assert batches[0]["image"].shape == (8, 3, 64, 64) and len(batches[0]["label"]) == 8
    found = [label["boxes"].numpy() for batch in batches for label in batch["label"]]
    for own, label in zip(found, data.tile_labels(), strict=True):
        np.testing.assert_array_equal(own, label["boxes"])


def test_a_million_items(slides):
    """Tiles find their own without looking at the others."""
    slide = dml.open_slide(slides[0])
    rng = np.random.default_rng(0)
    count = 1_000_000
    centers = rng.uniform(0, SHAPE[::-1], (count, 1, 2)).astype(np.float32)
    points = (centers + rng.uniform(-0.2, 0.2, (count, 5, 2)).astype(np.float32)).reshape(-1, 2)
    many = dml.AnnotationGroup("Nuclei", NUCLEUS, "polygon", points, np.arange(count) * 5, algorithm=NET)
    labels = AnnotationLabels(dml.Annotations.from_groups([many], source=slide), kind="count")
    data = TileDataset([slide], 16, labels=labels)
    data.label(0)
    start = time.perf_counter()
    counts = [data.label(i)[0] for i in range(200)]
    took = time.perf_counter() - start
    items = labels.of(slide)
    inside = (items.centers[:, 0] >= 0) & (items.centers[:, 0] < 16)
    places = np.floor(items.centers[inside, 1] / 16).astype(int)
    assert counts[:27] == [int((places == i).sum()) for i in range(27)] and sum(counts) > 0
    start = time.perf_counter()
    for _ in range(5):
        ((items.bounds[:, :2] < 16) & (items.bounds[:, 2:] >= 0)).all(axis=1)
    scan = (time.perf_counter() - start) / 5
    assert took / 200 < scan / 3  # as a scan of them all would take


def test_highdicoms_annotations_on_their_slide(shared_data):
    ann = dml.read_annotations(shared_data / "d_derived/highdicom/sm_annotations.dcm")
    slide = dml.open_slide(shared_data / "b_wsi/highdicom_tiny/sm_image.dcm")
    labels = AnnotationLabels(shared_data / "d_derived/highdicom/sm_annotations.dcm", ["SCT:84640000"], "count")
    counts = np.array(TileDataset([slide], 10, labels=labels).tile_labels())
    expected = np.zeros(25, int)
    for x, y in ann.groups[0].points:
        expected[int(y // 10) * 5 + int(x // 10)] += 1
    assert counts[:, 0].tolist() == expected.tolist()
