"""Images to arrays: DICOM series become volumes with true geometry and real-world values."""
