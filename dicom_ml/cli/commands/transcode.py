"""Write images in another lossless transfer syntax: smaller, or faster to read while training.

Series, slides and segmentations keep their objects and UIDs; only the bytes of their pixels change. Every frame is
decoded again and compared before a file takes its name, and a run that was stopped goes on where it was. Images
compressed with loss stay as they are. Ends with 1 where a file could not be written.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELP = "images in another lossless transfer syntax"
EXAMPLES = (
    "dicom-ml transcode series/ fast/ --to htj2k",
    "dicom-ml transcode archive/ small/ --to jpeg-ls --unsuitable refuse",
    "dicom-ml transcode slide.dcm raw.dcm --to raw",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="IN", help="a file, or a folder with its subfolders")
    parser.add_argument("output", type=Path, metavar="OUT", help="a file for a file, a folder for a folder")
    # spelled out, so that the help costs no import
    targets = ("htj2k", "jpeg-ls", "jpeg2000", "rle", "deflate", "raw")
    parser.add_argument("--to", required=True, choices=targets, help="how pixels are to be stored")
    parser.add_argument(
        "--unsuitable",
        choices=("keep", "refuse"),
        default="keep",
        help="images with loss, or that cannot be stored so: copy them as they are, or leave them out (%(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="write anew what is there from an earlier run")
    parser.add_argument("--threads", type=int, metavar="N", help="most threads (one a core, 8 at most)")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dicom_ml.encoding.transcoding import transcode

    with tqdm(unit="B", unit_scale=True, leave=False, disable=not sys.stderr.isatty()) as bar:
        found = transcode(
            args.source,
            args.output,
            args.to,
            unsuitable=args.unsuitable,
            overwrite=args.overwrite,
            threads=args.threads,
            progress=bar.update,
        )
    counts = {name: sum(f.outcome == name for f in found) for name in dict.fromkeys(f.outcome for f in found)}
    before, after = sum(f.bytes_before for f in found if f.bytes_after), sum(f.bytes_after for f in found)
    if args.json:
        rows = [
            {
                "path": str(f.path), "output": str(f.output), "outcome": f.outcome, "reason": f.reason,
                "frames": f.frames, "bytes_before": f.bytes_before, "bytes_after": f.bytes_after,
            }
            for f in found
        ]  # fmt: skip
        print(json.dumps({"files": rows, "counts": counts, "bytes_before": before, "bytes_after": after}, indent=2))
    else:
        for one in found:
            if one.outcome not in ("transcoded", "there"):
                print(f"{one.path}: {one.outcome}: {one.reason}", file=sys.stderr)
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        share = f" ({after / before:.0%})" if before else ""
        print(f"{told}; {_size(before)} before, {_size(after)} after{share}")
    return 0 if all(one.ok for one in found) else 1


def _size(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
