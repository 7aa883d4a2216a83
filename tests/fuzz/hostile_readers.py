"""What reads a hostile file or server, by name: a path or address in, anything out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dicom_ml as dml
from tests.fuzz.targets import TARGETS

__all__ = ["READERS", "prepare"]


def _of_bytes(target: Callable[[bytes], Any]) -> Callable[[str], Any]:
    return lambda path: target(Path(path).read_bytes())


def volume_at(path: str) -> Any:
    """A volume from a path: a zip, a folder, an address."""
    return dml.read_volume(path).array.shape


def slide_at(path: str) -> Any:
    """A slide from a path."""
    found = dml.open_slide(path)
    return found.read_region((0, 0), (16, 16)).shape


def labels_at(path: str) -> Any:
    """Labels of a volume, of whichever kind the file is."""
    from dicom_ml.bridge.label_files import open_labels

    return len(open_labels(path).segments)


def index_of(path: str) -> Any:
    """An index over a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        found = dml.scan(path, index=Path(scratch) / "index.sqlite", workers=1)
        return [series.series_instance_uid for series in found.series()], len(found.problems())


def stored_index(path: str) -> Any:
    """An index that someone else made."""
    found = dml.open_index(path)
    return [(series.series_instance_uid, series.files[:1]) for series in found.series()]


def fetched(address: str) -> Any:
    """What is fetched from an address, perhaps with a study behind a ``|``, and nothing beside the folder."""
    from dicom_ml.stores.transfer import fetch

    where, _, study = address.partition("|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "in" / "copy"
        try:
            found = fetch(where, folder, study=study)
        finally:
            strangers = [path for path in Path(scratch).rglob("*") if path.is_file() and folder not in path.parents]
            assert not strangers, strangers
        return found.new, found.problems


def searched(address: str) -> Any:
    """What a DICOMweb server says that it has."""
    from dicom_ml.stores.dicomweb import DicomWeb

    return len(DicomWeb(address).search("studies"))


def sent(address: str) -> Any:
    """What becomes of a file that is sent."""
    from dicom_ml.stores.transfer import send

    where, _, path = address.partition("|")
    return [(one.ok, one.detail) for one in send([path], where)]


def bulk(address: str) -> Any:
    """Bulk data from where a server says that it is."""
    from dicom_ml.stores.dicomweb import DicomWeb

    where, _, uri = address.partition("|")
    return len(DicomWeb(where).bulk_data(uri))


def handle(path: str) -> Any:
    """A source handle kept in a file."""
    return dml.SourceSeries.from_string(Path(path).read_text()).sop_instance_uids[:1]


_TYPES = {"a": "SCT:84640000", "": "SCT:84640000"}


def outlines(paths: str) -> Any:
    """Annotations of others, a slide and a file of GeoJSON or a table with a ``|`` between."""
    slide, _, path = paths.partition("|")
    source = dml.open_slide(slide)
    if path.endswith("json"):
        return [
            len(group)
            for group in dml.Annotations.from_geojson(path, source=source, types=_TYPES, algorithm="manual").groups
        ]
    return [
        len(group) for group in dml.Annotations.from_csv(path, source=source, types=_TYPES, algorithm="manual").groups
    ]


def slide_in_srgb(path: str) -> Any:
    """A slide through its colour profile."""
    return dml.open_slide(path).read_region((0, 0), (16, 16), color="srgb").shape


READERS: dict[str, Callable[[str], Any]] = {name: _of_bytes(target) for name, target in TARGETS.items()}
READERS |= {
    "volume at": volume_at,
    "slide at": slide_at,
    "labels at": labels_at,
    "index of": index_of,
    "stored index": stored_index,
    "handle": handle,
    "outlines": outlines,
}
READERS |= {"slide in sRGB": slide_in_srgb}
READERS |= {"fetch": fetched, "search": searched, "send": sent, "bulk": bulk}


def prepare() -> None:
    """Load what is loaded on first use, so that it counts as the program's own."""
    import imagecodecs  # noqa: F401
    import pydicom.pixels  # noqa: F401

    try:
        import dicomweb_client.api  # noqa: F401
        import pynetdicom  # noqa: F401

        from dicom_ml.stores import dicomweb, session  # noqa: F401

        dicomweb._FIRST_WAIT = 0.01
    except ImportError:
        pass

    for target in ("volume", "slide", "segmentation", "report", "annotations", "validate"):
        try:
            TARGETS[target](bytes(128) + b"DICM" + bytes(64))
        except dml.DicomMLError:
            continue
