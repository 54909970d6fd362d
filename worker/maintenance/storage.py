"""Supabase Storage over HTTP and over S3: how stored files are deleted, and uploads aborted that nobody finished."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic, sleep
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from worker.settings import PREFIX, Settings

CHUNK = 500
"""Names a request; Storage takes 1,000."""
PATIENCE = timedelta(seconds=30)
"""How long one request may take."""
PAUSES = (0.5, 2.0)
"""Seconds before it is made again, where that may help."""
LONGEST = 16 * 2**20
"""Bytes of an answer; each deleted file comes back as its row."""
SAID = 200
"""Characters that are shown of what a server said."""
KEY_FAULTS = ("jwt", "jws", "unauthorized", "api key", "signature", "accessdenied")
"""Of these one is in what Storage calls the fault when it does not take a key, often as HTTP 400."""
S3_KEY_FAULTS = frozenset(
    {"AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "401", "403"}
)
S3_PASSING = frozenset({"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling"})


class StorageUnavailable(Exception):
    """No answer that is final came: Storage is away, slow or overloaded. Nothing is lost by asking later."""


class StorageRefused(Exception):
    """Storage takes none of what we ask until somebody mends a key or an address; the message says which."""


class NotTaken(Exception):
    """Storage refused this one request for what it asks; others may be taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A large file whose parts were still arriving; `id` is S3's name for it."""

    id: str
    bucket: str
    key: str


class Files:
    """Stored files, deleted through Storage's HTTP interface with a key that may delete any of them."""

    def __init__(
        self, url: str, key: SecretStr, *, patience: timedelta = PATIENCE, pauses: Sequence[float] = PAUSES
    ) -> None:
        self._key = key.get_secret_value()
        self._patience = patience
        self._pauses = pauses
        self._client = httpx.Client(
            base_url=f"{url}/storage/v1/", headers=headers(self._key), timeout=patience.total_seconds()
        )

    def delete(
        self, bucket: str, names: Sequence[str], *, still: Callable[[Sequence[str]], Sequence[str]] = list
    ) -> Mapping[str, str]:
        """
        Delete the files of exactly these names; one that is not there is no fault.

        `still` is asked before each request, the repeated ones too, which of its names may be deleted now. Storage
        says nothing of a name that it left alone: whether a file is gone is for the database to say.

        Returns:
            Names that it would not take, each with why.

        Raises:
            StorageUnavailable, StorageRefused: some may have been deleted; to ask again does no harm.
        """
        refused: dict[str, str] = {}
        for start in range(0, len(names), CHUNK):
            refused |= self._delete(bucket, names[start : start + CHUNK], still)
        return refused

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _delete(
        self, bucket: str, names: Sequence[str], still: Callable[[Sequence[str]], Sequence[str]]
    ) -> dict[str, str]:
        try:
            again(lambda: self._ask(bucket, still(names)), pauses=self._pauses)
        except NotTaken as fault:
            if len(names) == 1:
                return {names[0]: str(fault)}
            half = len(names) // 2  # so that one name does not stand in the way of all
            return self._delete(bucket, names[:half], still) | self._delete(bucket, names[half:], still)
        return {}

    def _ask(self, bucket: str, names: Sequence[str]) -> None:
        if not names:
            return
        place = f"object/{quote(bucket, safe='')}"
        try:
            with self._client.stream("DELETE", place, json={"prefixes": names}) as response:
                body = whole(response, self._patience)
        except httpx.RequestError as fault:
            raise StorageUnavailable(f"Storage does not answer: {str(fault) or type(fault).__name__}.") from fault
        judge(response, parsed(body), said=shown(body, self._key))


class Uploads:
    """Uploads in parts, aborted over S3; with their row, Storage forgets where the bytes are."""

    def __init__(
        self, endpoint: str, *, key_id: str, secret: SecretStr, region: str, patience: timedelta = PATIENCE
    ) -> None:
        self._secret = secret.get_secret_value()
        try:
            import boto3
            from botocore.config import Config
        except ImportError as fault:
            raise StorageRefused("boto3 is not installed: pip install 'codingit-worker[s3]'.") from fault
        self._client = boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=key_id,
            aws_secret_access_key=self._secret,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=patience.total_seconds(),
                read_timeout=patience.total_seconds(),
                retries={"mode": "standard", "total_max_attempts": 1 + len(PAUSES)},
            ),
        )

    def abort(self, upload: Upload) -> None:
        """
        Have the parts thrown away; an upload that S3 does not know any more is no fault.

        Raises:
            NotTaken: this one cannot be aborted.
            StorageUnavailable, StorageRefused: nor can any other.
        """
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ParamValidationError

        try:
            answer = self._client.abort_multipart_upload(Bucket=upload.bucket, Key=upload.key, UploadId=upload.id)
        except ClientError as fault:
            judge_s3(fault.response, said=shown(str(fault).encode(), self._secret))
        except ParamValidationError as fault:
            raise NotTaken("S3 has no such names.") from fault
        except HTTPClientError as fault:
            raise StorageUnavailable(f"S3 does not answer: {shown(str(fault).encode(), self._secret)}") from fault
        except BotoCoreError as fault:
            raise StorageUnavailable(f"S3 cannot be asked: {shown(str(fault).encode(), self._secret)}") from fault
        else:
            if "html" in answer["ResponseMetadata"]["HTTPHeaders"].get("content-type", ""):
                raise StorageRefused(f"Not S3 but a web page answers: see {PREFIX}S3_ENDPOINT_URL.")

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()


def files(settings: Settings) -> Files | None:
    """What deletes stored files, to be closed; None where no address or no key is set."""
    if not (settings.supabase_url and settings.supabase_key):
        return None
    return Files(settings.supabase_url, settings.supabase_key)


def uploads(settings: Settings) -> Uploads | None:
    """
    What aborts uploads, to be closed; None where no key is set.

    Raises:
        StorageRefused: there are keys, and boto3 is not installed.
    """
    if not (settings.s3_access_key_id and settings.s3_secret_access_key):
        return None
    return Uploads(
        settings.s3_endpoint_url or f"{settings.supabase_url}/storage/v1/s3",
        key_id=settings.s3_access_key_id,
        secret=settings.s3_secret_access_key,
        region=settings.s3_region,
    )


def headers(key: str) -> dict[str, str]:
    """A secret key goes into `apikey` alone, where the gateway exchanges it; a JWT is for Storage itself besides."""
    return {"apikey": key} if key.startswith("sb_") else {"apikey": key, "Authorization": f"Bearer {key}"}


def again(ask: Callable[[], None], *, pauses: Sequence[float]) -> None:
    """Ask once, and after each of these pauses as long as no final answer came."""
    for pause in pauses:
        try:
            return ask()
        except StorageUnavailable:
            sleep(pause)
    return ask()


def whole(response: httpx.Response, patience: timedelta) -> bytes:
    """The body, from a server that may send it for ever or without end."""
    until = monotonic() + patience.total_seconds()
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if monotonic() > until or len(body) > LONGEST:
            raise StorageUnavailable("Storage's answer does not end.")
    return bytes(body)


def parsed(body: bytes) -> Any:
    """The JSON of an answer; None where it is something else."""
    try:
        return json.loads(body)
    except ValueError:
        return None


def shown(body: bytes, key: str) -> str:
    """The beginning of what a server said, without the key where it repeats it."""
    told = parsed(body)
    words = str(told.get("message") or told) if isinstance(told, dict) else body.decode(errors="replace")
    line = " ".join(words.replace(key, "…").split())
    return "".join(letter for letter in line[:SAID] if letter.isprintable()) or "(nothing)"


def judge(response: httpx.Response, answer: Any, *, said: str) -> None:
    """
    Return when the answer means that the files are gone.

    Storage tells most faults as HTTP 400, and the status that it means within.
    """
    told = answer if isinstance(answer, dict) else {}
    status = int(told["statusCode"]) if str(told.get("statusCode")).isdecimal() else response.status_code
    if response.is_success and isinstance(answer, list):
        return
    if status == httpx.codes.NOT_FOUND and isinstance(told.get("statusCode"), str):
        return  # Storage's own, of a bucket; a gateway's tells of a wrong address
    if response.is_server_error or status in {408, 429, *range(500, 600)}:
        raise StorageUnavailable(f"Storage answers {response.status_code}: {said}")
    called = f"{told.get('error')} {told.get('code')}".lower()  # never the message, in which users' names of files are
    if status in {401, 403} or any(word in called for word in KEY_FAULTS):
        raise StorageRefused(f"Storage does not take {PREFIX}SUPABASE_KEY: {said}")
    if response.is_client_error and told and status != httpx.codes.NOT_FOUND:
        raise NotTaken(f"Storage answers {status}: {said}")
    raise StorageRefused(f"It is not Storage that answers {response.status_code} at {PREFIX}SUPABASE_URL: {said}")


def judge_s3(response: Mapping[str, Any], *, said: str) -> None:
    """Return when the fault means that there is no such upload any more."""
    code = str(response.get("Error", {}).get("Code"))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "NoSuchUpload":
        return
    if code in S3_KEY_FAULTS or status in {401, 403}:
        raise StorageRefused(f"S3 does not take {PREFIX}S3_ACCESS_KEY_ID and its secret: {said}")
    if code in S3_PASSING or status in {408, 429, *range(500, 600)}:
        raise StorageUnavailable(f"S3 answers {status}: {said}")
    if code.isdecimal():  # a page and no XML
        raise StorageRefused(f"It is not S3 that answers {status}: see {PREFIX}S3_ENDPOINT_URL. {said}")
    raise NotTaken(f"S3 answers {code}: {said}")
