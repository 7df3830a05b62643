"""Real OpenAI-compatible servers on a free local port, for tests of what talks to them.

    with vllm_server(folder) as server:
        server.url                            # "http://127.0.0.1:PORT/v1"

The model's name in requests is `str(folder)`. A server and all its processes are gone when the
block is left.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 240.0


@dataclass(frozen=True)
class Server:
    """A server's address and its process, the leader of a group."""

    url: str
    port: int
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """Ends the whole group as a crash would."""
        _end(self.process, signal.SIGKILL)


@contextmanager
def vllm_server(
    folder: Path,
    python: str = sys.executable,
    *,
    max_model_len: int = 256,
    dtype: str = "float32",
    port: int | None = None,
) -> Iterator[Server]:
    """`vllm serve` on a CPU; needs vLLM. Takes 20 to 60 seconds to start on two cores."""
    port = port or _free_port()
    command = [
        *(python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", dtype, "--max-model-len", str(max_model_len)),
        *("--kv-cache-memory-bytes", str(256 << 20), "--enforce-eager"),
        *("--generation-config", "vllm", "--structured-outputs-config.backend", "guidance"),
        "--disable-log-stats",
    ]
    environment = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    with _server(command, environment, port) as server:
        yield server


@contextmanager
def transformers_server(folder: Path, python: str = sys.executable) -> Iterator[Server]:
    """`transformers serve` on a CPU; needs transformers 5, fastapi, uvicorn, openai, accelerate.

    /v1/completions takes a prompt as text alone (no token ids), has no grammars, and leaves
    `logprobs` out of its answer; /v1/chat/completions wants a chat template.
    """
    port = _free_port()
    command = [
        *(python, "-c", "from transformers.cli.transformers import main; main()"),
        *("serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"),
        *("--reasoning", "off"),
    ]
    with _server(command, {"HF_HUB_OFFLINE": "1"}, port) as server:
        yield server


@contextmanager
def _server(command: Sequence[str], environment: Mapping[str, str], port: int) -> Iterator[Server]:
    # An engine in this process leaves settings of its own behind; the server starts without them.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("VLLM_")}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, so that all of it can be ended
        )
        try:
            if not _answers(f"http://127.0.0.1:{port}/health", process):
                log.seek(0)
                told = log.read().decode(errors="replace")[-4_000:]
                raise RuntimeError(f"the server did not start: {' '.join(command)}\n{told}")
            yield Server(f"http://127.0.0.1:{port}/v1", port, process)
        finally:
            _end(process, signal.SIGTERM, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(address: str, process: subprocess.Popen[bytes]) -> bool:
    """Waits until the address answers; False if the process ends or the time is over."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
            if answer.status == 200:
                return True
        time.sleep(0.2)
    return False


def _end(process: subprocess.Popen[bytes], *numbers: signal.Signals) -> None:
    """Ends the process and its whole group by these signals, one after another."""
    for number in numbers:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        end = time.monotonic() + 10.0
        while time.monotonic() < end:
            process.poll()  # reaps the leader, which would count as alive otherwise
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
