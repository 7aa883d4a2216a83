"""Images: a reader for MONAI's LoadImage, and a loader of our own."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.data.image_reader import ImageReader
from monai.data.meta_obj import get_track_meta
from monai.transforms.transform import MapTransform, Transform
from monai.utils import PostFix, ensure_tuple

from dicom_ml.bridge.tensors import handle_of, image_meta, image_tensor, series_name
from dicom_ml.encoding.unpacking import ZIP_MAGIC
from dicom_ml.errors import FileError, GeometryError
from dicom_ml.geometry import to_monai
from dicom_ml.reading import Volume, read_volume

__all__ = ["DicomReader", "LoadDicom", "LoadDicomD", "LoadDicomDict", "LoadDicomd"]

_SUFFIXES = (".dcm", ".dicom", ".ima", ".zip")


class _Unreadable:
    """What was read where reading failed; the error comes up when the data is asked for."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class DicomReader(ImageReader):
    """Read DICOM series in MONAI's ``LoadImage``: ``LoadImaged("image", reader=DicomReader())``.

    A folder, a zip or a list of files is one series; a list of folders or of zips is one series each, stacked as
    channels. The array is ``(W, H, D)``, with a channel first only where several series were given; the affine is
    RAS, and the meta holds the source's handle.

    ``LoadImage`` tries its other readers when one raises, and some of those take a series with missing slices for a
    whole one. So what this reader refuses stays refused: :meth:`read` gives ``LoadImage`` an object that raises the
    error in :meth:`get_data`, after the choice of a reader. Only files that are no DICOM at all are left to others.

    Parameters
    ----------
    **policies
        Passed to :func:`dicom_ml.read_volume`, such as ``gaps="fill"``, ``series_uid=`` or ``phase=``.

    Examples
    --------
    >>> LoadImaged(["image"], reader=DicomReader(gaps="fill"))  # doctest: +SKIP
    """

    def __init__(self, **policies: Any) -> None:
        super().__init__()
        self.policies = policies

    def verify_suffix(self, filename: Any) -> bool:
        """Whether this is for us: folders with DICOM files in them, zips, and files that begin as DICOM does."""
        names = [os.fspath(name) for name in ensure_tuple(filename) if isinstance(name, (str, os.PathLike))]
        return bool(names) and all(_looks_like_dicom(name) for name in names)

    def read(self, data: Any, **kwargs: Any) -> Any:
        """The volume or volumes that ``data`` names.

        Raises
        ------
        FileError
            If the files are no DICOM at all.
        """
        names = ensure_tuple(data)
        if not self.verify_suffix(names):
            raise FileError(f"{names[0] if names else 'nothing'} is no DICOM file, folder or zip")
        policies = self.policies | kwargs
        try:
            if len(names) > 1 and all(_is_container(name) for name in names):
                return [read_volume(name, **policies) for name in names]
            return read_volume(names[0] if len(names) == 1 else list(names), **policies)
        except Exception as error:
            return _Unreadable(error)

    def get_data(self, img: Any) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Array and meta of what :meth:`read` returned; raises what reading ran into."""
        if isinstance(img, _Unreadable):
            raise img.error
        volumes: list[Volume] = list(img) if isinstance(img, (list, tuple)) else [img]
        meta = image_meta(volumes[0])
        arrays = [to_monai(volume.array, volume.affine)[0][0] for volume in volumes]
        if len(volumes) == 1:
            meta["original_channel_dim"] = float("nan")  # how MONAI says that there is none
            return arrays[0], meta
        for volume in volumes[1:]:
            if not volume.grid.matches(volumes[0].grid):
                raise GeometryError(
                    f"the series to be stacked as channels lie on two grids, {volumes[0].grid} and {volume.grid}; "
                    "load them under keys of their own and resample one (monai.transforms.ResampleToMatchd)"
                )
        return np.stack(arrays), meta


def _is_container(name: Any) -> bool:
    return isinstance(name, (str, os.PathLike)) and (os.path.isdir(name) or str(name).lower().endswith(".zip"))


def _looks_like_dicom(name: str) -> bool:
    if os.path.isdir(name):
        return any(
            _looks_like_dicom(os.path.join(folder, file))
            for folder, _, files in os.walk(name)
            for file in sorted(files)
            if not file.startswith(".")
        )
    if name.lower().endswith(_SUFFIXES):
        return True
    try:
        with open(name, "rb") as handle:
            head = handle.read(132)
    except OSError:
        return False
    # a data set without preamble begins with its first group: 0002, or 0008 for very old files
    return head[128:] == b"DICM" or head[:4] == ZIP_MAGIC or (head[:2] in (b"\x02\0", b"\x08\0") and head[3:4] == b"\0")


class LoadDicom(Transform):
    """Read a DICOM series into a MetaTensor ``(1, W, H, D)`` with a RAS affine.

    The meta holds the source's handle (``"dicom_source"``), ``modality``, ``unit`` (UCUM), ``padding_value`` (NaN
    for none), ``filled_slices``, ``series_instance_uid``, ``study_instance_uid`` and what MONAI's own loaders give.
    The handle carries the patient attributes that results copy: treat it as the images themselves.

    Parameters
    ----------
    **policies
        Passed to :func:`dicom_ml.read_volume`: ``gaps=``, ``duplicates=``, ``series_uid=``, ``phase=``, ``units=``,
        ``dtype=`` and so on.
    """

    def __init__(self, **policies: Any) -> None:
        self.policies = policies

    def __call__(self, source: Any) -> Any:
        """Read ``source``: what :func:`dicom_ml.read_volume` takes, or a Volume.

        A MetaTensor that was loaded before is returned as it is.

        Raises
        ------
        SeriesError, FileError, CodecError
            As :func:`dicom_ml.read_volume` does.
        """
        if isinstance(source, torch.Tensor) and handle_of(getattr(source, "meta", None)):
            return source
        return image_tensor(self.volume(source), series_name(source))

    def volume(self, source: Any) -> Volume:
        """The volume behind ``source``, before it becomes a tensor."""
        if isinstance(source, Volume):
            return source
        if isinstance(source, str) and source.startswith("~"):
            source = Path(source).expanduser()
        return read_volume(source, **self.policies)


class LoadDicomd(MapTransform):
    """Dictionary form of :class:`LoadDicom`.

    Parameters
    ----------
    keys : str or sequence of str
        Whose values name series; each is replaced by its MetaTensor.
    allow_missing_keys : bool
    **policies
        As in :class:`LoadDicom`.

    Notes
    -----
    Under ``monai.data.set_track_meta(False)`` tensors are plain, and the meta stands beside them, under
    ``"<key>_meta_dict"`` as MONAI has it.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False, **policies: Any) -> None:
        super().__init__(keys, allow_missing_keys)
        self._load = LoadDicom(**policies)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if get_track_meta():
                d[key] = self._load(d[key])
                continue
            volume = self._load.volume(d[key])
            d[key] = image_tensor(volume)
            d[PostFix.meta(str(key))] = image_meta(volume)
        return d


LoadDicomD = LoadDicomDict = LoadDicomd
