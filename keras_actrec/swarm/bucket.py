"""A folder of a bucket at `s3://`, through s3fs: few calls, each of which may be repeated. Imports no Keras.

Credentials, region and endpoint come from the environment, as everywhere with AWS (AWS_ACCESS_KEY_ID, AWS_PROFILE,
AWS_ENDPOINT_URL ...). s3fs is imported when a bucket is opened, and not before.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from keras_actrec.errors import UserError
from keras_actrec.swarm.journal import StorageFullError
from keras_actrec.swarm.patience import patiently

CONNECT_SEC, ANSWER_SEC = 10, 30
PART_BYTES, PARTS_AT_ONCE = 16 << 20, 4
"""Large files are carried in parts; their product is the memory that one transfer takes."""
TRIES_OF_A_PART = 3
_FULL = {"QuotaExceeded", "XMinioStorageFull", "XMinioStorageQuotaExceeded", "InsufficientStorage", "507"}
_PASSING_CODES = {"IncompleteBody", "BadDigest", "RequestTimeout", "XAmzContentSHA256Mismatch", "OperationAborted"}
_PASSING_STATUS = {408, 425, 429}
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Result = TypeVar("Result")


class StoreError(UserError):
    """The store does not answer, or refuses; what was committed before is kept."""

    def __init__(self, address: str, reason: str, advice: str) -> None:
        super().__init__(
            f"expected the store {address} to work, but {reason}: {advice}, and resume the swarm; nothing that was "
            "committed is lost"
        )


class Bucket:
    """Objects whose keys begin with a prefix. Safe to use from several threads.

    Args:
        address: s3://BUCKET/PREFIX.
        patience_sec: a service that does not answer, or with an error of its own, is asked again for so long.

    Raises:
        UserError: the address is none, or s3fs is not installed.
    """

    def __init__(self, address: str, patience_sec: float) -> None:
        self.address = address.rstrip("/")
        scheme, _, rest = self.address.partition("://")
        self._bucket, _, self._prefix = rest.partition("/")
        if not self._bucket or scheme != "s3":
            raise UserError(f"expected an address as s3://BUCKET/FOLDER, got {address}")
        self._patience_sec = patience_sec
        self._files = _file_system(self.address)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the names that begin with `prefix`, relative to the address, with their lengths in bytes."""
        found: dict[str, int] = {}
        question = {"Bucket": self._bucket, "Prefix": self._key(prefix)}
        while True:
            answer = self._ask(lambda: self._files.call_s3("list_objects_v2", **question))
            for entry in answer.get("Contents", ()):
                found[entry["Key"][len(self._key("")) :]] = entry["Size"]
            if not answer.get("IsTruncated"):
                return found
            question["ContinuationToken"] = answer["NextContinuationToken"]

    def upload(self, path: Path, name: str) -> None:
        """Publish a file of this machine; it is there as a whole or not at all."""
        parts = {"chunksize": PART_BYTES, "max_concurrency": PARTS_AT_ONCE}
        self._ask(lambda: self._files.put_file(str(path), self._path(name), **parts))

    def download(self, name: str, path: Path) -> None:
        """Copy an object into a file of this machine.

        Raises:
            FileNotFoundError: there is none.
            OSError: this machine's disk is full.
        """
        parts = {"chunksize": PART_BYTES, "max_concurrency": PARTS_AT_ONCE}
        self._ask(lambda: self._files.get_file(self._path(name), str(path), **parts), missing=True)

    def copy(self, source: str, target: str) -> None:
        """Copy an object within the bucket; nothing is carried over the network.

        Raises:
            FileNotFoundError: `source` is not there.
        """
        self._ask(lambda: self._files.cp_file(self._path(source), self._path(target)), missing=True)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; such that are not there do not matter."""
        for name in names:
            key = self._key(name)
            self._ask(lambda key=key: self._files.call_s3("delete_object", Bucket=self._bucket, Key=key))

    def abort_uploads(self, prefix: str = "") -> int:
        """Remove the parts of uploads that were begun and not completed; return their bytes."""
        question = {"Bucket": self._bucket, "Prefix": self._key(prefix)}
        begun = self._ask(lambda: self._files.call_s3("list_multipart_uploads", **question)).get("Uploads", ())
        return sum(
            self._abort({"Bucket": self._bucket, "Key": one["Key"], "UploadId": one["UploadId"]}) for one in begun
        )

    def _abort(self, upload: dict[str, str]) -> int:
        try:
            parts = self._ask(lambda: self._files.call_s3("list_parts", **upload), missing=True).get("Parts", ())
            self._ask(lambda: self._files.call_s3("abort_multipart_upload", **upload), missing=True)
        except FileNotFoundError:
            return 0
        return sum(part["Size"] for part in parts)

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _path(self, name: str) -> str:
        return f"{self._bucket}/{self._key(name)}"

    def _ask(self, attempt: Callable[[], Result], missing: bool = False) -> Result:
        """Return what an attempt gives; `missing` lets pass that an object is not there."""
        try:
            return patiently(attempt, _may_pass, self._patience_sec)
        except FileNotFoundError as error:
            if missing and _answer(error)[1] != "NoSuchBucket":
                raise
            raise StoreError(self.address, "the bucket is not there", "check swarm.store") from error
        except Exception as error:
            explained = self._explained(error)
            if explained is None:
                raise
            raise explained from error

    def _explained(self, error: Exception) -> UserError | None:
        status, code = _answer(error)
        if code in _FULL or status == 507:
            return StorageFullError(self.address)
        if not _of_the_service(error) or (isinstance(error, OSError) and status is None and error.errno in _NO_SPACE):
            return None
        reason = " ".join(str(error).split()) or type(error).__name__
        if _may_pass(error):
            advice = "check the network, the service and AWS_ENDPOINT_URL"
            return StoreError(self.address, f"it has not answered for {self._patience_sec:.0f} s ({reason})", advice)
        return StoreError(self.address, f"it refuses ({reason})", "check swarm.store, credentials, region and rights")


@contextlib.contextmanager
def _needs_s3fs(address: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UserError(f"{address}: s3:// needs s3fs, which does not load here ({error}); pip install s3fs") from None


def _file_system(address: str) -> Any:
    with _needs_s3fs(address):
        import s3fs
    settings = {"connect_timeout": CONNECT_SEC, "read_timeout": ANSWER_SEC, "retries": {"total_max_attempts": 1}}
    made = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True, config_kwargs=settings)
    made.retries = TRIES_OF_A_PART
    return made


def _answer(error: BaseException) -> tuple[int | None, str | None]:
    """Return status and code of the service's answer, None without one."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return status, str(response.get("Error", {}).get("Code"))
    return None, None


def _may_pass(error: Exception) -> bool:
    """Whether the same request may work a little later."""
    from botocore import exceptions

    status, code = _answer(error)
    if code in _FULL or status == 507:
        return False
    if status is not None:
        return status >= 500 or status in _PASSING_STATUS or code in _PASSING_CODES
    lasting = (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.ParamValidationError,
        exceptions.InvalidRegionError,
        exceptions.ProfileNotFound,
        FileNotFoundError,
        PermissionError,
    )
    if isinstance(error, lasting) or (isinstance(error, OSError) and error.errno in _NO_SPACE):
        return False
    return _of_the_service(error)


def _of_the_service(error: Exception) -> bool:
    """Whether an error comes from the service or the network, and not from a mistake in this program."""
    import aiohttp
    from botocore import exceptions

    kinds = (OSError, exceptions.BotoCoreError, exceptions.ClientError, aiohttp.ClientError, http.client.HTTPException)
    return isinstance(error, kinds)
