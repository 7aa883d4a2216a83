"""Synthetic slides are conformant, repeatable, and not told apart by their colour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.phantom import (
    ALVEOLAR,
    GLANDULAR,
    SOLID,
    SlideDescription,
    WrittenSlide,
    slide_phantom,
    write_slide,
    write_sm_series,
)
from tests import judges

SIZE = (700, 1000)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> WrittenSlide:
    return write_slide(tmp_path_factory.mktemp("slide") / "sm", seed=5, size=SIZE, spacing=0.001)


def test_reads_back(written: WrittenSlide) -> None:
    with dml.open_slide(written.folder) as slide:
        assert [level.shape for level in slide.levels] == [(700, 1000), (175, 250)]
        assert slide.spacing == pytest.approx((0.001, 0.001))
        assert not slide.source.problems
        read = slide.read_region((0, 0), SIZE).astype(int)
        assert np.abs(read - written.phantom.array).mean() < 4, "JPEG loses no more"
        # Levels cover the same place: the corners of their first pixels agree.
        corners = [level.grid.affine @ np.array([0, -0.5, -0.5, 1]) for level in slide.levels]
        np.testing.assert_allclose(corners[0], corners[1], atol=1e-6)


def test_truth_lies_where_tissue_is(written: WrittenSlide, tmp_path: Path) -> None:
    phantom = written.phantom
    assert all(phantom.share(t) == pytest.approx(1 / 3, abs=0.07) for t in (ALVEOLAR, GLANDULAR, SOLID))
    with dml.open_slide(written.folder) as slide:
        seg = written.truth(slide)
        seg.save(tmp_path / "truth.seg.dcm")
        seg = dml.read_segmentation(tmp_path / "truth.seg.dcm")
        np.testing.assert_array_equal(seg.label_map().reshape(phantom.labels.shape), phantom.labels)
        factor = phantom.factor
        corner = np.array([0, -0.5, -0.5, 1])
        np.testing.assert_allclose(seg.grid.affine @ corner, slide.levels[0].affine @ corner, atol=1e-6)
        grey = slide.read_region((0, 0), SIZE).mean(axis=-1)
    blocks = grey[: 700 // factor * factor, : 1000 // factor * factor]
    blocks = blocks.reshape(700 // factor, factor, -1, factor).mean(axis=(1, 3))
    glass = phantom.labels[: blocks.shape[0], : blocks.shape[1]] == 0
    assert blocks[glass].mean() > blocks[~glass].mean() + 30


def test_same_seed_same_bytes(written: WrittenSlide, tmp_path: Path) -> None:
    again = write_slide(tmp_path, seed=5, size=SIZE, spacing=0.001)
    assert [p.read_bytes() for p in again.files] == [p.read_bytes() for p in written.files]
    other = slide_phantom(6, SIZE, spacing=0.001)
    assert (other.labels != written.phantom.labels).any()


def test_textures_and_shares() -> None:
    phantom = slide_phantom(1, (600, 600), spacing=0.001, textures={ALVEOLAR: 3, SOLID: 1}, pieces=1)
    assert set(np.unique(phantom.labels)) == {0, ALVEOLAR, SOLID}
    assert phantom.share(ALVEOLAR) == pytest.approx(0.75, abs=0.08)
    with pytest.raises(dml.EncodingError, match="textures are of"):
        slide_phantom(1, textures=[7])
    with pytest.raises(dml.EncodingError, match="too small"):
        slide_phantom(1, (20, 20))
    with pytest.raises(dml.EncodingError, match="uint8"):
        write_sm_series("nowhere", np.zeros((4, 4), np.uint8), 0.001, "x")


def test_structures_keep_their_size() -> None:
    """Twice the pixel, half the pixels: the same tissue at about the same place."""
    fine, coarse = (slide_phantom(4, (n, n), spacing=0.0005 * 1024 / n) for n in (1024, 512))
    assert fine.factor * 512 == coarse.factor * 1024
    np.testing.assert_array_equal(fine.labels, coarse.labels)


def test_specimens_differ(tmp_path: Path) -> None:
    about = SlideDescription("a", patient="P1", collection="PHANTOM-A", frozen=False)
    array = np.full((64, 64, 3), 200, np.uint8)
    kinds = {}
    for name, neoplasm in (("a", False), ("b", True)):
        (path,) = write_sm_series(tmp_path / name, array, 0.001, replace(about, name=name, neoplasm=neoplasm))
        kinds[name] = pydicom.dcmread(path, stop_before_pixels=True)
    structures = {k: ds.SpecimenDescriptionSequence[0].PrimaryAnatomicStructureSequence[0] for k, ds in kinds.items()}
    modifiers = {k: s.PrimaryAnatomicStructureModifierSequence[0].CodeValue for k, s in structures.items()}
    assert modifiers == {"a": "17621005", "b": "86049000"}
    assert kinds["a"].StudyInstanceUID == kinds["b"].StudyInstanceUID and kinds["a"].PatientID == "P1"
    assert kinds["a"].SeriesInstanceUID != kinds["b"].SeriesInstanceUID
    assert kinds["b"].ClinicalTrialProtocolID == "PHANTOM-A"


def test_mean_colour_says_little() -> None:
    """The nearest of the textures' mean colours, learnt on other slides, is right about as often as chance."""
    means: dict[int, list[np.ndarray]] = {ALVEOLAR: [], GLANDULAR: [], SOLID: []}
    for seed in range(12):
        phantom = slide_phantom(seed, (768, 768), spacing=0.001)
        for row in range(0, 768, 128):
            for column in range(0, 768, 128):
                f = phantom.factor
                part = phantom.labels[row // f : (row + 128) // f, column // f : (column + 128) // f]
                counts = np.bincount(part.ravel(), minlength=4)
                if counts[1:].max() > 0.6 * part.size:
                    pixels = phantom.array[row : row + 128, column : column + 128].reshape(-1, 3)
                    means[int(counts.argmax())].append(np.r_[seed, pixels.mean(axis=0)])
    tables = {k: np.array(v) for k, v in means.items()}
    centres = {k: t[t[:, 0] < 8, 1:].mean(axis=0) for k, t in tables.items()}
    right, total = 0, 0
    for k, table in tables.items():
        for pixel in table[table[:, 0] >= 8, 1:]:
            right += min(centres, key=lambda c: float(np.linalg.norm(pixel - centres[c]))) == k
            total += 1
    assert total > 20 and right / total < 0.65


@pytest.mark.judge
@pytest.mark.parametrize("frozen", [True, False])
def test_conforms(tmp_path: Path, frozen: bool) -> None:
    about = SlideDescription("judged", collection="PHANTOM-A" if frozen else "", frozen=frozen)
    slide = write_slide(tmp_path / "sm", seed=1, size=(300, 520), spacing=0.001, description=about)
    for path in slide.files:
        assert not judges.dciodvfy(path)
    with dml.open_slide(slide.folder) as opened:
        slide.truth(opened).save(tmp_path / "truth.dcm")
    assert not judges.dciodvfy(tmp_path / "truth.dcm")
