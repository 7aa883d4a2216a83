"""Softcopy presentation states: how images are to be shown, and what is drawn on them (PS3.3 A.33)."""

from dicom_ml.objects.presentation.areas import DisplayedArea, Orientation
from dicom_ml.objects.presentation.blending import Blend, BlendInput, Threshold
from dicom_ml.objects.presentation.graphics import Annotation, Graphic, GraphicLayer, Text
from dicom_ml.objects.presentation.lookup import VOI, LookupTable, Rescale, Window
from dicom_ml.objects.presentation.palettes import Palette
from dicom_ml.objects.presentation.shutters import Overlay, Shutter
from dicom_ml.objects.presentation.state import PresentationState, read_presentation_state

__all__ = [
    "VOI",
    "Annotation",
    "Blend",
    "BlendInput",
    "DisplayedArea",
    "Graphic",
    "GraphicLayer",
    "LookupTable",
    "Orientation",
    "Overlay",
    "Palette",
    "PresentationState",
    "Rescale",
    "Shutter",
    "Text",
    "Threshold",
    "Window",
    "read_presentation_state",
]
