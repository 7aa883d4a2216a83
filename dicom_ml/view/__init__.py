"""Plots, overlays and HTML pages."""
