"""What a result is called: its UIDs, file name and record follow from all that it is made of."""

from __future__ import annotations

import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

from dicom_ml.encoding.uids import derived_uid
from dicom_ml.encoding.untrusted import dcmread
from dicom_ml.errors import EncodingError
from dicom_ml.source import SourceSeries

__all__ = ["NamedResults", "Written"]


@dataclass(frozen=True)
class Written:
    """A file that was written, or was there already.

    Attributes
    ----------
    path : Path
    sop_instance_uid, series_instance_uid : str
        Of the result.
    source_series_instance_uid : str
    written : bool
        False where the same result was there already.
    """

    path: Path
    sop_instance_uid: str
    series_instance_uid: str
    source_series_instance_uid: str
    written: bool = True


class NamedResults(ABC):
    """Base of what writes results: the same result has the same UIDs and name in every run and every process.

    ``filename`` is a template of file names. Fields: ``{series}`` and ``{study}`` (UIDs of the source), ``{sop}`` (SOP
    Instance UID of the result), ``{digest}`` (eight hexadecimal digits that stand for source, settings and model),
    ``{algorithm}`` (name of the algorithm). Nothing else of a header reaches a file name. Without one, series, digest
    and :attr:`ending` make the name.
    """

    filename: str | None
    #: What usual names end with, before ``.dcm``.
    ending: ClassVar[str]

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """What results follow from beside source and model, as JSON values."""

    @property
    @abstractmethod
    def algorithm_name(self) -> str:
        """Name of the algorithm, for file names."""

    def check_filename(self) -> None:
        """Settle the template; refuse one with other fields, or one that leaves the folder."""
        if self.filename is None:
            object.__setattr__(self, "filename", f"{{series}}_{{digest}}.{self.ending}.dcm")
        try:
            name = self._name("1", "1", "1", "0")
        except (KeyError, IndexError, ValueError) as error:
            raise EncodingError(
                f"filename has the fields {{series}}, {{study}}, {{sop}}, {{digest}} and {{algorithm}}, "
                f"found {self.filename!r}"
            ) from error
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise EncodingError(f"filename must stay inside the output folder, found {self.filename!r}")

    # ------------------------------------------------------------------ identity
    def identity(self, source: SourceSeries, model: str = "") -> str:
        """SHA-256, in hexadecimal digits, of all that a result follows from: source, settings and model."""
        record = {
            "source": [source.study_instance_uid, source.series_instance_uid, source.frame_of_reference_uid],
            "instances": source.sop_instance_uids,
            "frames": source.frame_numbers,
            "model": model,
            **self.facts(),
        }
        return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def path(self, source: SourceSeries, folder: str | os.PathLike[str], model: str = "") -> Path:
        """Where the result of ``source`` goes."""
        identity = self.identity(source, model)
        sop = derived_uid("instance", identity)
        return Path(folder) / self._name(source.series_instance_uid, source.study_instance_uid, sop, identity[:8])

    def _name(self, series: str, study: str, sop: str, digest: str) -> str:
        return str(self.filename).format(
            series=_safe(series),
            study=_safe(study),
            sop=_safe(sop),
            digest=digest,
            algorithm=_safe(self.algorithm_name),
        )

    def existing(self, source: SourceSeries, folder: str | os.PathLike[str], model: str = "") -> Written | None:
        """The result of ``source``, where an earlier run finished it.

        Files take their name only when they are complete, so a file with the right UID is a finished one.
        """
        path = self.path(source, folder, model)
        return self.existing_at(path, source, model)

    def existing_at(self, path: Path, source: SourceSeries, model: str = "") -> Written | None:
        """The result of ``source`` at a path, where it is complete."""
        if not path.is_file():
            return None

        found = self.record(source, path, model, written=False)
        try:
            head = dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
        except Exception:
            return None  # not ours, or broken by something else: it is written anew
        return found if head.get("SOPInstanceUID") == found.sop_instance_uid else None

    def record(self, source: SourceSeries, path: Path, model: str, written: bool) -> Written:
        """The record of a result at ``path``."""
        identity = self.identity(source, model)
        return Written(
            path=path,
            sop_instance_uid=derived_uid("instance", identity),
            series_instance_uid=derived_uid("series", identity),
            source_series_instance_uid=source.series_instance_uid,
            written=written,
        )


def _safe(text: str) -> str:
    """A part of a file name: letters, digits, dots and dashes, no leading dot."""
    return re.sub(r"[^0-9A-Za-z.\-]+", "_", text).strip("._")[:100] or "unknown"


def plain(value: Any) -> Any:
    """What JSON can hold, the same in every process."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)
