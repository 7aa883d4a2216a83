"""Sources, groups and reports that the tests of reports share."""

from __future__ import annotations

import dicom_ml as dml
from dicom_ml.encoding.uids import derived_uid
from dicom_ml.geometry import Grid, affine_from_plane
from dicom_ml.objects.report import NormalRange, Statistic
from dicom_ml.source import SourceLevel, SourceSeries
from tests.objects.segmentation.scenes import axial, oblique, source_on

__all__ = ["NET", "NODULE", "axial", "full_measurement", "group", "oblique", "regions_of_volume", "slide", "source_on"]

NET = dml.Algorithm("NoduleNet", "1.0", parameters="threshold=0.5")
NODULE, LUNG, MALIGNANCY, INDETERMINATE = "SCT:27925004", "SCT:39607008", "RADLEX:RID36042", "99LIDCQIICR:903"
DIAMETER = "SCT:81827009"
WSI = "1.2.840.10008.5.1.4.1.1.77.1.6"


def group(region=None, **changes) -> dml.MeasurementGroup:
    values = {
        "finding": NODULE,
        "site": LUNG,
        "region": region,
        "measurements": [dml.Measurement(DIAMETER, 7.3, "mm")],
        "evaluations": [dml.Evaluation(MALIGNANCY, INDETERMINATE)],
    }
    return dml.MeasurementGroup(**{**values, **changes})


def full_measurement(**changes) -> dml.Measurement:
    """A measurement with all that can be said of one."""
    values = {
        "derivation": "SCT:373098007",
        "method": "DCM:122473|RECIST 1.1",
        "site": dml.Site("SCT:39607008", "SCT:7771000", "SCT:264217000"),
        "modifiers": {"DCM:121071": "SCT:27925004"},
        "normality": "SCT:17621005",
        "significance": "SCT:371928007",
        "selection": "DCM:121410",
        "statistics": [Statistic("SCT:373099004", 8, "mm", "adults", "Somebody")],
        "normal_range": NormalRange(1, 9.5, "adults", "Somebody"),
        "uncertainty": (0.1, 0.2),
        "algorithm": NET,
        "tracking_id": "diameter",
        "tracking_uid": "1.2.3",
        "meaning": "width",
    }
    return dml.Measurement(DIAMETER, 7.3, "mm", **{**values, **changes})


def slide(shape=(400, 300), spacing=0.0005, levels=2) -> SourceSeries:
    """A slide whose rows and columns run as scanners lay them."""
    made = []
    for i in range(levels):
        orientation = [0, -1, 0, -1, 0, 0]
        step = spacing * 2**i
        affine = affine_from_plane([20 - step / 2, 40 - step / 2, 0], orientation, [step, step], 1.0)
        rows, columns = shape[0] >> i, shape[1] >> i
        uid = derived_uid("slide", i)
        made.append(SourceLevel(Grid((1, rows, columns), affine), (64, 64), (WSI,), (uid,)))
    plain = source_on(axial((1, 4, 4)))
    return SourceSeries(
        "SM",
        derived_uid("slide study"),
        derived_uid("slide series"),
        derived_uid("slide frame"),
        made[0].sop_class_uids,
        made[0].sop_instance_uids,
        attributes={
            **{k: v for k, v in plain.attributes.items() if k != "BodyPartExamined"},
            "ContainerIdentifier": {"vr": "LO", "Value": ["C1"]},
            "SpecimenDescriptionSequence": {
                "vr": "SQ",
                "Value": [
                    {
                        "00400551": {"vr": "LO", "Value": ["S1"]},
                        "00400554": {"vr": "UI", "Value": ["2.25.1234"]},
                    }
                ],
            },
        },
        levels=tuple(made),
    )


def regions_of_volume() -> dict[str, dml.Box]:
    """Regions of every kind on the grids of :func:`oblique` and :func:`axial`, by what is special of each."""
    triangle = [(1, 1), (1, 5.5), (6, 3)]
    return {
        "box of whole slices": dml.Box((3, 4, 5), (7, 9, 11)),
        "box of one slice": dml.Box((3, 4, 5), (4, 9, 11)),
        "box between slices": dml.Box((3.4, 4.25, 5), (7.1, 9, 11.5)),
        "thin box": dml.Box((3.2, 4, 5), (3.4, 9, 11)),
        "flat box": dml.Box((4, 5.5), (9, 11), slice=6),
        "polygon": dml.Polygon(triangle, slice=4),
        "tilted polygon": dml.Polygon([(1, 1, 1), (5, 1, 7), (3, 9, 4)]),
        "circle": dml.Circle((8, 8.5), 3.5, slice=2),
        "ellipse": dml.Ellipse.of((12, 8), (3, 2), 30, slice=2),
        "point": dml.Point((8, 8), slice=2),
        "point between slices": dml.Point((2.2, 8, 8)),
        "line": dml.Polyline([(8, 8), (2, 3)], slice=2),
        "line in space": dml.Polyline([(1, 8, 8), (4, 2, 3), (2, 2, 2)]),
        "points": dml.MultiPoint([(8, 8), (2, 3)], slice=2),
        "ellipsoid": dml.Ellipsoid.from_radii((5, 12, 12), (2, 3, 4)),
        "contours": dml.Contours([dml.Polygon(triangle, slice=4), dml.Circle((4, 4), 2, slice=5)]),
    }
