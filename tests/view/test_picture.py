"""Pictures have the right aspect, colours where the labels are, and open as PNG."""

from __future__ import annotations

import io

import numpy as np
import pytest

from dicom_ml.errors import GeometryError
from dicom_ml.view import montage, plane_of, png_bytes, render_plane

pil_image = pytest.importorskip("PIL.Image", reason="pictures need Pillow")

AFFINE = np.array([[0, 0, 1.0, 0], [0, 1.0, 0, 0], [4.0, 0, 0, 0], [0, 0, 0, 1]])
ARRAY = np.full((10, 40, 60), -1000.0, np.float32)
LABELS = np.zeros(ARRAY.shape, np.uint8)
LABELS[2:8, 10:30, 5:25] = 1


def test_aspect_follows_the_millimetres() -> None:
    assert render_plane(plane_of(ARRAY, AFFINE, "axial"), height=200).size == (300, 200)
    assert render_plane(plane_of(ARRAY, AFFINE, "coronal"), height=200).size == (300, 200)
    assert render_plane(plane_of(ARRAY, AFFINE, "sagittal"), height=200).size == (200, 200)


def test_labels_are_painted_where_they_are() -> None:
    cuts = [plane_of(a, AFFINE, "axial", 5) for a in (ARRAY, LABELS)]
    picture = np.asarray(
        render_plane(*cuts, setting="lung", colors={1: (255, 0, 0)}, height=400, fill=0.5, letters=False)
    )
    red = (picture[..., 0] > 100) & (picture[..., 2] < 100)
    rows, columns = np.nonzero(red)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (100, 300, 50, 250)
    assert abs(int(picture[200, 400, 0]) - 60) <= 1 and np.ptp(picture[200, 400]) == 0
    assert picture[100, 150].tolist() == [255, 0, 0], "the contour is opaque"
    assert 100 < picture[200, 150, 0] < 170, "the area is not"


def test_montage_of_a_thin_stack(tmp_path: object) -> None:
    sheet = montage(ARRAY[:2], AFFINE, LABELS[4:6], names={1: "Right lung"}, title="Two slices", height=120)
    again = pil_image.open(io.BytesIO(png_bytes(sheet)))
    assert again.size == sheet.size


def test_labels_must_lie_on_the_grid() -> None:
    with pytest.raises(GeometryError, match="one grid"):
        montage(ARRAY, AFFINE, LABELS[1:])
    with pytest.raises(GeometryError, match="lung, soft"):
        montage(ARRAY, AFFINE, LABELS, setting="brain")
