"""Every real presentation state at hand, and states of makers that leave things out or break them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.objects.presentation.content import KINDS
from tests.conftest import data_folder
from tests.judges import dcmp2pgm
from tests.objects.presentation.scenes import state_of
from tests.real_files import named
from tests.series import write_series

#: File (under the data folder) -> kind, label, and numbers of images, areas, layers, graphics and overlays.
TABLE = {
    "d_derived/dicom_swift_synthetic/ClinicalInterop/gsps_annotation.dcm": ("grayscale", "INTEROP", (1, 1, 1, 1, 0)),
    "d_derived/weasis_pr_hp/prLUTs.dcm": ("grayscale", "XLUT_P03", (1, 1, 0, 0, 0)),
    "d_derived/weasis_pr_hp/prOverlay.dcm": ("grayscale", "OVLY_P01", (1, 1, 6, 0, 6)),
}
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.skipif(data_folder() is None, reason="the real data is not present")
def test_the_table_is_complete(shared_data):
    found = named(shared_data, lambda head: head.modality == "PR" or head.sop_class in KINDS.values())
    assert found == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_every_state_reads_as_pydicom_reads_it(shared_data, name):
    state = dml.read_presentation_state(shared_data / name)
    ds = pydicom.dcmread(shared_data / name)
    content = state.content
    drawn = sum(len(a.graphics) + len(a.texts) for a in content.annotations)
    counts = (len(state.references), len(state.areas), len(state.layers), drawn, len(content.overlays))
    assert (state.kind, state.label, counts) == TABLE[name]
    assert state.problems == [] and state.description == ds.ContentDescription
    listed = ds.ReferencedSeriesSequence[0]
    assert [r.sop_instance_uid for r in state.references] == [
        i.ReferencedSOPInstanceUID for i in listed.ReferencedImageSequence
    ]
    assert state.references[0].series_instance_uid == listed.SeriesInstanceUID
    area = ds.DisplayedAreaSelectionSequence[0]
    assert list(state.areas[0].stop[::-1]) == list(area.DisplayedAreaBottomRightHandCorner)
    for item in ds.get("GraphicAnnotationSequence") or []:
        graphic = item.GraphicObjectSequence[0]
        assert np.allclose(content.annotations[0].graphics[0].points[:, ::-1].ravel(), graphic.GraphicData)
    tables = []
    if "ModalityLUTSequence" in ds:
        voi = ds.SoftcopyVOILUTSequence[0].VOILUTSequence[0]
        tables = [ds.ModalityLUTSequence[0], voi, ds.PresentationLUTSequence[0]]
    for item, table in zip(
        tables, (content.rescale, *(v.transform for v in state.voi), content.grey), strict=bool(tables)
    ):
        assert np.array_equal(table.entries, item.LUTData) and table.explanation == item.LUTExplanation


def test_overlays_are_bitmaps(shared_data):
    state = dml.read_presentation_state(shared_data / "d_derived/weasis_pr_hp/prOverlay.dcm")
    ds = pydicom.dcmread(shared_data / "d_derived/weasis_pr_hp/prOverlay.dcm")
    *in_the_image, fifth, sixth = state.content.overlays
    assert all(o.mask is None and o.layer.startswith("LAYER") for o in in_the_image)
    for overlay in (fifth, sixth):
        assert np.array_equal(overlay.mask, ds.overlay_array(overlay.group).astype(bool))
        assert overlay.origin == (0, 0) and overlay.layer in {layer.name for layer in state.layers}


@pytest.mark.judge
def test_the_state_of_three_tables_shows_what_dcmtk_shows(shared_data, tmp_path):
    path = shared_data / "d_derived/weasis_pr_hp/prLUTs.dcm"
    state = dml.read_presentation_state(path)
    values = np.random.default_rng(0).integers(0, 256, (16, 16)).astype(np.uint8)
    write_series(tmp_path / "a")
    ds = pydicom.dcmread(next((tmp_path / "a").iterdir()))
    for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        delattr(ds, keyword)
    ds.SOPClassUID, ds.SOPInstanceUID = SECONDARY_CAPTURE, state.references[0].sop_instance_uid
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = state.study_instance_uid, state.references[0].series_instance_uid
    ds.Rows = ds.Columns = 16
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation, ds.PixelData = 7, 0, values.tobytes()
    ds["PixelData"].VR = "OB"
    ds.save_as(tmp_path / "image.dcm")
    mine = state.apply(ds)
    assert np.abs(mine.astype(int) - dcmp2pgm(path, tmp_path / "image.dcm", tmp_path)).max() <= 1
    assert np.array_equal(mine, state.apply(values))


# ---------------------------------------------------------------------- what other makers do
def changed(change, name: str = "annotations") -> bytes:
    ds = state_of(name).dataset
    change(ds)
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


def test_what_cannot_be_understood_is_told_and_the_rest_is_read():
    def change(ds):
        first, second = ds.GraphicAnnotationSequence
        first.GraphicObjectSequence[0].GraphicType = "RULER"
        del second.TextObjectSequence[0].AnchorPoint
        second.GraphicLayer = "lower case layer of another maker"

    read = dml.read_presentation_state(changed(change))
    assert len(read.problems) == 2 and "ruler" in read.problems[0] and "needs a place" in read.problems[1]
    assert [len(a.graphics) + len(a.texts) for a in read.annotations] == [1, 2]
    assert read.annotations[1].layer.startswith("lower")


def test_missing_parts_have_their_defaults():
    def change(ds):
        for keyword in ("DisplayedAreaSelectionSequence", "PresentationLUTShape", "SoftcopyVOILUTSequence",
                        "GraphicLayerSequence", "ContentLabel", "RescaleSlope"):  # fmt: skip
            if keyword in ds:
                delattr(ds, keyword)
        ds.GraphicAnnotationSequence[0].GraphicObjectSequence[0].GraphicData = [1, 5, 9, 5, 5, 3, 5, 7, 9]

    read = dml.read_presentation_state(changed(change))
    assert read.content.grey == "IDENTITY" and read.areas == () and read.voi == () and read.label == ""
    assert read.content.rescale is None
    assert len(read.annotations[0].graphics[0].points) == 4
    uid = read.references[0].sop_instance_uid
    assert read.annotations_on(uid)[0].graphics[0].units == "display"  # nothing says where that lies
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(read.apply(values), values)  # without any table, stored values are what is shown
    with pytest.raises(dml.EncodingError, match="no window"):
        read.apply(values.astype(np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: setattr(ds, "PresentationLUTShape", "LIN OD"), "Presentation LUT Shape"),
        (lambda ds: setattr(ds, "ImageRotation", 45), "Image Rotation"),
        (lambda ds: delattr(ds.DisplayedAreaSelectionSequence[0], "DisplayedAreaTopLeftHandCorner"), "displayed area"),
        (lambda ds: setattr(ds, "RescaleSlope", "0"), "rescale"),
        (lambda ds: setattr(ds, "ShutterShape", "CIRCULAR"), "circular shutter"),
        (lambda ds: setattr(ds, "SOPClassUID", SECONDARY_CAPTURE), "is no presentation state"),
    ],
)
def test_what_makes_a_state_useless_is_one_clear_error(change, message):
    with pytest.raises(dml.FileError, match=f"presentation state: .*{message}"):
        dml.read_presentation_state(changed(change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: setattr(t, "LUTDescriptor", [4000, 0, 16]), "3000 entries"),
        (lambda t: delattr(t, "LUTData"), "no LUT Data"),
    ],
)
def test_tables_that_are_not_whole(change, message):
    with pytest.raises(dml.FileError, match=message):
        dml.read_presentation_state(
            changed(lambda ds: change(ds.SoftcopyVOILUTSequence[0].VOILUTSequence[0]), "tables")
        )


def test_palettes_that_are_not_whole():
    with pytest.raises(dml.FileError, match="no data"):
        dml.read_presentation_state(changed(lambda ds: delattr(ds, "RedPaletteColorLookupTableData"), "pseudo-color"))


def test_no_file_and_no_dicom(tmp_path):
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "junk.dcm").write_bytes(b"junk" * 99)
    for name in ("empty.dcm", "junk.dcm", "none.dcm"):
        with pytest.raises(dml.FileError, match=name):
            dml.read_presentation_state(tmp_path / name)
    whole = Path(state_of("tables").save(tmp_path / "pr.dcm")).read_bytes()
    with pytest.raises(dml.FileError):
        dml.read_presentation_state(whole[: len(whole) // 2])


def test_a_blending_of_two_sets_reads(tmp_path):
    """The older Blending state: an underlying and a superimposed set, with a palette of the state's own."""
    ds = state_of("pseudo-color").dataset
    ds.SOPClassUID = KINDS["blending"]
    sets = []
    for position, item in zip(
        ("UNDERLYING", "SUPERIMPOSED"), state_of("blend").dataset.AdvancedBlendingSequence, strict=True
    ):
        one, series = pydicom.Dataset(), pydicom.Dataset()
        one.BlendingPosition, one.StudyInstanceUID = position, item.StudyInstanceUID
        series.SeriesInstanceUID, series.ReferencedImageSequence = item.SeriesInstanceUID, item.ReferencedImageSequence
        one.ReferencedSeriesSequence, one.SoftcopyVOILUTSequence = [series], item.SoftcopyVOILUTSequence
        one.RescaleIntercept, one.RescaleSlope = -1024, 1
        sets.append(one)
    ds.BlendingSequence, ds.RelativeOpacity = sets, 0.4
    for keyword in ("ReferencedSeriesSequence", "SoftcopyVOILUTSequence"):
        delattr(ds, keyword)
    buffer = io.BytesIO()
    ds.save_as(buffer)
    content = dml.read_presentation_state(buffer.getvalue()).content
    assert [len(i.references) for i in content.inputs] == [9, 9] and len(content.references) == 18
    assert content.inputs[0].palette is None and content.inputs[1].palette == content.palette
    assert content.inputs[0].rescale is not None and content.inputs[0].rescale.intercept == -1024
    (blend,) = content.blends
    assert (blend.inputs, blend.mode, blend.opacity) == ((2, 1), "foreground", pytest.approx(0.4))


@pytest.mark.judge
def test_real_slices_are_shown_as_their_volume_and_as_dcmtk_shows_them(shared_data, tmp_path):
    folder = shared_data / "a_ct/cip_chest64/simple_dicom"
    volume = dml.read_volume(folder)
    state = dml.read_presentation_state(dml.PresentationState(volume).save(tmp_path / "pr.dcm"))
    shown = state.apply(volume)
    assert np.array_equal(shown, np.rint(volume.windowed() * 255))
    for path in sorted(folder.iterdir()):
        ds = pydicom.dcmread(path)
        d = volume.source.sop_instance_uids.index(str(ds.SOPInstanceUID))
        assert np.array_equal(state.apply(ds), shown[d])
        assert np.abs(shown[d].astype(int) - dcmp2pgm(tmp_path / "pr.dcm", path, tmp_path)).max() <= 1
