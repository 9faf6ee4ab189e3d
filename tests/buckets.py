"""A small server of S3 on loopback, and a proxy before it that answers as a bad network would."""

import email.utils
import http.client
import http.server
import os
import random
import re
import socket
import threading
import time
import urllib.parse
import zlib
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import ClassVar
from xml.sax.saxutils import escape, unescape

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
KEY = "AKIAIOSFODNN7EXAMPLE"

SETTINGS = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


class Handler(http.server.BaseHTTPRequestHandler):
    """The verbs of S3 that a store needs: an object is replaced at once, and read as it was written last."""

    protocol_version = "HTTP/1.1"
    # Headers and data are two packets: without this the second waits 40 ms for the answer to the first.
    disable_nagle_algorithm = True
    buckets: ClassVar = {}
    lock: ClassVar = threading.Lock()

    def log_message(self, *_):
        pass

    def asked(self):
        length = int(self.headers.get("content-length") or 0)
        self.body = self.rfile.read(length)
        if len(self.body) < length:
            # What did not arrive whole is not kept.
            raise ConnectionError
        path, _, query = self.path.partition("?")
        bucket, _, key = urllib.parse.unquote(path.lstrip("/")).partition("/")
        return bucket, key, dict(urllib.parse.parse_qsl(query, keep_blank_values=True))

    def answer(self, status, data=b"", length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(data) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status, code):
        self.answer(
            status,
            f"<Error><Code>{code}</Code><Key>{self.headers.get('authorization')}</Key></Error>".encode(),
        )

    def do_PUT(self):
        bucket, key, _ = self.asked()
        with self.lock:
            objects = self.buckets.setdefault(bucket, {}) if not key else self.buckets.get(bucket)
            if objects is None:
                return self.refuse(404, "NoSuchBucket")
            if key and self.headers.get("if-none-match") == "*" and key in objects:
                return self.refuse(412, "PreconditionFailed")
            if known := self.headers.get("if-match"):
                if key not in objects:
                    return self.refuse(404, "NoSuchKey")
                if known != f'"{zlib.crc32(objects[key][0]):x}"':
                    return self.refuse(412, "PreconditionFailed")
            if key:
                objects[key] = (self.body, time.time())
        return self.answer(200, etag=f'"{zlib.crc32(self.body):x}"')

    def do_GET(self):
        bucket, key, query = self.asked()
        objects = self.buckets.get(bucket)
        if objects is None:
            return self.refuse(404, "NoSuchBucket")
        if not key:
            return self.listed(objects, query)
        if key not in objects:
            return self.refuse(404, "NoSuchKey")
        data, when = objects[key]
        told = {"etag": f'"{zlib.crc32(data):x}"', "last_modified": email.utils.formatdate(when, usegmt=True)}
        part = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("range", ""))
        if part is None:
            return self.answer(200, data, **told)
        first = int(part[1]) if part[1] else max(0, len(data) - int(part[2]))
        last = min(int(part[2]), len(data) - 1) if part[1] and part[2] else len(data) - 1
        told["content_range"] = f"bytes {first}-{last}/{len(data)}"
        return self.answer(206, data[first : last + 1], **told)

    do_HEAD = do_GET

    def listed(self, objects, query):
        """At most 50 names, as if there were thousands."""
        start, mark = query.get("prefix", ""), query.get("delimiter")
        found = {}
        for key in sorted(key for key in list(objects) if key.startswith(start)):
            rest, cut, _ = key[len(start) :].partition(mark) if mark else (key, "", "")
            found[start + rest + cut if cut else key] = bool(cut)
        names = [name for name in found if name > query.get("continuation-token", "")]
        page, left = names[:50], len(names) > 50
        parts = [f"<IsTruncated>{str(left).lower()}</IsTruncated>"]
        parts += [f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>"] if left else []
        for name in page:
            if found[name]:
                parts.append(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>")
                continue
            data, when = objects[name]
            stamp = datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            parts.append(
                f"<Contents><Key>{escape(name)}</Key><LastModified>{stamp}</LastModified>"
                f"<ETag>&quot;{zlib.crc32(data):x}&quot;</ETag><Size>{len(data)}</Size></Contents>"
            )
        self.answer(200, f"<ListBucketResult>{''.join(parts)}</ListBucketResult>".encode())

    def do_DELETE(self):
        bucket, key, _ = self.asked()
        self.buckets[bucket].pop(key, None)
        self.answer(204)

    def do_POST(self):
        bucket, _, _ = self.asked()
        keys = [unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", self.body.decode())]
        for key in keys:
            self.buckets[bucket].pop(key, None)
        gone = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        self.answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode())


class Quiet(http.server.ThreadingHTTPServer):
    # zarr asks for many objects at once: of more than wait here the sixth would be sent again after a second.
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A line that was cut is what the tests are about."""


@contextmanager
def served(handler):
    """The address of a server in a thread, which ends with the block."""
    server = Quiet(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def server():
    """The address of a server of S3: that in QIFSCAN_TEST_S3 (moto's, MinIO, ...), or ours."""
    if address := os.environ.get("QIFSCAN_TEST_S3"):
        yield address
        return
    with served(type("Own", (Handler,), {"buckets": {}, "lock": threading.Lock()})) as address:
        yield address


class Proxy:
    """Hands requests on to a server, but for those that a rule has another fate for.

    `fate(method, path)` gives None, an HTTP status, or "cut": half of the body goes on, and the line is
    closed; "lost": the request is done, and its answer does not come; "stale": the first answer that it got.
    """

    def __init__(self, target):
        self.target, self.fate, self.asked, self.hit = target.partition("//")[2], lambda *_: None, [], 0
        self.first = {}
        proxy = self

        class Between(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                proxy.asked.append((self.command, self.path))
                fate = proxy.fate(self.command, self.path)
                proxy.hit += fate is not None
                if isinstance(fate, int):
                    self.send_response(fate)
                    self.send_header("content-length", "0")
                    self.end_headers()
                    return
                if fate == "cut":
                    proxy.send_half(self.command, self.path, self.headers, body)
                    self.close_connection = True
                    return
                answer = proxy.ask(self.command, self.path, self.headers, body)
                first = proxy.first.setdefault((self.command, self.path), answer)
                status, headers, data = first if fate == "stale" else answer
                if fate == "lost":
                    self.close_connection = True
                    return
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = {n.lower(): v for n, v in headers}.get("content-length", str(len(data)))
                self.send_header("content-length", length if self.command == "HEAD" else str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_one

        self.block = served(Between)
        self.url = self.block.__enter__()

    def ask(self, method, path, headers, body):
        line = http.client.HTTPConnection(self.target, timeout=30)
        try:
            # The host is signed, and must be that which the client knows.
            line.request(method, path, body, dict(headers.items()))
            answer = line.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            line.close()

    def send_half(self, method, path, headers, body):
        host, port = self.target.split(":")
        with socket.create_connection((host, int(port))) as line:
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            line.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body[: len(body) // 2])

    def seldom(self, share, fates, seed=0):
        """Give a share of the requests one of these fates."""
        rng = random.Random(seed)
        self.fate = lambda *_: rng.choice(fates) if rng.random() < share else None

    def close(self):
        self.block.__exit__(None, None, None)
