"""Pseudonyms: whole cohorts, inputs and outputs, with identifiers replaced consistently (PS3.15 Annex E)."""

from __future__ import annotations

from dicom_ml.pseudonyms.cleaning import pseudonymise
from dicom_ml.pseudonyms.folders import Pseudonymised, pseudonymise_folder
from dicom_ml.pseudonyms.mapping import Pseudonyms

__all__ = ["Pseudonymised", "Pseudonyms", "pseudonymise", "pseudonymise_folder"]
