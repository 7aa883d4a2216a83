"""Structured reports: 500 planar groups built and saved, and all their values read."""

from __future__ import annotations

import json
from typing import Any

from benchmarks import finding_judge
from benchmarks.executables import call
from benchmarks.findings import (
    ANSWERS,
    AREA,
    CT_IMAGE,
    DIAMETER,
    FINDING,
    LUNG,
    MALIGNANCY,
    MILLIMETER,
    NODULE,
    REGION,
    SQUARE,
    TRACKING_ID,
    TRACKING_UID,
    Triple,
)
from benchmarks.registry import FLOOR, OURS, Case, Competitor, Job, Row, register


def _images(case: Case) -> list[str]:
    """UIDs of the slices."""
    images: list[str] = case.info("findings")["images"]
    return images


_OBSERVER = "1.2.3.4"

# ---- floors


def floor_write(case: Case) -> Job:
    from benchmarks.plain_sr import report_bytes

    found, images = finding_judge.truth(case), _images(case)

    def job() -> None:
        case.output.write_bytes(report_bytes(found, images))

    return job


def floor_read(case: Case) -> Job:
    from benchmarks.plain_sr import read_groups

    path = case.path("report", "report.dcm")
    return lambda: read_groups(path.read_bytes())


def view_floor(groups: Any) -> list[Any]:
    return [
        (
            group["texts"][TRACKING_UID],
            group["texts"][TRACKING_ID],
            group["codes"][FINDING][0],
            group["outlines"][REGION][2],
            group["outlines"][REGION][1],
            {name[0]: value for name, (value, _) in group["numbers"].items()},
            {MALIGNANCY[0]: group["codes"][MALIGNANCY][0]},
        )
        for group in groups
    ]


# ---- dicom_ml


def write_dicom_ml(case: Case) -> Job:
    import dicom_ml as dml

    source = dml.read_volume(case.path("ct-raw", "series")).source
    found = finding_judge.truth(case)
    outlines = [[(y, x) for x, y in finding["points"]] for finding in found]
    algorithm = dml.Algorithm("Benchmark", "1")

    def job() -> None:
        groups = [
            dml.MeasurementGroup(
                finding=_joined(NODULE),
                site=_joined(LUNG),
                region=dml.Polygon(outline, slice=finding["slice"]),
                tracking_id=finding["name"],
                tracking_uid=finding["uid"],
                measurements=[
                    dml.Measurement(_joined(DIAMETER), finding["diameter"], "mm"),
                    dml.Measurement(_joined(AREA), finding["area"], "mm2"),
                ],
                evaluations=[dml.Evaluation(_joined(MALIGNANCY), _joined(ANSWERS[finding["answer"]]))],
            )
            for finding, outline in zip(found, outlines, strict=True)
        ]
        dml.Report(source, groups, algorithm, image_library=False).save(case.output)

    return job


def _joined(triple: Triple) -> str:
    value, scheme, meaning = triple
    return f"{scheme}:{value}|{meaning}"


def read_dicom_ml(case: Case) -> Job:
    import dicom_ml as dml

    path = case.path("report", "report.dcm")
    return lambda: dml.read_report(path).groups


def view_dicom_ml(groups: Any) -> list[Any]:
    import numpy as np

    rows = []
    for group in groups:
        ring = group.region.points[:, ::-1]
        rows.append(
            (
                group.tracking_uid,
                group.tracking_id,
                group.finding.value,
                group.region.image.sop_instance_uid,
                np.concatenate([ring, ring[:1]]),
                {m.name.value: m.value for m in group.measurements},
                {e.name.value: e.value.value for e in group.evaluations},
            )
        )
    return rows


# ---- highdicom


def write_highdicom(case: Case) -> Job:
    import highdicom as hd
    import numpy as np
    from pydicom import dcmread

    sr = hd.sr
    folder = case.path("ct-raw", "series")
    every = [dcmread(folder / file["name"], stop_before_pixels=True) for file in case.info("ct-raw")["files"]]
    found, images = finding_judge.truth(case), _images(case)
    used = {images[finding["slice"]] for finding in found}
    evidence = [ds for ds in every if ds.SOPInstanceUID in used]
    outlines = [np.array(finding["points"]) for finding in found]

    def concept(triple: Triple) -> Any:
        return sr.CodedConcept(*triple)

    def group(finding: dict[str, Any], outline: Any) -> Any:
        region = sr.ImageRegion(
            graphic_type="POLYLINE",
            graphic_data=outline,
            source_image=sr.SourceImageForRegion(CT_IMAGE, images[finding["slice"]]),
        )
        return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(uid=finding["uid"], identifier=finding["name"]),
            referenced_region=region,
            finding_type=concept(NODULE),
            finding_sites=[sr.FindingSite(anatomic_location=concept(LUNG))],
            algorithm_id=sr.AlgorithmIdentification(name="Benchmark", version="1"),
            measurements=[
                sr.Measurement(name=concept(DIAMETER), value=finding["diameter"], unit=concept(MILLIMETER)),
                sr.Measurement(name=concept(AREA), value=finding["area"], unit=concept(SQUARE)),
            ],
            qualitative_evaluations=[
                sr.QualitativeEvaluation(name=concept(MALIGNANCY), value=concept(ANSWERS[finding["answer"]]))
            ],
        )

    def job() -> None:
        observer = sr.ObserverContext(
            observer_type=sr.CodedConcept("121007", "DCM", "Device"),
            observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(uid=_OBSERVER),
        )
        content = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=observer),
            procedure_reported=sr.CodedConcept("25045-6", "LN", "CT unspecified body region"),
            imaging_measurements=[group(f, o) for f, o in zip(found, outlines, strict=True)],
        )
        document = sr.Comprehensive3DSR(
            evidence=evidence,
            content=content,
            series_instance_uid=hd.UID(),
            series_number=1,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="Benchmark",
        )
        document.save_as(case.output)

    return job


def read_highdicom(case: Case) -> Job:
    import highdicom as hd

    path = case.path("report", "report.dcm")

    def job() -> list[Any]:
        rows = []
        for group in hd.sr.srread(path).content.get_planar_roi_measurement_groups():
            region = group.roi
            rows.append(
                (
                    str(group.tracking_uid),
                    group.tracking_identifier,
                    group.finding_type.value,
                    str(region.ContentSequence[0].referenced_sop_instance_uid),
                    region.value,
                    {m.name.value: float(m.value) for m in group.get_measurements()},
                    {e.name.value: e.value.value for e in group.get_qualitative_evaluations()},
                )
            )
        return rows

    return job


# ---- dcmqi


def write_dcmqi(case: Case) -> Job:
    """Its groups are of segments: they have no outlines."""
    from pydicom import dcmread

    folder = case.path("ct-raw", "series")
    found = finding_judge.truth(case)
    described = case.output.parent / "report.json"

    def coded(triple: Triple) -> dict[str, str]:
        return {"CodeValue": triple[0], "CodingSchemeDesignator": triple[1], "CodeMeaning": triple[2]}

    def measured(name: Triple, value: float, unit: Triple) -> dict[str, Any]:
        return {"value": repr(value), "quantity": coded(name), "units": coded(unit)}

    seg = case.path("seg-binary-20", "binary.seg.dcm")
    series = case.info("ct-raw")["series"]
    instance = str(dcmread(seg, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
    described.write_text(
        json.dumps(
            {
                "@schema": "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/sr-tid1500-schema.json#",
                "SeriesDescription": "Measurements",
                "SeriesNumber": "1",
                "InstanceNumber": "1",
                "compositeContext": [seg.name],
                "imageLibrary": [file["name"] for file in case.info("ct-raw")["files"]],
                "observerContext": {"ObserverType": "DEVICE", "DeviceObserverUID": _OBSERVER},
                "VerificationFlag": "UNVERIFIED",
                "CompletionFlag": "COMPLETE",
                "activitySession": "1",
                "timePoint": "1",
                "Measurements": [
                    {
                        "MeasurementGroup": {},
                        "TrackingIdentifier": finding["name"],
                        "TrackingUniqueIdentifier": finding["uid"],
                        "ReferencedSegment": 1,
                        "SourceSeriesForImageSegmentation": series,
                        "segmentationSOPInstanceUID": instance,
                        "Finding": coded(NODULE),
                        "FindingSite": coded(LUNG),
                        "measurementItems": [
                            measured(DIAMETER, finding["diameter"], MILLIMETER),
                            measured(AREA, finding["area"], SQUARE),
                        ],
                        "qualitativeEvaluations": [
                            {
                                "conceptCode": coded(MALIGNANCY),
                                "conceptValue": coded(ANSWERS[finding["answer"]]),
                            }
                        ],
                    }
                    for finding in found
                ],
            }
        )
    )

    def job() -> None:
        call(
            "tid1500writer",
            *("--inputImageLibraryDirectory", folder),
            *("--inputCompositeContextDirectory", seg.parent),
            *("--inputMetadata", described),
            *("--outputDICOM", case.output),
        )

    return job


def check_without_outlines(case: Case, _: object) -> None:
    from pydicom import dcmread

    rows: list[finding_judge.Row] = []
    if not case.output.is_file():
        raise finding_judge.WrongResult("no file was written")
    finding_judge.find_groups(dcmread(case.output), rows)
    finding_judge.check_groups(case, rows, outlines=False)


def read_dcmqi(case: Case) -> Job:
    path, output = case.path("report", "report.dcm"), case.output.with_suffix(".json")

    def job() -> Any:
        call("tid1500reader", *("--inputDICOM", path), *("--outputMetadata", output))
        return json.loads(output.read_text(encoding="utf-8"))

    return job


def view_dcmqi(read: Any) -> list[Any]:
    return [
        (
            group["TrackingUniqueIdentifier"],
            group["TrackingIdentifier"],
            group["Finding"]["CodeValue"],
            None,
            None,
            {m["quantity"]["CodeValue"]: float(m["value"]) for m in group["measurementItems"]},
            {
                e["conceptCode"]["CodeValue"]: e["conceptValue"]["CodeValue"]
                for e in group.get("qualitativeEvaluations", ())
            },
        )
        for group in read["Measurements"]
    ]


# ---- pydcm


def write_pydcm(case: Case) -> Job:
    from pydcm import sr

    found, images = finding_judge.truth(case), _images(case)
    flat = [[value for point in finding["points"] for value in point] for finding in found]

    def coded(triple: Triple) -> dict[str, str]:
        return {"value": triple[0], "scheme": triple[1], "meaning": triple[2]}

    def job() -> None:
        groups = [
            {
                "tracking_id": finding["name"],
                "tracking_uid": finding["uid"],
                "finding": coded(NODULE),
                "finding_sites": [coded(LUNG)],
                "roi": {
                    "graphic_type": "POLYLINE",
                    "scoord": outline,
                    "ref_sop_class_uid": CT_IMAGE,
                    "ref_sop_instance_uid": images[finding["slice"]],
                },
                "measurements": [
                    {"name": coded(DIAMETER), "value": finding["diameter"], "unit": coded(MILLIMETER)},
                    {"name": coded(AREA), "value": finding["area"], "unit": coded(SQUARE)},
                ],
                "qualitative_evaluations": [{"name": coded(MALIGNANCY), "value": coded(ANSWERS[finding["answer"]])}],
            }
            for finding, outline in zip(found, flat, strict=True)
        ]
        document = {
            "patient_name": "Phantom^Benchmark",
            "patient_id": "BENCHMARK",
            "study_uid": "1.2.3.1",
            "study_date": "20240102",
            "series_uid": "1.2.3.2",
            "observer": {"type": "device", "name": "Benchmark", "uid": _OBSERVER},
            "groups": groups,
        }
        sr.write_measurement_report(document, str(case.output))

    return job


def read_pydcm(case: Case) -> Job:
    from pydcm import sr

    path = str(case.path("report", "report.dcm"))
    return lambda: sr.read_measurement_report(path)["groups"]


def view_pydcm(groups: Any) -> list[Any]:
    return [
        (
            group["tracking_uid"],
            group["tracking_id"],
            group["finding"]["value"],
            group["roi"]["ref_sop_instance_uid"],
            group["roi"]["scoord"],
            {m["name"]["value"]: m["value"] for m in group["measurements"]},
            {e["name"]["value"]: e["value"]["value"] for e in group["qualitative_evaluations"]},
        )
        for group in groups
    ]


def check_read(case: Case, rows: Any) -> None:
    finding_judge.check_groups(case, rows)


def check_read_without_outlines(case: Case, rows: Any) -> None:
    finding_judge.check_groups(case, rows, outlines=False)


register(
    Row(
        name="sr-write",
        title="SR of 500 planar groups, built and saved",
        floor_text="a plain-Python writer of this scene",
        datasets=("findings", "ct-raw", "seg-binary-20", "labels-20"),
        competitors=(
            Competitor(FLOOR, floor_write, check=finding_judge.check_file(evidence=False)),
            Competitor(OURS, write_dicom_ml, ("dicom_ml",), note="without an image library, which no peer writes here"),
            Competitor("pydcm", write_pydcm, ("pydcm",)),
            Competitor("highdicom", write_highdicom, ("highdicom",)),
            Competitor(
                "dcmqi",
                write_dcmqi,
                (),
                ("tid1500writer",),
                check=check_without_outlines,
                note="its groups are of segments and have no outlines; it reads the images' headers for its library",
            ),
        ),
        check=finding_judge.check_file(),
        writes=True,
        goal=1.5,
        goal_text="<= 1.5",
    )
)
register(
    Row(
        name="sr-read",
        title="SR of 500 planar groups, all values read",
        floor_text="a plain-Python parser",
        datasets=("findings", "report", "ct-raw"),
        competitors=(
            Competitor(FLOOR, floor_read, view=view_floor),
            Competitor(OURS, read_dicom_ml, ("dicom_ml",), view=view_dicom_ml),
            Competitor("pydcm", read_pydcm, ("pydcm",), view=view_pydcm),
            Competitor("highdicom", read_highdicom, ("highdicom",)),
            Competitor(
                "dcmqi",
                read_dcmqi,
                (),
                ("tid1500reader",),
                view=view_dcmqi,
                check=check_read_without_outlines,
                note="gives no outlines",
            ),
        ),
        check=check_read,
        goal=1.0,
        goal_text="<= 1.0",
    )
)
