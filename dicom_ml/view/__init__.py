"""Plots, overlays and HTML pages.

:func:`montage` draws slices with labels over them, :class:`Page` holds pictures and tables in one file, and
:func:`plane_of` says which voxels a plane shows and which way they face. Pictures need Pillow
(``pip install 'dicom-ml[view]'``).
"""

from __future__ import annotations

from dicom_ml.view.page import Page
from dicom_ml.view.picture import PALETTE, WINDOWS, default_colors, montage, png_bytes, render_plane, save_png
from dicom_ml.view.planes import PLANES, Plane, plane_of, plane_positions

__all__ = [
    "PALETTE",
    "PLANES",
    "WINDOWS",
    "Page",
    "Plane",
    "default_colors",
    "montage",
    "plane_of",
    "plane_positions",
    "png_bytes",
    "render_plane",
    "save_png",
]
