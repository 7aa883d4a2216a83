"""``open_slide``: from a folder, files or a zip to a :class:`Slide`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from dicom_ml.errors import DicomMLError, GeometryError, SeriesError
from dicom_ml.reading.files import ReadableSource
from dicom_ml.reading.headers import NotDicom, sop_class_name
from dicom_ml.reading.slides.associated import AssociatedImage
from dicom_ml.reading.slides.files import slide_files
from dicom_ml.reading.slides.grouping import Pyramid, assemble, find_pyramids
from dicom_ml.reading.slides.headers import SLIDE_CLASSES, OpticalPath, SlideImage, open_header, read_slide_image
from dicom_ml.reading.slides.levels import Level, make_level, make_levels
from dicom_ml.reading.slides.slide import Slide
from dicom_ml.source import SourceLevel, SourceSeries

__all__ = ["open_slide"]


def open_slide(
    source: ReadableSource,
    *,
    series_uid: str | None = None,
    pyramid: int | str | None = None,
    gaps: Literal["error", "fill"] = "error",
) -> Slide:
    """Open a slide: the VOLUME levels, label, overview and thumbnail of one slide microscopy series.

    No frame is decoded, and no offset table read, until pixels are asked for.

    Parameters
    ----------
    source : path, bytes, pydicom Dataset, or an iterable of these
        A folder (walked with its subfolders), a zip, a file, or a list of files of one series. Files that are no slide
        images are left aside.
    series_uid : str, optional
        Series Instance UID to open, where the source holds several.
    pyramid : int or str, optional
        Index or Pyramid UID of the region to open, where the series shows several regions of the slide.
    gaps : {"error", "fill"}
        Where parts of a concatenation or frames of a full tile grid are missing: an error, or background there.

    Returns
    -------
    Slide

    Raises
    ------
    SeriesError
        If the files hold no slide, several, or not all of one.
    FileError
        If a file is damaged or contradicts itself.
    CodecError
        If its pixels are of a kind that is not read.

    Examples
    --------
    >>> slide = dml.open_slide("slide/")  # doctest: +SKIP
    >>> slide.read_region((2048, 4096), (512, 512), spacing=0.001)  # doctest: +SKIP
    """
    if gaps not in ("error", "fill"):
        raise ValueError(f"gaps is {gaps!r}; expected 'error' or 'fill'")
    images = _distinct(_read_images(source, series_uid))
    volumes = [image for image in images if image.flavor == "VOLUME"]
    levels: tuple[Level, ...] = ()
    if volumes:
        chosen = _choose(find_pyramids(volumes), pyramid)
        levels = make_levels([(members, assemble(members, gaps)) for members in chosen.levels])
        volumes = [image for members in chosen.levels for image in members]
    paths = _optical_paths(volumes or images)
    return Slide(levels, _associated(images, gaps), paths, _source(volumes or images, levels))


def _read_images(source: ReadableSource, series_uid: str | None) -> list[SlideImage]:
    """Headers of the slide images of one series."""
    files = slide_files(source)
    others: Counter[str] = Counter()
    damaged: list[DicomMLError] = []
    chosen, series = [], Counter[str]()
    for file in files:
        try:
            header = open_header(file)
        except NotDicom:
            others["not DICOM"] += 1
            continue
        except DicomMLError as error:
            damaged.append(error)
            continue
        if header.sop_class not in SLIDE_CLASSES and not (header.modality == "SM" and not header.sop_class):
            others[sop_class_name(header.sop_class) or header.modality or "DICOM of no stated kind"] += 1
            continue
        series[header.series] += 1
        if series_uid is None or header.series == series_uid:
            try:
                chosen.append(read_slide_image(file, header))
            except DicomMLError as error:
                damaged.append(error)
    if damaged and (series_uid is not None or len(series) <= 1):
        # A broken file may be a part of this slide: without it the slide might look whole and not be.
        raise damaged[0]
    if not chosen:
        found = "; ".join(f"{count} {kind}" for kind, count in others.most_common()) or "no file"
        if series:
            raise SeriesError(f"there is no slide series {series_uid}; found {_listed(series)}")
        raise SeriesError(
            f"there is no slide here: expected VL Whole Slide Microscopy Images, found {found}"
            + ("; read volumes with dicom_ml.read_volume" if others.keys() - {"not DICOM"} else "")
        )
    if series_uid is None and len(series) > 1:
        raise SeriesError(
            f"the files are of {len(series)} slide series, expected one: {_listed(series)}; pass series_uid= to choose"
        )
    return chosen


def _listed(series: Counter[str]) -> str:
    names = [f"{uid or '(no UID)'} ({count} {'file' if count == 1 else 'files'})" for uid, count in series.items()]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _distinct(images: Sequence[SlideImage]) -> list[SlideImage]:
    """The images, copies of one instance once."""
    known: dict[str, SlideImage] = {}
    found = []
    for image in images:
        first = known.setdefault(image.sop_instance, image) if image.sop_instance else image
        if first is image:
            found.append(image)
        elif (first.matrix, first.frames, first.info, first.place.length) != (
            image.matrix, image.frames, image.info, image.place.length,
        ) or _pixels(first) != _pixels(image):  # fmt: skip
            raise SeriesError(
                f"{first.name} and {image.name} have the same SOP Instance UID but differ: pass only the right one"
            )
    return found


def _pixels(image: SlideImage) -> memoryview:
    content = image.file.buffer()
    return content[image.place.offset :] if image.place.in_place else content


def _choose(pyramids: list[Pyramid], wanted: int | str | None) -> Pyramid:
    if wanted is None and len(pyramids) == 1:
        return pyramids[0]
    if isinstance(wanted, str):
        for pyramid in pyramids:
            if pyramid.uid == wanted:
                return pyramid
    elif wanted is not None and 0 <= wanted < len(pyramids):
        return pyramids[wanted]
    listed = "; ".join(
        f"{number}: {p.levels[0][0].matrix[0]} x {p.levels[0][0].matrix[1]} pixels, {len(p.levels)} level(s)"
        + (f", Pyramid UID {p.uid}" if p.uid else "")
        for number, p in enumerate(pyramids)
    )
    asked = f"there is no pyramid {wanted!r}; " if wanted is not None else ""
    raise SeriesError(
        f"{asked}the series shows {len(pyramids)} regions of the slide, each with a pyramid of its own ({listed}): "
        "pass pyramid= to choose one"
    )


def _optical_paths(images: Sequence[SlideImage]) -> tuple[OpticalPath, ...]:
    """Paths of all files, each identifier once, equal profiles held once."""
    profiles: dict[bytes, bytes] = {}
    found: dict[str, OpticalPath] = {}
    for image in images:
        for path in image.optical_paths:
            if path.identifier not in found:
                profile = path.icc_profile
                shared = None if profile is None else profiles.setdefault(profile, profile)
                found[path.identifier] = OpticalPath(
                    path.identifier, path.description, path.illumination, path.wavelength, shared
                )
        named = set(image.places.paths or ()) if image.places is not None else set()
        for name in sorted(named - found.keys() - {""}):
            found[name] = OpticalPath(name)
    return tuple(found.values())


def _associated(images: Sequence[SlideImage], gaps: str) -> dict[str, AssociatedImage]:
    found: dict[str, AssociatedImage] = {}
    for image in images:
        if image.flavor == "VOLUME":
            continue
        name, count = image.flavor.lower(), 1
        while name in found:
            count += 1
            name = f"{image.flavor.lower()}_{count}"
        level = make_level(0, [image], assemble([image], gaps), None)
        found[name] = AssociatedImage(name=name, level=level, optical_paths=_optical_paths([image]))
    return found


def _source(images: Sequence[SlideImage], levels: Sequence[Level]) -> SourceSeries:
    """What derived objects refer to: level 0, and the other levels."""
    first = images[0]
    problems = []
    for keyword, values in (
        ("SOPInstanceUID", [image.sop_instance for image in images]),
        ("StudyInstanceUID", [image.study for image in images]),
        ("SeriesInstanceUID", [image.series for image in images]),
        ("FrameOfReferenceUID", [image.frame_of_reference for image in images]),
    ):
        missing = sum(not value for value in values)
        if missing:
            problems.append(f"{keyword} is missing in {missing} of {len(values)} files")
    described = []
    for level in levels:
        try:
            grid = level.grid
        except GeometryError:
            problems.append(f"level {level.index} has no pixel spacing")
            break
        described.append(SourceLevel(grid, level.tile_size, level.sop_class_uids, level.sop_instance_uids))
    base = described[0] if described else None
    return SourceSeries(
        modality=first.modality or "SM",
        study_instance_uid=first.study,
        series_instance_uid=first.series,
        frame_of_reference_uid=first.frame_of_reference,
        sop_class_uids=base.sop_class_uids if base else (first.sop_class,),
        sop_instance_uids=base.sop_instance_uids if base else (first.sop_instance,),
        attributes=first.copied(),
        problems=tuple(problems),
        levels=tuple(described),
    )
