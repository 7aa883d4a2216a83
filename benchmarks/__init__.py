"""Side-by-side measurements of dicom_ml, its peers and a floor: ``python -m benchmarks``.

Part of the repository, not of the wheel. How to run it and how to read what it says: ``docs/benchmarks.md``.
"""
