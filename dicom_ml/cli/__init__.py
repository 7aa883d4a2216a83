"""The command line, ``dicom-ml``: each command is a module of `dicom_ml.cli.commands`, found when the program starts.

A command's module has ``HELP`` (a line), ``EXAMPLES`` (command lines), ``add_arguments(parser)`` and
``run(args) -> int``, and imports nothing heavy before ``run``.
"""

from __future__ import annotations

from dicom_ml.cli.program import main

__all__ = ["main"]
