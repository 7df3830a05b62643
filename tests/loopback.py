"""A handler of HTTP requests, served on a free local port while a block runs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler], port: int = 0, *, quiet: bool = False
) -> Iterator[str]:
    """The server's address, without a path; it answers many at once. With `quiet`, what goes wrong
    with a connection is not printed."""
    lines: list[socket.socket] = []

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def get_request(self) -> tuple[socket.socket, Any]:
            accepted = super().get_request()
            lines.append(accepted[0])
            return accepted

        def handle_error(self, request: Any, client_address: Any) -> None:
            if not quiet:
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        for line in lines:  # a server that is gone answers on no line that was kept open
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
