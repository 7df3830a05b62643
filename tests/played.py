"""A server on a free local port that answers as a function says, faults included.

with playing(script) as server:
    server.url                            # "http://127.0.0.1:PORT/v1"
    server.bodies                         # what was asked, in order
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from loopback import serving

Body = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]
CUT = -1  # in the place of a status: the line breaks after these bytes
PAGE = (200, {"content-type": "text/html; charset=utf-8"}, b"<html><body>Welcome</body></html>")


def answer(value: Any, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"content-type": "application/json", **named}, json.dumps(value).encode()


def text(value: Any, reason: Any = "stop") -> Answer:
    return answer({"choices": [{"index": 0, "text": value, "finish_reason": reason}]})


def problem(status: int, message: str = "no", **headers: str) -> Answer:
    return answer({"error": {"message": message, "type": "x", "code": status}}, status, **headers)


@dataclass
class Played:
    """A server that answers by a function of the request's number (from 0) and its body."""

    script: Callable[[int, Body], Answer]
    models: Answer = field(default_factory=lambda: answer({"data": [{"id": "m"}]}))
    bodies: list[Body] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    under_way: int = 0
    most: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def respond(self, path: str, body: Body | None, key: str | None) -> Answer:
        if body is None:
            return self.models if path == "/v1/models" else problem(404, "no such page")
        with self.lock:
            number = len(self.bodies)
            self.bodies.append({**body, "path": path})
            self.keys.append(key)
            self.times.append(time.monotonic())
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            return self.script(number, body)
        finally:
            with self.lock:
                self.under_way -= 1


@contextmanager
def playing(
    script: Callable[[int, Body], Answer], models: Answer | None = None, port: int = 0
) -> Iterator[Played]:
    played = Played(script)
    if models:
        played.models = models

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.reply(played.respond(self.path, None, None))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.reply(played.respond(self.path, body, self.headers.get("authorization")))

        def reply(self, found: Answer) -> None:
            status, headers, data = found
            self.close_connection = status == CUT
            try:
                self.send_response(200 if status == CUT else status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data) * (2 if status == CUT else 1)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                self.close_connection = True  # the other side waits no more

        def log_message(self, *args: object) -> None:
            pass

    with serving(Handler, port) as address:
        played.url = f"{address}/v1"
        yield played
