"""Lightning callbacks that write predictions as DICOM."""
