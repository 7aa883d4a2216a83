"""Convert between DICOM and NIfTI, GeoJSON, tables.

A series becomes a NIfTI image. A segmentation becomes a label map, or with --split one mask a segment. A label map
(NIfTI, NRRD, MetaImage) with the series it was made from becomes a DICOM segmentation. Segmentations and parametric
maps of slides become PNG or OME-TIFF, and a mask of a slide's level becomes a segmentation of the slide. A structured
report becomes a table (CSV, JSON), one measurement or evaluation a row, and its regions become GeoJSON. Annotations of
a slide become GeoJSON, as QuPath reads it, or CSV, and both become annotations again; coordinates are pixels of the
slide's finest level. Contours of an RT structure set, filled on their images, become a segmentation, a label map or
masks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "series and segmentations to NIfTI, reports to tables, annotations to GeoJSON, and back to DICOM"
EXAMPLES = (
    "dicom-ml convert series/ ct.nii.gz",
    "dicom-ml convert liver.seg.dcm liver.nii.gz --on series/",
    "dicom-ml convert organs.seg.dcm organs/ --split",
    "dicom-ml convert organs.nii.gz organs.seg.dcm --source ct/ --segment '1=Liver|SCT:10200004' --algorithm Net:1.2",
    "dicom-ml convert organs.nii.gz organs.seg.dcm --source ct/ --segments-file segments.json",
    "dicom-ml convert rtstruct.dcm organs.seg.dcm --source ct/ --region Liver --type Liver=SCT:10200004",
    "dicom-ml convert tumour.seg.dcm tumour.ome.tif",
    "dicom-ml convert nodules.sr.dcm nodules.csv",
    "dicom-ml convert nodules.sr.dcm nodules.geojson --on series/",
    "dicom-ml convert nuclei.ann.dcm nuclei.geojson",
    "dicom-ml convert qupath.geojson nuclei.ann.dcm --source slide/ --type SCT:84640000 --algorithm StarDist:0.9",
    "dicom-ml convert regions.geojson regions.ann.dcm --source slide/ --type Tumor=SCT:108369006 --algorithm manual",
    "dicom-ml convert mask.png tumour.seg.dcm --source slide/ --segment '1=Tumour|SCT:108369006' --algorithm manual",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, help="series, any DICOM result, label map, GeoJSON or CSV")
    parser.add_argument(
        "output",
        type=Path,
        help=".nii, .nii.gz or .dcm; of slides .png, .ome.tif, .geojson; of reports .csv, .json, .geojson; "
        "a folder with --split",
    )
    parser.add_argument("--series-uid", metavar="UID", help="which series, where the folder holds several")
    seg = parser.add_argument_group("from a segmentation")
    seg.add_argument("--on", type=Path, metavar="SERIES", help="on the voxels of this series (default: on its own)")
    seg.add_argument("--split", action="store_true", help="one file a segment, into the folder OUTPUT")
    seg.add_argument("--overlap", choices=("error", "first", "last"), default="error",
                     help="which segment a shared voxel gets in a label map (default: %(default)s)")  # fmt: skip
    back = parser.add_argument_group("to a segmentation")
    back.add_argument("--source", type=Path, metavar="SERIES",
                      help="the series or slide that the label map, or the outlines, were made from")  # fmt: skip
    back.add_argument("--segment", action="append", default=[], metavar="N=LABEL|TYPE[|CATEGORY]",
                      help="what a value means; codes as SCT:10200004")  # fmt: skip
    back.add_argument("--segments-file", type=Path, metavar="JSON", help="a list of segments, in place of --segment")
    back.add_argument("--algorithm", metavar="NAME:VERSION", help="what made the labels or outlines, or 'manual'")
    back.add_argument("--kind", choices=("labelmap", "binary"), default="labelmap", help="default: %(default)s")
    back.add_argument("--compression", choices=("rle", "jpeg-ls", "jpeg2000", "htjpeg2000", "deflate"))
    _contour_arguments(parser.add_argument_group("from contours (RT structure sets)"))
    _annotation_arguments(parser.add_argument_group("annotations of slides"))


def _annotation_arguments(ann: argparse._ArgumentGroup) -> None:
    ann.add_argument(
        "--type",
        action="append",
        default=[],
        metavar="[CLASS=]CODE",
        help="what the items of a class are, or all of them; CLASS= leaves a class out",
    )
    ann.add_argument(
        "--measurement",
        action="append",
        default=[],
        metavar="NAME=CONCEPT,UNIT",
        help="what a measurement of the file is, where its name is no known term",
    )
    ann.add_argument(
        "--holes",
        choices=("error", "drop", "bridge"),
        default="error",
        help="of polygons: refuse, fill, or join to the outline (default: %(default)s)",
    )
    ann.add_argument(
        "--parts",
        choices=("error", "split", "largest"),
        default="error",
        help="of geometries that have several (default: %(default)s)",
    )
    ann.add_argument("--nuclei", action="store_true", help="of QuPath's cells take the outlines of the nuclei")
    ann.add_argument(
        "--graphic",
        choices=("polygon", "polyline"),
        default="polygon",
        help="what a CSV file with a row a point holds (default: %(default)s)",
    )
    ann.add_argument(
        "--unit", choices=("px", "um"), default="px", help="of coordinates in a CSV file (default: %(default)s)"
    )
    ann.add_argument(
        "--form",
        choices=("wkt", "points", "boxes", "long"),
        default="wkt",
        help="of a CSV file that is written: outlines as text, middles, boxes, a row a point (default: %(default)s)",
    )


def _contour_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--region", action="append", default=[], metavar="NAME", help="only this region, by name or ROI Number"
    )
    group.add_argument(
        "--between",
        choices=("error", "nearest", "drop"),
        default="error",
        help="of contours between slices (default: %(default)s)",
    )
    group.add_argument(
        "--fill",
        choices=("own", "nearest"),
        default="own",
        help="slices between planes of contours: leave empty, or as the nearest (default: %(default)s)",
    )
    group.add_argument(
        "--outside",
        choices=("error", "drop"),
        default="error",
        help="of contours that reach beyond the images (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    from dicom_ml.cli.conversion import convert

    for path in convert(args):
        print(path)
    return 0
