"""A page escapes what it is given and carries its pictures."""

from __future__ import annotations

import base64
from pathlib import Path

from dicom_ml.view import Page


def test_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    page = Page("Lungs <of> a phantom")
    page.heading("Figures")
    page.facts([("Series & more", "<script>"), ("Slices", 1234), ("Valid", True)])
    page.table(["Segment", "Dice"], [["Right lung", 0.98765]], colors=[(1, 2, 3)])
    page.picture(b"\x89PNG", "axial")
    text = page.save(tmp_path / "deep" / "page.html").read_text(encoding="utf-8")
    assert "<script>" not in text and "&lt;script&gt;" in text and "1,234" in text and "0.988" in text
    assert "rgb(1, 2, 3)" in text and base64.b64encode(b"\x89PNG").decode() in text
    assert "http" not in text.replace("http-equiv", "")
