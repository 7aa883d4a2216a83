"""Every CT, MR and PET file of the real data: it reads as an independent reader reads it, or fails for a named cause.

:data:`SERIES` and :data:`FILES` are the table. A file of these modalities that stands in neither fails
:func:`test_the_table_is_complete`.
"""

from __future__ import annotations

import gzip
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from dicom_ml import DicomMLWarning, FileError, SeriesError, Volume, read_volume
from tests.real_files import heads

CT = "a_ct/"
EDGE = "e_edge/pydicom/test_files/"
DIRS = EDGE + "dicomdirtests/"
TS = "e_edge/cornerstone_ts/"
QI = "d_derived/dcmqi/segmentations/"
SWIFT = "d_derived/dicom_swift_synthetic/DecoderParity/"


@dataclass(frozen=True)
class Reads:
    """It reads: with this shape, and warnings that match these patterns."""

    shape: tuple[int, int, int]
    warns: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    #: Largest difference from the other reader's values: 0 but for lossy codecs, whose decoders may round apart.
    within: float = 0.0


@dataclass(frozen=True)
class Fails:
    """It fails with this error, whose message matches."""

    error: type[Exception]
    match: str
    options: dict[str, Any] = field(default_factory=dict)


UNNAMED = ("cannot serve as the source of a DICOM object: SOPClassUID is missing in 20 of 20 files",)
NO_DEPTH = ("neither SpacingBetweenSlices nor SliceThickness: 1 mm",)

#: Folder, or folder and series, and what becomes of it.
SERIES: dict[str, Reads | Fails] = {
    CT + "cip_chest64/ct-64Dicom": Reads((79, 64, 64)),
    CT + "cip_chest64/simple_dicom": Reads((2, 512, 512)),
    CT + "slicer_cthead64": Reads((93, 64, 64)),
    CT + "torchio_dicom": Reads((17, 128, 88)),
    CT + "lungdx_A0002_8mm_B40f": Reads((30, 512, 512)),
    CT + "totalseg_ct_dicom20": Reads((20, 512, 512), UNNAMED),
    # four slices of a series of 165
    CT + "monai_ct4": Fails(SeriesError, r"161 slices are missing \(4 are there, 1\.25 mm apart\): 161 after slice 0"),
    QI + "24x38x3/image": Reads((3, 38, 24)),
    QI + "23x38x3/image": Reads((3, 38, 23)),
    QI + "ct-3slice": Reads((3, 512, 512)),
    # each file names another study, although one series
    "d_derived/rtutils/oriented_data": Reads((3, 50, 100), ("the files disagree in StudyInstanceUID",)),
    "d_derived/rtutils/mock_data": Reads((2, 512, 512), ("3 DICOM files that are no images",)),
    DIRS + "77654033/CT2": Fails(SeriesError, "161 slices are missing"),
    DIRS + "98892001/CT5N": Reads((5, 16, 16)),
    # two scouts, one from the front and one from the side
    DIRS + "98892001/CT2N": Fails(SeriesError, "2 different orientations: 1 of 16 x 16 .*1 of 16 x 16"),
    # projections of an angiography, turned around the patient
    DIRS + "98892003/MR700": Fails(SeriesError, "7 different orientations"),
    # localizers in three planes
    DIRS + "98892003/MR2?1.3.6.1.4.1.5962.1.1.0.0.0.1196533885.18148.0.136": Fails(
        SeriesError, "3 different orientations"
    ),
    DIRS + "98892003/MR2?1.3.6.1.4.1.5962.1.1.0.0.0.1196533885.18148.0.17": Fails(
        SeriesError, "3 different orientations"
    ),
    DIRS + "98892003/MR2?1.3.6.1.4.1.5962.1.1.0.0.0.1196533885.18148.0.481": Reads((1, 16, 16)),
    DIRS + "98892003/MR1?1.3.6.1.4.1.5962.1.1.0.0.0.1196533885.18148.0.475": Reads((1, 16, 16)),
    DIRS + "98892003/MR1?1.3.6.1.4.1.5962.1.1.0.0.0.1196533885.18148.0.134": Reads((1, 16, 16)),
    DIRS + "98892003/MR1?1.3.6.1.4.1.5962.1.1.0.0.0.1196533885.18148.0.15": Reads((1, 16, 16)),
    # fifty headers without images
    DIRS + "TINY_ALPHA/PT000000/ST000000/SE000000": Fails(
        SeriesError, r"holds no pixel data \(CT Image\), like 49 other"
    ),
    # one image in many transfer syntaxes: the same instance many times
    TS[:-1] + "?1.2.840.113619.2.30.1.1762295590.1623.978668949.890": Fails(
        SeriesError, "1 places of the stack hold several different images"
    ),
}

#: Files by themselves.
FILES: dict[str, Reads | Fails] = {
    "b_wsi/panimg/non_wsi_dcm/1.dcm": Reads((1, 2, 3)),
    SWIFT + "ct_explicit_vr_le_rescale.dcm": Reads((1, 4, 4)),
    SWIFT + "ct_missing_optional_voi.dcm": Reads((1, 4, 4)),
    SWIFT + "mr_implicit_vr_le.dcm": Reads((1, 4, 4)),
    SWIFT + "mr_utf8_specific_charset.dcm": Reads((1, 4, 4)),
    "d_derived/dcmqi/paramaps/pm-example-slice.dcm": Reads((1, 256, 256)),
    QI + "24x38x3/multiframe/mf.dcm": Reads((3, 38, 24)),
    QI + "23x38x3/multiframe/mf.dcm": Reads((3, 38, 23)),
    "d_derived/dcmjs/examples_data_IM-0001-0001.dcm": Reads((1, 512, 512), within=1),
    "d_derived/dcmjs/test_cine-test.dcm": Reads((8, 256, 256)),
    "d_derived/dcmjs/test_sample-dicom.dcm": Reads((1, 512, 512)),
    "d_derived/rtutils/one_slice_data/0.dcm": Reads((1, 50, 100), NO_DEPTH),
    "d_derived/highdicom/ct_image.dcm": Reads((1, 128, 128)),
    EDGE + "693_J2KI.dcm": Reads((1, 512, 512), within=1),
    EDGE + "CT_small.dcm": Reads((1, 128, 128)),
    # the codestream says unsigned, the header signed: the header's reading gives Hounsfield units
    EDGE + "J2K_pixelrep_mismatch.dcm": Reads((1, 512, 512)),
    EDGE + "MR_small.dcm": Reads((1, 64, 64)),
    EDGE + "MR_small_RLE.dcm": Reads((1, 64, 64)),
    EDGE + "MR_small_bigendian.dcm": Reads((1, 64, 64)),
    EDGE + "MR_small_expb.dcm": Reads((1, 64, 64)),
    EDGE + "MR_small_implicit.dcm": Reads((1, 64, 64)),
    EDGE + "MR_small_jp2klossless.dcm": Reads((1, 64, 64)),
    EDGE + "MR_small_jpeg_ls_lossless.dcm": Reads((1, 64, 64)),
    EDGE + "MR_small_padded.dcm": Reads((1, 64, 64)),
    EDGE + "MR_truncated.dcm": Fails(FileError, r"MR_truncated\.dcm.*8130 are there: the file is truncated"),
    # whole-body nuclear medicine, a front view
    **{
        f"{EDGE}{name}.dcm": Fails(SeriesError, "ImagePositionPatient is missing .*NM images without it")
        for name in ("JPEG-lossy", "JPEG2000-embedded-sequence-delimiter", "JPEG2000", "JPGExtended")
    },
    EDGE + "examples_overlay.dcm": Reads((1, 300, 484)),
    "e_edge/libdicom_bot/ct_brain_single.dcm": Reads((1, 512, 512)),
    TS + "CT0012.fragmented_no_bot_jpeg_baseline.51.dcm": Reads((2, 512, 512), within=1),
    TS + "CTImage.dcm": Reads((1, 512, 512)),
    **{
        f"{TS}CTImage.dcm_{name}TransferSyntax_{uid}.dcm": Reads((1, 512, 512), within=within)
        for name, uid, within in (
            ("BigEndianExplicit", "1.2.840.10008.1.2.2", 0),
            ("DeflatedExplicitVRLittleEndian", "1.2.840.10008.1.2.1.99", 0),
            ("JPEG2000LosslessOnly", "1.2.840.10008.1.2.4.90", 0),
            ("JPEG2000", "1.2.840.10008.1.2.4.91", 1),
            ("JPEGLSLossless", "1.2.840.10008.1.2.4.80", 0),
            ("JPEGLSLossy", "1.2.840.10008.1.2.4.81", 0),
            ("JPEGProcess14SV1", "1.2.840.10008.1.2.4.70", 0),
            ("JPEGProcess14", "1.2.840.10008.1.2.4.57", 0),
            ("JPEGProcess1", "1.2.840.10008.1.2.4.50", 1),
            ("JPEGProcess2_4", "1.2.840.10008.1.2.4.51", 1),
            ("JPEGProcess6_8", "1.2.840.10008.1.2.4.53", 1),
            ("JPEGProcess10_12", "1.2.840.10008.1.2.4.55", 1),
            ("LittleEndianExplicit", "1.2.840.10008.1.2.1", 0),
            ("LittleEndianImplicit", "1.2.840.10008.1.2", 0),
            ("RLELossless", "1.2.840.10008.1.2.5", 0),
        )
    },
}  # fmt: skip

TABLE = {**SERIES, **FILES}
MODALITIES = ("CT", "MR", "PT", "NM")


def read(data: Path, place: str, **options: Any) -> Volume:
    path, _, uid = place.partition("?")
    if uid:
        options["series_uid"] = uid
    return read_volume(data / path, **options)


@pytest.mark.parametrize("place", [place for place, fate in TABLE.items() if isinstance(fate, Fails)])
def test_fails_for_its_true_cause(shared_data: Path, place: str) -> None:
    fate = TABLE[place]
    assert isinstance(fate, Fails)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DicomMLWarning)
        with pytest.raises(fate.error, match=fate.match):
            read(shared_data, place, **fate.options)


@pytest.mark.parametrize("place", [place for place, fate in TABLE.items() if isinstance(fate, Reads)])
def test_reads_as_pydicom_and_simpleitk_do(shared_data: Path, place: str) -> None:
    fate = TABLE[place]
    assert isinstance(fate, Reads)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DicomMLWarning)
        volume = read(shared_data, place, **fate.options)
    texts = [str(one.message) for one in caught if issubclass(one.category, DicomMLWarning)]
    assert len(texts) == len(fate.warns), texts
    for text, wanted in zip(texts, fate.warns, strict=True):
        assert wanted in text
    assert volume.shape == fate.shape
    assert np.isfinite(volume.array).all()
    readers = [compare_with_pydicom(shared_data, place, volume, fate.within)]
    readers += [compare_with_simpleitk(shared_data, place, volume, fate.within)]
    assert any(readers)


def images(data: Path, place: str) -> list[pydicom.Dataset]:
    path, _, uid = place.partition("?")
    files = [data / path] if (data / path).is_file() else sorted(f for f in (data / path).rglob("*") if f.is_file())
    found = []
    for file in files:
        ds = pydicom.dcmread(file, force=True)
        if "PixelData" in ds and (not uid or ds.get("SeriesInstanceUID") == uid):
            found.append(ds)
    return found


def compare_with_pydicom(data: Path, place: str, volume: Volume, within: float) -> bool:
    """Positions and values of every slice by pydicom; False where it cannot decode the file."""
    found: list[tuple[np.ndarray, np.ndarray, float, float]] = []
    for ds in images(data, place):
        try:
            stored = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
        except (RuntimeError, NotImplementedError):
            assert place in PYDICOM_CANNOT
            return False
        for frame in range(len(stored)):
            shared = per = None
            if "PerFrameFunctionalGroupsSequence" in ds:
                shared, per = ds.SharedFunctionalGroupsSequence[0], ds.PerFrameFunctionalGroupsSequence[frame]

            def value(
                group: str, keyword: str, default: Any, ds: Any = ds, shared: Any = shared, per: Any = per
            ) -> Any:
                if per is None:
                    return ds.get(keyword, default)
                holder = per if group in per else shared
                return holder[group].value[0].get(keyword, default) if group in holder else default

            position = value("PlanePositionSequence", "ImagePositionPatient", None)
            slope = value("PixelValueTransformationSequence", "RescaleSlope", 1)
            intercept = value("PixelValueTransformationSequence", "RescaleIntercept", 0)
            found.append((np.array(position, float), stored[frame], float(slope), float(intercept)))
    normal = volume.grid.normal
    found.sort(key=lambda one: float(one[0] @ normal))
    assert len(found) == volume.shape[0]
    for d, (position, stored, slope, intercept) in enumerate(found):
        np.testing.assert_allclose(volume.grid.position(d), position, atol=0.02)
        expected = stored.astype(np.float64) * slope + intercept
        np.testing.assert_allclose(volume.array[d], expected, rtol=1e-6, atol=within * abs(slope) + 1e-4)
    return True


def compare_with_simpleitk(data: Path, place: str, volume: Volume, within: float) -> bool:
    """Geometry and values by SimpleITK (GDCM); False where it cannot read the file."""
    sitk = pytest.importorskip("SimpleITK")
    path, _, uid = place.partition("?")
    if (data / path).is_file():
        try:
            image = sitk.ReadImage(str(data / path), sitk.sitkFloat32)
        except RuntimeError:
            assert place in SIMPLEITK_CANNOT
            return False
    else:
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(data / path), uid)
        if not names:
            return False  # GDCM finds no series in files without UIDs
        image = sitk.ReadImage(names, sitk.sitkFloat32)
    if image.GetDimension() == 2:
        image = sitk.JoinSeries(image)
    array = sitk.GetArrayFromImage(image)
    assert array.shape == volume.shape
    theirs = Volume.from_sitk(image)
    # its slices may run against the normal
    if theirs.affine[:3, 0] @ volume.affine[:3, 0] < 0:
        theirs = theirs.flip(0)
    steps = slice(None) if volume.shape[0] > 1 else slice(1, None)
    np.testing.assert_allclose(theirs.affine[:, steps], volume.affine[:, steps], atol=2e-3)
    # lossy values may differ by some stored values: as many times the distance of neighbouring ones
    unit = max(1.0, float(np.diff(np.unique(array)).min(initial=np.inf if within else 1.0))) if within else 1.0
    np.testing.assert_allclose(theirs.array, volume.array, rtol=1e-6, atol=within * unit + 1e-4)
    return True


#: 12-bit JPEG and lossless JPEG, which pydicom decodes with plugins of a licence that no one is asked to accept.
PYDICOM_CANNOT = {
    TS + "CT0012.fragmented_no_bot_jpeg_baseline.51.dcm",
    *(f"{TS}CTImage.dcm_JPEGProcess{name}" for name in (
        "14SV1TransferSyntax_1.2.840.10008.1.2.4.70.dcm",
        "14TransferSyntax_1.2.840.10008.1.2.4.57.dcm",
        "2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm",
        "6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm",
        "10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm",
    )),
}  # fmt: skip
#: A private SOP class.
SIMPLEITK_CANNOT = {"b_wsi/panimg/non_wsi_dcm/1.dcm"}


def test_a_gzipped_file(shared_data: Path) -> None:
    volume = read_volume(shared_data / EDGE / "zipMR.gz")
    with gzip.open(shared_data / EDGE / "zipMR.gz") as handle:
        ds = pydicom.dcmread(handle)
    np.testing.assert_array_equal(volume.array[0], ds.pixel_array)
    np.testing.assert_allclose(volume.grid.position(0), [float(v) for v in ds.ImagePositionPatient])


def test_the_table_is_complete(shared_data: Path) -> None:
    covered: set[Path] = {shared_data / place for place in FILES}
    folders = {}
    for place in SERIES:
        path, _, uid = place.partition("?")
        folders.setdefault(shared_data / path, set()).add(uid)
    missing = []
    for head in heads(shared_data):
        if head.path in covered or head.modality not in MODALITIES:
            continue
        known = next((folders[folder] for folder in head.path.parents if folder in folders), set())
        if not known & {"", head.series}:
            missing.append(str(head.path.relative_to(shared_data)))
    # segmentations of patient images name the modality SEG, reports SR: what is left is images
    assert not missing
