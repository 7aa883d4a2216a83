"""Presentation states: made for a series or a blend of several, or read from any maker's file."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.writer import dataset_bytes, file_head, save_bytes
from dicom_ml.errors import EncodingError
from dicom_ml.objects.derived import Description, describe
from dicom_ml.objects.key_objects.selecting import record_of
from dicom_ml.objects.presentation.areas import DisplayedArea, Orientation
from dicom_ml.objects.presentation.blending import Blend, BlendInput, blend_arrays, check_blends
from dicom_ml.objects.presentation.content import KINDS, Content
from dicom_ml.objects.presentation.graphics import Annotation, Graphic, GraphicLayer, layers_for
from dicom_ml.objects.presentation.images import Images, as_rescale
from dicom_ml.objects.presentation.inputs import prepared_inputs
from dicom_ml.objects.presentation.lookup import VOI, LookupTable, as_voi
from dicom_ml.objects.presentation.palettes import Palette
from dicom_ml.objects.presentation.reading import StoredState, open_state
from dicom_ml.objects.presentation.regions import annotations_of_regions, shape_of_graphic
from dicom_ml.objects.presentation.rendering import render
from dicom_ml.objects.presentation.shutters import Shutter
from dicom_ml.objects.presentation.writing import state_dataset
from dicom_ml.objects.report.canvas import Canvas
from dicom_ml.objects.report.items import Reference
from dicom_ml.objects.report.regions import Shape
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["PresentationState", "read_presentation_state"]


class PresentationState:
    """How images are to be shown: a softcopy presentation state (PS3.3 A.33).

    Parameters
    ----------
    source : Volume, Slide, SourceSeries, str or list of pydicom Dataset
        The series that is shown; the state belongs to its patient and study.
    kind : str
        ``"grayscale"``, ``"color"`` (of images in colour, such as slides) or ``"pseudo-color"``.
    images : sequence, optional
        As of :class:`~dicom_ml.objects.key_objects.KeyObjects`: slices, SOP Instance UIDs or References. All images
        of the source by default.
    voi : (center, width), Window, LookupTable, VOI, sequence of VOI, or False, optional
        How values become grey. By default the window that a volume or data sets bring; False spreads the whole range.
    rescale : (slope, intercept), Rescale, LookupTable or False, optional
        From stored values to those that windows are for. By default what a volume or data sets say; False for images
        without. A viewer takes nothing of the kind from the images: only what the state says counts.
    inverted : bool, optional
        Whether low values are bright, by default as the images say; or a Presentation LUT.
    palette : Palette or str, optional
        Of a state in pseudo-colour, such as ``"hot iron"``.
    regions : Report or sequence, optional
        A report, or its groups; regions, or pairs of a region and a text. They are drawn on the images that they lie
        on, in indices of the source's array.
    annotations : sequence of Annotation
        Other graphics and texts.
    layers : sequence of GraphicLayer
        Colours and order of layers; a layer that is not described is made. Regions lie on the first.
    areas : DisplayedArea, sequence of them, or str, optional
        What is shown: the whole of each image by default, as large as fits; ``"true size"`` for it in its true size.
        Images that no area is for are shown as a whole.
    orientation : Orientation
    shutter : Shutter, optional
    deterministic : bool
        Derive the object's UIDs from source and content.
    **settings
        As in :class:`dicom_ml.objects.derived.Description`; ``content_label`` is the state's name.

    Raises
    ------
    EncodingError, GeometryError
        Naming what is not known, or cannot be said.
    """

    def __init__(
        self,
        source: Any,
        kind: str = "grayscale",
        images: Sequence[Any] | None = None,
        *,
        voi: Any = None,
        rescale: Any = None,
        inverted: bool | LookupTable | None = None,
        palette: Palette | str | None = None,
        regions: Any = (),
        annotations: Sequence[Annotation] = (),
        layers: Sequence[GraphicLayer] = (),
        areas: Any = None,
        orientation: Orientation | None = None,
        shutter: Shutter | None = None,
        deterministic: bool = False,
        **settings: Any,
    ) -> None:
        if kind not in ("grayscale", "color", "pseudo-color"):
            raise EncodingError(
                f"kind is 'grayscale', 'color' or 'pseudo-color', found {kind!r}; blends are made by "
                "PresentationState.blend"
            )
        shown = Images.of(source, images)
        grey = kind != "color"
        shown.check_color(not grey)
        if not grey and (voi is not None or rescale is not None or inverted is not None):
            raise EncodingError("images in colour have no window, rescale or inversion")
        if (palette is not None) != (kind == "pseudo-color"):
            raise EncodingError("a state in pseudo-colour has a palette, such as palette='hot iron', and no other has")
        drawn = self._annotations(shown, regions, annotations, layers)
        content = Content(
            kind,
            tuple(shown.references),
            rescale=None if not grey else shown.rescale() if rescale is None else as_rescale(rescale),
            voi=() if not grey or voi is False else _resolved_voi(shown, voi),
            grey=_grey(shown, inverted) if kind == "grayscale" else "IDENTITY",
            palette=Palette.named(palette) if isinstance(palette, str) else palette,
            orientation=orientation or Orientation(),
            areas=tuple(_areas(shown, areas)),
            layers=tuple(layers_for(drawn, layers)),
            annotations=tuple(drawn),
            shutter=shutter,
        )
        self._set(content, shown.record, (), settings, deterministic)

    def _set(
        self,
        content: Content,
        record: SourceSeries,
        records: tuple[SourceSeries, ...],
        settings: dict[str, Any],
        deterministic: bool,
    ) -> None:
        self._stored: StoredState | None = None
        self._content, self._records = content, records
        self._source: SourceSeries | None = record
        self.problems: list[str] = []
        defaults = {"series_description": "Presentation state", "content_label": "RESULT"}
        seed = ("pr", record.series_instance_uid, repr(content)) if deterministic else None
        self._description: Description | None = describe(settings, defaults, seed)

    @staticmethod
    def _annotations(
        shown: Images, regions: Any, annotations: Sequence[Annotation], layers: Sequence[GraphicLayer]
    ) -> list[Annotation]:
        layer = layers[0].name if layers else "REGIONS"
        drawn = annotations_of_regions(regions, shown.canvas, shown.array, layer)
        return [replace(a, images=shown.resolve(a.images)) for a in (*drawn, *annotations)]

    @classmethod
    def blend(
        cls,
        inputs: Sequence[BlendInput],
        blends: Sequence[Blend] | None = None,
        *,
        opacity: float = 0.5,
        annotations: Sequence[Annotation] = (),
        layers: Sequence[GraphicLayer] = (),
        deterministic: bool = False,
        **settings: Any,
    ) -> PresentationState:
        """A state that shows several series as one (Advanced Blending).

        Parameters
        ----------
        inputs : sequence of BlendInput
            The first one's patient, study and frame of reference are the state's.
        blends : sequence of Blend, optional
            How they are blended. By default, of two inputs the second lies over the first by ``opacity``; of more,
            all count alike.
        opacity : float
            Of the second of two inputs, from 0 to 1.
        annotations, layers, deterministic, **settings
            As of :class:`PresentationState`; the images of an annotation are References, or those of the first input.

        Raises
        ------
        EncodingError
            If an input has no window, lies in another frame of reference, or is not used.
        """
        if not inputs:
            raise EncodingError("a blend has inputs")
        made, records, first = prepared_inputs(inputs)
        if blends is None:
            blends = [Blend((2, 1), "foreground", opacity) if len(made) == 2 else Blend(tuple(range(1, len(made) + 1)))]
        check_blends([one.number for one in made], blends)
        drawn = [replace(a, images=_images_of_blend(first, a.images)) for a in annotations]
        references = tuple(dict.fromkeys(r for one in made for r in one.references))
        content = Content(
            "advanced blending",
            references,
            layers=tuple(layers_for(drawn, layers)),
            annotations=tuple(drawn),
            inputs=tuple(made),
            blends=tuple(blends),
        )
        state = object.__new__(cls)
        state._set(content, records[0], tuple(records), settings, deterministic)
        return state

    # ------------------------------------------------------------------ facts
    @property
    def kind(self) -> str:
        """``"grayscale"``, ``"color"``, ``"pseudo-color"``, ``"blending"``, ``"advanced blending"`` and others."""
        return self._content.kind

    @property
    def content(self) -> Content:
        """All that the state says."""
        return self._content

    @property
    def references(self) -> list[Reference]:
        """Images that it is for."""
        return list(self._content.references)

    @property
    def voi(self) -> tuple[VOI, ...]:
        """Windows and tables, with the images that each is for."""
        return self._content.voi

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """Graphics and texts."""
        return self._content.annotations

    @property
    def layers(self) -> tuple[GraphicLayer, ...]:
        """Layers of annotations, lowest first."""
        return self._content.layers

    @property
    def areas(self) -> tuple[DisplayedArea, ...]:
        """What of images is shown."""
        return self._content.areas

    @property
    def label(self) -> str:
        """Content Label."""
        if self._stored is not None:
            return str(self._stored.dataset.get("ContentLabel") or "")
        return self._described.content_label

    @property
    def description(self) -> str:
        """Content Description."""
        if self._stored is not None:
            return str(self._stored.dataset.get("ContentDescription") or "")
        return self._described.content_description

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID."""
        return KINDS[self.kind]

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""
        if self._stored is not None:
            return str(self._stored.dataset.get("SOPInstanceUID") or "")
        return self._described.sop_instance_uid

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID of the state itself."""
        if self._stored is not None:
            return str(self._stored.dataset.get("SeriesInstanceUID") or "")
        return self._described.series_instance_uid

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID."""
        if self._stored is not None:
            return str(self._stored.dataset.get("StudyInstanceUID") or "")
        return self._source.study_instance_uid if self._source is not None else ""

    def __repr__(self) -> str:
        drawn = sum(len(a.graphics) + len(a.texts) for a in self.annotations)
        return (
            f"PresentationState({self.kind}, {self.label}, {len(self.references)} images, {drawn} graphics and texts)"
        )

    # ------------------------------------------------------------------ images as they are to be shown
    def apply(
        self,
        image: Any,
        *,
        sop_instance_uid: str | None = None,
        stored: bool | None = None,
        oriented: bool = True,
    ) -> npt.NDArray[np.uint8]:
        """Images as they are to be shown, without graphics and overlays (PS3.4 N.2).

        Parameters
        ----------
        image : pydicom Dataset, Volume or array_like
            A data set with pixels; a volume, whose values are rescaled already; or an array ``(H, W)`` or
            ``(D, H, W)``, ``(..., 3)`` uint8 in colour. Integers of an array are taken for stored values, floats for
            rescaled ones.
        sop_instance_uid : str, optional
            Which image an array is, where windows are for single images.
        stored : bool, optional
            Whether values are stored ones, where that is not told by what they come in.
        oriented : bool
            Turn the picture as the state says.

        Returns
        -------
        ndarray of uint8
            P-values from 0 (black) to 255 of the array's shape, or colours ``(..., 3)``; what a shutter hides has the
            shutter's value.

        Raises
        ------
        EncodingError
            If the state is not for that image, or is a blend.
        """
        if self._content.is_blend:
            raise EncodingError("a blend shows several series; apply it by blend_arrays")
        return render(self._content, image, sop_instance_uid, stored, oriented)

    def blend_arrays(self, arrays: Mapping[int, Any]) -> npt.NDArray[np.uint8]:
        """The picture that a blend shows, uint8 ``(..., 3)``, of arrays of its inputs' values on one grid.

        Parameters
        ----------
        arrays : mapping of int to array_like
            Rescaled or real-world values by the number of the input, from 1; uint8 ``(..., 3)`` of one in colour.

        Raises
        ------
        EncodingError
            If the state is no blend, an input has no array, or shapes differ.
        """
        if not self._content.is_blend or not self._content.blends:
            raise EncodingError(f"a state of kind {self.kind!r} shows one series; use apply")
        return blend_arrays(self._content.inputs, self._content.blends, arrays)

    def annotations_on(self, image: str | Reference, frame: int = 0) -> list[Annotation]:
        """Annotations of an image, those of units of the display in pixels.

        Parameters
        ----------
        image : str or Reference
            SOP Instance UID.
        frame : int
            From 1; 0 for any.
        """
        uid = image.sop_instance_uid if isinstance(image, Reference) else image
        frame = image.frames[0] if isinstance(image, Reference) and image.frames else frame
        area = next((a for a in self.areas if _is_for(a.images, uid, frame)), None)
        found = []
        for annotation in self.annotations:
            if _is_for(annotation.images, uid, frame):
                graphics = tuple(self._in_pixels(g, area) for g in annotation.graphics)
                made = object.__new__(Annotation)
                for name, value in {**vars(annotation), "graphics": graphics}.items():
                    object.__setattr__(made, name, value)
                found.append(made)
        return found

    def _in_pixels(self, graphic: Graphic, area: DisplayedArea | None) -> Graphic:
        if graphic.units != "display" or area is None:
            return graphic
        points = area.to_pixels(graphic.points, self._content.orientation)
        return Graphic(graphic.kind, points, graphic.filled)

    def regions(self, on: Any) -> list[tuple[Shape, str]]:
        """Graphics as regions in the indices of a volume's series or a slide, each with the text beside it.

        Parameters
        ----------
        on : Volume, Slide or SourceSeries
        """
        canvas = Canvas.of(record_of(on))
        found: list[tuple[Shape, str]] = []
        for d, reference in enumerate(dict.fromkeys(canvas.references) if canvas.is_slide else canvas.references):
            if not reference.sop_instance_uid or not self._mentions(reference):
                continue
            for annotation in self.annotations_on(reference):
                text = "\n".join(t.text for t in annotation.texts)
                for graphic in annotation.graphics:
                    if graphic.units != "display":
                        slice = None if canvas.is_slide else d
                        found.append((shape_of_graphic(graphic, slice, reference), text))
        return found

    def _mentions(self, reference: Reference) -> bool:
        frame = reference.frames[0] if reference.frames else 0
        return _is_for(self._content.references, reference.sop_instance_uid, frame)

    # ------------------------------------------------------------------ writing
    def save(self, path: str | os.PathLike[str]) -> str:
        """Write the state to ``path``, which appears only when it is complete.

        A state that was read is written as it was.
        """
        save_bytes(path, self._bytes)
        return os.fspath(path)

    @property
    def dataset(self) -> Dataset:
        """The state as a pydicom Dataset."""
        from dicom_ml.encoding.untrusted import dcmread

        return dcmread(io.BytesIO(self._bytes), force=True)

    @property
    def _described(self) -> Description:
        assert self._description is not None
        return self._description

    @property
    def _bytes(self) -> bytes:
        if self._stored is not None:
            return self._stored.data
        assert self._source is not None
        ds = state_dataset(self._content, self._source, self._described, self._records)
        head = file_head(self.sop_class_uid, self.sop_instance_uid, "1.2.840.10008.1.2.1")
        return head + dataset_bytes(ds)


def _is_for(images: Sequence[Any], uid: str, frame: int) -> bool:
    """Whether a part of a state is for an image; a part that names none is for all."""
    return not images or any(
        r.sop_instance_uid == uid and (not r.frames or frame == 0 or frame in r.frames) for r in images
    )


def _resolved_voi(shown: Images, voi: Any) -> tuple[VOI, ...]:
    if voi is None:
        return tuple(shown.voi())
    found = tuple(replace(v, images=shown.resolve(v.images)) for v in as_voi(voi))
    left = shown.uncovered([v.images for v in found], "windows")
    if left:
        raise EncodingError(
            f"{len(left)} images have no window, among them {left[0].sop_instance_uid}, while others have: give each"
        )
    return found


def _grey(shown: Images, inverted: bool | LookupTable | None) -> str | LookupTable:
    if isinstance(inverted, LookupTable):
        return inverted
    return "INVERSE" if (shown.inverted() if inverted is None else inverted) else "IDENTITY"


def _areas(shown: Images, areas: Any) -> list[DisplayedArea]:
    if areas is None or isinstance(areas, str):
        return shown.areas(areas or "fit")
    given = [areas] if isinstance(areas, DisplayedArea) else list(areas)
    listed = [replace(area, images=shown.resolve(area.images)) for area in given]
    left = shown.uncovered([area.images for area in listed], "displayed areas")
    if not left:
        return listed
    # every image has one (PS3.3 C.10.4): the others are shown as a whole
    others = Images(shown.given, shown.record, left).areas("fit")
    return listed + [replace(area, images=area.images or tuple(left)) for area in others]


def _images_of_blend(shown: Images, images: Sequence[Any]) -> tuple[Reference, ...]:
    """Images of an annotation on a blend: References as they are, others of the first input."""
    if all(isinstance(image, Reference) for image in images):
        return tuple(images)
    return shown.resolve(images)


def read_presentation_state(path: str | os.PathLike[str] | bytes) -> PresentationState:
    """Read a presentation state of any maker: grayscale, colour, pseudo-colour, blending or advanced blending.

    Graphics that could not be understood are listed in ``state.problems`` and left out.

    Parameters
    ----------
    path : path or bytes

    Raises
    ------
    FileError
        If it is no such state, or damaged.
    """
    stored = open_state(path)
    state = object.__new__(PresentationState)
    state._stored, state._content, state._source = stored, stored.content, None
    state._records, state._description, state.problems = (), None, stored.problems
    return state
