"""`render` writes a PNG or a page, and says what it does not understand."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_ml.cli import main

pytest.importorskip("PIL", reason="pictures need Pillow")


def test_png_and_page(series: Path, seg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    png, page = tmp_path / "a" / "ct.png", tmp_path / "ct.html"
    assert main(["render", str(series), "--output", str(png), "--planes", "axial=3"]) == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    assert main(["render", str(series), "--seg", str(seg), "--output", str(page), "--window", "40,400"]) == 0
    text = page.read_text(encoding="utf-8")
    assert "Liver" in text and "data:image/png;base64," in text
    assert capsys.readouterr().out.split() == [str(png), str(page)]


@pytest.mark.parametrize(
    ("extra", "what"),
    [
        (["--window", "brain"], "CENTRE,WIDTH"),
        (["--planes", "oblique=2"], "axial"),
        (["--output", "x.gif"], ".png or .html"),
        (["--segments", "Spleen"], "'Liver'"),
    ],
)
def test_refusals(
    series: Path, seg: Path, extra: list[str], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = [] if "--output" in extra else ["--output", str(tmp_path / "x.png")]
    assert main(["render", str(series), "--seg", str(seg), *output, *extra]) == 2
    assert what in capsys.readouterr().err
