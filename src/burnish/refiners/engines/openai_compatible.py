"""Asks a server that speaks OpenAI's API: vLLM, llama.cpp, SGLang, transformers, a paid one.

Requests go out concurrently and are tried again, with growing pauses, where the server is busy or
the line breaks. A request that fails for good is an error of its own and never a decision; a server
that is gone, or fails everybody, stops the run, which can be resumed.
"""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from math import fsum, inf, nan
from queue import Empty, SimpleQueue
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
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")

IN_A_ROW = 16
"""So many requests that fail one after another mean that the server fails everybody."""

TOLERANCES: dict[str | None, tuple[float, float]] = {
    "float32": (1e-3, 1e-4),
    "float16": (0.05, 0.0),
    "bfloat16": (0.5, 0.0),
    None: (0.0, 0.0),
}
"""How far log-probabilities and scores may move with the batch; scores that may not are computed
one after another."""

_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
_REFUSED = (401, 403, 404)
_TIMEOUTS = 2  # a request is given up after so many
_LONGEST_PAUSE = 60.0  # seconds
_LONGEST_ASKED_PAUSE = 300.0
_LOOK = 0.1  # seconds until a stop is noticed
_MOST_TOKENS = 128  # vLLM tells the likelihood of so many tokens at once
_FORBIDDEN = -9_000.0  # vLLM writes -9999 for the likelihood of what a grammar forbids
_OWNERS = {"vllm": "vllm", "llamacpp": "llama.cpp"}


class _Failed(Exception):
    """One request failed for good; `refused` where the server will not have it."""

    def __init__(self, problem: str, *, refused: bool = False) -> None:
        super().__init__(problem)
        self.refused = refused


class _Again(Exception):
    """One attempt failed, and another may not."""

    def __init__(self, problem: str, *, gone: bool = False, late: bool = False) -> None:
        super().__init__(problem)
        self.gone = gone  # nobody is there
        self.late = late


class _Stopped(Exception):
    """The others of a batch have ended, and this one need not go on."""


class OpenAiCompatibleEngine:
    """A model behind an address.

    A vLLM server computes a request that comes alone by itself, without what its cache holds of
    others, as long as nobody else asks it. Other servers do not tell how near a tie was: there, a
    program may differ with the batch.

    Attributes:
        name: "server" and the model's name there.
        tolerance, score_tolerance: see `burnish.refiners.engines.base.Engine`.
        can_score: false for the chat API.
    """

    grammar_is_slow = False

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
        first_pause: float = 0.5,
        requests_per_minute: float | None = None,
        dtype: str | None = "bfloat16",
        temperature: float = 0.0,
        token_limit: str = "max_tokens",
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
            timeout: seconds that the server may take over one request.
            attempts: how often a request is tried; one that the server takes too long over, twice
                at most.
            first_pause: seconds before the second attempt; pauses double up to a minute, or are as
                long as the server asks for.
            requests_per_minute: no more than so many; None sets no bound.
            dtype: what a vLLM server computes in: "float32", "float16" or "bfloat16". It decides
                what counts as a near tie, to be asked again alone; at half precision, documents are
                scored one after another. None leaves that out: faster, but an answer may then
                depend on what is computed beside it.
            temperature: of the answers; 0 takes the likeliest.
            token_limit: the name of the field that bounds an answer; some servers want
                "max_completion_tokens", and their models no temperature other than 1.

        Raises RefinerError where nobody answers, or something else than such a server.
        """
        if api not in APIS:
            raise UsageError(f"the option api is one of {', '.join(APIS)}, not {api!r}")
        if grammar is not None and grammar not in GRAMMARS:
            raise UsageError(f"the option grammar is one of {', '.join(GRAMMARS)}, not {grammar!r}")
        if min(concurrency, attempts) < 1:
            raise UsageError("the options concurrency and attempts are at least 1")
        if requests_per_minute is not None and requests_per_minute <= 0:
            raise UsageError("the option requests_per_minute is more than 0")
        if token_limit not in TOKEN_LIMITS:
            known = ", ".join(TOKEN_LIMITS)
            raise UsageError(f"the option token_limit is one of {known}, not {token_limit!r}")
        if temperature < 0:
            raise UsageError("the option temperature is at least 0")
        if dtype not in TOLERANCES:
            known = ", ".join(filter(None, TOLERANCES))
            raise UsageError(f"the option dtype is null or one of {known}, not {dtype!r}")
        key = os.environ.get(api_key_variable)
        self._key_variable = api_key_variable
        self._url = url.rstrip("/")
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(timeout, 20.0), pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=concurrency),
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )
        weakref.finalize(self, self._client.close)
        self._concurrency = concurrency
        self._timeout = timeout
        self._attempts = attempts
        self._first_pause = first_pause
        self._temperature = temperature
        self._token_limit = token_limit
        self._stopped = threading.Event()
        self._gate = _Gate(requests_per_minute)
        self._health = _Health(self._url)
        self._api = api
        entry = self._listed(model)
        self._model = model or str(entry["id"])
        length = entry.get("max_model_len")
        self._context = length if isinstance(length, int) else None
        self._takes = grammar or _OWNERS.get(str(entry.get("owned_by"))) or self._kind_by_pages()
        self.can_score = api == "completions"
        self.tolerance, self.score_tolerance = TOLERANCES[dtype]
        self._scored = 1 if dtype and not self.score_tolerance else concurrency
        self.name = f"server {self._model}"

    # ------------------------------------------------------------------------------ the server

    def _listed(self, model: str | None) -> Mapping[str, Any]:
        """What the server says about the model; of none named, about its first."""
        nothing = {"id": model} if model else None
        try:
            return self._send("GET", "/models", None, lambda found: _entry(found, model))
        except _Failed as error:
            if nothing is None:
                raise RefinerError(
                    f"{self._url} lists no model ({error}); name one with the option model"
                ) from None
            return nothing

    def _kind_by_pages(self) -> str:
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

    def stop(self) -> None:
        """Ends what other threads ask, and all that comes after, with RefinerError."""
        self._stopped.set()

    def ready(self) -> None:
        """Takes back `stop`."""
        self._stopped.clear()

    # ------------------------------------------------------------------------------ generating

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `burnish.refiners.engines.base.Engine.generate`."""
        own_cache = len(requests) == 1 and self.tolerance > 0

        def complete(request: Request, stop: threading.Event) -> Completion:
            try:
                return self._complete(request, stop, own_cache)
            except _Failed as error:
                return Completion("", "error", error=str(error))

        return _each(requests, complete, self._concurrency, self._stopped)

    def _complete(self, request: Request, stop: threading.Event, own_cache: bool) -> Completion:
        body: dict[str, Any] = {
            "model": self._model,
            self._token_limit: request.max_new_tokens,
            "temperature": self._temperature,
            **({} if request.seed is None else {"seed": request.seed}),
            **self._grammar(request),
        }
        if self._takes == "vllm":
            body["repetition_penalty"] = 1.0  # the model's folder may ask for another
            if own_cache:
                body["cache_salt"] = uuid.uuid4().hex
        if self._api == "chat":
            body |= self._messages(request)
            return self._send("POST", "/chat/completions", body, _chat_answer, stop)
        body["prompt"] = list(request.prompt)
        if self._context is not None:
            room = self._context - len(request.prompt)
            if room < 1:
                raise _Failed(
                    f"a prompt of {len(request.prompt)} tokens does not fit the server's context "
                    f"of {self._context}"
                )
            body[self._token_limit] = min(request.max_new_tokens, room)
        if self._takes == "vllm":
            body |= {"logprobs": 2, "return_tokens_as_token_ids": True}
        return self._send("POST", "/completions", body, _text_answer, stop)

    def _grammar(self, request: Request) -> dict[str, Any]:
        if request.grammar is None or self._takes == "none":
            return {}
        if self._takes == "vllm":
            return {"structured_outputs": {"grammar": request.grammar}}
        return {"grammar": request.grammar}

    def _messages(self, request: Request) -> dict[str, Any]:
        if request.chat is None:
            raise _Failed("the chat API needs the prompt as messages")
        messages = [{"role": "user", "content": _sendable(request.chat.user)}]
        if request.chat.system:
            messages.insert(0, {"role": "system", "content": _sendable(request.chat.system)})
        if self._takes == "none":
            return {"messages": messages}
        return {"messages": messages, "chat_template_kwargs": {"enable_thinking": False}}

    # ------------------------------------------------------------------------------ scoring

    def score(
        self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """See `burnish.refiners.engines.base.Engine.score`.

        Raises RefinerError where the server does not tell likelihoods.
        """
        nodes = _nodes(choices)
        tokens = sorted({token for choice in choices for token in choice})
        by_nodes = self._takes == "vllm" and len(tokens) <= _MOST_TOKENS

        def score(prompt: Sequence[int], stop: threading.Event) -> list[float]:
            try:
                if by_nodes:
                    return self._score_nodes(prompt, choices, nodes, tokens, stop)
                return self._score_echo(prompt, choices, stop)
            except _Failed:
                return [nan] * len(choices)

        return _each(prompts, score, self._scored, self._stopped)

    def _score_nodes(
        self,
        prompt: Sequence[int],
        choices: Sequence[Sequence[int]],
        nodes: Mapping[tuple[int, ...], int],
        tokens: Sequence[int],
        stop: threading.Event,
    ) -> list[float]:
        """vLLM tells the likelihood of any token at each place of an answer. One that follows a
        choice serves all places of it; each request goes on from a place not seen yet, with the
        prompt in the cache."""
        told: dict[tuple[int, ...], Mapping[int, float]] = {}
        body = {
            "model": self._model,
            "temperature": 0,
            "repetition_penalty": 1.0,
            "ignore_eos": True,
            "logprobs": 1,
            "logprob_token_ids": tokens,
            "return_tokens_as_token_ids": True,
            "cache_salt": uuid.uuid4().hex,
        }
        for begin, length in nodes.items():
            if begin in told:
                continue
            body |= {"prompt": [*prompt, *begin], "max_tokens": length - len(begin)}
            place = begin
            for token, near in self._send("POST", "/completions", body, _steps, stop):
                if place not in nodes or place in told:
                    break
                told[place] = near
                place = (*place, token)
        return [
            fsum(told[tuple(choice[:n])][token] for n, token in enumerate(choice))
            for choice in choices
        ]

    def _score_echo(
        self, prompt: Sequence[int], choices: Sequence[Sequence[int]], stop: threading.Event
    ) -> list[float]:
        body = {
            "model": self._model,
            "prompt": [[*prompt, *choice] for choice in choices],
            "max_tokens": 1,
            "temperature": 0,
            "echo": True,
            "logprobs": 1,
        }
        found = self._send("POST", "/completions", body, lambda found: found, stop)
        try:
            answers = sorted(found["choices"], key=lambda answer: answer["index"])
            told = [answer["logprobs"]["token_logprobs"] for answer in answers]
            values = [
                values[len(prompt) : len(prompt) + len(choice)]
                for values, choice in zip(told, choices, strict=True)
            ]
            if all(len(v) == len(c) for v, c in zip(values, choices, strict=True)):
                return [fsum(each) for each in values]
        except (LookupError, TypeError, ValueError):
            pass
        raise RefinerError(
            f"the server at {self._url} does not tell how likely a given answer is (echo with "
            "logprobs); use the engine option api=chat, which asks for the decision in words"
        )

    # ------------------------------------------------------------------------------ requests

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[Mapping[str, Any]], R],
        stop: threading.Event | None = None,
    ) -> R:
        """What `read` makes of the server's answer, after as many attempts as it takes.

        Raises _Failed for a request that fails for good, RefinerError for a server that is gone or
        fails everybody, _Stopped as soon as `stop` is set.
        """
        stop = stop or threading.Event()
        pause, late = self._first_pause, 0
        attempts = min(self._attempts, 3) if method == "GET" else self._attempts
        for attempt in range(1, attempts + 1):
            self._gate.wait(stop)
            if stop.is_set():
                raise _Stopped
            try:
                found = self._try(method, path, body, read)
            except _Failed as error:
                if method == "POST":
                    self._health.failed(str(error), refused=error.refused)
                raise
            except _Again as error:
                problem = error
                late += error.late
            else:
                if method == "POST":
                    self._health.worked()
                return found
            if attempt == attempts or late == _TIMEOUTS:
                break
            stop.wait(min(pause, _LONGEST_PAUSE) * (0.5 + random.random() / 2))
            pause *= 2
        if problem.gone:
            raise RefinerError(
                f"the server at {self._url} does not answer: {problem}. Start it, or mend the "
                "address; the run goes on where it stopped"
            )
        times = "1 attempt" if attempt == 1 else f"{attempt} attempts"
        failure = f"{problem}, after {times}"
        if method == "POST":
            self._health.failed(failure, refused=False)
        raise _Failed(failure)

    def _try(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[Mapping[str, Any]], R],
    ) -> R:
        try:
            answer = self._request(method, self._url + path, body)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _Again(f"no connection ({_brief(error)})", gone=True) from None
        except httpx.TimeoutException as error:
            raise _Again(f"no answer in time ({type(error).__name__})", late=True) from None
        except httpx.RequestError as error:
            raise _Again(f"the connection broke ({_brief(error)})") from None
        except httpx.InvalidURL as error:
            raise RefinerError(f"{self._url} is no address: {error}") from None
        if answer.status_code in _AGAIN:
            self._gate.hold(_asked_pause(answer))
            raise _Again(_told(answer))
        if answer.status_code in _REFUSED and (method == "POST" or answer.status_code != 404):
            raise RefinerError(f"the server at {self._url} refuses: {self._advised(answer)}")
        if answer.is_redirect:
            where = answer.headers.get("location", "another place")
            raise RefinerError(f"{self._url}{path} has moved to {where}; use that address")
        if _is_page(answer):
            if self._health.ever:  # what stands before the server speaks for it
                raise _Again(_told(answer))
            raise RefinerError(
                f"{self._url}{path} is a web page, not an API; the address usually ends in /v1"
            )
        if not answer.is_success:
            raise _Failed(_told(answer), refused=True)
        try:
            found = answer.json()
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise _Again(f"the answer is not a JSON object but {answer.text[:80]!r}")
        try:
            return read(found)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            raise _Failed(f"the answer holds no completion: {str(found)[:120]}") from None

    def _request(self, method: str, url: str, body: Mapping[str, Any] | None) -> httpx.Response:
        """The whole answer, in no more time than a request may take: httpx itself bounds the pauses
        between the parts of an answer, not their sum."""
        end = time.monotonic() + self._timeout
        with self._client.stream(method, url, json=body) as answer:
            parts, late = [], False
            for part in answer.iter_raw():
                if late:  # what is all there by now is paid for, and taken
                    raise httpx.ReadTimeout("", request=answer.request)
                parts.append(part)
                late = time.monotonic() > end
            return httpx.Response(
                answer.status_code,
                headers=answer.headers,
                content=b"".join(parts),
                request=answer.request,
            )

    def _advised(self, answer: httpx.Response) -> str:
        if answer.status_code != 404:
            return f"{_told(answer)} (its key is taken from the variable {self._key_variable})"
        return (
            f"{_told(answer)} (asked for the model {self._model!r}; addresses usually end in /v1)"
        )


# ---------------------------------------------------------------------------------- many at once


def _each(
    items: Sequence[T],
    ask: Callable[[T, threading.Event], R],
    together: int,
    stopped: threading.Event,
) -> list[R]:
    """The answers in order. The first error, an interrupt or `stopped` ends the batch at once: the
    threads are told to stop and not waited for, and do not keep the process alive."""
    todo: SimpleQueue[tuple[int, T]] = SimpleQueue()
    done: SimpleQueue[tuple[int, R | None, BaseException | None]] = SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                place, item = todo.get_nowait()
            except Empty:
                return
            try:
                done.put((place, ask(item, stop), None))
            except BaseException as error:
                done.put((place, None, error))
                stop.set()

    for place, item in enumerate(items):
        todo.put((place, item))
    answers: dict[int, Any] = {}
    try:
        for _ in range(min(together, len(items))):
            threading.Thread(target=work, name="burnish-request", daemon=True).start()
        while len(answers) < len(items):
            if stopped.is_set():
                raise RefinerError("the engine was stopped")
            try:
                place, answer, error = done.get(timeout=_LOOK)
            except Empty:
                continue
            if error is not None:
                raise error
            answers[place] = answer
    finally:
        stop.set()
    return [answers[place] for place in range(len(items))]


class _Gate:
    """Lets requests begin: so many a minute, evenly, and none while the server asks to wait."""

    def __init__(self, per_minute: float | None) -> None:
        self.every = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._next)
            self._next = begin + self.every if self.every else self._next
        if begin > now:
            stop.wait(begin - now)

    def hold(self, seconds: float) -> None:
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class _Health:
    """Counts requests that failed one after another."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._in_a_row = 0
        self.ever = False
        self._lock = threading.Lock()

    def worked(self) -> None:
        with self._lock:
            self._in_a_row = 0
            self.ever = True

    def failed(self, problem: str, *, refused: bool) -> None:
        """A server that answered before may refuse any number of requests, each for itself.

        Raises RefinerError where it fails everybody.
        """
        with self._lock:
            if refused and self.ever:
                return
            self._in_a_row += 1
            if self._in_a_row >= IN_A_ROW:
                raise RefinerError(
                    f"the server at {self._url} failed {self._in_a_row} requests in a row, the "
                    f"last with: {problem}. Mend it; the run goes on where it stopped"
                )


# ---------------------------------------------------------------------------------- answers


def _entry(found: Mapping[str, Any], model: str | None) -> Mapping[str, Any]:
    entries = [entry for entry in found["data"] if "id" in entry]
    if model is None:
        first: Mapping[str, Any] = entries[0]
        return first
    return next((entry for entry in entries if entry["id"] == model), {"id": model})


def _text_answer(found: Mapping[str, Any]) -> Completion:
    """The completion in an answer of /completions."""
    choice = found["choices"][0]
    total, margin = nan, nan
    if choice.get("logprobs"):
        steps = _steps(found)
        total = fsum(near[token] for token, near in steps)
        margin = min((_margin(token, near) for token, near in steps), default=inf)
    return _answer(choice, choice["text"], found, total, margin)


def _chat_answer(found: Mapping[str, Any]) -> Completion:
    """The completion in an answer of /chat/completions."""
    choice = found["choices"][0]
    message = choice["message"]
    text = message["content"]
    if text is None:  # where it thought until there was no room left, the answer is empty
        text = "" if choice.get("finish_reason") == "length" else message.get("refusal")
    return _answer(choice, text, found, nan, nan)


def _sendable(text: str) -> str:
    """The text with a question mark for each lone surrogate, which UTF-8 has no bytes for, as the
    tokenizers of models have it."""
    return text.encode("utf-8", "replace").decode()


def _answer(
    choice: Mapping[str, Any], text: Any, found: Mapping[str, Any], total: float, margin: float
) -> Completion:
    reason = choice.get("finish_reason")
    if reason == "abort":  # vLLM, while it is being shut down
        raise _Again("the server broke the answer off")
    if reason not in ("stop", "length"):
        raise _Failed(f"the server ended the answer for the reason {reason!r}")
    if not isinstance(text, str):
        raise _Failed(f"the answer holds no text but {text!r}")
    usage = found.get("usage") or {}
    tokens = int(usage.get("completion_tokens") or 0)
    if reason == "stop" and total == total and tokens:
        tokens -= 1  # vLLM counts the end
    return Completion(
        text,
        reason,
        tokens=tokens,
        log_probability=total,
        margin=margin,
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        cached_tokens=int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
    )


def _steps(found: Mapping[str, Any]) -> list[tuple[int, dict[int, float]]]:
    """Each token of vLLM's answer, and the log-probabilities told at its place."""
    told = found["choices"][0]["logprobs"]
    return [
        (_id(token), {_id(name): float(value) for name, value in near.items()})
        for token, near in zip(told["tokens"], told["top_logprobs"], strict=True)
    ]


def _id(name: str) -> int:
    return int(name.removeprefix("token_id:"))


def _margin(token: int, near: Mapping[int, float]) -> float:
    """How far the token is ahead of the best other that was allowed."""
    others = [v for other, v in near.items() if other != token and v > _FORBIDDEN]
    return near[token] - max(others) if others else inf


def _nodes(choices: Sequence[Sequence[int]]) -> dict[tuple[int, ...], int]:
    """The beginnings of choices that something follows, the shortest first, each with the length of
    the longest choice that begins so."""
    found: dict[tuple[int, ...], int] = {}
    for choice in choices:
        for place in range(len(choice)):
            begin = tuple(choice[:place])
            found[begin] = max(found.get(begin, 0), len(choice))
    return dict(sorted(found.items(), key=lambda item: len(item[0])))


def _is_page(answer: httpx.Response) -> bool:
    return "html" in answer.headers.get("content-type", "")


def _brief(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _told(answer: httpx.Response) -> str:
    """What the server says went wrong, in one line."""
    if _is_page(answer):
        return f"{answer.status_code} and a web page"
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
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_ASKED_PAUSE) if seconds == seconds else 0.0
