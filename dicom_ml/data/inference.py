"""A model over a whole slide: tiles in, one segmentation or parametric map out, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dicom_ml.bridge.decision import Decision
from dicom_ml.bridge.identity import model_fingerprint
from dicom_ml.bridge.map_output import ParametricMapOutput, as_quantities
from dicom_ml.bridge.output import SegmentationOutput, as_segments
from dicom_ml.bridge.tile_results import TileResult
from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.bridge.tissue import TissueMap
from dicom_ml.errors import EncodingError, SeriesError
from dicom_ml.objects.segmentation import Segment
from dicom_ml.reading.slides import Slide

__all__ = ["predict_slide"]

Array = npt.NDArray[Any]
Transform = Callable[[torch.Tensor], torch.Tensor]


def predict_slide(
    model: Callable[[torch.Tensor], torch.Tensor],
    slide: Slide,
    path: str | os.PathLike[str],
    *,
    segments: Sequence[Segment] | None = None,
    quantity: Any = None,
    spacing: float | None = None,
    level: int | None = None,
    tile_size: int = 512,
    overlap: int = 0,
    window: str = "hann",
    min_tissue: float | None = None,
    tissue: Any = None,
    batch_size: int = 8,
    activation: str | None = None,
    channels: Sequence[int] | None = None,
    transform: Transform | None = None,
    device: str | torch.device = "cpu",
    **options: Any,
) -> str:
    """Run a model over the tiles of a slide, and write what it says as one object.

    A run that was killed goes on where it stopped, with the same call, and writes the same UIDs. The next tiles are
    read while the model looks at the present ones. Memory is bounded, whatever the size of the slide.

    Parameters
    ----------
    model : callable
        Takes a batch ``(B, 3, tile_size, tile_size)`` of float32 from 0 to 1, of monochrome slides ``(B, 1, ...)``.
        It gives ``(B, C, h, w)``, with a value for every pixel or for every few, or ``(B, C)``, with one for the
        tile: then the object is a coarse matrix whose pixels are the tiles.
    slide : Slide
    path : path
        Of the object written.
    segments : sequence of Segment, optional
        For a segmentation: a channel each, or one channel more in front, which is the background.
    quantity : code or Quantity, or a list, optional
        For a parametric map: one for each channel. Give either segments or quantities.
    spacing, level, tile_size, overlap
        How tiles are cut: see :class:`dicom_ml.data.TileDataset`.
    window : str
        How tiles that overlap are weighted: see :func:`dicom_ml.bridge.blending.window_weights`.
    min_tissue, tissue
        Tiles with a smaller share of tissue are not looked at and stay empty; see :class:`dicom_ml.data.TileDataset`.
    batch_size : int
    activation : str, optional
        ``"softmax"`` or ``"sigmoid"``, applied to the model's output.
    channels : sequence of int, optional
        Channels of the output that a parametric map is made of.
    transform : callable, optional
        Applied to each batch in place of the division by 255 (65535 for 16 bits); takes the stored values.
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
    SeriesError
        If no tile holds enough tissue.
    """
    if (segments is None) == (quantity is None):
        raise EncodingError("pass segments for a segmentation, or quantity for a parametric map")
    decision = Decision(activation)
    settings = {"activation": activation}
    common = {"compression": options.pop("compression", None), "settings": settings}
    output: Any
    if segments is not None:
        kind = options.pop("kind", "binary")
        output = SegmentationOutput(as_segments(segments), kind, options=options, **common)
        count = len(output.segments)
    else:
        names = ("algorithm", "dtype", "value_range")
        given = {name: options.pop(name) for name in names if name in options}
        quantities = as_quantities(quantity, options.pop("unit", "1"))
        chosen = None if channels is None else tuple(channels)
        output = ParametricMapOutput(quantities, chosen, options=options, **given, **common)
        count = len(quantities)

    def decide(values: Array) -> Array:
        if segments is None:
            return values
        return np.asarray(decision.mask(torch.from_numpy(np.ascontiguousarray(values)), output.numbers, output.kind))

    grid = TileGrid.cut(slide, tile_size, spacing=spacing, level=level, overlap=overlap)
    cells = grid.cells()
    if min_tissue is not None:
        cells = cells[TissueMap(slide, tissue).fraction(grid.positions(cells), grid.footprint) >= min_tissue]
        grid = grid.select(cells)
    if not len(cells):
        raise SeriesError(f"no tile holds enough tissue; lower min_tissue={min_tissue}")
    name = model_fingerprint(model) if isinstance(model, torch.nn.Module) else ""
    result = TileResult(output, slide.source, grid, path, name, decide, window=window, named=False)
    try:
        left = np.array([cell for cell in cells if not result.has(*grid.pixels(cell)[0].tolist())]).reshape(-1, 2)
        with _evaluating(model, device):
            for part, pixels in _batches(slide, grid, left, batch_size):
                preds = _run(model, pixels, decision, transform, device)
                if channels is None and preds.shape[1] not in (count, count + (segments is not None)):
                    raise EncodingError(f"the model gives {preds.shape[1]} channels for {count} segments or quantities")
                for cell, pred in zip(part, preds, strict=True):
                    row, column = grid.pixels(cell)[0].tolist()
                    result.put(row, column, pred)
        return os.fspath(result.finish().path)
    finally:
        result.close()


def _batches(slide: Slide, grid: TileGrid, cells: Array, batch_size: int) -> Iterator[tuple[Array, Array]]:
    """Cells and pixels of batches; the next batch is read ahead."""
    parts = [cells[start : start + batch_size] for start in range(0, len(cells), batch_size)]
    if not parts:
        return
    with ThreadPoolExecutor(1, thread_name_prefix="tiles") as pool:
        coming = pool.submit(grid.read, slide, parts[0])
        for number, part in enumerate(parts):
            pixels = coming.result()
            if number + 1 < len(parts):
                coming = pool.submit(grid.read, slide, parts[number + 1])
            yield part, pixels


@contextmanager
def _evaluating(model: Any, device: str | torch.device) -> Iterator[None]:
    """A module in evaluation mode, on the device; left as it was."""
    if not isinstance(model, torch.nn.Module):
        yield
        return
    training = model.training
    model.to(device).eval()
    try:
        yield
    finally:
        model.train(training)


@torch.inference_mode()
def _run(
    model: Callable[[torch.Tensor], torch.Tensor],
    pixels: Array,
    decision: Decision,
    transform: Transform | None,
    device: str | torch.device,
) -> Array:
    """Activated predictions, ``(B, C, h, w)`` or ``(B, C)``."""
    channels = pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, -1, 1)
    batch = torch.from_numpy(np.ascontiguousarray(channels))
    top = np.iinfo(pixels.dtype).max
    batch = (transform(batch) if transform is not None else batch.float() / top).to(device)
    output = model(batch)
    if output.ndim not in (2, 4) or output.shape[0] != len(pixels):
        raise EncodingError(
            f"the model gives {tuple(output.shape)} for {tuple(batch.shape)}; (B, C, h, w) or (B, C) is expected"
        )
    return np.asarray(decision.activated(output, axis=1).cpu())
