"""Show a folder's images with segmentations, reports, annotations and maps over them, in a browser.

A page is served on this machine only. Volumes are shown by NiiVue, slides by dicom-microscopy-viewer. Nothing is
written, and nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import sys
import webbrowser
from pathlib import Path

HELP = "show images and what lies over them in a browser"
EXAMPLES = ("dicom-ml view study/", "dicom-ml view study/ --port 8080 --no-browser")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="what to show")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port on this machine; by default a free one")
    parser.add_argument("--no-browser", action="store_true", help="say the address only")


def run(args: argparse.Namespace) -> int:
    from dicom_ml.errors import FileError
    from dicom_ml.viewer import open_library, serve

    library = open_library(args.folder)
    if not library.shown:
        raise FileError(f"{args.folder} holds no volume and no slide that can be shown")
    for problem in library.problems[:3]:
        print(f"dicom-ml: warning: {problem}", file=sys.stderr)

    def ready(address: str) -> None:
        print(f"{len(library.shown)} images at {address} (Ctrl+C ends it)", flush=True)
        if not args.no_browser:
            webbrowser.open(address)

    serve(library, args.port, ready=ready)
    return 0
