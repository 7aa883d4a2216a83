"""The targets under atheris, which looks for inputs that reach new code; it is no dependency: ``pip install atheris``.

``python -m tests.fuzz.with_atheris volume --minutes 5`` starts from the good files of the campaign. What it
finds lies in the folder that it names, and ``--file`` reads one again.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

MOST_SEED = 40_000
MOST_SECONDS = 20
MOST_MEGABYTES = 3000


def main() -> None:
    """Fuzz one target until the time is over or something is found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("target")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--found", type=Path, help="folder for what is found")
    parser.add_argument("--file", type=Path, help="read one input again")
    parser.add_argument("--extra", type=Path, help="folder of more good files to start from")
    args = parser.parse_args()

    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["dicom_ml", "pydicom"]):
        import dicom_ml as dml
        from tests.fuzz.mutations import mutate
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.campaign import seeds

    read = TARGETS[args.target]
    if args.file:
        print(read(args.file.read_bytes()))
        return
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)

    def one(data: bytes) -> None:
        try:
            read(bytes(data))
        except dml.DicomMLError as error:
            text = str(error)
            assert text.isprintable() and len(text) < 1300, "a message that no one can read"

    def changed(data: bytes, most: int, seed: int) -> bytes:
        # what storage and malice do to DICOM, and what libFuzzer does to anything
        return mutate(data, seed)[:most] if seed % 2 else bytes(atheris.Mutate(data, most))

    with tempfile.TemporaryDirectory() as scratch:
        for number, (path, kind) in enumerate(seeds(extra=args.extra, largest=MOST_SEED)):
            if kind == args.target:
                (Path(scratch) / f"{number}.dcm").write_bytes(path.read_bytes())
        found = args.found or Path(tempfile.mkdtemp(prefix="dicom-ml-atheris-"))
        found.mkdir(parents=True, exist_ok=True)
        print(f"{len(list(Path(scratch).iterdir()))} good files; what is found lies in {found}", flush=True)
        options: list[Any] = [
            sys.argv[0], scratch, f"-max_total_time={int(args.minutes * 60)}", f"-timeout={MOST_SECONDS}",
            f"-rss_limit_mb={MOST_MEGABYTES}", f"-max_len={MOST_SEED * 2}", f"-artifact_prefix={found}/",
            "-print_final_stats=1",
        ]  # fmt: skip
        atheris.Setup(options, one, custom_mutator=changed)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
