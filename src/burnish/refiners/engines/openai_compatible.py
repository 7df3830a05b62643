"""Asks a server that speaks OpenAI's API: vLLM, llama.cpp, SGLang, transformers, a paid one.

Requests go out concurrently and are tried again, with growing pauses, where the server is busy or
the line breaks. A request that fails for good is an error of its own and never a decision; a server
that is gone, or refuses everybody, stops the run, which can be resumed.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from math import nan
from typing import Any, TypeVar

from burnish.errors import MissingExtra, RefinerError, UsageError
from burnish.refiners.engines.base import Completion, Request

try:
    import httpx
except ImportError:  # pragma: no cover
    raise MissingExtra("an OpenAI-compatible server as engine", "httpx", "openai") from None

T = TypeVar("T")
R = TypeVar("R")

APIS = ("completions", "chat")
GRAMMARS = ("vllm", "llama.cpp", "none")
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_REFUSED = (401, 403, 404)
_LONGEST_PAUSE = 60.0  # seconds


class _Failed(Exception):
    """One request failed for good."""


class OpenAiCompatibleEngine:
    """A model behind an address.

    Batches are the server's own affair: with a server that computes the same request differently in
    another batch, a program may differ where two tokens are nearly tied.
    """

    tolerance = 0.0

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api: str = "completions",
        grammar: str | None = None,
        api_key_variable: str = "OPENAI_API_KEY",
        concurrency: int = 64,
        timeout: float = 300.0,
        attempts: int = 8,
        requests_per_minute: float | None = None,
    ) -> None:
        """Finds out what the server is.

        Args:
            url: up to and including the version, as in "http://host:8000/v1".
            model: its name there; the default is the first one that the server lists.
            api: "completions" sends exact token ids, "chat" messages that the server frames itself.
            grammar: how the server takes a grammar: "vllm", "llama.cpp" or "none"; the default
                finds out.
            api_key_variable: the environment variable that holds the key, if one is needed.
            concurrency: requests under way at once.
            timeout: seconds that one request may take.
            attempts: how often a request is tried, with pauses that double from half a second up
                to a minute, or as long as the server asks for.
            requests_per_minute: no more than so many; None sets no bound.

        Raises RefinerError where nobody answers, or something else than such a server.
        """
        if api not in APIS:
            raise UsageError(f"the option api is one of {', '.join(APIS)}, not {api!r}")
        if grammar is not None and grammar not in GRAMMARS:
            raise UsageError(f"the option grammar is one of {', '.join(GRAMMARS)}, not {grammar!r}")
        key = os.environ.get(api_key_variable)
        self._url = url.rstrip("/")
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(timeout, 20.0)),
            limits=httpx.Limits(max_connections=concurrency),
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )
        self._concurrency = concurrency
        self._attempts = attempts
        self._gate = _Gate(requests_per_minute)
        self._api = api
        self.can_score = api == "completions"
        self.batch_size = 8 * concurrency
        self._model = model or self._first_model()
        self._takes = grammar or self._kind_of_server()
        self.name = f"server {self._model}"

    # ------------------------------------------------------------------------------ the server

    def _first_model(self) -> str:
        found = self._send("GET", "/models")
        entries = found.get("data")
        try:
            return str(entries[0]["id"])  # type: ignore[index]
        except (TypeError, KeyError, IndexError):
            raise RefinerError(
                f"{self._url} lists no model; name one with the option model"
            ) from None

    def _kind_of_server(self) -> str:
        """Which way to hand over a grammar the server understands, by pages that only it has."""
        root = self._url.removesuffix("/v1")
        for path, key, kind in (
            ("/version", "version", "vllm"),
            ("/props", "total_slots", "llama.cpp"),
        ):
            try:
                answer = self._client.get(root + path)
                if answer.is_success and key in answer.json():
                    return kind
            except (httpx.HTTPError, ValueError, TypeError):
                continue
        return "none"

    # ------------------------------------------------------------------------------ generating

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `burnish.refiners.engines.base.Engine.generate`."""
        return self._each(requests, self._complete)

    def _complete(self, request: Request) -> Completion:
        body: dict[str, Any] = {
            "model": self._model,
            "max_tokens": request.max_new_tokens,
            "temperature": 0,
            **self._grammar(request),
        }
        try:
            if self._api == "chat":
                return _chat_answer(
                    self._send("POST", "/chat/completions", self._chat(body, request))
                )
            body |= {"prompt": list(request.prompt), "logprobs": 1}
            return _text_answer(self._send("POST", "/completions", body))
        except _Failed as error:
            return Completion("", "error", error=str(error))

    def _grammar(self, request: Request) -> dict[str, Any]:
        if request.grammar is None or self._takes == "none":
            return {}
        if self._takes == "vllm":
            return {"structured_outputs": {"grammar": request.grammar}}
        return {"grammar": request.grammar}

    def _chat(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        assert request.chat is not None
        messages = [{"role": "user", "content": request.chat.user}]
        if request.chat.system:
            messages.insert(0, {"role": "system", "content": request.chat.system})
        thinking = {} if self._takes == "none" else {"enable_thinking": False}
        return {
            **body,
            "messages": messages,
            **({"chat_template_kwargs": thinking} if thinking else {}),
        }

    # ------------------------------------------------------------------------------ scoring

    def score(
        self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """See `burnish.refiners.engines.base.Engine.score`.

        Raises RefinerError where the server does not tell likelihoods.
        """
        return self._each(prompts, lambda prompt: self._score(prompt, choices))

    def _score(self, prompt: Sequence[int], choices: Sequence[Sequence[int]]) -> list[float]:
        body = {
            "model": self._model,
            "prompt": [[*prompt, *choice] for choice in choices],
            "max_tokens": 1,
            "temperature": 0,
            "echo": True,
            "logprobs": 1,
        }
        try:
            found = self._send("POST", "/completions", body)
        except _Failed:
            return [nan] * len(choices)
        try:
            answers = sorted(found["choices"], key=lambda answer: answer["index"])
            told = [answer["logprobs"]["token_logprobs"] for answer in answers]
            values = [
                values[len(prompt) : len(prompt) + len(choice)]
                for values, choice in zip(told, choices, strict=True)
            ]
            if all(len(v) == len(c) for v, c in zip(values, choices, strict=True)):
                return [float(sum(each)) for each in values]
        except (LookupError, TypeError, ValueError):
            pass
        raise RefinerError(
            f"the server at {self._url} does not tell how likely a given answer is (echo with "
            "logprobs); use the engine option api=chat, which asks for the decision in words"
        )

    # ------------------------------------------------------------------------------ requests

    def _each(self, items: Sequence[T], ask: Callable[[T], R]) -> list[R]:
        """The answers in order; the first error stops what has not begun."""
        with ThreadPoolExecutor(self._concurrency) as pool:
            waiting = [pool.submit(ask, item) for item in items]
            try:
                return [future.result() for future in waiting]
            except BaseException:
                for future in waiting:
                    future.cancel()
                raise

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The JSON object that the server answers with.

        Raises _Failed for a request that fails for good, RefinerError for a server that is gone or
        refuses.
        """
        problem, gone, pause = "", False, 0.0
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(pause)
            pause = min(_LONGEST_PAUSE, 0.5 * 2**attempt) * (0.5 + random.random() / 2)
            self._gate.wait()
            try:
                answer = self._client.request(method, self._url + path, json=body)
            except httpx.TimeoutException as error:
                problem, gone = f"no answer in time ({type(error).__name__})", False
                continue
            except httpx.TransportError as error:
                problem, gone = f"{error or type(error).__name__}", True
                continue
            gone = False
            if answer.status_code in _AGAIN:
                problem = _told(answer)
                pause = max(pause, _asked_pause(answer))
                continue
            if answer.status_code in _REFUSED:
                raise RefinerError(f"the server at {self._url} refuses: {_told(answer)}")
            if not answer.is_success:
                raise _Failed(_told(answer))
            try:
                found = answer.json()
            except ValueError:
                found = None
            if isinstance(found, dict):
                return found
            problem = f"the answer is not a JSON object but {answer.text[:80]!r}"
            if "html" in answer.headers.get("content-type", ""):
                raise RefinerError(
                    f"{self._url}{path} is a web page, not an API; the address usually ends in /v1"
                )
        if gone:
            raise RefinerError(
                f"the server at {self._url} does not answer: {problem}. Start it, or mend the "
                "address; the run goes on where it stopped"
            )
        if method == "GET":
            raise RefinerError(f"the server at {self._url} does not work: {problem}")
        raise _Failed(f"{problem}, after {self._attempts} attempts")


def _text_answer(found: Mapping[str, Any]) -> Completion:
    """The completion in an answer of /completions. Raises _Failed if there is none."""
    try:
        choice = found["choices"][0]
        logprobs = (choice.get("logprobs") or {}).get("token_logprobs") or []
        sure = sum(value for value in logprobs if value is not None) if logprobs else nan
        return _answer(choice["text"], choice.get("finish_reason"), found, sure)
    except (LookupError, TypeError, AttributeError):
        raise _Failed(f"the answer holds no completion: {str(found)[:120]}") from None


def _chat_answer(found: Mapping[str, Any]) -> Completion:
    """The completion in an answer of /chat/completions. Raises _Failed if there is none."""
    try:
        choice = found["choices"][0]
        return _answer(choice["message"]["content"], choice.get("finish_reason"), found, nan)
    except (LookupError, TypeError, AttributeError):
        raise _Failed(f"the answer holds no message: {str(found)[:120]}") from None


def _answer(text: Any, reason: Any, found: Mapping[str, Any], sure: float) -> Completion:
    if not isinstance(text, str):
        raise _Failed(f"the answer holds no text but {text!r}")
    if reason not in ("stop", "length"):
        raise _Failed(f"the server ended the answer for the reason {reason!r}")
    tokens = (found.get("usage") or {}).get("completion_tokens", 0)
    return Completion(text, reason, tokens=tokens, log_probability=sure, margin=nan)


class _Gate:
    """Lets through so many a minute, evenly."""

    def __init__(self, per_minute: float | None) -> None:
        self._every = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        if not self._every:
            return
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._next)
            self._next = begin + self._every
        time.sleep(begin - now)


def _told(answer: httpx.Response) -> str:
    """What the server says went wrong, in one line."""
    try:
        found = answer.json()
        message = found.get("error", found)
        message = message.get("message", message) if isinstance(message, dict) else message
    except (ValueError, AttributeError):
        message = answer.text[:200]
    return f"{answer.status_code} {' '.join(str(message).split())[:300]}"


def _asked_pause(answer: httpx.Response) -> float:
    """Seconds that the server asks to wait, at most five minutes."""
    value = answer.headers.get("retry-after", "")
    try:
        return min(float(value), 300.0)
    except ValueError:
        pass
    try:
        return min(max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0), 300.0)
    except (TypeError, ValueError):
        return 0.0
