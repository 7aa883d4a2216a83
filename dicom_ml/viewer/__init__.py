"""A local page that shows a folder's images with the objects made from them, in viewers that others build.

Volumes are shown by NiiVue, slides by dicom-microscopy-viewer; both are packed with the package. The server listens on
this machine only, reads only, and gives out nothing but what it has found to be DICOM in the folder.
"""

from __future__ import annotations

from dicom_ml.viewer.library import Library, open_library
from dicom_ml.viewer.server import serve

__all__ = ["Library", "open_library", "serve"]
