"""Sources and states that the tests of presentation states share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom

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
    Shutter,
    Text,
    Threshold,
    Window,
)
from tests.objects.report.scenes import group, slide
from tests.objects.segmentation.scenes import axial, source_on
from tests.series import write_series

__all__ = ["NAMES", "blend_of", "image", "pet", "state_of"]

RAMP = LookupTable(np.linspace(0, 65535, 3000).astype(int), first=-1024, explanation="ramp")
DOWN = LookupTable(np.arange(255, -1, -1), bits=8)
FINDINGS = GraphicLayer("FINDINGS", 3, "#ff0000", "What the net found")
ORANGE = Palette.of(["#000000", "#ff8800", "#ffffff"], 99)
GREEN = Palette.of(["#000000", "#00ff00"])
PET_IMAGE = "1.2.840.10008.5.1.4.1.1.128"


def image(tmp: Path) -> Path:
    """A CT image of random signed values with an intercept."""
    if not (tmp / "ct").exists():
        write_series(tmp / "ct")
    return sorted((tmp / "ct").glob("*.dcm"))[0]


def pet(**changes):
    """A PET series on the grid, patient and frame of reference of ``source_on(axial())``."""
    values = {
        "series_instance_uid": "2.25.77",
        "modality": "PT",
        "sop_instance_uids": tuple(f"2.25.77.{i}" for i in range(9)),
        "sop_class_uids": (PET_IMAGE,) * 9,
    }
    return source_on(axial(), **{**values, **changes})


def blend_of(**options) -> dml.PresentationState:
    inputs = [
        BlendInput(source_on(axial()), (40, 400)),
        BlendInput(pet(), (5, 10), "pet", Threshold(">=", 2.5)),
    ]
    return dml.PresentationState.blend(inputs, **{"opacity": 0.3, **options})


def state_of(name: str) -> dml.PresentationState:
    ct, many = source_on(axial()), source_on(axial(), multiframe=True)
    state = dml.PresentationState
    hu = {"voi": (40, 400), "rescale": (1, -1024)}
    scenes = {
        "window": lambda: state(ct, **hu, content_label="SOFT TISSUE", content_description="Abdomen"),
        "exact": lambda: state(ct, voi=Window(0, 100, "LINEAR_EXACT", "X"), rescale=False),
        "windows by image": lambda: state(
            ct, images=[1, 2, 3], voi=[VOI((40, 400), [1]), VOI(RAMP, [3, 2])], rescale=(2, -1024)),
        "tables": lambda: state(ct, voi=RAMP, rescale=LookupTable(np.arange(4096) * 16), inverted=DOWN),
        "inverse": lambda: state(ct, voi=False, rescale=False, inverted=True),
        "frames": lambda: state(many, images=[2, 5], **hu, areas=DisplayedArea(
            (5, 6), (20, 50), "magnify", magnification=2.0, images=(2,))),
        "turned": lambda: state(ct, **hu, orientation=Orientation(90, True), areas="true size"),
        "shutter": lambda: state(ct, **hu, shutter=Shutter(
            rectangle=((2, 3), (20, 30)), circle=((10, 12), 9), polygon=[(1, 1), (1, 20), (20, 20)], value=1000)),
        "regions": lambda: state(ct, **hu, layers=[FINDINGS], regions=[
            group(dml.Box((1, 2, 3), (4, 20, 30)), tracking_id="A", tracking_uid="2.25.5"),
            (dml.Circle((10, 12), 5, slice=3), "Nodule\nsecond line"),
            dml.Ellipsoid.from_radii((4.5, 20, 20), (2.6, 8, 5)),
            dml.Contours([dml.Polygon([(1, 1), (1, 5.5), (6, 3)], slice=4), dml.Circle((4, 4), 2, slice=5)]),
            dml.MultiPoint([(8, 8), (2, 3)], slice=2), dml.Polyline([(8, 8), (2, 3)], slice=2)]),
        "annotations": lambda: state(ct, **hu, annotations=[
            Annotation(Graphic("ellipse", [(1, 5), (9, 5), (5, 3), (5, 7)], filled=True),
                       Text("Größe", box=((0.1, 0.1), (0.2, 0.3)), units="display", justification="RIGHT"), images=[4]),
            Annotation([Graphic("interpolated", [(0, 0), (0.5, 1), (1, 0.5)], units="display"),
                        Graphic("point", (3, 4))],
                       [Text("A", anchor=(3, 4), anchor_visible=False)], layer="MARKS"),
        ]),
        "pseudo-color": lambda: state(pet(), "pseudo-color", voi=(5, 10), rescale=False, palette="hot metal blue"),
        "own palette": lambda: state(
            pet(), "pseudo-color", voi=(5, 10), rescale=(2, 0), palette=ORANGE),
        "color": lambda: state(slide(levels=1), "color", regions=[dml.Polygon([(1, 1), (1, 9), (9, 9)])],
                               shutter=Shutter(rectangle=((0, 0), (9, 9)), color="#203040")),
        "color of levels": lambda: state(slide(), "color"),
        "blend": lambda: blend_of(),
        "blend of three": lambda: dml.PresentationState.blend(
            [BlendInput(ct, (40, 400)), BlendInput(pet(), (5, 10), "pet", images=[2, 3]),
             BlendInput(pet(series_instance_uid="2.25.78"), Window(5, 10, "SIGMOID"), GREEN,
                        Threshold("inside", (1, 9)))],
            [Blend((2, 3), "equal", number=4), Blend((4, 1), "foreground", 0.25)],
            layers=[GraphicLayer("NOTES", 1)], annotations=[Annotation(texts=Text("x", (3, 4)), layer="NOTES")]),
    }  # fmt: skip
    return scenes[name]()


NAMES = [
    "window", "exact", "windows by image", "tables", "inverse", "frames", "turned", "shutter", "regions", "annotations",
    "pseudo-color", "own palette", "color", "color of levels", "blend", "blend of three",
]  # fmt: skip


def dataset(path: Path) -> pydicom.Dataset:
    return pydicom.dcmread(path)
