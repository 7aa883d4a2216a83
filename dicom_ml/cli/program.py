"""Parsing, and what happens to errors and warnings."""

from __future__ import annotations

import argparse
import sys
import textwrap
import warnings
from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import dicom_ml
from dicom_ml.cli import commands
from dicom_ml.errors import DicomMLError

__all__ = ["main"]

_USAGE_ERROR = 2
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``dicom-ml``.

    Parameters
    ----------
    argv : sequence of str, optional
        By default the arguments of the process.

    Returns
    -------
    int
        0, or 2 where something was wrong with what was asked for or with the files; 130 when interrupted.
    """
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and not getattr(args, "passes_on", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    if args.command is None:
        parser.print_help()
        return 0
    with warnings.catch_warnings():
        if not args.debug:
            warnings.showwarning = _one_line
        try:
            return int(args.run(args))
        except (DicomMLError, OSError) as error:
            if args.debug:
                raise
            print(f"dicom-ml: error: {_text(error)}", file=sys.stderr)
            return _USAGE_ERROR
        except KeyboardInterrupt:
            if args.debug:
                raise
            print("dicom-ml: interrupted", file=sys.stderr)
            return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dicom-ml", description="DICOM in, tensors, a model, DICOM out.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"dicom-ml {dicom_ml.__version__}")
    parser.set_defaults(command=None, debug=False)
    kinds = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for name, module in _commands():
        examples = textwrap.indent("\n".join(module.EXAMPLES), "  ")
        sub = kinds.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.add_argument("--debug", action="store_true", help="show where an error comes from")
        module.add_arguments(sub)
        # a command may take what the parser does not know, and pass it on to another
        sub.set_defaults(run=module.run, passes_on=getattr(module, "PASSES_ON", False))
    return parser


def _commands() -> list[tuple[str, Any]]:
    """The modules of the commands, by name: a new file is a new command."""
    found: list[tuple[str, ModuleType]] = []
    for info in iter_modules(commands.__path__):
        if not info.name.startswith("_"):
            found.append((info.name.replace("_", "-"), import_module(f"{commands.__name__}.{info.name}")))
    return sorted(found)


def _text(error: BaseException) -> str:
    """One line, whatever the error has to say."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, DicomMLError):
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _one_line(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    print(f"dicom-ml: warning: {' '.join(str(message).split())}", file=sys.stderr)
