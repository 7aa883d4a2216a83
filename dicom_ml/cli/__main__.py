"""``python -m dicom_ml.cli`` is ``dicom-ml``."""

from __future__ import annotations

import sys

from dicom_ml.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
