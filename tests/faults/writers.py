"""What writes files, each as one call that a process of its own can make and be killed in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import dicom_ml as dml
from dicom_ml.phantom import axial_affine, write_ct_series

__all__ = ["WRITERS", "main", "read_back"]

SHAPE = (8, 64, 64)


def make_source(folder: Path) -> Path:
    array = np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.float32)
    write_ct_series(folder, array, axial_affine(SHAPE, (2.5, 0.8, 0.8), (0, 0, 0)), "faults")
    return folder


def _mask() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2, SHAPE).astype(np.uint8)


def _segmentation(source: Path, target: Path, compression: str | None = None) -> None:
    segment = dml.Segment("Liver", type="SCT:10200004", category="SCT:123037004", algorithm="manual")
    made = dml.Segmentation.from_array(_mask(), source=dml.read_volume(source), segments=[segment], kind="labelmap")
    made.save(target, compression=compression)


def _compressed(source: Path, target: Path) -> None:
    _segmentation(source, target, "rle")


def _map(source: Path, target: Path) -> None:
    values = np.random.default_rng(2).random(SHAPE, dtype=np.float32)
    dml.ParametricMap.from_array(values, source=dml.read_volume(source), quantity="DCM:113041", unit="mm2/s").save(
        target
    )


def _report(source: Path, target: Path) -> None:
    groups = [
        dml.MeasurementGroup(
            finding="SCT:27925004", tracking_id=f"Nodule {i}", region=dml.Box((1, 2, 3), (4, 9, 12)),
            measurements=[dml.Measurement("SCT:81827009", 7.3, "mm")],
        )
        for i in range(40)
    ]  # fmt: skip
    made_by = dml.Algorithm("NoduleNet", "1.0")
    dml.Report(source=dml.read_volume(source), algorithm=made_by, groups=groups).save(target)


def _series(source: Path, target: Path) -> None:
    """A phantom's slice stands for all files that :func:`atomic_file` writes at once."""
    from dicom_ml.encoding.writer import atomic_file

    content = sorted(source.iterdir())[0].read_bytes()
    with atomic_file(target) as file:
        file.write(content)


WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "segmentation": _segmentation,
    "compressed segmentation": _compressed,
    "parametric map": _map,
    "report": _report,
    "any file": _series,
}


def read_back(name: str, path: Path, source: Path) -> None:
    """Fails unless the file is whole."""
    if "segmentation" in name:
        np.testing.assert_array_equal(dml.read_segmentation(path).label_map(on=dml.read_volume(source)), _mask())
    elif name == "parametric map":
        assert np.isfinite(dml.read_parametric_map(path).array).all()
    elif name == "report":
        assert len(dml.read_report(path).groups) == 40
    else:
        assert path.read_bytes() == sorted(source.iterdir())[0].read_bytes()


def _unprotect() -> None:
    """Take away what the writers are protected by: the temporary name, and writing until all is written."""
    import contextlib
    import importlib
    import io
    import pkgutil

    import dicom_ml.objects
    from dicom_ml.encoding import writer

    @contextlib.contextmanager
    def straight_to_its_name(path: object) -> object:
        with io.FileIO(str(path), "w+b") as file:
            yield file

    modules = [
        importlib.import_module(m.name) for m in pkgutil.walk_packages(dicom_ml.objects.__path__, "dicom_ml.objects.")
    ]
    for module in (writer, *modules):
        if hasattr(module, "atomic_file"):
            module.atomic_file = straight_to_its_name  # type: ignore[attr-defined]


def main() -> None:
    """``WRITER SOURCE TARGET FAULT NUMBER``: write, and meet the fault at the given write to a file."""
    name, source, target, fault, number = sys.argv[1:]
    if fault.endswith(" without protection"):
        fault = fault.removesuffix(" without protection")
        _unprotect()
    import io
    import os
    import signal

    calls = 0
    if fault == "limit":
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(number), int(number)))
    elif fault == "kill":
        real_replace = os.replace

        def step() -> None:
            nonlocal calls
            calls += 1
            if calls == int(number):
                os.kill(os.getpid(), signal.SIGKILL)

        def watched_replace(*args: object, **options: object) -> None:
            step()
            real_replace(*args, **options)
            step()

        class WatchedRaw(io.FileIO):
            def write(self, data: object) -> int:
                step()
                return super().write(data)  # type: ignore[arg-type]

            def truncate(self, size: int | None = None) -> int:
                step()
                return super().truncate(size)

        from dicom_ml.encoding import writer

        writer._WholeFile.__bases__ = (WatchedRaw,)
        os.replace = watched_replace
    WRITERS[name](Path(source), Path(target))
    print(calls)


if __name__ == "__main__":
    main()
