"""DICOM bytes without meaning: elements, frames, codecs, per-frame groups, the file writer, UIDs."""
