"""Bulk annotations: a million outlines of 20 corners with an area each, written and read."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.outlines import ANATOMY, AREA, CORNERS, NUCLEUS, SQUARE, check_arrays, check_file
from benchmarks.registry import FLOOR, OURS, Case, Competitor, Job, Row, register

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def _scene(case: Case) -> tuple[np.ndarray, np.ndarray]:
    return case.array("outlines", "points.npy"), case.array("outlines", "areas.npy")


def arrays_bytes(case: Case) -> int:
    """Of points, offsets and areas."""
    return int(case.info("outlines")["count"] * (CORNERS * 2 * 4 + 8 + 4))


# ---- floors


def floor_write(case: Case) -> Job:
    points, areas = _scene(case)
    starts = np.arange(0, len(points), CORNERS)

    def job() -> None:
        with case.output.open("wb") as file:
            for array in (points, (starts * 2 + 1).astype("<u4"), areas):
                file.write(array.tobytes())

    return job


def check_floor_write(case: Case, _: object) -> None:
    count = case.info("outlines")["count"]
    points = np.fromfile(case.output, "<f4", count * CORNERS * 2).reshape(-1, 2)
    starts = np.fromfile(case.output, "<u4", count, offset=points.nbytes).astype(np.int64)
    areas = np.fromfile(case.output, "<f4", count, offset=points.nbytes + 4 * count)
    check_arrays(case, (points, (starts - 1) // 2, areas))


def floor_read(case: Case) -> Job:
    path, places = case.path("annotations", "nuclei.ann.dcm"), case.info("annotations")
    count = case.info("outlines")["count"]

    def job() -> Arrays:
        points = np.fromfile(path, "<f4", count * CORNERS * 2, offset=places["points"]).reshape(-1, 2)
        starts = np.fromfile(path, "<u4", count, offset=places["starts"]).astype(np.int64)
        areas = np.fromfile(path, "<f4", count, offset=places["values"])
        return points, (starts - 1) // 2, areas

    return job


# ---- dicom_ml


def write_dicom_ml(case: Case) -> Job:
    import dicom_ml as dml

    points, areas = _scene(case)
    starts = np.arange(0, len(points), CORNERS)
    source = dml.open_slide(case.path("slide", "slide")).source

    def job() -> None:
        group = dml.AnnotationGroup(
            "Nuclei",
            type=_triple(NUCLEUS),
            category=_triple(ANATOMY),
            graphic="polygon",
            points=points,
            offsets=starts,
            measurements={(_triple(AREA), "um2"): areas},
            algorithm="manual",
        )
        dml.Annotations.from_groups([group], source=source).save(case.output)

    return job


def _triple(triple: tuple[str, str, str]) -> str:
    value, scheme, meaning = triple
    return f"{scheme}:{value}|{meaning}"


def read_dicom_ml(case: Case) -> Job:
    import dicom_ml as dml

    path = case.path("annotations", "nuclei.ann.dcm")

    def job() -> Arrays:
        (group,) = dml.read_annotations(path).groups
        # They lie in the file, mapped into memory; a copy is what the floor gives.
        return np.array(group.points), group.offsets, np.array(group.measurements[0].values)

    return job


# ---- highdicom


def _pieces(points: np.ndarray) -> list[np.ndarray]:
    return list(points.reshape(-1, CORNERS, 2))


def write_highdicom(case: Case) -> Job:
    import highdicom as hd
    from pydicom import dcmread

    points, areas = _scene(case)
    pieces = _pieces(points)
    image = dcmread(case.path("slide", "slide", "base.dcm"), stop_before_pixels=True)

    def concept(triple: tuple[str, str, str]) -> Any:
        return hd.sr.CodedConcept(*triple)

    def job() -> None:
        group = hd.ann.AnnotationGroup(
            number=1,
            uid=hd.UID(),
            label="Nuclei",
            annotated_property_category=concept(ANATOMY),
            annotated_property_type=concept(NUCLEUS),
            graphic_type=hd.ann.GraphicTypeValues.POLYGON,
            graphic_data=pieces,
            algorithm_type=hd.ann.AnnotationGroupGenerationTypeValues.MANUAL,
            measurements=[hd.ann.Measurements(name=concept(AREA), values=areas, unit=concept(SQUARE))],
        )
        made = hd.ann.MicroscopyBulkSimpleAnnotations(
            source_images=[image],
            annotation_coordinate_type=hd.ann.AnnotationCoordinateTypeValues.SCOORD,
            annotation_groups=[group],
            series_instance_uid=hd.UID(),
            series_number=1,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="Benchmark",
            manufacturer_model_name="Benchmark",
            software_versions="1",
            device_serial_number="1",
        )
        made.save_as(case.output)

    return job


def read_highdicom(case: Case) -> Job:
    import highdicom as hd

    path = case.path("annotations", "nuclei.ann.dcm")

    def job() -> Any:
        (group,) = hd.ann.annread(path).get_annotation_groups()
        return group.get_graphic_data(coordinate_type="2D"), group.get_measurements()[1]

    return job


def view_highdicom(read: Any) -> Arrays:
    pieces, values = read
    return _joined(pieces, np.asarray(values)[:, 0])


def _joined(pieces: Any, values: np.ndarray) -> Arrays:
    lengths = np.array([len(piece) for piece in pieces])
    points = np.concatenate(pieces).astype(np.float32)
    return points, np.cumsum(lengths) - lengths, values.astype(np.float32)


# ---- pydcm


def write_pydcm(case: Case) -> Job:
    from pydcm import ann

    points, areas = _scene(case)
    group = {
        "number": 1,
        "label": "Nuclei",
        "generation_type": "MANUAL",
        "property_category": ANATOMY,
        "property_type": NUCLEUS,
        "graphic_type": "POLYGON",
        "annotations": _pieces(points),
        "measurements": [{"name": AREA, "unit": SQUARE, "values": areas}],
    }
    source = str(case.path("slide", "slide", "base.dcm"))
    return lambda: ann.write_ann(source, [group], output=str(case.output))


def read_pydcm(case: Case) -> Job:
    from pydcm import ann

    path = str(case.path("annotations", "nuclei.ann.dcm"))
    return lambda: ann.read_ann(path)["groups"][0]


def view_pydcm(group: Any) -> Arrays:
    return _joined(group["annotations"], np.asarray(group["measurements"][0]["values"]))


register(
    Row(
        name="ann-write",
        title="ANN of 1,000,000 polygons of 20 points, written",
        floor_text="tobytes of the flat arrays, then write",
        datasets=("outlines", "slide"),
        competitors=(
            Competitor(FLOOR, floor_write, check=check_floor_write),
            Competitor(OURS, write_dicom_ml, ("dicom_ml",)),
            Competitor("pydcm", write_pydcm, ("pydcm",), note="takes a path: it reads the slide's header, too"),
            Competitor("highdicom", write_highdicom, ("highdicom",)),
        ),
        check=check_file,
        writes=True,
        array=arrays_bytes,
        goal=1.5,
        goal_text="<= 1.5",
        note="Peers take a list of arrays, one an outline, which is made before the time starts.",
    )
)
register(
    Row(
        name="ann-read",
        title="ANN of 1,000,000 polygons of 20 points, read to arrays",
        floor_text="fromfile of the flat arrays",
        datasets=("outlines", "annotations"),
        competitors=(
            Competitor(FLOOR, floor_read),
            Competitor(OURS, read_dicom_ml, ("dicom_ml",)),
            Competitor("pydcm", read_pydcm, ("pydcm",), view=view_pydcm),
            Competitor("highdicom", read_highdicom, ("highdicom",), view=view_highdicom),
        ),
        check=check_arrays,
        array=arrays_bytes,
        goal=1.5,
        goal_text="<= 1.5",
        note="Peers give a list of arrays, one an outline.",
    )
)
