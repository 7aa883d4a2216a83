"""The pages: a list of what there is, one for a volume, one for a slide."""

from __future__ import annotations

import html
import json

from dicom_ml.viewer.library import Library, Shown

__all__ = ["list_page", "slide_page", "volume_page"]

_STYLE = """
body{margin:0;font:14px/1.5 system-ui,sans-serif;background:#14171a;color:#e6e8ea}
a{color:#7cc4ff;text-decoration:none} a:hover{text-decoration:underline}
header{padding:10px 16px;background:#1d2126;border-bottom:1px solid #30363d} h1{font-size:16px;margin:0}
main{padding:12px 16px} li{margin:6px 0} small{color:#98a2ab}
.stage{display:flex;height:calc(100vh - 46px)} .stage>div:first-child{flex:1;min-width:0;position:relative}
aside{width:300px;overflow:auto;padding:12px;background:#1d2126;border-left:1px solid #30363d}
.label{display:flex;align-items:center;gap:8px} .swatch{width:14px;height:14px;border-radius:3px;flex:none}
#state{color:#98a2ab;white-space:pre-wrap;font-size:12px}
"""


def _page(title: str, body: str) -> bytes:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<link rel="icon" href="data:,"><style>{_STYLE}</style></head><body>{body}</body></html>'
    ).encode()


def list_page(library: Library) -> bytes:
    """What there is to see."""
    rows = []
    for shown in library.shown.values():
        over = ", ".join(f"{o.kind}{'' if o.shown else ' (not shown by this viewer)'}" for o in shown.overlays)
        facts = f"{html.escape(shown.row.series_instance_uid or 'no UID')}<br>{html.escape(over) or 'nothing over it'}"
        link = f'<a href="/{shown.kind}/{shown.key}">{html.escape(shown.title)}</a>'
        rows.append(f"<li>{link}<br><small>{facts}</small></li>")
    body = f"<ol>{''.join(rows)}</ol>" if rows else "<p>There is no volume and no slide in this folder.</p>"
    if library.problems:
        body += f"<p><small>{len(library.problems)} files cannot be read.</small></p>"
    return _page("dicom-ml view", f"<header><h1>dicom-ml view</h1></header><main>{body}</main>")


def _frame(shown: Shown, stage: str, script: str, sources: tuple[str, ...]) -> bytes:
    scripts = "".join(f'<script src="/assets/{name}"></script>' for name in sources)
    facts = json.dumps(
        {
            "key": shown.key,
            "study": shown.row.study_instance_uid,
            "series": shown.row.series_instance_uid,
            "modality": shown.row.modality,
            "overlays": [
                {"key": o.key, "kind": o.kind, "series": o.row.series_instance_uid} for o in shown.overlays if o.shown
            ],
        }
    ).replace("<", "\\u003c")
    return _page(
        shown.title,
        f'<header><h1><a href="/">dicom-ml view</a> &nbsp; {html.escape(shown.title)}</h1></header>'
        f'<div class="stage"><div>{stage}</div>'
        f'<aside><div id="state">loading</div><div id="overlays"></div></aside></div>'
        f'{scripts}<script type="application/json" id="facts">{facts}</script>'
        f'<script src="/assets/{script}"></script>',
    )


def volume_page(shown: Shown) -> bytes:
    """A volume, with what lies over it."""
    stage = '<canvas id="stage" style="width:100%;height:100%"></canvas>'
    return _frame(shown, stage, "volume.js", ("niivue.umd.js",))


def slide_page(shown: Shown) -> bytes:
    """A slide, with what lies over it."""
    stage = '<div id="stage" style="position:absolute;inset:0;background:#fff"></div>'
    return _frame(shown, stage, "slide.js", ("dicomweb-client.js", "dicomMicroscopyViewer.bundle.min.js"))
