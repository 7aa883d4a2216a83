"""Annotations as GeoJSON and CSV and back; files as QuPath of several versions and others write them."""

from __future__ import annotations

import json
import uuid
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dicom_ml as dml
from dicom_ml.errors import DicomMLWarning, EncodingError, FileError, GeometryError
from dicom_ml.objects.annotations import annotations_from_geojson, features
from dicom_ml.objects.annotations.geometries import bridged
from dicom_ml.objects.annotations.text import point_text, value_texts
from dicom_ml.rasterize import polygon_mask
from tests.objects.annotations.test_annotations import AREA, NUCLEUS, group, same, slide_source

SQUARE = [[10, 10], [30, 10], [30, 30], [10, 30], [10, 10]]
HOLE = [[15, 15], [15, 20], [20, 20], [20, 15], [15, 15]]


def every_kind(dtype=np.float32):
    sparse = np.where(np.arange(50) % 3, np.arange(50) * 1.1, np.nan)
    measured = {AREA: sparse, (("1", "99X", "Of our own"), "1"): np.arange(50)}
    upright = np.array([(0, 5), (10, 5), (5, 2), (5, 8), (7, 1), (7, 9), (6, 5), (8, 5)], dtype)
    return [
        group(dtype=dtype, label='Nuclei é "a", b', measurements=measured, description="made up"),
        group("ellipse", dtype=dtype, label="Tilted"),
        dml.AnnotationGroup("Upright", graphic="ellipse", points=upright, **NUCLEUS),
        group("point", dtype=dtype, label="Points", type=("1", "99X", "Thing"), uid="1.2.3"),
        group("rectangle", dtype=dtype, label="Boxes", category="SCT:49755003"),
        group("polyline", dtype=dtype, label="Lines", algorithm="manual"),
    ]


def saved(tmp_path, value, name="q.geojson"):
    (tmp_path / name).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return tmp_path / name


def feature(kind="Polygon", coordinates=None, name="Tumor", **properties):
    geometry = {"type": kind, "coordinates": [SQUARE] if coordinates is None else coordinates}
    properties = {"objectType": "annotation", "classification": {"name": name, "color": [200, 0, 0]}, **properties}
    return {"type": "Feature", "id": str(uuid.uuid4()), "geometry": geometry, "properties": properties}


def collection(*items):
    return {"type": "FeatureCollection", "features": list(items)}


def read(tmp_path, value, types="SCT:108369006", algorithm="manual", **options):
    return dml.Annotations.from_geojson(
        saved(tmp_path, value), source=slide_source(), types=types, algorithm=algorithm, **options
    )


# ---------------------------------------------------------------------- text
@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 2), max_size=20), st.booleans(), st.integers(0, 6))
@settings(max_examples=150, deadline=None)
def test_coordinates_read_back_as_they_were(points, double, decimals):
    for array in (np.array(points, np.float32), np.round(np.array(points, float), decimals)):
        array = (array.astype(float) if double else array).reshape(-1, 2)
        text, ends = point_text(array, "[", ",", "],")
        back = np.array(json.loads(f"[{text.decode()[:-1]}]"), float).reshape(-1, 2)
        assert np.array_equal(back.astype(array.dtype), array)
        assert len(ends) == len(array) and (not ends or ends[-1] == len(text))


@given(st.lists(st.floats(width=32, allow_infinity=False)))
def test_values_have_their_shortest_text(values):
    array = np.array(values, np.float32)
    texts = value_texts(array)
    np.testing.assert_array_equal(np.array(texts, dtype=float).astype(np.float32), array)
    assert value_texts(np.array([12.3], np.float32)) == ["12.3"]


# ---------------------------------------------------------------------- round trips
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_geojson_gives_back_equal_groups(tmp_path, dtype):
    made = dml.Annotations.from_groups(every_kind(dtype), source=slide_source())
    path = made.to_geojson(tmp_path / "a.geojson")
    back = dml.Annotations.from_geojson(path, source=slide_source())
    for a, b in zip(made.groups, back.groups, strict=True):
        same(a, b)
        assert a.uid == b.uid
    back.save(tmp_path / "b.dcm")
    again = dml.read_annotations(tmp_path / "b.dcm")
    again.to_geojson(tmp_path / "b.geojson")
    third = dml.Annotations.from_geojson(tmp_path / "b.geojson", source=slide_source())
    for a, b in zip(made.groups, third.groups, strict=True):
        same(a, b)


@pytest.mark.parametrize("form", ["wkt", "long"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_csv_gives_back_equal_groups(tmp_path, dtype, form):
    groups = [replace(g, algorithm=NUCLEUS["algorithm"], description="", uid="") for g in every_kind(dtype)]
    made = dml.Annotations.from_groups(groups, source=slide_source())
    path = made.to_csv(tmp_path / "a.csv", form=form)
    back = dml.Annotations.from_csv(path, source=slide_source(), algorithm=NUCLEUS["algorithm"],
                                    measurements={"Of our own": (("1", "99X", "Of our own"), "1")})  # fmt: skip
    for a, b in zip(made.groups, back.groups, strict=True):
        same(a, b)


def test_blocks_do_not_show(tmp_path, monkeypatch):
    made = dml.Annotations.from_groups(every_kind(), source=slide_source(), deterministic=True)
    whole, table = made.to_geojson(tmp_path / "a.geojson"), made.to_csv(tmp_path / "a.csv")
    monkeypatch.setattr("dicom_ml.objects.annotations.geojson._BLOCK", 13)
    monkeypatch.setattr("dicom_ml.objects.annotations.tables._BLOCK", 13)
    parts = json.load(open(made.to_geojson(tmp_path / "b.geojson"), encoding="utf-8"))
    for a, b in zip(parts["features"], json.load(open(whole, encoding="utf-8"))["features"], strict=True):
        if "ellipse" in a["properties"]:
            del a["geometry"]["coordinates"], b["geometry"]["coordinates"]  # as many corners as its block needs
        assert a == b
    lines = zip(open(made.to_csv(tmp_path / "b.csv")), open(table), strict=True)
    assert all(a == b for a, b in lines if "ellipse" not in a)
    for chunk in (1, 7, 100):
        monkeypatch.setattr(features, "_CHUNK", chunk)
        back = dml.Annotations.from_geojson(whole, source=slide_source())
        for a, b in zip(made.groups, back.groups, strict=True):
            same(a, b)


def test_what_is_written_is_what_qupath_reads(tmp_path):
    """A FeatureCollection with UUIDs, closed rings, class names and colours, and numbers as measurements."""
    made = dml.Annotations.from_groups(every_kind(), source=slide_source())
    made.to_geojson(tmp_path / "a.geojson", colors={"Tilted": (1, 2, 3)})
    written = json.load(open(tmp_path / "a.geojson", encoding="utf-8"), parse_constant=pytest.fail)
    assert written["type"] == "FeatureCollection"
    assert len({f["id"] for f in written["features"]}) == sum(map(len, made.groups))
    for item in written["features"]:
        assert (item["type"], str(uuid.UUID(item["id"]))) == ("Feature", item["id"])
        properties, geometry = item["properties"], item["geometry"]
        assert properties["objectType"] == "annotation"
        label, color = properties["classification"]["name"], properties["classification"]["color"]
        assert all(0 <= c < 256 for c in color) and len(color) == 3
        assert label != "Tilted" or color == [1, 2, 3]
        assert all(isinstance(v, float | int) for v in properties.get("measurements", {}).values())
        assert set(properties.get("measurements", {})) <= {"Area (um2)", "Of our own"}
        if geometry["type"] == "Polygon":
            (ring,) = geometry["coordinates"]
            assert ring[0] == ring[-1] and len(ring) > 3
        assert geometry.get("isEllipse", False) == (label == "Upright")
    # QuPath makes an upright ellipse of the outline's box
    ring = np.array(
        next(f for f in written["features"] if f["geometry"].get("isEllipse"))["geometry"]["coordinates"][0]
    )
    assert np.abs([ring.min(axis=0) - (0, 2), ring.max(axis=0) - (10, 8)]).max() <= 0.02
    many = dml.AnnotationGroup("Cells", graphic="point", points=np.zeros((5000, 2)), **NUCLEUS)
    dml.Annotations.from_groups([many], source=slide_source()).to_geojson(tmp_path / "m.geojson")
    kinds = {f["properties"]["objectType"] for f in json.load(open(tmp_path / "m.geojson"))["features"]}
    assert kinds == {"detection"}


def test_what_qupath_saved_again_is_read_by_class(tmp_path):
    """QuPath keeps neither our header nor our properties: classes and names of measurements say enough."""
    made = dml.Annotations.from_groups([group(measurements={AREA: np.arange(50)})], source=slide_source())
    written = json.load(open(made.to_geojson(tmp_path / "a.geojson")))
    del written["dicom"]
    for item in written["features"]:
        del item["properties"]["group"]
    back = read(tmp_path, written, types={"Nuclei": "SCT:84640000"}, algorithm=NUCLEUS["algorithm"])
    np.testing.assert_array_equal(back.groups[0].measurement("SCT:42798000"), np.arange(50))
    np.testing.assert_allclose(back.groups[0].points, made.groups[0].points, rtol=1e-7)


def test_millimetres_become_pixels(tmp_path):
    source = slide_source()
    grid = source.levels[0].grid
    pixels = np.array([(3.0, 4.0), (7.5, 4.0), (7.5, 9.25)])  # x, y
    index = np.column_stack([np.zeros(3), pixels[:, ::-1] - 0.5])
    made = dml.AnnotationGroup("N", graphic="polygon", points=grid.to_lps(index), offsets=[0], **NUCLEUS)
    dml.Annotations.from_groups([made], source=source).save(tmp_path / "a.dcm")
    ann = dml.read_annotations(tmp_path / "a.dcm")
    with pytest.raises(GeometryError, match="pass source=slide"):
        ann.to_geojson(tmp_path / "a.geojson")
    ann.to_geojson(tmp_path / "a.geojson", source=source)
    ring = json.load(open(tmp_path / "a.geojson"))["features"][0]["geometry"]["coordinates"][0]
    np.testing.assert_allclose(ring[:-1], pixels, atol=1e-6)
    ann.to_csv(tmp_path / "a.csv", source=source, form="boxes")
    back = dml.Annotations.from_csv(tmp_path / "a.csv", source=source, algorithm="manual")
    np.testing.assert_allclose(back.groups[0].boxes[0], [pixels.min(axis=0), pixels.max(axis=0)], atol=1e-6)


# ---------------------------------------------------------------------- QuPath and others
def test_files_of_qupath_04_and_later(tmp_path):
    items = [
        feature(measurements={"Area µm^2": 12.5, "Nucleus: Hematoxylin OD mean": 0.5, "Solidity": float("nan")}),
        feature(measurements={"Area µm^2": 3}, isLocked=True, name="Tumor"),
        feature("Point", [3.5, 4.5], name="Nuclei"),
        feature("MultiPoint", [[1, 2], [3, 4], [5, 6]], name="Nuclei"),
        feature("LineString", [[1, 2], [3, 4], [8, 9]], name="Line"),
        feature("Polygon", [SQUARE], name="Stroma: Positive"),
    ]
    items[5]["geometry"]["isEllipse"] = True
    items[5]["properties"]["classification"] = {"names": ["Stroma", "Positive"], "color": [1, 2, 3]}
    items.append(feature(name="Ignore*"))
    types = {"Tumor": {"type": "SCT:108369006", "category": "SCT:49755003", "label": "Tumour"},
             "Nuclei": "SCT:84640000", "Line": ("1", "99X", "Line"), "Stroma: Positive": ("2", "99X", "Stroma"),
             "Ignore*": None}  # fmt: skip
    with pytest.warns(DicomMLWarning, match="'Nucleus: Hematoxylin OD mean'") as caught:
        ann = read(tmp_path, collection(*items), types)
    assert len(caught) == 1
    tumour, nuclei, line, stroma = ann.groups
    assert (tumour.label, tumour.type.value, tumour.category.value) == ("Tumour", "108369006", "49755003")
    assert np.array_equal(tumour[0], SQUARE[:-1]) and tumour.points.dtype == np.float32
    np.testing.assert_array_equal(tumour.measurement("SCT:42798000"), [12.5, 3])
    assert tumour.measurements[0].unit.value == "um2"
    assert nuclei.points.tolist() == [[3.5, 4.5], [1, 2], [3, 4], [5, 6]]
    assert (line.graphic, line.points.tolist()) == ("POLYLINE", [[1, 2], [3, 4], [8, 9]])
    assert (stroma.graphic, stroma.points.tolist()) == ("ELLIPSE", [[10, 20], [30, 20], [20, 10], [20, 30]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = {"Nucleus: Hematoxylin OD mean": (("3", "99X", "OD"), "1"), "Area µm^2": None}
        ann = read(tmp_path, collection(*items), types, measurements=chosen)
    np.testing.assert_array_equal(ann.groups[0].measurement(("3", "99X", "OD")), np.float32([0.5, np.nan]))


def test_files_of_qupath_02_and_03(tmp_path):
    """A bare list; the type as id; measurements as a list; colours as one number; objects within objects."""
    child = feature(name="Positive", object_type="cell")
    old = {
        "type": "Feature",
        "id": "PathAnnotationObject",
        "geometry": {"type": "Polygon", "coordinates": [SQUARE]},
        "properties": {
            "classification": {"name": "Tumor", "colorRGB": -3670016},
            "measurements": [{"name": "Area (um2)", "value": 7.0}, {"name": "Nothing", "value": "NaN"}],
            "childObjects": [child],
        },
    }
    ann = read(tmp_path, [old], {"Tumor": "SCT:108369006", "Positive": "SCT:84640000"})
    assert [g.label for g in ann.groups] == ["Tumor", "Positive"]
    assert ann.groups[0].measurement("SCT:42798000").tolist() == [7.0]


def test_nuclei_of_cells(tmp_path):
    cell = feature(name="Cell", objectType="cell")
    cell["nucleusGeometry"] = {"type": "Polygon", "coordinates": [HOLE]}
    assert read(tmp_path, collection(cell)).groups[0].points.max() == 30
    assert read(tmp_path, collection(cell), nuclei=True).groups[0].points.max() == 20


def test_lines_of_features_and_one_alone(tmp_path):
    assert len(read(tmp_path, "\n".join(json.dumps(feature()) for _ in range(3))).groups[0]) == 3
    assert len(read(tmp_path, json.dumps(feature(), indent=3)).groups[0]) == 1
    assert len(read(tmp_path, "﻿" + json.dumps(collection(feature()))).groups[0]) == 1


def test_known_terms_and_other_spellings_of_a_class(tmp_path):
    items = [feature() for _ in range(4)]
    items[0]["properties"] = {"label": "nucleus"}
    items[1]["properties"] = {"class": "Nucleus"}
    items[2]["properties"] = {"classification": "Nucleus"}
    items[3]["properties"] = {"classification": {"name": "Nucleus"}}
    ann = read(tmp_path, collection(*items), types=None)
    assert {g.type.value for g in ann.groups} == {"84640000"}
    items[0]["properties"] = None
    with pytest.raises(EncodingError, match=r"\(no class\).*1 items"):
        read(tmp_path, collection(*items), types=None)
    assert len(read(tmp_path, collection(*items), types={"": "SCT:84640000", "Nucleus": None}).groups[0]) == 1


def test_holes(tmp_path):
    holed = collection(feature(coordinates=[SQUARE, HOLE, [[25, 25], [28, 25], [28, 28], [25, 25]]]))
    with pytest.raises(EncodingError, match=r"2 holes.*holes='bridge'"):
        read(tmp_path, holed)
    filled = read(tmp_path, holed, holes="drop").groups[0]
    assert len(filled.points) == 4
    points = read(tmp_path, holed, holes="bridge").groups[0][0]
    expected = polygon_mask(SQUARE, (40, 40)) & ~polygon_mask(HOLE, (40, 40))
    expected &= ~polygon_mask([[25, 25], [25, 28], [28, 28]], (40, 40))
    assert np.array_equal(polygon_mask(points[:, ::-1], (40, 40)), expected)


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_a_bridge_encloses_the_same_area(seed):
    rng = np.random.default_rng(seed)
    rings = [rng.uniform(0, 30, (rng.integers(3, 9), 2)) for _ in range(rng.integers(1, 5))]
    points, offsets = np.concatenate(rings), np.cumsum([0] + [len(r) for r in rings[:-1]])
    whole = polygon_mask(points, (30, 30), offsets=offsets)
    assert np.array_equal(polygon_mask(bridged(rings), (30, 30)), whole)


def test_parts(tmp_path):
    small = [[[50, 50], [51, 50], [51, 51], [50, 50]]]
    several = collection(
        feature("MultiPolygon", [small, [SQUARE]], measurements={"Area (um2)": 5}),
        feature(measurements={"Area (um2)": 9}),
    )
    with pytest.raises(EncodingError, match=r"in 2 parts.*parts='split'"):
        read(tmp_path, several)
    with pytest.warns(DicomMLWarning, match="cannot be shared out"):
        split = read(tmp_path, several, parts="split").groups[0]
    np.testing.assert_array_equal(split.measurement("SCT:42798000"), [np.nan, np.nan, 9])
    largest = read(tmp_path, several, parts="largest").groups[0]
    np.testing.assert_array_equal(largest.measurement("SCT:42798000"), [5, 9])
    assert np.array_equal(largest[0], SQUARE[:-1])
    lines = collection(feature("MultiLineString", [[[0, 0], [1, 1]], [[0, 0], [9, 9], [9, 20]]]))
    assert len(read(tmp_path, lines, parts="largest").groups[0][0]) == 3


def test_odd_features_are_left_out_and_said_to_be(tmp_path):
    empty = feature()
    empty["geometry"] = None
    items = [feature(), empty, feature(coordinates=[[[0, 0], [1, 1], [0, 0]]]), feature("LineString", [[0, 0]])]
    with pytest.warns(DicomMLWarning) as caught:
        ann = read(tmp_path, collection(*items))
    assert sorted(str(w.message).split(": ")[1] for w in caught) == [
        "1 features are lines of one point; that is left out",
        "1 features are polygons of fewer than 3 points; that is left out",
        "1 features have no geometry; that is left out",
    ]
    assert len(ann.groups) == 1
    high = [[*p, 7] for p in SQUARE]
    assert np.array_equal(read(tmp_path, collection(feature(coordinates=[high]))).groups[0][0], SQUARE[:-1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with ''"),
        ("hello", "begins with 'h'"),
        ('{"type": "FeatureCollection", "features": [', "broken JSON"),
        ('{"type": "FeatureCollection", "features": [{"type": "Feature"}', "broken JSON"),
        ('{"type": "FeatureCollection", "features": [1]}', "a Feature was expected, found 'int'"),
        ('{"type": "Polygon", "coordinates": []}', "holds a GeoJSON 'Polygon'"),
        ('{"type": "FeatureCollection", "features": []}', "no features"),
        ('{"type": "FeatureCollection", "features": []} x', "after the end"),
        ("[" * 200_000, "nested too deeply|broken JSON"),
        (json.dumps(feature(coordinates=[[["a", 1], [1, 2], [3, 4]]])), "feature 1: its coordinates"),
        (json.dumps(feature(coordinates=7)), "feature 1: its coordinates"),
        (json.dumps(feature(coordinates=[[[1], [2], [3]]])), "feature 1: its coordinates"),
        (json.dumps(feature("Sphere")), "no geometry of an annotation"),
    ],
)
def test_what_is_no_geojson_is_said(tmp_path, text, message):
    with pytest.raises(FileError, match=message):
        read(tmp_path, text)


def test_who_made_them_must_be_known(tmp_path):
    with pytest.raises(EncodingError, match="algorithm"):
        read(tmp_path, collection(feature()), algorithm=None)
    with pytest.raises(EncodingError, match="holes is"):
        read(tmp_path, collection(feature()), holes="fill")
    with pytest.raises(EncodingError, match="every class"):
        read(tmp_path, collection(feature()), types={"Tumor": None})


@given(st.binary(max_size=60), st.integers(0, 400))
@settings(max_examples=80, deadline=None)
def test_broken_files_are_errors_of_our_own(tmp_path_factory, junk, at):
    text = json.dumps(collection(feature(measurements={"Area (um2)": 5}), feature("Point", [1, 2]))).encode()
    path = tmp_path_factory.mktemp("x") / "x.geojson"
    path.write_bytes(text[:at] + junk + text[at + len(junk) :])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DicomMLWarning)
        try:
            annotations_from_geojson(path, source=slide_source(), types="SCT:84640000", algorithm="manual")
        except dml.DicomMLError:
            pass


# ---------------------------------------------------------------------- tables of others
def table(tmp_path, text, types="SCT:84640000", **options):
    path = saved(tmp_path, text, "t.csv")
    return dml.Annotations.from_csv(path, source=slide_source(), types=types, algorithm="manual", **options)


def test_points_boxes_and_well_known_text(tmp_path):
    ann = table(
        tmp_path, "x,y,class,Area (um2)\n1.5,2,a,7\n3,4,b,\n\n5,6,a,9\n", types={"a": "SCT:84640000", "b": None}
    )
    assert ann.groups[0].points.tolist() == [[1.5, 2], [5, 6]]
    assert ann.groups[0].measurement("SCT:42798000").tolist() == [7, 9]
    for text in (
        "xmin;ymin;xmax;ymax\n1;2;11;22\n",
        "x\ty\twidth\theight\n1\t2\t10\t20\n",
        "X1,Y1,X2,Y2\n1,2,11,22",
        "left,top,right,bottom\n1,2,11,22",
    ):
        (box,) = table(tmp_path, text).groups
        assert (box.graphic, box.points.tolist()) == ("RECTANGLE", [[1, 2], [11, 2], [11, 22], [1, 22]])
    text = (
        'geometry,label\n"POLYGON ((0 0, 4 0, 4 4, 0 0))",n\n'
        '"MULTIPOLYGON(((0 0,4 0,4 4,0 0),(1 1,2 1,2 2,1 1)),((8 8,9 8,9 9,8 8)))",n\n'
        '"POINT(1 2)",n\n"LINESTRING Z (1 2 3, 4 5 6)",n\n'
    )
    ann = table(tmp_path, text, parts="split", holes="drop")
    assert [(g.graphic, len(g)) for g in ann.groups] == [("POLYGON", 3), ("POINT", 1), ("POLYLINE", 1)]
    assert ann.groups[0][2].tolist() == [[8, 8], [9, 8], [9, 9]]
    assert ann.groups[2].points.tolist() == [[1, 2], [4, 5]]
    with pytest.raises(EncodingError, match="parts='split'"):
        table(tmp_path, text)


def test_a_row_a_point(tmp_path):
    text = "item,x,y,label\n7,0,0,n\n7,4,0,n\n7,4,4,n\n8,1,1,n\n8,2,1,n\n8,2,2,n\n8,1,2,n\n"
    assert [len(item) for item in table(tmp_path, text).groups[0]] == [3, 4]
    assert table(tmp_path, text, graphic="polyline").groups[0].graphic == "POLYLINE"
    with pytest.raises(FileError, match=r"row 9.*do not stand together"):
        table(tmp_path, text + "7,1,1,n\n")


def test_columns_of_qupath_in_micrometres(tmp_path):
    text = "Image\tName\tClass\tCentroid X µm\tCentroid Y µm\ns.svs\ta\tTumor\t2\t3\n"
    columns = {"x": "Centroid X µm", "y": "Centroid Y µm", "label": "Class"}
    _, height, width = slide_source().levels[0].grid.spacing
    ann = table(tmp_path, text, types={"Tumor": "SCT:108369006"}, columns=columns, unit="um")
    np.testing.assert_allclose(ann.groups[0].points, [[2 / (1000 * width), 3 / (1000 * height)]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no coordinates were found"),
        ("", "no coordinates were found"),
        ("x,y\n1,q\n", "row 2: its coordinates"),
        ("x,y\n1\n", "row 2: its coordinates"),
        ("wkt\nCIRCLE (1 2)\n", "row 2: its coordinates"),
        ("wkt\nPOLYGON ((\n", "row 2: its coordinates|feature 1|fewer than 3"),
        ("x,y\n", "holds no features"),
        ("item,x,y,graphic\n1,2,3,rectangle\n1,2,4,rectangle\n", "a rectangle has 4 points of x and y each, found 4"),
        ("wkt,ellipse\n,1 2 3 4 5\n", "an ellipse has 4 points"),
    ],
)
@pytest.mark.filterwarnings("ignore::dicom_ml.errors.DicomMLWarning")
def test_what_is_no_table_is_said(tmp_path, text, message):
    with pytest.raises(FileError, match=message):
        table(tmp_path, text)


def test_forms_and_columns_that_do_not_exist(tmp_path):
    made = dml.Annotations.from_groups([group()], source=slide_source())
    with pytest.raises(EncodingError, match="form is one of"):
        made.to_csv(tmp_path / "a.csv", form="json")
    with pytest.raises(FileError, match="no column 'X'"):
        table(tmp_path, "a,b\n1,2\n", columns={"x": "X"})
    with pytest.raises(EncodingError, match="columns says"):
        table(tmp_path, "a,b\n1,2\n", columns={"z": "a"})
    with pytest.raises(EncodingError, match="unit is"):
        table(tmp_path, "x,y\n1,2\n", unit="nm")
    assert not list(tmp_path.glob("a.csv"))
