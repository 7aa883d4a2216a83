"""Object stores (S3 and those like it, Google, Azure) and plain HTTP servers, through obstore."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast
from urllib.parse import urlsplit

from dicom_ml.encoding.limits import FOUND, PATIENCE
from dicom_ml.errors import MissingPackageError, StoreError
from dicom_ml.stores.addresses import printable
from dicom_ml.stores.base import ByteStore, Listed
from dicom_ml.stores.helper import Helper, forked, used_here

__all__ = ["ObjectStore"]

#: What shows that the environment holds credentials; without any, requests are not signed, as public data asks for.
_CREDENTIALS = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY"),
    "az": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_ID", "AZURE_STORAGE_TOKEN"),
}
_TIMEOUT = 60
_RETRIES = 6


class ObjectStore(ByteStore):
    """Files under a prefix of a bucket, or one file of a web server.

    Parameters
    ----------
    address : str
        As :func:`dicom_ml.stores.open_store` takes it.

    Notes
    -----
    Settings and credentials are those of the provider's environment variables (``AWS_*``, ``GOOGLE_*``, ``AZURE_*``).
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._single = ""
        base = address
        if urlsplit(address).scheme in ("http", "https"):
            # a web server does not list its files: the address names one
            base, _, self._single = address.rpartition("/")
        self._base = base
        self._made: Any = None
        self._helper = Helper(self)
        if not forked():
            self._store()  # what is wrong with the address is said now

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectStore, (self.address,)

    def _store(self) -> Any:
        if self._made is None:
            self._made = _open(self._base)
        return self._made

    def list(self) -> list[Listed]:
        """All files, ordered by name."""
        if self._single:
            return [Listed(self._single, self.size(self._single))]
        if forked():
            return cast("list[Listed]", self._helper.ask("list"))
        found = []
        try:
            for batch in _in_time(self._store()):
                for item in batch:
                    name = item["path"]
                    if not any(part.startswith(".") for part in name.split("/")):
                        found.append(Listed(name, int(item["size"]), str(item.get("e_tag") or "")))
                if len(found) > FOUND.value:
                    raise StoreError(f"{printable(self._base)} lists more than {FOUND.value} files; {FOUND.advice}")
        except StoreError:
            raise
        except Exception as error:
            raise self._error("", error) from error
        return sorted(found, key=lambda file: file.name)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file."""
        if forked():
            return cast(bytes, self._helper.ask("read", name, offset, length))
        import obstore

        try:
            store = self._store()
            if length is None and offset == 0:
                return bytes(obstore.get(store, name).bytes())
            if length is None:
                return bytes(obstore.get(store, name, options={"range": {"offset": offset}}).bytes())
            if length == 0:
                return b""
            return bytes(obstore.get_range(store, name, start=offset, length=length))
        except Exception as error:
            raise self._error(name, error) from error

    def size(self, name: str) -> int:
        """Bytes of a file."""
        if forked():
            return cast(int, self._helper.ask("size", name))
        import obstore

        try:
            return int(obstore.head(self._store(), name)["size"])
        except Exception as error:
            raise self._error(name, error) from error

    def _error(self, name: str, error: Exception) -> StoreError:
        where = f"{printable(self._base).rstrip('/')}/{name}"
        return StoreError(f"{where} cannot be read: {_reason(error)}")


def _in_time(store: Any) -> Iterator[Any]:
    """Files as they are listed. A store may list nothing, page after page, and obstore waits for it uninterrupted."""
    import obstore

    batches: queue.SimpleQueue[Any] = queue.SimpleQueue()
    enough = threading.Event()

    def fill() -> None:
        try:
            for batch in obstore.list(store):
                if enough.is_set():
                    return
                batches.put(batch)
            batches.put(None)
        except Exception as error:
            batches.put(error)

    threading.Thread(target=fill, daemon=True).start()
    try:
        while True:
            try:
                batch = batches.get(timeout=PATIENCE.value)
            except queue.Empty:
                raise StoreError(
                    f"the store has listed no file for {PATIENCE.value} s; {PATIENCE.advice} seconds"
                ) from None
            if batch is None:
                return
            if isinstance(batch, Exception):
                raise batch
            yield batch
    finally:
        enough.set()


def _open(address: str) -> Any:
    try:
        import obstore.store as stores
    except ImportError as error:
        raise MissingPackageError(
            f"{printable(address)} is read through obstore, which is not installed: pip install obstore"
        ) from error
    used_here()
    patience = PATIENCE.value
    options: dict[str, Any] = {
        "client_options": {"timeout": f"{min(_TIMEOUT, patience)}s", "connect_timeout": "10s"},
        "retry_config": {
            "max_retries": _RETRIES,
            "retry_timeout": timedelta(seconds=patience),
            "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=10), "base": 2},
        },
    }
    parts = urlsplit(address)
    scheme = parts.scheme.lower()
    family = {"s3a": "s3", "s3+http": "s3", "s3+https": "s3", "gcs": "gs"}.get(scheme, scheme)
    if not any(os.environ.get(name) for name in _CREDENTIALS.get(family, ())) and family in _CREDENTIALS:
        options["skip_signature"] = True
    try:
        if scheme.startswith("s3+"):
            bucket, _, prefix = parts.path.strip("/").partition("/")
            plain = scheme == "s3+http"
            if plain:
                options["client_options"]["allow_http"] = True
            return stores.S3Store(
                bucket,
                prefix=prefix or None,
                endpoint=f"{'http' if plain else 'https'}://{parts.netloc}",
                region=os.environ.get("AWS_REGION", "us-east-1"),
                virtual_hosted_style_request=False,
                **options,
            )
        if scheme == "http":
            options["client_options"]["allow_http"] = True
        return stores.from_url(address, **options)
    except Exception as error:
        raise StoreError(f"{printable(address)} cannot be opened: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """First line of an error, which may hold addresses but must hold no signature."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text.partition('?')[0][:300]}"
