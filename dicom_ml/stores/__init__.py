"""Where bytes live that are not in local files: object stores, DICOMweb servers, DICOM nodes.

Volumes and slides are read from an address as from a folder::

    dml.read_volume("https://pacs.example/dicom-web/studies/1.2/series/3.4")
    dml.open_slide("s3://bucket/slide/")

Credentials come from the environment and from nowhere else, and are in no message.
"""

from __future__ import annotations

from dicom_ml.stores.addresses import is_address, kind_of, local_path
from dicom_ml.stores.base import ByteStore, Listed
from dicom_ml.stores.opening import open_store

__all__ = ["ByteStore", "Listed", "is_address", "kind_of", "local_path", "open_store"]
