"""Draw a series or a slide, with results over it, as a PNG or as an HTML page that holds its pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "pictures of a series or a slide with results over it, as PNG or HTML"
EXAMPLES = (
    "dicom-ml render series/ --output ct.png",
    "dicom-ml render series/ --seg liver.seg.dcm --output liver.html",
    "dicom-ml render series/ --over nodules.sr.dcm lungs.seg.dcm --output nodules.html",
    "dicom-ml render slide/ --over tumour.seg.dcm --output tumour.png --size 2000",
    "dicom-ml render slide/ --over nuclei.ann.dcm --region 12000,8000,1024,1024 --output nuclei.png",
    "dicom-ml render series/ --seg lungs.seg.dcm --window lung --planes axial=12 coronal=4",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("series", type=Path, help="folder, zip or file of one image series")
    parser.add_argument(
        "--over",
        "--seg",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="what to draw over it: DICOM segmentations, structure sets, reports; of slides also maps and annotations",
    )
    parser.add_argument(
        "--segments",
        nargs="+",
        metavar="NAME",
        help="only these segments, groups or findings, by label, number or tracking identifier",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help=".png or .html (default: NAME-OF-SERIES.html)")
    parser.add_argument(
        "--window", metavar="W", help="lung, soft, bone, wide, or CENTRE,WIDTH (default: from the values)"
    )
    parser.add_argument(
        "--planes", nargs="+", metavar="PLANE=N", help="slices of each plane (default: axial=8 coronal=2 sagittal=2)"
    )
    parser.add_argument("--height", type=int, default=320, help="of each slice, in pixels (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, default=1024, help="longer side of a slide's picture (default: %(default)s)"
    )
    parser.add_argument(
        "--region", metavar="ROW,COLUMN,HEIGHT,WIDTH", help="only this part of a slide, in pixels of level 0"
    )
    parser.add_argument("--series-uid", metavar="UID", help="which series, where the folder holds several")


def run(args: argparse.Namespace) -> int:
    from dicom_ml.cli.rendering import render

    print(render(args))
    return 0
