"""What a presentation state says, whether it was made or read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.objects.presentation.areas import DisplayedArea, Orientation
from dicom_ml.objects.presentation.blending import Blend, BlendInput
from dicom_ml.objects.presentation.graphics import Annotation, GraphicLayer
from dicom_ml.objects.presentation.lookup import VOI, LookupTable, Rescale
from dicom_ml.objects.presentation.palettes import Palette
from dicom_ml.objects.presentation.shutters import Overlay, Shutter
from dicom_ml.objects.report.items import Reference

__all__ = ["KINDS", "Content", "GreyTransform"]

#: SOP classes (PS3.4 table B.5-1) by the name used here.
KINDS = {
    "grayscale": sop.GRAYSCALE_PRESENTATION,
    "color": sop.COLOR_PRESENTATION,
    "pseudo-color": sop.PSEUDO_COLOR_PRESENTATION,
    "blending": sop.BLENDING_PRESENTATION,
    "xa/xrf grayscale": sop.XA_XRF_GRAYSCALE_PRESENTATION,
    "advanced blending": sop.ADVANCED_BLENDING_PRESENTATION,
    "variable modality lut": sop.VARIABLE_MODALITY_LUT_PRESENTATION,
}
#: What follows the window: unchanged, turned round, or by a table (PS3.3 C.11.6).
GreyTransform: TypeAlias = str | LookupTable


@dataclass(frozen=True)
class Content:
    """What a presentation state says.

    Attributes
    ----------
    kind : str
        A key of :data:`KINDS`.
    references : tuple of Reference
        Images that it is for.
    rescale : Rescale, LookupTable or None
        From stored values to those that windows are for.
    voi : tuple of VOI
    grey : str or LookupTable
        ``"IDENTITY"``, ``"INVERSE"`` or a Presentation LUT.
    palette : Palette or None
    orientation : Orientation
    areas : tuple of DisplayedArea
    layers : tuple of GraphicLayer
    annotations : tuple of Annotation
    shutter : Shutter or None
    overlays : tuple of Overlay
    inputs : tuple of BlendInput
    blends : tuple of Blend
    icc_profile : bytes or None
    """

    kind: str
    references: tuple[Reference, ...] = ()
    rescale: Rescale | LookupTable | None = None
    voi: tuple[VOI, ...] = ()
    grey: GreyTransform = "IDENTITY"
    palette: Palette | None = None
    orientation: Orientation = field(default_factory=Orientation)
    areas: tuple[DisplayedArea, ...] = ()
    layers: tuple[GraphicLayer, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    shutter: Shutter | None = None
    overlays: tuple[Overlay, ...] = ()
    inputs: tuple[BlendInput, ...] = ()
    blends: tuple[Blend, ...] = ()
    icc_profile: bytes | None = field(default=None, repr=False)

    @property
    def is_blend(self) -> bool:
        """Whether it shows several series as one."""
        return self.kind in ("blending", "advanced blending")
