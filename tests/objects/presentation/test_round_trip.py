"""Presentation states read as they were written; regions there and back; what cannot be said is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.objects.presentation import (
    VOI,
    Annotation,
    Blend,
    BlendInput,
    DisplayedArea,
    Graphic,
    GraphicLayer,
    LookupTable,
    Orientation,
    Palette,
    Rescale,
    Shutter,
    Text,
    Threshold,
    Window,
)
from dicom_ml.objects.presentation.palettes import PALETTES
from dicom_ml.objects.report.items import Reference
from tests.judges import dciodvfy
from tests.objects.key_objects.test_key_objects import cine
from tests.objects.presentation.scenes import NAMES, RAMP, blend_of, image, pet, state_of
from tests.objects.report.scenes import slide
from tests.objects.segmentation.scenes import axial, oblique, source_on
from tests.series import write_series

State = dml.PresentationState


@pytest.mark.parametrize("name", NAMES)
def test_reads_as_it_was_written(name, tmp_path):
    made = state_of(name)
    read = dml.read_presentation_state(made.save(tmp_path / "pr.dcm"))
    mine, theirs = made.content, read.content
    assert read.problems == []
    for field in ("kind", "rescale", "voi", "grey", "palette", "orientation", "areas", "shutter", "blends"):
        expected = getattr(mine, field)
        if field == "areas" and mine.kind == "grayscale":
            expected = tuple(replace(a, spacing=a.spacing and tuple(round(v, 8) for v in a.spacing)) for a in expected)
        assert getattr(theirs, field) == expected, field
    assert list(theirs.layers) == sorted(mine.layers, key=lambda layer: layer.order)
    assert [(a.layer, a.images, a.tracking_uid) for a in theirs.annotations] == [
        (a.layer, a.images, a.tracking_uid) for a in mine.annotations
    ]
    for a, b in zip(mine.annotations, theirs.annotations, strict=True):
        for t, u in zip(a.texts, b.texts, strict=True):
            assert t == replace(u, box=t.box) and (t.box is None or np.allclose(t.box, u.box))
        assert [(g.kind, g.units, g.filled) for g in a.graphics] == [(g.kind, g.units, g.filled) for g in b.graphics]
        for g, h in zip(a.graphics, b.graphics, strict=True):
            assert np.allclose(g.points, h.points, atol=1e-5)
    assert [(i.number, i.voi, i.palette, i.threshold, bool(i.geometry)) for i in theirs.inputs] == [
        (i.number, i.voi, i.palette, i.threshold, bool(i.geometry)) for i in mine.inputs
    ]
    assert [set(i.references) for i in theirs.inputs] == [set(i.references) for i in mine.inputs]
    assert read.references == made.references
    assert {r.study_instance_uid for r in read.references} == {r.study_instance_uid for r in made.references}
    assert (read.label, read.description) == (made.label, made.description)
    assert read.dataset == made.dataset
    again = pickle.loads(pickle.dumps(read))
    assert again.content == theirs and again.save(tmp_path / "again.dcm")
    assert (tmp_path / "again.dcm").read_bytes() == (tmp_path / "pr.dcm").read_bytes()


def test_patient_study_and_programme(tmp_path):
    ds = pydicom.dcmread(state_of("window").save(tmp_path / "pr.dcm"))
    source = source_on(axial())
    assert (ds.Modality, ds.PatientID, ds.StudyInstanceUID) == ("PR", "T1", source.study_instance_uid)
    assert ds.ContentLabel == "SOFT TISSUE" and ds.PresentationCreationDate and "ContentDate" not in ds
    assert "FrameOfReferenceUID" not in ds and ds.Manufacturer == "dicom_ml"
    made = [State(source, voi=(1, w), rescale=False, deterministic=True).sop_instance_uid for w in (2, 2, 3)]
    assert made[0] == made[1] != made[2]


# ---------------------------------------------------------------------- what the images say
def test_a_volume_says_what_its_values_mean(tmp_path):
    write_series(tmp_path / "a")
    for place, path in enumerate(sorted((tmp_path / "a").iterdir())):
        ds = pydicom.dcmread(path)
        ds.WindowCenter, ds.WindowWidth, ds.WindowCenterWidthExplanation = "40", "400", "SOFT"
        ds.save_as(tmp_path / "a" / f"{place:03d}.dcm")
    volume = dml.read_volume(tmp_path / "a")
    state = State(volume)
    assert state.content.rescale == Rescale(1, -1024, "HU")
    assert state.voi == (VOI(Window(40, 400, "LINEAR", "SOFT")),)
    assert state.areas[0].spacing == pytest.approx((0.8, 0.7)) and state.areas[0].shape == (20, 16)
    datasets = [pydicom.dcmread(p) for p in sorted((tmp_path / "a").iterdir())]
    assert State(datasets).content.rescale == Rescale(1, -1024, "HU") and State(datasets).voi == state.voi
    datasets[3].WindowCenter = 50
    several = State(datasets).voi
    assert sorted(v.transform.center for v in several) == [40, 50] and all(v.images for v in several)
    datasets[3].RescaleIntercept = -1000
    with pytest.raises(dml.EncodingError, match="differs between images"):
        State(datasets, voi=(40, 400))


def test_images_without_a_place_in_space():
    ds = pydicom.Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "2.25.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality, ds.PatientID = "2.25.2", "2.25.3", "DX", "P"
    ds.Rows, ds.Columns, ds.PhotometricInterpretation = 30, 20, "MONOCHROME1"
    ds.WindowCenter, ds.WindowWidth = [10, 20], [5, 6]
    state = State([ds])
    assert state.content.grey == "INVERSE" and state.voi[0].transform == Window(10, 5)
    assert (state.areas[0].stop, state.areas[0].spacing, state.areas[0].aspect) == ((30, 20), None, (1, 1))
    ds.ImagerPixelSpacing = [0.2, 0.1]
    assert State(ds, areas="true size").areas[0].spacing == (0.2, 0.1)


def test_every_image_has_one_window_and_one_area():
    source, many = source_on(axial()), source_on(axial(), multiframe=True)
    part = DisplayedArea((5, 5), (9, 9), images=(2, 3))
    first, rest = State(source, voi=(1, 2), rescale=False, areas=part).areas
    assert [r.sop_instance_uid for r in first.images] == list(source.sop_instance_uids[2:4])
    assert (rest.start, rest.stop) == ((0, 0), (40, 64)) and len(rest.images) == 7
    first, rest = State(many, voi=(1, 2), rescale=False, areas=part).areas
    assert (first.images[0].frames, rest.images[0].frames) == ((3, 4), (1, 2, 5, 6, 7, 8, 9))
    with pytest.raises(dml.EncodingError, match="two displayed areas"):
        State(source, voi=(1, 2), rescale=False, areas=[part, replace(part, images=(3,))])
    with pytest.raises(dml.EncodingError, match="two windows"):
        State(source, voi=[VOI((1, 2)), VOI((3, 4), [1])], rescale=False)
    with pytest.raises(dml.EncodingError, match="7 images have no window"):
        State(source, voi=[VOI((1, 2), [1, 2])], rescale=False)


def test_a_loop_in_colour(tmp_path):
    with pytest.raises(dml.EncodingError, match="kind='color'"):
        State(cine())
    state = State(cine(), "color", [2], annotations=[Annotation(Graphic("point", (1, 2)), images=[2])])
    read = dml.read_presentation_state(state.save(tmp_path / "pr.dcm"))
    assert read.references == [Reference("1.2.840.10008.5.1.4.1.1.3.1", "2.25.31", (3,))]
    assert read.areas[0].stop == (4, 5) and dciodvfy(tmp_path / "pr.dcm") == []
    ((shape, _),) = read.regions([cine()])
    assert shape == dml.Point((1, 2), slice=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "rescale"),
        ({"rescale": False}, "how the images' values become grey"),
        ({"voi": (1, 0), "rescale": False}, "width of at least 1"),
        ({"voi": (1, 2), "rescale": (0, 1)}, "slope other than 0"),
        ({"voi": (1, 2), "rescale": False, "kind": "blending"}, "PresentationState.blend"),
        ({"voi": (1, 2), "rescale": False, "kind": "color"}, "no window"),
        ({"voi": (1, 2), "rescale": False, "kind": "pseudo-color"}, "has a palette"),
        ({"voi": (1, 2), "rescale": False, "palette": "pet"}, "has a palette"),
        ({"voi": (1, 2), "rescale": False, "images": [9]}, "slices 0 to 8"),
        ({"voi": VOI((1, 2), [5]), "rescale": False, "images": [1]}, "not among its images"),
        ({"voi": (1, 2), "rescale": False, "content_label": "soft"}, "capital letters"),
        ({"voi": (1, 2), "rescale": False, "regions": [dml.Polyline([(1, 8, 8), (4, 2, 3)])]}, "no single slice"),
        ({"voi": (1, 2), "rescale": False, "regions": [dml.Box((1, 1), (2, 2), slice=12)]}, "slices 0 to 8"),
        ({"voi": (1, 2), "rescale": False, "regions": ["liver"]}, "no outline"),
        ({"voi": (1, 2), "rescale": False, "layers": [GraphicLayer("A"), GraphicLayer("A", 2)]}, "differ"),
    ],
)
def test_what_cannot_be_said_is_refused(arguments, message, tmp_path):
    with pytest.raises(dml.DicomMLError, match=message):
        _ = State(source_on(axial()), **arguments).save(tmp_path / "pr.dcm")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Graphic("polyline", [(1, 2)]), "2 to"),
        (lambda: Graphic("circle", [(1, 2)] * 3), "2 points"),
        (lambda: Graphic("spline", [(1, 2)] * 3), "interpolated"),
        (lambda: Graphic("point", (1, np.nan)), "finite"),
        (lambda: Graphic("point", (1, 2), units="display"), "from 0 to 1"),
        (lambda: Graphic("polyline", [(1, 2), (3, 4)], filled=True), "closed"),
        (lambda: Text("x"), "needs a place"),
        (lambda: Text(" ", (1, 2)), "something to read"),
        (lambda: Text("x" * 1025, (1, 2)), "1024"),
        (lambda: Annotation(), "graphic or a text"),
        (lambda: GraphicLayer("lower"), "capital"),
        (lambda: DisplayedArea((0, 0), (5, 0)), "below its stop"),
        (lambda: DisplayedArea((0, 0), (5, 5), "true size"), "spacing"),
        (lambda: DisplayedArea((0, 0), (5, 5), "magnify"), "magnification"),
        (lambda: Orientation(45), "90"),
        (lambda: Shutter(), "a rectangle"),
        (lambda: LookupTable([0.5, 1]), "integers"),
        (lambda: LookupTable([300], bits=8), "8 to 16 bits"),
        (lambda: Palette([[1, 2, 3]]), "2 to 65536"),
        (lambda: Palette.named("jet"), "hot iron"),
        (lambda: Threshold("inside", 3), "2 finite"),
        (lambda: Threshold("near", 3), "inside"),
        (lambda: Blend((1, 2, 3), "foreground"), "exactly two"),
        (lambda: Blend((1, 2), opacity=2), "0 to 1"),
    ],
)
def test_parts_that_make_no_sense_are_refused(make, message):
    with pytest.raises(dml.EncodingError, match=message):
        make()


# ---------------------------------------------------------------------- regions
def test_regions_come_back(tmp_path):
    source = source_on(oblique())
    given = [
        dml.Circle((10, 12), 5.5, slice=3),
        dml.Ellipse.of((12, 8), (3, 2), 30, slice=2),
        dml.Polygon([(1, 1), (1, 5.5), (6, 3)], slice=4),
        dml.Polyline([(8, 8), (2, 3)], slice=2),
        dml.Point((8, 8), slice=2),
    ]
    state = State(source, voi=(1, 2), rescale=False, regions=[(r, r.kind) for r in given])
    found = dml.read_presentation_state(state.save(tmp_path / "pr.dcm")).regions(source)
    assert len(found) == len(given)
    for region in given:
        assert any(region.close_to(shape) and text == region.kind for shape, text in found), region
    in_mm = State(source, voi=(1, 2), rescale=False, regions=[
        dml.Point(source.grid.to_lps([3, 7.5, 7.5]), space="mm")])  # fmt: skip
    assert in_mm.regions(source)[0][0].close_to(dml.Point((8, 8), slice=3))


def test_bodies_lie_on_every_slice_that_they_cross():
    source = source_on(axial())
    box = State(source, voi=(1, 2), rescale=False, regions=[dml.Box((2, 3, 4), (5, 9, 11))])
    assert [(s.slice, s.points.min(0).tolist(), s.points.max(0).tolist()) for s, _ in box.regions(source)] == [
        (d, [3, 4], [9, 11]) for d in (2, 3, 4)
    ]
    ball = State(source, voi=(1, 2), rescale=False, regions=[dml.Ellipsoid.from_radii((4.5, 20, 30), (2.6, 8, 5))])
    sizes = {s.slice: np.linalg.norm(s.semi_axes, axis=1) for s, _ in ball.regions(source)}
    assert sorted(sizes) == [2, 3, 4, 5, 6]
    for d, (major, minor) in sizes.items():
        scale = np.sqrt(1 - ((d - 4) / 2.6) ** 2)
        assert (major, minor) == pytest.approx((8 * scale, 5 * scale), abs=1e-5)


def test_regions_of_a_cropped_volume_are_its_own(tmp_path):
    write_series(tmp_path / "a")
    volume = dml.read_volume(tmp_path / "a")
    cropped = volume.crop((slice(2, 9), slice(3, 10), slice(1, 9)))
    state = State(cropped, voi=(0, 100), regions=[dml.Circle((3, 4), 2, slice=1)])
    ((shape, _),) = state.regions(volume)
    assert shape.close_to(dml.Circle((6, 5), 2, slice=3), 1e-3)


def test_outlines_on_a_slide_count_in_its_total_pixel_matrix(tmp_path):
    source = slide()
    state = State(source, "color", images=None, regions=[dml.Polygon([(1, 1), (1, 9), (9, 9)])])
    read = dml.read_presentation_state(state.save(tmp_path / "pr.dcm"))
    (annotation,) = read.annotations
    assert annotation.graphics[0].units == "matrix"
    assert [r.sop_instance_uid for r in annotation.images] == list(source.levels[0].sop_instance_uids)
    ((shape, _),) = read.regions(source)
    assert shape.close_to(dml.Polygon([(1, 1), (1, 9), (9, 9)]))
    ds = read.dataset
    assert [a.PixelOriginInterpretation for a in ds.DisplayedAreaSelectionSequence] == ["VOLUME"] * 2
    assert ds.DisplayedAreaSelectionSequence[1].DisplayedAreaBottomRightHandCorner == [150, 200]


def test_groups_bring_their_text_and_tracking(tmp_path):
    read = dml.read_presentation_state(state_of("regions").save(tmp_path / "pr.dcm"))
    first = read.annotations[0]
    assert first.tracking_id == "A" and first.tracking_uid == "2.25.5"
    assert first.texts[0].text.split("\n")[1:] == ["A", "7.3 mm"]
    assert read.layers == (GraphicLayer("FINDINGS", 3, (255, 0, 0), "What the net found"),)
    assert "REGIONS" not in {a.layer for a in read.annotations}


def test_units_of_the_display_in_pixels():
    source = source_on(axial())
    corner = Annotation(Graphic("point", (0, 0), units="display"))
    for turn in (Orientation(), Orientation(90), Orientation(180), Orientation(270), Orientation(90, True)):
        state = State(source, voi=(1, 2), rescale=False, orientation=turn, annotations=[corner],
                      areas=DisplayedArea((10, 20), (30, 60)))  # fmt: skip
        (annotation,) = state.annotations_on(source.sop_instance_uids[0])
        row, column = annotation.graphics[0].points[0]
        # the corner shown upper left, of pixels that say where they are
        rows, columns = np.mgrid[10:30, 20:60]
        shown = [turn.apply(v)[0, 0] for v in (rows, columns)]
        assert (row, column) == (shown[0] + (shown[0] == 29), shown[1] + (shown[1] == 59))
        item = state.dataset.DisplayedAreaSelectionSequence[0]
        assert item.DisplayedAreaTopLeftHandCorner == [shown[1] + 1, shown[0] + 1]
        last = [turn.apply(v)[-1, -1] for v in (rows, columns)]
        assert item.DisplayedAreaBottomRightHandCorner == [last[1] + 1, last[0] + 1]


# ---------------------------------------------------------------------- blends
def test_blends_that_make_no_sense_are_refused(tmp_path):
    ct = BlendInput(source_on(axial()), (40, 400))
    with pytest.raises(dml.EncodingError, match="window"):
        State.blend([ct, BlendInput(pet())])
    with pytest.raises(dml.EncodingError, match="another frame of reference"):
        State.blend([ct, BlendInput(pet(frame_of_reference_uid="2.25.9"), (5, 10))]).save(tmp_path / "a.dcm")
    moved = BlendInput(pet(frame_of_reference_uid="2.25.9"), (5, 10), registration=Reference(
        "1.2.840.10008.5.1.4.1.1.66.1", "2.25.10", series_instance_uid="2.25.11"))  # fmt: skip
    read = dml.read_presentation_state(State.blend([ct, moved]).save(tmp_path / "b.dcm"))
    assert read.content.inputs[1].registration is not None
    for blends, message in [
        ([Blend((1, 3))], "uses input 3"),
        ([Blend((1, 2), number=3)], "last"),
        ([Blend((1, 2)), Blend((1, 2))], "has a number"),
    ]:
        with pytest.raises(dml.EncodingError, match=message):
            State.blend([ct, BlendInput(pet(), (5, 10))], blends)
    with pytest.raises(dml.EncodingError, match="no blend"):
        State.blend([ct, BlendInput(pet(), (5, 10)), BlendInput(pet(), (5, 10))], [Blend((1, 2))])
    with pytest.raises(dml.EncodingError, match="several"):
        State.blend([replace(ct, geometry=True)] * 2)


def test_a_parametric_map_over_a_volume(tmp_path):
    source = source_on(axial())
    values = np.zeros(source.grid.shape, np.float32)
    made = dml.ParametricMap.from_array(values, source=source, quantity="DCM:113041", unit="mm2/s")
    state = State.blend([BlendInput(source, (40, 400)), BlendInput(made, (0.5, 1), "hot iron", Threshold(">", 0))])
    read = dml.read_presentation_state(state.save(tmp_path / "pr.dcm"))
    assert [r.sop_instance_uid for r in read.content.inputs[1].references] == [made.sop_instance_uid]
    assert {r.frames for r in read.content.inputs[1].references} == {()}


def test_blending_by_the_standards_formulas():
    grey = np.array([[240.0, 40.0, -160.0]])
    hot = np.array([[1.0, 10.0, 5.0]])  # the first below the threshold
    state = blend_of()
    first, second = state.content.inputs
    under, over = first.colors(grey)[0], second.colors(hot)[0]
    found = state.blend_arrays({1: grey, 2: hot})
    assert found.shape == (1, 3, 3) and found.dtype == np.uint8
    assert found[0, 0].tolist() == np.rint(255 * under[0, 0]).tolist()  # what is not shown lets the other through
    assert found[0, 1].tolist() == np.rint(255 * (0.3 * over[0, 1] + 0.7 * under[0, 1])).tolist()
    equal = blend_of(blends=[Blend((1, 2))]).blend_arrays({1: grey, 2: hot})
    assert equal[0, 1].tolist() == np.rint(255 * (over[0, 1] + under[0, 1]) / 2).tolist()
    with pytest.raises(dml.EncodingError, match="one grid"):
        state.blend_arrays({1: grey, 2: hot[:, :2]})
    with pytest.raises(dml.EncodingError, match="input 2"):
        state.blend_arrays({1: grey})
    with pytest.raises(dml.EncodingError, match="shows one series"):
        state_of("window").blend_arrays({1: grey})
    with pytest.raises(dml.EncodingError, match="blend_arrays"):
        state.apply(grey)


# ---------------------------------------------------------------------- tables
@pytest.mark.parametrize("name", PALETTES)
def test_palettes_of_the_standard(name):
    from pydicom.data import get_palette_files
    from pydicom.pixels import apply_color_lut

    palette = Palette.named(name)
    ds = pydicom.dcmread(get_palette_files(f"{PALETTES[name]}.dcm")[0])
    assert ds.ContentLabel.removesuffix(" LUT").replace("_", "") == name.upper().replace(" ", "")
    expected = apply_color_lut(np.arange(256, dtype=np.uint8)[None], ds)[0]
    assert np.array_equal(palette.colors, expected)
    assert np.array_equal(palette.apply(np.arange(256) / 255), expected)
    assert palette.uid.startswith("1.2.840.10008.1.5.")


def test_segmented_palettes_expand_as_pydicom_expands_them():
    from pydicom.pixels import apply_color_lut

    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    # discrete, linear, linear, and a repetition of the first two
    data = [0, 2, 100, 200, 1, 60, 65535, 1, 2, 0, 2, 2, 0, 0]
    for place, channel in enumerate(("Red", "Green", "Blue")):
        ds.add_new(0x00281101 + place, "US", [126, 0, 16])
        setattr(ds, f"Segmented{channel}PaletteColorLookupTableData", np.array(data, "<u2").tobytes())
    expected = apply_color_lut(np.arange(126, dtype=np.uint8)[None], ds)[0]
    found = Palette.from_dataset(ds)
    assert found is not None and np.abs(found.colors.astype(int) - expected).max() <= 1  # how halves are rounded


def test_whole_and_small_tables():
    assert LookupTable([0, 255]).bits == 8 and LookupTable([0, 256]).bits == 9
    whole = LookupTable(np.arange(65536))
    assert whole.look_up([-5, 70000, 17.4]).tolist() == [0, 65535, 17]
    assert RAMP.apply([-2000, 5000]).tolist() == [0, 1]
    item = RAMP.to_dataset()
    assert item["LUTDescriptor"].VR == "SS" and list(item.LUTDescriptor) == [3000, -1024, 16]
    assert list(LookupTable(np.arange(40000), first=-5).to_dataset().LUTDescriptor) == [40000 - 65536, -5, 16]


def test_an_image_can_be_named_as_people_have_it(tmp_path):
    path = image(tmp_path)
    ds = pydicom.dcmread(path)
    state = State([ds], voi=(40, 400), images=[ds], annotations=[
        Annotation(Graphic("point", (1, 2)), images=[ds.SOPInstanceUID])])  # fmt: skip
    assert [r.sop_instance_uid for r in state.references] == [ds.SOPInstanceUID]
    assert len(state.annotations_on(str(ds.SOPInstanceUID))) == 1 and Path(path).exists()


def test_a_report_is_drawn_on_its_images(tmp_path):
    source = source_on(oblique())
    report = dml.Report(source, [
        dml.MeasurementGroup("SCT:27925004", region=dml.Circle((10, 12), 5, slice=3), tracking_id="Nodule 1")],
        dml.Algorithm("Net", "1"), image_library=False)  # fmt: skip
    read = dml.read_report(report.save(tmp_path / "sr.dcm"))  # regions that name their image, and no slice
    assert read.groups[0].region.slice is None
    for given in (report, read, read.groups):
        state = State(source, voi=(1, 2), rescale=False, regions=given)
        ((shape, text),) = state.regions(source)
        assert shape.close_to(dml.Circle((10, 12), 5, slice=3)) and text.endswith("Nodule 1")
        assert state.annotations[0].tracking_uid == report.groups[0].tracking_uid
    with pytest.raises(dml.EncodingError, match="not of the source"):
        State(source_on(oblique(), name="b"), voi=(1, 2), rescale=False, regions=read)


def test_texts_in_any_language(tmp_path):
    state = State(source_on(axial()), voi=(1, 2), rescale=False, annotations=[
        Annotation(texts=Text("結節 7 mm\nλ", (3, 4)))], content_description="所見")  # fmt: skip
    read = dml.read_presentation_state(state.save(tmp_path / "pr.dcm"))
    assert read.annotations[0].texts[0].text == "結節 7 mm\nλ" and read.description == "所見"
    assert read.dataset.SpecificCharacterSet == "ISO_IR 192"
