"""A server that speaks as Supabase Storage does, over HTTP and S3, on rows of the database; faults on demand."""

import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from psycopg.rows import dict_row

from db.url import DatabaseUrl

SECRET_KEY = "sb_secret_of-this-test"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJl"
ACCESS_KEY, ACCESS_SECRET, REGION = "access-key-of-this-test", "access-secret-of-this-test", "eu-central-1"
DELETED = "DELETE FROM storage.objects WHERE bucket_id = %s AND name = ANY(%s) RETURNING *"
ABORTED = "DELETE FROM storage.s3_multipart_uploads WHERE id = %s AND bucket_id = %s AND key = %s RETURNING id"

Fault = Callable[["Speaker"], bool]
"""Misbehaves in place of an answer; True when the answer is to be given all the same."""


class Storage:
    """What was asked of the server, and how it is to misbehave next."""

    def __init__(self, url: DatabaseUrl) -> None:
        self.database = psycopg.connect(url.libpq, autocommit=True, row_factory=dict_row)
        self.database.execute("SET storage.allow_delete_query = 'true'")  # which Supabase's triggers ask for
        self.lock = threading.Lock()
        self.faults: list[Fault] = []
        """One a request, as long as there are any; the last stays where `always`."""
        self.always: Fault | None = None
        self.requests: list[str] = []
        self.deleted: Counter[tuple[str, str]] = Counter()
        """Names by bucket, and how often their bytes were deleted."""
        self.aborted: list[str] = []
        self.leaves_rows = False
        """As another S3 than Storage's own, which knows nothing of the rows."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Speaker,), {"storage": self}))
        server.daemon_threads = True
        self.server = server
        self.url = f"http://127.0.0.1:{server.server_address[1]}"

    def fault(self) -> Fault | None:
        with self.lock:
            return self.faults.pop(0) if self.faults else self.always

    def execute(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.lock:
            return self.database.execute(statement.encode(), parameters).fetchall()


class Speaker(BaseHTTPRequestHandler):
    """One connection."""

    storage: Storage
    protocol_version = "HTTP/1.1"

    def do_DELETE(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.storage.requests.append(self.path)
        fault = self.storage.fault()
        if fault is not None and not fault(self):
            return
        path = urlsplit(self.path).path
        self.s3() if path.startswith("/storage/v1/s3/") else self.objects(path)

    def objects(self, path: str) -> None:
        match = re.fullmatch(r"/storage/v1/object/([^/]+)", path)
        if match is None:
            return self.answer(
                404, {"message": f"Route DELETE:{path} not found", "error": "Not Found", "statusCode": 404}
            )
        if not self.has_key():
            return self.answer(400, {"statusCode": "403", "error": "Unauthorized", "message": "Invalid Compact JWS"})
        return self.delete(unquote(match[1]), json.loads(self.body)["prefixes"])

    def delete(self, bucket: str, names: list[str]) -> None:
        rows = self.storage.execute(DELETED, bucket, names)
        self.storage.deleted.update((bucket, row["name"]) for row in rows)
        self.answer(200, [{"name": row["name"], "bucket_id": bucket, "id": str(row["id"])} for row in rows])

    def has_key(self) -> bool:
        key, bearer = self.headers.get("apikey"), self.headers.get("Authorization")
        return (key, bearer) in {(SECRET_KEY, None), (JWT, f"Bearer {JWT}")}

    def s3(self) -> None:
        if not self.is_signed():
            return self.xml(403, "SignatureDoesNotMatch")
        parts = urlsplit(self.path)
        bucket, _, key = parts.path.removeprefix("/storage/v1/s3/").partition("/")
        upload = re.fullmatch(r"uploadId=([^&]+)", parts.query)
        assert upload, self.path
        found = [unquote(upload[1]), unquote(bucket), unquote(key)]
        known = self.storage.leaves_rows or self.storage.execute(ABORTED, *found)
        if not known or found[0] in self.storage.aborted:
            return self.xml(404, "NoSuchUpload")
        self.storage.aborted.append(found[0])
        return self.reply(204, b"", "application/xml")

    def is_signed(self) -> bool:
        """Whether the signature is the one that botocore makes of the same request with the right secret."""
        given = self.headers.get("Authorization", "")
        named = re.search(r"SignedHeaders=([^,]+), Signature=(\w+)", given)
        if named is None or f"Credential={ACCESS_KEY}/" not in given:
            return False
        signed = {name: self.headers[name] for name in named[1].split(";")}
        request = AWSRequest(method="DELETE", url=self.storage.url + self.path, headers=signed, data=self.body)
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        signer = S3SigV4Auth(Credentials(ACCESS_KEY, ACCESS_SECRET), "s3", REGION)
        canonical = signer.canonical_request(request)
        return bool(signer.signature(signer.string_to_sign(request, canonical), request) == named[2])

    def xml(self, status: int, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code} of {ACCESS_KEY}</Message></Error>"
        self.reply(status, body.encode(), "application/xml")

    def answer(self, status: int, value: Any) -> None:
        self.reply(status, json.dumps(value).encode(), "application/json")

    def reply(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests look at `requests`."""


def broken(speaker: Speaker) -> bool:
    speaker.answer(500, {"statusCode": "500", "error": "Internal", "message": "Internal Server Error"})
    return False


def overloaded(speaker: Speaker) -> bool:
    speaker.xml(503, "SlowDown")
    return False


def reset(speaker: Speaker) -> bool:
    """Cuts the connection instead of an answer."""
    speaker.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    speaker.connection.close()
    speaker.close_connection = True
    return False


def reset_when_done(speaker: Speaker) -> bool:
    """Does what is asked, and cuts the connection instead of saying so."""
    bucket = urlsplit(speaker.path).path.rpartition("/")[2]
    speaker.storage.execute(DELETED, bucket, json.loads(speaker.body)["prefixes"])
    return reset(speaker)


def slow(speaker: Speaker) -> bool:
    """Sends its answer a byte at a time, for as long as somebody listens."""
    speaker.send_response(200)
    speaker.send_header("Content-Length", "1000000")
    speaker.end_headers()
    try:
        while True:
            speaker.wfile.write(b" ")
            time.sleep(0.02)
    except OSError:
        speaker.close_connection = True
    return False


def silent(speaker: Speaker) -> bool:
    """Takes the request, and says nothing."""
    time.sleep(5)
    return reset(speaker)


def web_page(speaker: Speaker) -> bool:
    speaker.reply(200, b"<html>Welcome to the wireless network</html>", "text/html")
    return False


def wrong_json(speaker: Speaker) -> bool:
    speaker.answer(200, {"deleted": "perhaps"})
    return False


def expired(speaker: Speaker) -> bool:
    """As Storage tells it, with the key in the words."""
    key = speaker.headers.get("apikey", "")
    if "/s3/" in speaker.path:
        speaker.xml(403, "ExpiredToken")
    else:
        told = {"statusCode": "403", "error": "Unauthorized", "message": f'"exp" claim timestamp check failed: {key}'}
        speaker.answer(400, told)
    return False


def partial(speaker: Speaker) -> bool:
    """Deletes the first half, and says that all went well."""
    names = json.loads(speaker.body)["prefixes"]
    speaker.body = json.dumps({"prefixes": names[: len(names) // 2]}).encode()
    return True


def nothing_there(speaker: Speaker) -> bool:
    speaker.answer(400, {"statusCode": "404", "error": "Bucket not found", "message": "Bucket not found"})
    return False


def refusing(name: str) -> Fault:
    """Refuses every request in which this name occurs."""

    def refuse(speaker: Speaker) -> bool:
        if name not in json.loads(speaker.body)["prefixes"]:
            return True
        speaker.answer(400, {"statusCode": "400", "error": "InvalidKey", "message": f"Invalid key: {name}"})
        return False

    return refuse


def refusing_upload(upload: str) -> Fault:
    """Does not take the signature of whatever concerns this upload, as where its key's characters upset that."""

    def refuse(speaker: Speaker) -> bool:
        if upload not in speaker.path:
            return True
        speaker.xml(403, "SignatureDoesNotMatch")
        return False

    return refuse


@contextmanager
def storage_of(url: DatabaseUrl) -> Iterator[Storage]:
    """The server, answering until the block is left."""
    storage = Storage(url)
    thread = threading.Thread(target=storage.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield storage
    finally:
        storage.server.shutdown()
        storage.server.server_close()
        storage.database.close()
