"""What a presentation state has to know of the images it is for: which, how large, and how their values are meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dicom_ml.errors import EncodingError
from dicom_ml.objects.key_objects.selecting import Selector, datasets_of, record_of
from dicom_ml.objects.presentation.areas import DisplayedArea
from dicom_ml.objects.presentation.lookup import VOI, LookupTable, Rescale
from dicom_ml.objects.report.canvas import Canvas, array_canvas
from dicom_ml.objects.report.items import Reference
from dicom_ml.source import SourceSeries

__all__ = ["Images"]

#: Modalities whose images may be MONOCHROME1.
_PERHAPS_INVERTED = frozenset(["CR", "DX", "MG", "PX", "IO", "RG", "XA", "RF"])


@dataclass
class Images:
    """The images of a source that a state is for.

    Attributes
    ----------
    given : object
        What the user gave as the source.
    record : SourceSeries
    references : list of Reference
        The images, with frames where not all of an instance are meant.
    """

    given: Any
    record: SourceSeries
    references: list[Reference]

    @classmethod
    def of(cls, source: Any, images: Sequence[Any] | None) -> Images:
        """The images of a source: all, or those that are named as of :class:`KeyObjects`.

        Raises
        ------
        EncodingError
            If the source has no such image.
        """
        record = record_of(source)
        found = Selector(source, record).references(images)
        other = [r for r in found if r.series_instance_uid != record.series_instance_uid]
        if other:
            raise EncodingError(
                f"the object {other[0].sop_instance_uid} is no image of the source; a presentation state is for images "
                "of one series, a blend for those of several"
            )
        if images is not None and len(found) > 1 and len({r.sop_class_uid for r in found}) > 1:
            raise EncodingError("a presentation state is for images of one SOP class; write one for each")
        return cls(source, record, found)

    # ------------------------------------------------------------------ which
    def resolve(self, images: Sequence[Any]) -> tuple[Reference, ...]:
        """The images that a part of the state is for; empty where those are all.

        Raises
        ------
        EncodingError
            If one is not among the state's images.
        """
        if not images:
            return ()
        chosen = Selector(self.given, self.record).references(list(images))
        mine = {r.sop_instance_uid: r for r in self.references}
        for reference in chosen:
            held = mine.get(reference.sop_instance_uid)
            if held is None or (held.frames and not set(reference.frames) <= set(held.frames)):
                raise EncodingError(
                    f"a part of the state is for image {reference.sop_instance_uid}, which is not among its images"
                )
        same = {(r.sop_instance_uid, r.frames) for r in chosen} == {(u, r.frames) for u, r in mine.items()}
        return () if same else tuple(chosen)

    def uncovered(self, parts: Sequence[tuple[Reference, ...]], what: str) -> list[Reference]:
        """Images that no part is for; a part without images is for all.

        Raises
        ------
        EncodingError
            If one image has two parts.
        """
        owners: dict[tuple[str, int], int] = {}
        for images in parts:
            for key in self._keys(images or self.references):
                owners[key] = owners.get(key, 0) + 1
                if owners[key] > 1:
                    raise EncodingError(
                        f"image {key[0]}" + (f", frame {key[1]}" if key[1] else "") + f" has two {what}; name the "
                        "images that each is for, images=[...]"
                    )
        left: dict[Reference, list[int]] = {}
        for reference in self.references:
            missing = [frame for uid, frame in self._keys([reference]) if (uid, frame) not in owners]
            if missing:
                left[reference] = [frame for frame in missing if frame]
        return [replace(r, frames=tuple(frames)) for r, frames in left.items()]

    def _keys(self, references: Sequence[Reference]) -> list[tuple[str, int]]:
        """SOP Instance UID and frame of every image that references mean; frame 0 of what has a single one."""
        frames: dict[str, list[int]] = {}
        for r in self.canvas.references:
            frames.setdefault(r.sop_instance_uid, []).extend(r.frames)
        return [
            (r.sop_instance_uid, frame)
            for r in references
            for frame in (r.frames or frames.get(r.sop_instance_uid) or (0,))
        ]

    @property
    def canvas(self) -> Canvas:
        """The canvas that the images are."""
        return Canvas.of(self.record)

    @property
    def array(self) -> Canvas | None:
        """The canvas of a volume whose array is no longer that of its series."""
        return array_canvas(self.given, self.record)

    # ------------------------------------------------------------------ how large
    def areas(self, mode: str) -> list[DisplayedArea]:
        """The whole of every image.

        Raises
        ------
        EncodingError
            If the size of images is not known.
        """
        record = self.record
        if record.levels:
            found = []
            chosen = {r.sop_instance_uid for r in self.references}
            for level in record.levels:
                own = [u for u in level.sop_instance_uids if u in chosen]
                if own:
                    rows, columns = level.grid.shape[1:]
                    spacing = (level.grid.spacing[1], level.grid.spacing[2])
                    references = tuple(r for r in self.references if r.sop_instance_uid in own)
                    area = DisplayedArea((0, 0), (rows, columns), mode, spacing, images=references, matrix=True)
                    found.append(area)
            return [replace(found[0], images=())] if len(found) == 1 else found
        if record.grid is not None:
            rows, columns = record.grid.shape[1:]
            return [DisplayedArea((0, 0), (rows, columns), mode, (record.grid.spacing[1], record.grid.spacing[2]))]
        datasets = datasets_of(self.given)
        if not datasets:
            raise EncodingError(
                "how large the images are is not known: pass the data sets as the source, or "
                "areas=DisplayedArea((0, 0), (rows, columns))"
            )
        return self._areas_of(datasets, mode)

    def _areas_of(self, datasets: Sequence[Any], mode: str) -> list[DisplayedArea]:
        groups: dict[DisplayedArea, list[Reference]] = {}
        by_uid = {r.sop_instance_uid: r for r in self.references}
        for ds in datasets:
            if str(ds.SOPInstanceUID) not in by_uid:
                continue
            spacing = ds.get("PixelSpacing") or ds.get("ImagerPixelSpacing") or ds.get("NominalScannedPixelSpacing")
            aspect = ds.get("PixelAspectRatio")
            area = DisplayedArea(
                (0, 0),
                (int(ds.Rows), int(ds.Columns)),
                mode,
                (float(spacing[0]), float(spacing[1])) if spacing else None,
                (int(aspect[0]), int(aspect[1])) if aspect and not spacing else (1, 1),
            )
            groups.setdefault(area, []).append(by_uid[str(ds.SOPInstanceUID)])
        if len(groups) == 1:
            return list(groups)
        return [replace(area, images=tuple(references)) for area, references in groups.items()]

    # ------------------------------------------------------------------ what values mean
    def rescale(self) -> Rescale | None:
        """The rescale that all images have; None for images without.

        Raises
        ------
        EncodingError
            If it is not known, or images differ.
        """
        datasets = datasets_of(self.given)
        if datasets:
            found = {
                (float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0)), str(ds.get("RescaleType", "")))
                for ds in datasets
            }
            tables = any(ds.get("ModalityLUTSequence") for ds in datasets)
            inner = any(ds.get("PerFrameFunctionalGroupsSequence") for ds in datasets)
            if len(found) == 1 and not tables and not inner:
                slope, intercept, kind = found.pop()
                return None if (slope, intercept) == (1, 0) else Rescale(slope, intercept, kind or self._type())
        metadata = getattr(self.given, "metadata", None)
        known = metadata.get("rescale") if metadata is not None else None
        if known is not None:
            slope, intercept = known
            return None if (slope, intercept) == (1, 0) else Rescale(slope, intercept, self._type())
        raise EncodingError(
            "which rescale leads from stored values to those that a window is for is not known, or differs between "
            "images, and a presentation state holds one: pass rescale=(slope, intercept), or rescale=False for images "
            "without; the source as a Volume or as data sets says it where all images agree"
        )

    def _type(self) -> str:
        unit = getattr(self.given, "unit", None)
        is_hu = getattr(unit, "value", None) == "[hnsf'U]" if unit is not None else self.record.modality == "CT"
        return "HU" if is_hu else "US"

    def voi(self) -> list[VOI]:
        """The windows that the images themselves offer.

        Raises
        ------
        EncodingError
            If they offer none that is known here.
        """
        presets: Any = getattr(self.given, "presets", ())
        canvas = self.canvas
        if len(presets) == 1 and presets[0]:
            return [VOI(presets[0][0])]
        if len(presets) == len(canvas.references) and all(presets):
            chosen = {(r.sop_instance_uid, f) for r in self.references for f in (r.frames or (0,))}
            grouped: dict[VOI, list[Reference]] = {}
            for reference, offered in zip(canvas.references, presets, strict=True):
                frame = reference.frames[0] if reference.frames else 0
                uid = reference.sop_instance_uid
                if (uid, frame) in chosen or (uid, 0) in chosen:
                    grouped.setdefault(VOI(offered[0]), []).append(reference)
            if len(grouped) == 1:
                return list(grouped)
            return [VOI(v.transform, self.resolve(references)) for v, references in grouped.items()]
        from dicom_ml.objects.presentation.lookup import read_voi_items

        found: dict[VOI, list[Reference]] = {}
        by_uid = {r.sop_instance_uid: r for r in self.references}
        for ds in datasets_of(self.given):
            offered = read_voi_items(ds)
            if str(ds.SOPInstanceUID) in by_uid and offered:
                found.setdefault(offered[0], []).append(by_uid[str(ds.SOPInstanceUID)])
        if sum(map(len, found.values())) == len(self.references):
            return list(found) if len(found) == 1 else [VOI(v.transform, tuple(r)) for v, r in found.items()]
        raise EncodingError(
            "how the images' values become grey is not known: pass voi=(center, width), or voi=False to spread the "
            "whole range; a Volume brings the window of its files, where they have one for each image"
        )

    def check_color(self, color: bool) -> None:
        """Whether images that are known to be in colour, or in grey, are shown as such.

        Raises
        ------
        EncodingError
            If they are not.
        """
        known = {
            ds.get("SamplesPerPixel") == 3 or ds.get("PhotometricInterpretation") == "PALETTE COLOR"
            for ds in datasets_of(self.given)
        }
        if known == {not color}:
            raise EncodingError(
                "the images are in colour: their state is of kind='color'"
                if not color
                else "the images are in grey: their state is of kind='grayscale' or 'pseudo-color'"
            )

    def inverted(self) -> bool:
        """Whether low values are meant to be bright (MONOCHROME1).

        Raises
        ------
        EncodingError
            If it is not known, of a modality of which either is common.
        """
        datasets = datasets_of(self.given)
        if datasets:
            return str(datasets[0].get("PhotometricInterpretation")) == "MONOCHROME1"
        known = getattr(self.given, "inverted", None)
        if known is None and self.record.modality in _PERHAPS_INVERTED:
            raise EncodingError(
                f"whether low values of the {self.record.modality} images are meant to be bright is not known: pass "
                "inverted=True or False, or the source as a Volume or as data sets"
            )
        return bool(known)


def as_rescale(given: Any) -> Rescale | LookupTable | None:
    """A rescale as a user gives it; False stands for none.

    Raises
    ------
    EncodingError
        If it is none.
    """
    if given is False:
        return None
    if isinstance(given, LookupTable):
        # entries of a modality's table are declared to have 8 or 16 bits, whatever they use (PS3.3 C.11.1.1.1)
        return replace(given, kind=given.kind or "US", bits=8 if given.bits == 8 else 16)
    if isinstance(given, Rescale):
        return given
    if isinstance(given, tuple | list) and len(given) == 2:
        return Rescale(float(given[0]), float(given[1]))
    raise EncodingError(f"rescale is (slope, intercept), a Rescale, a LookupTable, or False, found {given!r}")
