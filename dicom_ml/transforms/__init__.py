"""MONAI readers, loaders and savers."""
