"""Regions of interest as segments: what they are, and who drew them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dicom_ml.codes import find_code
from dicom_ml.errors import EncodingError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.segmentation import Segment
from dicom_ml.objects.structure_set.regions import RegionOfInterest

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["segments_of"]

#: Segmented Property Category where nobody says another: Anatomical Structure.
_ANATOMY = "SCT:123037004"


def segments_of(
    regions: Sequence[RegionOfInterest],
    types: Mapping[Any, Any],
    algorithm: Algorithm | str | None,
    header: Dataset,
) -> list[Segment]:
    """A segment for each region; ``header`` names the program of those that one made.

    Raises
    ------
    EncodingError
        If it is not known what a region is, or how it was made.
    """
    unknown, made = [], []
    for place, region in enumerate(regions, start=1):
        given = next((types[k] for k in (region.number, region.name) if k in types), None)
        fields: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"type": given}
        if fields.get("type") is None:
            fields["type"] = region.code or find_code(region.name.replace("_", " "))
        if fields["type"] is None:
            unknown.append(f"{region.name!r}")
            continue
        who = algorithm if algorithm is not None and region.generation != "MANUAL" else _maker(region, header)
        defaults = {
            "label": region.name[:64].strip(),
            "category": _ANATOMY,
            "color": region.color,
            "algorithm": who if who is not None else algorithm,
            "description": region.description[:1024] or None,
            "number": place,
        }
        made.append(Segment(**{**defaults, **fields}))
    if unknown:
        shown = ", ".join(unknown[:8]) + (f" and {len(unknown) - 8} more" if len(unknown) > 8 else "")
        raise EncodingError(
            f"what are the regions {shown}? Say so with types={{name: code}}, such as {{'GTV-1': 'SCT:86049000'}}, or "
            "choose the regions that are wanted"
        )
    return made


def _maker(region: RegionOfInterest, header: Dataset) -> Algorithm | str | None:
    """Who drew a region, as far as the file says."""
    if region.generation == "MANUAL":
        return "manual"
    name = str(header.get("ManufacturerModelName") or "").strip()
    version = header.get("SoftwareVersions")
    version = str(version if isinstance(version, str) or not version else version[0]).strip() if version else ""
    if region.generation in ("AUTOMATIC", "SEMIAUTOMATIC") and name and version:
        return Algorithm(name[:64], version[:64], type=region.generation)
    return None
