"""A proxy on a free local port that does to answers what lines and busy servers do to them.

    with proxy(server.url, plan) as between:
        between.url                           # ask here
        between.delivered                     # prompts whose whole answer was handed over unharmed

`plan` says for each request, by its number (from 0) and body, which fault it meets, None for none.
A fault is told as what is written to the line, byte for byte, before the line is closed.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from loopback import serving

Body = dict[str, Any]


@dataclass(frozen=True)
class Silence:
    """Nothing more is written until the other side has had enough and hangs up."""


@dataclass(frozen=True)
class Reset:
    """The line breaks with a reset in place of an orderly end."""


Step = bytes | Silence | Reset
Fault = Callable[[bytes], Iterator[Step]]
"""What is written in place of an answer, of which the JSON is given."""


def head(length: int, status: str = "200 OK", kind: str = "application/json", **more: str) -> bytes:
    named = {"content-type": kind, "content-length": str(length), **more}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in named.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def _refusing(status: str, **headers: str) -> Fault:
    """The server says no, with a word of JSON."""
    told = b'{"error": {"message": "not now"}}'
    return lambda data: iter([head(len(told), status, **headers), told])


def _retry_date(data: bytes) -> Iterator[Step]:
    yield head(0, "429 Too Many Requests", retry_after=formatdate(time.time(), usegmt=True))


def _gateway_page(data: bytes) -> Iterator[Step]:
    page = b"<html><h1>502 Bad Gateway</h1></html>"
    yield head(len(page), "502 Bad Gateway", "text/html") + page


def _cut_before(data: bytes) -> Iterator[Step]:
    return iter(())


def _reset_before(data: bytes) -> Iterator[Step]:
    yield Reset()


def _cut_in_head(data: bytes) -> Iterator[Step]:
    yield head(len(data))[:30]


def _cut_inside(data: bytes) -> Iterator[Step]:
    yield head(len(data)) + data[: len(data) // 2]


def _reset_inside(data: bytes) -> Iterator[Step]:
    yield head(len(data)) + data[: len(data) // 2]
    yield Reset()


def _cut_in_chunks(data: bytes) -> Iterator[Step]:
    half = data[: len(data) // 2]
    yield b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    yield f"{len(half):x}\r\n".encode() + half + b"\r\n"


def _half_json(data: bytes) -> Iterator[Step]:
    """A whole answer by its length, of a server that broke off itself."""
    half = data[: len(data) // 2]
    yield head(len(half)) + half


def _no_bytes(data: bytes) -> Iterator[Step]:
    yield head(0)


def _no_json(data: bytes) -> Iterator[Step]:
    yield head(9) + b"upstream!"


def _no_http(data: bytes) -> Iterator[Step]:
    yield b"SSH-2.0-OpenSSH_9.9\r\n"


def _bad_gzip(data: bytes) -> Iterator[Step]:
    yield head(len(data), content_encoding="gzip") + data


def _silent(data: bytes) -> Iterator[Step]:
    yield Silence()


def _stalled(data: bytes) -> Iterator[Step]:
    yield head(len(data)) + data[: len(data) // 2]
    yield Silence()


def _dripping(data: bytes) -> Iterator[Step]:
    """A byte now and then, so that the line is never silent for long."""
    yield head(len(data))
    for place in range(len(data)):
        time.sleep(0.1)
        yield data[place : place + 1]


PASSING: dict[str, Fault] = {
    "429": _refusing("429 Too Many Requests"),
    "429 with seconds": _refusing("429 Too Many Requests", retry_after="0.02"),
    "429 with a date": _retry_date,
    "429 with nonsense": _refusing("429 Too Many Requests", retry_after="soon"),
    "500": _refusing("500 Internal Server Error"),
    "502 with a page": _gateway_page,
    "503": _refusing("503 Service Unavailable"),
    "529": _refusing("529 Overloaded"),
    "cut before": _cut_before,
    "reset before": _reset_before,
    "cut in the head": _cut_in_head,
    "cut inside": _cut_inside,
    "reset inside": _reset_inside,
    "cut in chunks": _cut_in_chunks,
    "half of the JSON": _half_json,
    "no bytes": _no_bytes,
    "no JSON": _no_json,
    "no HTTP": _no_http,
    "bad gzip": _bad_gzip,
}
"""Faults that another attempt does not meet."""
LATE: dict[str, Fault] = {"silent": _silent, "stalled": _stalled, "dripping": _dripping}
"""Those that take as long as the other side's patience."""


def page(data: bytes) -> Iterator[Step]:
    """A web page where an answer should be, as of a portal that wants a login."""
    welcome = b"<html><body>Welcome</body></html>"
    yield head(len(welcome), kind="text/html; charset=utf-8") + welcome


@dataclass
class Proxy:
    """What went over the line.

    `delivered` counts by prompt (its messages as JSON) the answers that were handed over whole and
    unharmed, `met` the faults by name or function.
    """

    url: str = ""
    delivered: Counter[str] = field(default_factory=Counter)
    met: Counter[Fault] = field(default_factory=Counter)
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def asked(body: Body) -> str:
    return json.dumps(body["messages"])


@contextmanager
def proxy(
    upstream: str, plan: Callable[[int, Body], Fault | None] = lambda number, body: None
) -> Iterator[Proxy]:
    """A proxy for the API at `upstream` ("http://127.0.0.1:PORT/v1")."""
    between = Proxy()
    there = urlsplit(upstream).netloc

    def fetch(method: str, path: str, data: bytes | None) -> tuple[int, bytes]:
        line = http.client.HTTPConnection(there, timeout=60)
        try:
            line.request(method, path, data, {"content-type": "application/json"})
            found = line.getresponse()
            return found.status, found.read()
        finally:
            line.close()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            status, data = fetch("GET", self.path, None)
            self.wfile.write(head(len(data), f"{status} x") + data)

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"]))
            body = json.loads(sent)
            with between.lock:
                number = between.requests
                between.requests += 1
            fault = plan(number, body)
            status, data = fetch("POST", self.path, sent)
            if fault is not None:
                with between.lock:
                    between.met[fault] += 1
                self.close_connection = True
                with suppress(OSError):  # who waited has hung up
                    for step in fault(data):
                        self.take(step)
                return
            with between.lock:
                between.delivered[asked(body)] += status == 200
            with suppress(OSError):
                self.wfile.write(head(len(data), f"{status} x") + data)

        def take(self, step: Step) -> None:
            if isinstance(step, bytes):
                self.wfile.write(step)
            elif isinstance(step, Silence):
                self.connection.recv(1)
            else:  # an end that lingers for no time is a reset
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                # The request's files hold the line open as well.
                self.connection.close()
                self.rfile.close()

        def log_message(self, *args: object) -> None:
            pass

    with serving(Handler, quiet=True) as address:
        between.url = f"{address}/v1"
        yield between
