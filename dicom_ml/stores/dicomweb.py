"""A DICOMweb server (PS3.18): QIDO-RS, WADO-RS by instance, frame and bulk data, STOW-RS, through dicomweb-client."""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import pydicom

from dicom_ml.encoding.elements import UNDEFINED, CutOff, FileView, NotLean
from dicom_ml.encoding.limits import FOUND, PATIENCE
from dicom_ml.encoding.untrusted import dcmread, reason_of
from dicom_ml.errors import DicomMLError, MissingPackageError, StoreError
from dicom_ml.stores.addresses import kind_of, printable

__all__ = ["DicomWeb", "Resource", "Sent", "open_dicomweb", "parse_resource"]

T = TypeVar("T")

_PATH = re.compile(
    r"^(?P<root>.*?)/studies(?:/(?P<study>[^/]+)(?:/series/(?P<series>[^/]+)(?:/instances/(?P<instance>[^/]+))?)?)?/?$"
)
_UID = re.compile(r"(?=.{1,64}$)[0-9]+(\.[0-9]+)*")
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
_BORDER = re.compile(r"boundary=\"?([^\";]+)", re.IGNORECASE)
_ATTEMPTS = 5
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 8.0
_TRY_AGAIN = frozenset([408, 425, 429, 500, 502, 503, 504])
_CONNECTING = 10.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PAGE = 1000
#: What frames are asked for as, until the server understands: as stored, in any transfer syntax. Not all servers take
#: all forms, and some refuse a list that holds one that they do not know.
_FRAME_TYPES = (
    (("application/octet-stream", "*"),),
    (("image/jpeg", "1.2.840.10008.1.2.4.50"),),
    (("image/jp2", "1.2.840.10008.1.2.4.90"), ("image/jp2", "1.2.840.10008.1.2.4.91")),
    (("image/jls", "1.2.840.10008.1.2.4.80"),),
    (("application/octet-stream", "1.2.840.10008.1.2.1"),),
)
_NOT_THAT_TYPE = frozenset([400, 406, 415])


@dataclass(frozen=True)
class Resource:
    """What a DICOMweb address names; parts that it does not name are empty."""

    root: str
    study: str = ""
    series: str = ""
    instance: str = ""


@dataclass(frozen=True)
class Sent:
    """What became of one file that was sent.

    Attributes
    ----------
    path : str
    sop_instance_uid : str
        Empty where the file could not be read.
    ok : bool
    detail : str
        Why it was refused, or the server's remark.
    """

    path: str
    sop_instance_uid: str
    ok: bool
    detail: str = ""


def parse_resource(address: str) -> Resource:
    """Root, study, series and instance of a DICOMweb address.

    Raises
    ------
    StoreError
        If it holds a password, or a part of it is no UID.
    """
    if kind_of(address) not in ("dicomweb", "object"):
        raise StoreError(f"{printable(address)} is no address of a DICOMweb server (https://...)")
    parts = urlsplit(address)
    found = _PATH.match(parts.path)
    if found is None and kind_of(address) == "dicomweb":
        raise StoreError(f"{printable(address)} is no DICOMweb resource; expected .../studies/UID/series/UID")
    if found is None:
        return Resource(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}")
    named = {key: unquote(value) if value else "" for key, value in found.groupdict().items()}
    for key in ("study", "series", "instance"):
        if named[key] and not _UID.fullmatch(named[key]):
            raise StoreError(f"{printable(address)}: {named[key][:70]!r} is no UID")
    return Resource(
        f"{parts.scheme}://{parts.netloc}{named['root']}", named["study"], named["series"], named["instance"]
    )


class DicomWeb:
    """One DICOMweb server. Pickles by its address; is safe in threads and after fork.

    Parameters
    ----------
    root : str
        Address above ``/studies``.

    Notes
    -----
    A token is taken from the environment variable ``DICOM_ML_DICOMWEB_TOKEN`` (sent as a bearer token), or a user and
    password from ``DICOM_ML_DICOMWEB_USER`` and ``DICOM_ML_DICOMWEB_PASSWORD``. They go over TLS only, except to this
    machine itself. Certificates are verified; ``REQUESTS_CA_BUNDLE`` names those of one's own.
    """

    def __init__(self, root: str) -> None:
        kind_of(root)
        self.root = root.rstrip("/")
        self._local = threading.local()
        self._frame_types = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return DicomWeb, (self.root,)

    def __repr__(self) -> str:
        return f"DicomWeb({printable(self.root)})"

    # ------------------------------------------------------------------ what there is
    def search(self, level: str, filters: Mapping[str, str] | None = None, **of: str) -> list[dict[str, Any]]:
        """QIDO-RS: what matches, in the DICOM JSON model, page by page until all is there.

        Parameters
        ----------
        level : {"studies", "series", "instances"}
        filters : mapping of str to str
            Keyword or tag to value, ``{"PatientID": "..."}``.
        **of
            ``study_instance_uid``, ``series_instance_uid``.
        """
        found: dict[str, dict[str, Any]] = {}
        key = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}[level]
        while True:
            page = self._again(
                lambda client, offset: getattr(client, f"search_for_{level}")(
                    search_filters=dict(filters or {}), limit=_PAGE, offset=offset, **of
                ),
                len(found),
            )
            before = len(found)
            if not isinstance(page, list):
                raise StoreError(
                    f"{printable(self.root)} answers a query for {level} with {type(page).__name__}, no list"
                )
            if before + len(page) > FOUND.value:
                raise StoreError(
                    f"{printable(self.root)} answers a query for {level} with more than {FOUND.value}; {FOUND.advice}"
                )
            for item in page:
                found.setdefault(_value(item, key), item)
            # a server may answer with fewer than were asked for, or ignore the offset and repeat itself
            if not page or len(found) == before:
                return list(found.values())

    def instances(self, study: str, series: str = "") -> list[tuple[str, str, str]]:
        """Series, SOP class and SOP Instance UID of each instance of a study or series."""
        found = (
            self.search("instances", study_instance_uid=study, series_instance_uid=series)
            if series
            else self.search("instances", study_instance_uid=study)
        )
        rows = [
            (_value(item, "0020000E") or series, _value(item, "00080016"), _value(item, "00080018")) for item in found
        ]
        if not rows:
            raise StoreError(f"{printable(self.root)} holds no instance of {series or study}")
        return sorted(rows)

    def metadata(self, study: str, series: str, instance: str = "") -> list[dict[str, Any]]:
        """WADO-RS metadata: headers in the DICOM JSON model, without bulk data."""
        if instance:
            found = self._again(lambda client: client.retrieve_instance_metadata(study, series, instance))
            return [found]
        known = self._known(study, series)

        def ask(client: Any) -> list[dict[str, Any]]:
            found = list(client.retrieve_series_metadata(study, series))
            missing = known - {_value(item, "00080018") for item in found}
            if missing:
                raise _Half(f"{len(missing)} of {len(known)} instances of {series} came without their metadata")
            return found

        return self._again(ask)

    def _known(self, study: str, series: str) -> set[str]:
        """SOP Instance UIDs of a series as far as the server can be searched: some only give what is named."""
        try:
            return {instance for _, _, instance in self.instances(study, series)}
        except StoreError:
            return set()

    # ------------------------------------------------------------------ bytes
    def instance(self, study: str, series: str, instance: str) -> pydicom.Dataset:
        """WADO-RS: one instance, in the transfer syntax in which the server has it."""

        def ask(client: Any) -> pydicom.Dataset:
            dataset: pydicom.Dataset = client.retrieve_instance(
                study, series, instance, media_types=(("application/dicom", "*"),)
            )
            if str(dataset.get("SOPInstanceUID", "")) != instance:
                raise _Half(f"another instance than {instance} came, or only a part of it")
            return dataset

        return self._again(ask)

    def frames(self, study: str, series: str, instance: str, numbers: Sequence[int]) -> list[bytes]:
        """WADO-RS: frames of an instance, numbered from 1, as stored (not rendered)."""

        import requests

        def ask(client: Any) -> list[bytes]:
            while True:
                try:
                    found = client.retrieve_instance_frames(
                        study, series, instance, list(numbers), media_types=_FRAME_TYPES[self._frame_types]
                    )
                    break
                except requests.HTTPError as error:
                    status = error.response.status_code if error.response is not None else 0
                    if status not in _NOT_THAT_TYPE or self._frame_types + 1 == len(_FRAME_TYPES):
                        raise
                    self._frame_types += 1
            if len(found) != len(numbers) or not all(found):
                raise _Half(f"{len(numbers)} frames of {instance} were asked for and {len(found)} came")
            return list(found)

        return self._again(ask)

    def bulk_data(self, address: str) -> bytes:
        """WADO-RS: what a BulkDataURI of the metadata names.

        Raises
        ------
        StoreError
            If the address leads to another server.
        """
        address = urljoin(f"{self.root}/", address)
        if urlsplit(address)[:2] != urlsplit(self.root)[:2]:  # scheme, too: a token must not leave TLS
            raise StoreError(f"a BulkDataURI leads from {printable(self.root)} to another server: it is not followed")
        return b"".join(self._again(lambda client: client.retrieve_bulkdata(address)))

    def send(self, path: str | os.PathLike[str]) -> Sent:
        """STOW-RS: store one file as it is, byte for byte, and say what the server made of it."""
        name = os.fspath(path)
        try:
            uid = str(dcmread(name, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID)
        except Exception as error:
            return Sent(name, "", False, f"it is no DICOM file that can be read ({type(error).__name__})")
        try:
            status, answer = self._again(lambda client: _post(client, self.root, name))
        except (StoreError, OSError) as error:
            return Sent(name, uid, False, str(error))
        return _outcome(name, uid, status, answer)

    # ------------------------------------------------------------------ asking
    def _client(self) -> Any:
        kept = getattr(self._local, "client", None)
        if kept is not None and self._local.pid == os.getpid():
            return kept
        self._local.client, self._local.pid = _connect(self.root), os.getpid()
        return self._local.client

    def _again(self, ask: Callable[..., T], *values: Any) -> T:
        """Ask, and ask again where that may help: no connection, half an answer, an overloaded server."""
        import requests

        wait = _FIRST_WAIT
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return ask(self._client(), *values)
            except requests.HTTPError as error:
                status = error.response.status_code if error.response is not None else 0
                reason = f"it answers {status}" + _MEANINGS.get(status, "")
                if status not in _TRY_AGAIN:
                    raise StoreError(f"{printable(self.root)}: {reason}") from None
            except (requests.exceptions.SSLError, requests.exceptions.InvalidURL) as error:
                raise StoreError(f"{printable(self.root)}: {type(error).__name__}: {_short(error)}") from None
            except (requests.RequestException, _Half, ConnectionError, EOFError, ValueError) as error:
                # dicomweb-client and pydicom raise ValueError and EOFError on bodies that were cut off
                if isinstance(error, DicomMLError):
                    raise
                reason = f"{type(error).__name__}: {_short(error)}"
            except DicomMLError:
                raise
            except Exception as error:  # what they raise on answers that are no answers: nested without end, of no type
                raise StoreError(
                    f"{printable(self.root)} answers what cannot be understood ({reason_of(error)})"
                ) from error
            if attempt < _ATTEMPTS:
                time.sleep(wait * (0.5 + random.random()))
                wait = min(2 * wait, _LONGEST_WAIT)
        raise StoreError(f"{printable(self.root)} was asked {_ATTEMPTS} times in vain; the last time {reason}")


_MEANINGS = {
    401: " (not authorised: set DICOM_ML_DICOMWEB_TOKEN)",
    403: " (forbidden for this token)",
    404: " (not found)",
    406: " (it cannot give what was asked for)",
}


class _Half(Exception):
    """An answer that is not whole."""


def _short(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return re.sub(r"\?[^\s'\")]*", "", text)[:300].removeprefix(f"{type(error).__name__}: ")


def _connect(root: str) -> Any:
    try:
        from dicomweb_client.api import DICOMwebClient

        from dicom_ml.stores.session import GuardedSession
    except ImportError as error:
        raise MissingPackageError(
            "DICOMweb servers are asked through dicomweb-client, which is not installed: pip install dicomweb-client"
        ) from error
    session = GuardedSession()
    token = os.environ.get("DICOM_ML_DICOMWEB_TOKEN")
    user = os.environ.get("DICOM_ML_DICOMWEB_USER")
    if token or user:
        parts = urlsplit(root)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise StoreError(
                f"{printable(root)}: credentials are not sent without TLS; use https, or unset DICOM_ML_DICOMWEB_TOKEN "
                "and DICOM_ML_DICOMWEB_USER"
            )
        if token:
            session.headers["Authorization"] = f"Bearer {token}"
            session.trust_env = True
            session.auth = _KeepHeader()
        elif user:
            session.auth = (user, os.environ.get("DICOM_ML_DICOMWEB_PASSWORD", ""))
    session.hooks["response"].append(_complete)
    client = DICOMwebClient(root, session=session, permissive_uid=True, timeout=(_CONNECTING, float(PATIENCE.value)))
    client.set_http_retry_params(retry=False)
    return client


def _complete(response: Any, **_: Any) -> None:
    """Refuse what was cut off, whatever its length says: a multipart body without its closing border (RFC 2046 5.1.1),
    and an instance that some servers send alone and that ends within an element."""
    kind = str(response.headers.get("Content-Type", ""))
    if not response.ok:
        return
    if kind.partition(";")[0].strip().lower() == "application/dicom" and _is_cut(response.content):
        raise _Half("an instance came without its end")
    border = _BORDER.search(kind)
    if not (border and kind.lower().startswith("multipart/")):
        return
    if response.content.rfind(f"--{border[1]}--".encode()) < 0:
        raise _Half("an answer of several parts came without its end")


def _is_cut(content: bytes) -> bool:
    """Whether a file ends before its pixel data, or an element before them, does."""
    try:
        view = FileView(content)
    except CutOff:
        return True
    except NotLean:
        return False  # what cannot be walked is parsed, and that says what is wrong
    if view.pixels is None:
        return False
    _, (_, offset, length) = view.pixels
    return content.rfind(_SEQUENCE_END) < offset if length == UNDEFINED else offset + length > len(content)


class _KeepHeader:
    """Authentication that leaves the header as it is, so that a .netrc file does not replace it."""

    def __call__(self, request: Any) -> Any:
        return request


def _value(item: Any, tag: str) -> str:
    """First value of an element in the DICOM JSON model; empty where there is none, or no such model."""
    values = _values(item, tag)
    return str(values[0]) if values else ""


def _values(item: Any, tag: str) -> list[Any]:
    element = item.get(tag) if isinstance(item, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


# ---------------------------------------------------------------------- storing
def _post(client: Any, root: str, path: str) -> tuple[int, Any]:
    boundary = f"dicom-ml-{os.urandom(12).hex()}"
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    size = len(head) + os.path.getsize(path) + len(tail)

    response = client._session.post(
        f"{root}/studies",
        data=_Body(head, path, tail, size),
        headers={
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        },
        timeout=(_CONNECTING, float(PATIENCE.value)),
    )
    if response.status_code in _TRY_AGAIN:
        response.raise_for_status()
    try:
        answer = json.loads(response.content) if response.content else {}
    except ValueError:
        answer = {}
    if isinstance(answer, list):
        answer = answer[0] if answer else {}
    return int(response.status_code), answer if isinstance(answer, dict) else {}


class _Body:
    """A file between its multipart borders, never all in memory."""

    def __init__(self, head: bytes, path: str, tail: bytes, size: int) -> None:
        self._parts, self._size = (head, path, tail), size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        head, path, tail = self._parts
        yield head
        with open(path, "rb") as handle:
            while chunk := handle.read(1 << 20):
                yield chunk
        yield tail


def _outcome(path: str, uid: str, status: int, answer: Mapping[str, Any]) -> Sent:
    for item in _values(answer, "00081198"):
        if _value(item, "00081155") in (uid, ""):
            return Sent(path, uid, False, f"refused with reason {_reason(_value(item, '00081197'))}")
    if status >= 400:
        return Sent(path, uid, False, f"the server answers {status}{_MEANINGS.get(status, '')}")
    for item in _values(answer, "00081199"):
        if _value(item, "00081155") == uid:
            warning = _value(item, "00081196")
            return Sent(path, uid, True, f"stored with warning {_reason(warning)}" if warning else "")
    if status == 202:
        return Sent(path, uid, False, "the server took the request and does not say that it stored the file")
    return Sent(path, uid, True)


#: Failure and warning reasons (PS3.18 Annex I, PS3.4 Annex B).
_REASONS = {
    "A700": "out of resources", "A900": "data set does not match its SOP class", "C000": "cannot be understood",
    "0110": "processing failure", "0122": "SOP class not supported", "0124": "not authorised",
    "C122": "transfer syntax not supported", "B000": "elements were coerced", "B006": "elements were discarded",
    "B007": "data set does not match its SOP class", "0272": "processing failure",
}  # fmt: skip


def _reason(text: str) -> str:
    try:
        code = f"{int(text):04X}"
    except ValueError:
        return text or "(none given)"
    return f"{code}H" + (f" ({_REASONS[code]})" if code in _REASONS else "")


@lru_cache(maxsize=32)
def open_dicomweb(root: str) -> DicomWeb:
    """The server at an address, one object for each."""
    return DicomWeb(root)
