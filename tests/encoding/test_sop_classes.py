"""The table of SOP classes against pydicom's dictionary, and against the code that ought to use it."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom.uid
import pytest
from pydicom.uid import UID

import dicom_ml
from dicom_ml.encoding import sop_classes

#: Names of pydicom's constants where ours are not those in other letters.
_NAMES = {
    "COMPUTED_RADIOGRAPHY": "ComputedRadiographyImageStorage",
    "SECONDARY_CAPTURE": "SecondaryCaptureImageStorage",
    "VL_WHOLE_SLIDE_MICROSCOPY": "VLWholeSlideMicroscopyImageStorage",
    "CONFOCAL_MICROSCOPY_TILED": "ConfocalMicroscopyTiledPyramidalImageStorage",
    "PET_IMAGE": "PositronEmissionTomographyImageStorage",
    "BULK_ANNOTATIONS": "MicroscopyBulkSimpleAnnotationsStorage",
    "KEY_OBJECT_SELECTION": "KeyObjectSelectionDocumentStorage",
    "GRAYSCALE_PRESENTATION": "GrayscaleSoftcopyPresentationStateStorage",
    "COLOR_PRESENTATION": "ColorSoftcopyPresentationStateStorage",
    "PSEUDO_COLOR_PRESENTATION": "PseudoColorSoftcopyPresentationStateStorage",
    "BLENDING_PRESENTATION": "BlendingSoftcopyPresentationStateStorage",
    "XA_XRF_GRAYSCALE_PRESENTATION": "XAXRFGrayscaleSoftcopyPresentationStateStorage",
    "ADVANCED_BLENDING_PRESENTATION": "AdvancedBlendingPresentationStateStorage",
    "VARIABLE_MODALITY_LUT_PRESENTATION": "VariableModalityLUTSoftcopyPresentationStateStorage",
}
_FAMILIES = ("STORAGE", "DOCUMENT_FAMILY", "PRESENTATION_FAMILY")
_CLASSES = {n: v for n, v in vars(sop_classes).items() if n.isupper() and isinstance(v, str) and n not in _FAMILIES}


@pytest.mark.parametrize("name", _CLASSES)
def test_names_are_those_of_the_standard(name):
    expected = _NAMES.get(name, f"{name}_STORAGE".replace("_", ""))
    constants = {n.lower(): v for n, v in vars(pydicom.uid).items() if isinstance(v, UID)}
    found = constants.get(expected.lower())
    if found is None:
        pytest.skip(f"pydicom {pydicom.__version__} does not know {expected}")
    assert _CLASSES[name] == found


def test_none_is_spelled_anywhere_else():
    """One table: a UID of a storage SOP class in any other module is one that will be forgotten."""
    root = Path(dicom_ml.__file__).parent
    spelled = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.")
    found = {str(p.relative_to(root)) for p in root.rglob("*.py") if spelled.search(p.read_text(encoding="utf-8"))}
    assert found - {"encoding/sop_classes.py"} == set()
