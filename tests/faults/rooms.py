"""The modules that register faults."""

from __future__ import annotations

from tests.faults import on_callbacks, on_clocks, on_cohorts, on_files, on_index, on_stores

__all__ = ["ROOMS"]

ROOMS = (on_files, on_callbacks, on_cohorts, on_index, on_stores, on_clocks)
