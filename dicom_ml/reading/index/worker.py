"""The process that reads headers for a scan: lists of files come in, entries go out, both pickled.

A process of its own, started by its module name, needs no guard in the user's script, as spawned pools do, and is
safe beside threads, as forked ones are not.
"""

from __future__ import annotations

import os
import pickle
import sys

from dicom_ml.reading.index.entries import read_entry

__all__ = ["main"]


def main() -> None:
    """Read until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    root = pickle.load(sys.stdin.buffer)
    while True:
        try:
            files = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump([read_entry(root, folder, name) for folder, name in files], answers)
        answers.flush()


if __name__ == "__main__":
    main()
