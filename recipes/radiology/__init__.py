"""Lung nodules on chest CT: detection, and its report."""
