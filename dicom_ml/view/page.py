"""One HTML file that holds its pictures and needs nothing else to be opened."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dicom_ml.encoding.writer import save_bytes

__all__ = ["Page"]

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; margin: .8rem 0; } caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
td.word { overflow-wrap: anywhere; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; border-radius: 4px; }
figcaption { color: #888; font-size: .9rem; }
.note { background: var(--soft); padding: .6rem 1rem; border-radius: 4px; }
.swatch { display: inline-block; width: .9em; height: .9em; margin-right: .5em; border-radius: 2px; }
"""


@dataclass
class Page:
    """A page that grows from top to bottom.

    Parameters
    ----------
    title : str

    Examples
    --------
    >>> page = Page("Lungs")
    >>> page.facts([("Slices", 79)])
    >>> "Slices" in page.html()
    True
    """

    title: str
    _parts: list[str] = field(default_factory=list, repr=False)

    def heading(self, text: str) -> None:
        """A heading of the second rank."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str, *, note: bool = False) -> None:
        """A paragraph; `note` sets it off."""
        kind = ' class="note"' if note else ""
        self._parts.append(f"<p{kind}>{html.escape(text)}</p>")

    def facts(self, rows: Sequence[tuple[str, object]], caption: str = "") -> None:
        """A table of names and values."""
        body = "".join(f"<tr><th scope=row>{html.escape(str(k))}</th>{_cell(v)}</tr>" for k, v in rows)
        self._parts.append(f"<table>{_caption(caption)}{body}</table>")

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        caption: str = "",
        colors: Sequence[tuple[int, int, int] | None] | None = None,
    ) -> None:
        """A table with a head; `colors` puts a swatch, such as a legend has, before each row."""
        head = "".join(f"<th scope=col>{html.escape(c)}</th>" for c in columns)
        body = []
        for number, row in enumerate(rows):
            cells = [_cell(v) for v in row]
            color = colors[number] if colors else None
            if color is not None:
                swatch = f'<span class=swatch style="background: rgb{color}"></span>'
                cells[0] = cells[0].replace(">", f">{swatch}", 1)
            body.append(f"<tr>{''.join(cells)}</tr>")
        self._parts.append(f"<table>{_caption(caption)}<thead><tr>{head}</tr></thead>{''.join(body)}</table>")

    def picture(self, png: bytes, caption: str = "") -> None:
        """A PNG, kept inside the page."""
        data = base64.b64encode(png).decode("ascii")
        text = html.escape(caption)
        self._parts.append(
            f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
        )

    def html(self) -> str:
        """The whole page."""
        title = html.escape(self.title)
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{_STYLE}</style></head><body><h1>{title}</h1>\n" + "\n".join(self._parts) + "\n</body></html>\n"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page; missing folders are made."""
        save_bytes(path, self.html().encode())
        return Path(path)


def _caption(text: str) -> str:
    return f"<caption>{html.escape(text)}</caption>" if text else ""


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, float):
        return f"<td class=number>{value:.3f}</td>"
    if isinstance(value, int):
        return f"<td class=number>{value:,}</td>"
    return f"<td class=word>{html.escape(str(value))}</td>"
