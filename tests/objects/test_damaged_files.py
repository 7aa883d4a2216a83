"""Damaged key objects, captures and presentation states: read, or refused with one clear error, never anything else."""

from __future__ import annotations

import io
import random
import warnings

import numpy as np
import pytest

import dicom_ml as dml
from tests.objects.key_objects.test_key_objects import selection
from tests.objects.presentation.scenes import state_of
from tests.objects.secondary_capture.test_secondary_capture import aligned, capture
from tests.objects.segmentation.scenes import axial, source_on


def use_key_objects(data: bytes) -> None:
    read = dml.read_key_objects(data)
    _ = repr(read), read.evidence, read.studies, list(read.tree().lines()), read.is_rejection
    read.slices(source_on(axial()))


def use_capture(data: bytes) -> None:
    read = dml.read_secondary_capture(data)
    _ = repr(read), read.references, read.frame_references, read.spacing, read.burned_in_annotation, read.array


def use_state(data: bytes) -> None:
    read = dml.read_presentation_state(data)
    _ = repr(read), read.areas, read.layers
    for reference in read.references[:2]:
        read.annotations_on(reference)
    if not read.content.is_blend and read.kind != "color":
        try:
            read.apply(np.zeros((8, 8), np.int16))
        except dml.DicomMLError:
            pass


def bytes_of(thing) -> bytes:
    buffer = io.BytesIO()
    thing.dataset.save_as(buffer)
    return buffer.getvalue()


SCENES = {
    "rejected": (lambda: bytes_of(selection("rejected")), use_key_objects),
    "other study": (lambda: bytes_of(selection("other study")), use_key_objects),
    "picture": (lambda: bytes_of(capture("color")), use_capture),
    "aligned": (lambda: bytes_of(aligned(np.zeros((9, 40, 64), np.uint8), source_on(axial()))), use_capture),
    "annotations": (lambda: bytes_of(state_of("annotations")), use_state),
    "tables": (lambda: bytes_of(state_of("tables")), use_state),
    "shutter": (lambda: bytes_of(state_of("shutter")), use_state),
    "blend": (lambda: bytes_of(state_of("blend of three")), use_state),
}


@pytest.mark.parametrize("name", SCENES)
def test_damage_is_read_over_or_refused(name):
    make, use = SCENES[name]
    whole = make()
    use(whole)
    chance = random.Random(name)
    outcomes = {"read": 0, "refused": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(80):
            data = bytearray(whole)
            if chance.random() < 0.15:
                data = data[: chance.randrange(len(data))]
            else:
                for _ in range(chance.choice([1, 1, 2, 5, 20])):
                    place = chance.randrange(132, min(len(data), 6000))
                    data[place] = chance.choice([0, 255, 92, 32, chance.randrange(256)])
            try:
                use(bytes(data))
                outcomes["read"] += 1
            except dml.DicomMLError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 3, outcomes


def test_one_malformed_value_does_not_cost_the_rest():
    ds = state_of("window").dataset
    ds.add_new("PatientWeight", "DS", "70")
    buffer = io.BytesIO()
    ds.save_as(buffer)
    data = buffer.getvalue().replace(b"\x10\x00\x30\x10DS", b"\x10\x00\x30\x10QQ")
    read = dml.read_presentation_state(data)
    assert read.problems and "(0010,1030)" in read.problems[0] and len(read.voi) == 1
    assert read.label == ds.ContentLabel
