"""A hook of mkdocs: cross-references of docstrings, such as ``:class:`dicom_ml.Volume```, become plain code."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["on_page_content"]

_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):<code>~?([\w.]+)</code>")


def on_page_content(html: str, **_: Any) -> str:
    """Called by mkdocs with the HTML of each page."""
    return _ROLE.sub(r"<code>\1</code>", html)
