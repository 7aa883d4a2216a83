"""Presentation states before judges: dciodvfy, DCMTK's rendering, highdicom's states, pydicom's formulas."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.objects.presentation import VOI, LookupTable, Orientation, Shutter, Threshold, Window
from tests.judges import dciodvfy, dcmdump, dcmp2pgm, dcmpschk, need
from tests.objects.presentation.scenes import NAMES, image, state_of
from tests.objects.report.scenes import slide
from tests.series import rotated_grid, write_series

State = dml.PresentationState
rng = np.random.default_rng(0)


@pytest.mark.judge
@pytest.mark.parametrize("name", NAMES)
def test_judges_of_headers(name, tmp_path):
    path = state_of(name).save(tmp_path / "pr.dcm")
    assert dciodvfy(path) == []
    assert dcmdump(path) == []
    assert dcmpschk(path) == []


SHOWN = {
    "window": {"voi": (-20, 1500)},
    "narrow window": {"voi": (100.5, 33)},
    "exact window": {"voi": Window(0, 1000, "LINEAR_EXACT")},
    "inverse": {"voi": (-20, 1500), "inverted": True},
    "turned": {"voi": (-20, 1500), "orientation": Orientation(90)},
    "upside down": {"voi": (-20, 1500), "orientation": Orientation(180)},
    "turned and flipped": {"voi": (-20, 1500), "orientation": Orientation(270, True)},
    "flipped": {"voi": (-20, 1500), "orientation": Orientation(0, True)},
    "table": {"voi": LookupTable(np.sort(rng.integers(0, 65536, 2000)), first=-1024, bits=16)},
    "table of 8 bits": {"voi": LookupTable(rng.integers(0, 256, 2001), first=-1024, bits=8)},
    "table of 12 bits": {"voi": LookupTable(np.append(rng.integers(0, 4096, 1999), 4095), first=-1024)},
    "presentation table": {"voi": (-20, 1500), "inverted": LookupTable(np.arange(255, -1, -1), bits=8)},
    "whole range": {"voi": False},
    "modality table": {"voi": (100, 150), "rescale": LookupTable(rng.integers(0, 256, 2000), bits=8)},
}


@pytest.mark.judge
@pytest.mark.parametrize("name", SHOWN)
def test_dcmtk_shows_the_same_picture(name, tmp_path):
    """To one grey level: DCMTK cuts off where we round."""
    path = image(tmp_path)
    ds = pydicom.dcmread(path)
    state = dml.read_presentation_state(State([ds], **SHOWN[name]).save(tmp_path / "pr.dcm"))
    mine, theirs = state.apply(ds).astype(int), dcmp2pgm(tmp_path / "pr.dcm", path, tmp_path)
    assert mine.shape == theirs.shape
    assert np.abs(mine - theirs).max() <= 1
    assert len(np.unique(theirs)) > 4


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(40, 400), (0.5, 1.5), (-600.5, 1500)])
def test_windows_are_those_of_pydicom(function, center, width):
    from pydicom.pixels import apply_windowing

    ds = pydicom.Dataset()
    ds.PhotometricInterpretation, ds.BitsStored, ds.PixelRepresentation = "MONOCHROME2", 16, 0
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = center, width, function
    values = np.linspace(-3000, 3000, 1001)
    theirs = apply_windowing(values, ds) / 65535
    assert np.allclose(Window(center, width, function).apply(values), theirs, atol=1e-9)


def test_a_volume_is_shown_as_its_images(tmp_path):
    grid = rotated_grid()
    write_series(tmp_path / "ct", grid)
    volume = dml.read_volume(tmp_path / "ct")
    files = {}
    for path in (tmp_path / "ct").iterdir():
        ds = pydicom.dcmread(path)
        files[ds.SOPInstanceUID] = ds
    table = LookupTable(np.arange(2000) * 30, first=-1024)
    state = State(volume, voi=[VOI((40, 400), [0, 1]), VOI(table, range(2, 12))])
    shown = state.apply(volume)
    assert shown.shape == volume.shape and shown.dtype == np.uint8
    for d, uid in enumerate(volume.source.sop_instance_uids):
        assert np.abs(shown[d].astype(int) - state.apply(files[uid])).max() == 0
    cropped = volume.crop((slice(1, 4), slice(2, 9), slice(3, 10)))
    assert np.array_equal(state.apply(cropped), shown[1:4, 2:9, 3:10])
    stored = files[volume.source.sop_instance_uids[5]].pixel_array
    assert np.array_equal(state.apply(stored, sop_instance_uid=volume.source.sop_instance_uids[5]), shown[5])
    assert np.array_equal(state.apply(volume.array[5], sop_instance_uid=volume.source.sop_instance_uids[5]), shown[5])
    with pytest.raises(dml.EncodingError, match="say which image"):
        state.apply(stored)
    one = State(volume, images=[3], voi=(40, 400))
    with pytest.raises(dml.EncodingError, match="is not for image"):
        one.apply(volume)
    assert np.array_equal(State(volume, voi=(40, 400)).apply(volume), np.rint(volume.windowed(40, 400) * 255))


def test_colours_and_shutters(tmp_path):
    values = np.array([[0.0, 5.0, 10.0]], np.float32)
    state = state_of("pseudo-color")
    palette = state.content.palette
    assert palette is not None
    unit = np.clip((values[0] - 4.5) / 9 + 0.5, 0, 1)
    assert state.apply(values)[0].tolist() == palette.colors[np.rint(unit * 255).astype(int)].tolist()
    picture = rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)
    shown = state_of("color").apply(picture)
    assert np.array_equal(shown[:9, :9], picture[:9, :9]) and (shown[9:] == (0x20, 0x30, 0x40)).all()
    with pytest.raises(dml.EncodingError, match="in colour"):
        state.apply(picture)
    ct = state_of("window").apply(np.zeros((4, 5), np.int16), oriented=False)
    assert ct.shape == (4, 5) and ct.max() == 0


def test_shutters_hide_what_lies_outside_any_of_their_shapes():
    shutter = Shutter(rectangle=((2, 3), (6, 9)))
    assert np.argwhere(shutter.visible((10, 12))).min(0).tolist() == [2, 3]
    assert np.argwhere(shutter.visible((10, 12))).max(0).tolist() == [5, 8]
    circle = Shutter(circle=((5, 6), 3)).visible((12, 12))
    assert circle[5, 9] and not circle[5, 10] and circle[2, 6] and not circle[2, 7]
    polygon = Shutter(polygon=[(1, 1), (1, 8), (8, 8)]).visible((10, 10))
    rows, columns = np.mgrid[:10, :10]
    assert np.array_equal(polygon, (rows >= 1) & (columns <= 8) & (columns >= rows))
    both = Shutter(rectangle=((0, 0), (5, 12)), circle=((5, 6), 3)).visible((12, 12))
    assert np.array_equal(both, circle & (rows_of((12, 12)) < 5))


def rows_of(shape):
    return np.mgrid[: shape[0], : shape[1]][0]


# ---------------------------------------------------------------------- highdicom's states
def highdicom_state(hd, kind: str, datasets: list[pydicom.Dataset]):
    graphic = hd.pr.GraphicObject(
        graphic_type="POLYLINE", graphic_data=np.array([[10.0, 3.0], [12.0, 3.0], [12.0, 9.5], [10.0, 3.0]]),
        units="PIXEL", is_filled=True, tracking_id="Nodule", tracking_uid="2.25.55")  # fmt: skip
    circle = hd.pr.GraphicObject(graphic_type="CIRCLE", graphic_data=np.array([[5.0, 6.0], [7.0, 6.0]]), units="PIXEL")
    text = hd.pr.TextObject("Hello", units="PIXEL", bounding_box=(1.0, 2.0, 9.0, 4.0), anchor_point=(5.0, 6.0))
    layer = hd.pr.GraphicLayer("LAYER1", order=1, description="marks", display_color=hd.color.CIELabColor(53, 80, 67))
    annotation = hd.pr.GraphicAnnotation(
        referenced_images=datasets[:1],
        graphic_layer=layer,
        graphic_objects=[graphic, circle],
        text_objects=[text],
    )
    common = {
        "series_instance_uid": hd.UID(), "series_number": 9, "sop_instance_uid": hd.UID(), "instance_number": 1,
        "manufacturer": "M", "manufacturer_model_name": "MM", "software_versions": "1", "device_serial_number": "2",
        "content_label": "HD", "content_description": "by highdicom", "graphic_layers": [layer],
        "graphic_annotations": [annotation],
    }  # fmt: skip
    window = hd.pr.SoftcopyVOILUTTransformation(window_center=40.0, window_width=400.0, referenced_images=None)
    if kind == "grayscale":
        return hd.pr.GrayscaleSoftcopyPresentationState(
            referenced_images=datasets, voi_lut_transformations=[window],
            modality_lut_transformation=hd.ModalityLUTTransformation(
                rescale_intercept=-1024.0, rescale_slope=1.0, rescale_type="HU"),
            presentation_lut_transformation=hd.PresentationLUTTransformation("INVERSE"), **common)  # fmt: skip
    ramp = np.arange(256, dtype=np.uint16) * 257
    luts = [
        hd.PaletteColorLUT(first_mapped_value=0, lut_data=data, color=color)
        for data, color in ((ramp, "red"), (ramp[::-1], "green"), (ramp, "blue"))
    ]
    palette = hd.PaletteColorLUTTransformation(*luts)
    # its states in pseudo-colour refuse every window
    return hd.pr.PseudoColorSoftcopyPresentationState(
        referenced_images=datasets, palette_color_lut_transformation=palette, **common
    )


@pytest.mark.judge
@pytest.mark.parametrize("kind", ["grayscale", "pseudo-color"])
def test_states_made_by_highdicom_read(kind, tmp_path):
    hd = need("highdicom", "highdicom")
    write_series(tmp_path / "ct")
    datasets = [pydicom.dcmread(p) for p in sorted((tmp_path / "ct").iterdir())]
    highdicom_state(hd, kind, datasets).save_as(tmp_path / "pr.dcm")
    read = dml.read_presentation_state(tmp_path / "pr.dcm")
    assert read.problems == [] and read.kind == kind and read.label == "HD"
    assert read.voi == ((VOI(Window(40, 400)),) if kind == "grayscale" else ())
    assert [r.sop_instance_uid for r in read.references] == [ds.SOPInstanceUID for ds in datasets]
    (annotation,) = read.annotations
    assert [r.sop_instance_uid for r in annotation.images] == [datasets[0].SOPInstanceUID]
    line, circle = annotation.graphics
    assert line.filled and line.points.tolist() == [[3, 10], [3, 12], [9.5, 12], [3, 10]]  # row, column
    assert circle.points.tolist() == [[6, 5], [6, 7]]
    assert (annotation.tracking_id, annotation.tracking_uid) == ("Nodule", "2.25.55")
    (text,) = annotation.texts
    assert (text.text, text.anchor, text.box) == ("Hello", (6, 5), ((2, 1), (4, 9)))
    (layer,) = read.layers
    assert (layer.name, layer.description) == ("LAYER1", "marks")
    assert layer.color is not None and np.abs(np.array(layer.color) - (255, 0, 0)).max() <= 8
    (area,) = read.areas
    assert (area.start, area.stop, area.images) == ((0, 0), (20, 16), ())
    if kind == "grayscale":
        assert read.content.grey == "INVERSE" and read.content.rescale.intercept == -1024
    else:
        assert read.content.palette.colors[200].tolist() == [200, 55, 200]
    volume = dml.read_volume(tmp_path / "ct")
    found = read.regions(volume)
    assert {type(s).__name__ for s, _ in found} == {"Polygon", "Circle"}
    d = volume.source.sop_instance_uids.index(str(datasets[0].SOPInstanceUID))
    assert {s.slice for s, _ in found} == {d}


@pytest.mark.judge
def test_an_advanced_blending_made_by_highdicom_reads(tmp_path):
    hd = need("highdicom", "highdicom")
    write_series(tmp_path / "a")
    write_series(tmp_path / "b", name="b", study="a")
    series = [[pydicom.dcmread(p) for p in sorted((tmp_path / n).iterdir())] for n in "ab"]
    for datasets in series:
        for ds in datasets:
            ds.FrameOfReferenceUID = series[0][0].FrameOfReferenceUID
    ramp = np.arange(256, dtype=np.uint8)
    luts = [hd.PaletteColorLUT(first_mapped_value=0, lut_data=ramp, color=c) for c in ("red", "green", "blue")]
    palette = hd.PaletteColorLUTTransformation(*luts)
    window = hd.pr.SoftcopyVOILUTTransformation(window_center=40.0, window_width=400.0)
    inputs = [
        hd.pr.AdvancedBlending(
            referenced_images=datasets, blending_input_number=n, voi_lut_transformations=[window],
            palette_color_lut_transformation=palette)
        for n, datasets in enumerate(series, start=1)
    ]  # fmt: skip
    display = hd.pr.BlendingDisplay(
        blending_mode="FOREGROUND", relative_opacity=0.25,
        blending_display_inputs=[hd.pr.BlendingDisplayInput(2), hd.pr.BlendingDisplayInput(1)])  # fmt: skip
    hd.pr.AdvancedBlendingPresentationState(
        referenced_images=[ds for datasets in series for ds in datasets], blending=inputs, blending_display=[display],
        series_instance_uid=hd.UID(), series_number=9, sop_instance_uid=hd.UID(), instance_number=1,
        manufacturer="M", manufacturer_model_name="MM", software_versions="1", device_serial_number="2",
        content_label="HD").save_as(tmp_path / "pr.dcm")  # fmt: skip
    content = dml.read_presentation_state(tmp_path / "pr.dcm").content
    assert [i.number for i in content.inputs] == [1, 2]
    assert [i.series_instance_uid for i in content.inputs] == [str(s[0].SeriesInstanceUID) for s in series]
    assert [i.voi for i in content.inputs] == [(VOI(Window(40, 400)),)] * 2
    (blend,) = content.blends
    assert (blend.inputs, blend.mode, blend.opacity) == ((2, 1), "foreground", 0.25)


def test_thresholds_keep_what_they_say():
    values = np.array([0.0, 1.0, 2.0, 3.0])
    expected = {
        ("inside", (1, 2)): [0, 1, 1, 0], ("outside", (1, 2)): [1, 0, 0, 1], (">=", (2,)): [0, 0, 1, 1],
        ("<=", (1,)): [1, 1, 0, 0], (">", (2,)): [0, 0, 0, 1], ("<", (1,)): [1, 0, 0, 0],
    }  # fmt: skip
    for (kind, bounds), shown in expected.items():
        assert Threshold(kind, bounds).apply(values).astype(int).tolist() == shown


def test_a_slide_has_no_grey_values():
    with pytest.raises(dml.EncodingError, match="no window"):
        State(slide(), "color", voi=(1, 2))
