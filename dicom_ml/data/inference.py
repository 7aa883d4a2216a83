"""A model over a whole slide: tiles in, one segmentation or parametric map out, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dicom_ml.bridge.tissue import TissueMap
from dicom_ml.errors import EncodingError
from dicom_ml.objects.parametric_map import ParametricMap
from dicom_ml.objects.segmentation import Segment, Segmentation
from dicom_ml.reading.slides import Slide

__all__ = ["predict_slide"]

Array = npt.NDArray[Any]


def predict_slide(
    model: Callable[[torch.Tensor], torch.Tensor],
    slide: Slide,
    path: str | os.PathLike[str],
    *,
    segments: Sequence[Segment] | None = None,
    quantity: Any = None,
    level: int = 0,
    tile_size: int = 512,
    batch_size: int = 8,
    activation: str | None = None,
    min_tissue: float | None = None,
    transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
    device: str | torch.device = "cpu",
    **options: Any,
) -> str:
    """Run a dense model over all tiles of a level, and write what it says.

    A run that was killed goes on where it stopped, with the same call, and writes the same UIDs.

    Parameters
    ----------
    model : callable
        Takes a batch ``(B, 3, tile_size, tile_size)`` of float32 from 0 to 1, gives ``(B, C, tile_size, tile_size)``.
    slide : Slide
    path : path
        Of the object written.
    segments : sequence of Segment, optional
        For a segmentation: a channel each, or one channel more in front, which is the background.
    quantity : code or Quantity, or a list, optional
        For a parametric map: one for each channel. Give either segments or quantities.
    level : int
        Level whose pixels the model sees.
    tile_size : int
        Rows and columns of a tile; tiles do not overlap.
    batch_size : int
    activation : str, optional
        ``"softmax"`` or ``"sigmoid"``, applied to the model's output.
    min_tissue : float, optional
        Tiles with a smaller share of tissue are not looked at and stay empty.
    transform : callable, optional
        Applied to each batch in place of the division by 255; takes uint8.
    device : device
    **options
        As in :meth:`Segmentation.stream` (such as ``kind="fractional"``) or :meth:`ParametricMap.stream`.

    Returns
    -------
    str
        The path.

    Raises
    ------
    EncodingError
        If the model's channels do not match the segments or quantities.
    """
    if (segments is None) == (quantity is None):
        raise EncodingError("pass segments for a segmentation, or quantity for a parametric map")
    if activation not in (None, "softmax", "sigmoid"):
        raise EncodingError(f"activation is 'softmax', 'sigmoid' or None, found {activation!r}")
    common = {"source": slide, "level": level, "tile_size": (tile_size, tile_size), **options}
    if segments is not None:
        stream: Any = Segmentation.stream(path, segments=segments, **common)
        count = len(segments)
    else:
        stream = ParametricMap.stream(path, quantity=quantity, **common)
        count = len(quantity) if isinstance(quantity, list) else 1
    fractional = segments is None or options.get("kind", "binary") == "fractional"
    with stream:
        for places in _batches(slide, stream.missing, level, tile_size, batch_size, min_tissue):
            down = np.array(slide.levels[level].downsamples)
            pixels = slide.read_tiles(level, np.array(places) * down, size=(tile_size, tile_size))
            output = _run(model, pixels, activation, transform, device)
            for (row, column), values in zip(places, _decide(output, count, activation, fractional), strict=True):
                height, width = (
                    min(tile_size, n - p) for n, p in zip(slide.levels[level].shape, (row, column), strict=True)
                )
                stream.put(row, column, values[..., :height, :width])
    return os.fspath(path)


def _batches(
    slide: Slide,
    places: list[tuple[int, int]],
    level: int,
    tile_size: int,
    batch_size: int,
    min_tissue: float | None,
) -> Iterator[list[tuple[int, int]]]:
    if min_tissue is not None and places:
        down = np.array(slide.levels[level].downsamples)
        size = float(tile_size * down[0]), float(tile_size * down[1])
        share = TissueMap(slide).fraction(np.array(places) * down, size)
        places = [place for place, found in zip(places, share.tolist(), strict=True) if found >= min_tissue]
    for start in range(0, len(places), batch_size):
        yield places[start : start + batch_size]


@torch.inference_mode()
def _run(
    model: Callable[[torch.Tensor], torch.Tensor],
    pixels: Array,
    activation: str | None,
    transform: Callable[[torch.Tensor], torch.Tensor] | None,
    device: str | torch.device,
) -> torch.Tensor:
    channels = pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, -1, 1)
    batch = torch.from_numpy(np.ascontiguousarray(channels))
    batch = (transform(batch) if transform is not None else batch.float() / 255).to(device)
    output = model(batch)
    if output.ndim != 4 or output.shape[0] != len(pixels) or output.shape[2:] != batch.shape[2:]:
        raise EncodingError(
            f"the model gives {tuple(output.shape)} for {tuple(batch.shape)}; a dense model is expected"
        )
    if activation == "softmax":
        output = output.softmax(dim=1)
    elif activation == "sigmoid":
        output = output.sigmoid()
    return output.float().cpu()


def _decide(output: torch.Tensor, count: int, activation: str | None, fractional: bool) -> Array:
    """Channels of the segments or quantities: fractions and values as they are, else 0 and 1."""
    values = output.numpy()
    background = values.shape[1] == count + 1
    if values.shape[1] not in (count, count + 1):
        raise EncodingError(f"the model gives {values.shape[1]} channels for {count} segments or quantities")
    if fractional:
        return values[:, 1:] if background else values
    if background:
        winner = values.argmax(axis=1)
        return np.stack([winner == i + 1 for i in range(count)], axis=1)
    # without a background channel each segment is decided by itself, at probability one half
    return values > (0.5 if activation is not None else 0.0)
