"""Convert between DICOM and NIfTI.

A series becomes a NIfTI image. A segmentation becomes a label map, or with --split one mask a segment. A label map
(NIfTI, NRRD, MetaImage) with the series it was made from becomes a DICOM segmentation. Segmentations and parametric
maps of slides become PNG or OME-TIFF, and a mask of a slide's level becomes a segmentation of the slide.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "series and segmentations to NIfTI, and label maps back to DICOM"
EXAMPLES = (
    "dicom-ml convert series/ ct.nii.gz",
    "dicom-ml convert liver.seg.dcm liver.nii.gz --on series/",
    "dicom-ml convert organs.seg.dcm organs/ --split",
    "dicom-ml convert organs.nii.gz organs.seg.dcm --source ct/ --segment '1=Liver|SCT:10200004' --algorithm Net:1.2",
    "dicom-ml convert organs.nii.gz organs.seg.dcm --source ct/ --segments-file segments.json",
    "dicom-ml convert tumour.seg.dcm tumour.ome.tif",
    "dicom-ml convert mask.png tumour.seg.dcm --source slide/ --segment '1=Tumour|SCT:108369006' --algorithm manual",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, help="series, DICOM segmentation or parametric map, or label map")
    parser.add_argument(
        "output", type=Path, help=".nii, .nii.gz or .dcm; of slides .png or .ome.tif; a folder with --split"
    )
    parser.add_argument("--series-uid", metavar="UID", help="which series, where the folder holds several")
    seg = parser.add_argument_group("from a segmentation")
    seg.add_argument("--on", type=Path, metavar="SERIES", help="on the voxels of this series (default: on its own)")
    seg.add_argument("--split", action="store_true", help="one file a segment, into the folder OUTPUT")
    seg.add_argument("--overlap", choices=("error", "first", "last"), default="error",
                     help="which segment a shared voxel gets in a label map (default: %(default)s)")  # fmt: skip
    back = parser.add_argument_group("to a segmentation")
    back.add_argument("--source", type=Path, metavar="SERIES", help="the series that the label map was made from")
    back.add_argument("--segment", action="append", default=[], metavar="N=LABEL|TYPE[|CATEGORY]",
                      help="what a value means; codes as SCT:10200004")  # fmt: skip
    back.add_argument("--segments-file", type=Path, metavar="JSON", help="a list of segments, in place of --segment")
    back.add_argument("--algorithm", metavar="NAME:VERSION", help="what made the labels, or 'manual'")
    back.add_argument("--kind", choices=("labelmap", "binary"), default="labelmap", help="default: %(default)s")
    back.add_argument("--compression", choices=("rle", "jpeg-ls", "jpeg2000", "htjpeg2000", "deflate"))


def run(args: argparse.Namespace) -> int:
    from dicom_ml.cli.conversion import convert

    for path in convert(args):
        print(path)
    return 0
