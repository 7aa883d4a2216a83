"""Plots, overlays and HTML pages.

:func:`montage` draws slices with labels and regions over them, :class:`Page` holds pictures and tables in one file, and
:func:`plane_of` says which voxels a plane shows and which way they face. Pictures need Pillow
(``pip install 'dicom-ml[view]'``).
"""

from __future__ import annotations

from dicom_ml.view.page import Page
from dicom_ml.view.picture import PALETTE, WINDOWS, default_colors, montage, png_bytes, render_plane, save_png
from dicom_ml.view.planes import PLANES, Plane, PlaneMap, plane_of, plane_positions
from dicom_ml.view.regions import Mark, Trace, draw_traces, mark_positions, outline_of, traces_on

__all__ = [
    "PALETTE",
    "PLANES",
    "WINDOWS",
    "Mark",
    "Page",
    "Plane",
    "PlaneMap",
    "Trace",
    "default_colors",
    "draw_traces",
    "mark_positions",
    "montage",
    "outline_of",
    "plane_of",
    "plane_positions",
    "png_bytes",
    "render_plane",
    "save_png",
    "traces_on",
]
