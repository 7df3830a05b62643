"""A language model as refiner: a dialect's prompts in, programs out, on whatever engine there is.

A chunk stage is decoded greedily under the dialect's grammar. A document stage is not decoded at
all: its two programs are scored by their likelihood after one pass over the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from math import exp, isnan, log, nan
from threading import Lock

from burnish.chunking import merge
from burnish.dialects import get_dialect
from burnish.errors import BurnishError, RefinerError
from burnish.program.lines import Chunk
from burnish.program.operations import DropDocument, Program, RewriteLines
from burnish.refiners.base import Draft
from burnish.refiners.checkpoint import Checkpoint, answer_ids, spoken
from burnish.refiners.engines.base import Completion, Engine, Request
from burnish.schema import Issue
from burnish.spec import ModelSpec, RefinerCard, StageSpec

# The ways in which a model may say so: with and without the blank that some templates put before an
# answer, in the spellings of the paper and of the released models.
_KEEP = ("keep_doc()", " keep_doc()", "untouch_doc()", " untouch_doc()")
_DROP = ("drop_doc()", " drop_doc()")
_SCORE_DIGITS = 4
_ENGINES = Lock()


class Generative:
    """Writes programs with a language model.

    The engine is made when it is first needed, so that loading finds mistakes without a model in
    memory. `constrained=False` leaves the grammar out; the tolerant parser reads what comes.
    """

    def __init__(
        self,
        card: RefinerCard,
        spec: StageSpec,
        checkpoint: Checkpoint,
        make_engine: Callable[[int], Engine],
        *,
        system: str | None = None,
        constrained: bool = True,
    ) -> None:
        """`make_engine` gets the largest number of tokens of a prompt and its program together;
        `system` replaces the dialect's system prompt.

        Raises RefinerError for a window that the model's context can not hold.
        """
        assert card.model is not None
        self.name = f"{card.name} {card.version}"
        self._model: ModelSpec = card.model
        self._dialect = get_dialect(spec.dialect)
        self._tokens = checkpoint.tokens
        own = self._dialect.render(Chunk([""], 0, (0, 0))).system
        self._system = own if system is None else system
        self._template = checkpoint.template(self._model.template, self._system)
        self._make_engine = make_engine
        self._lock = _ENGINES  # an engine serves one thread at a time, and so does the machine
        self._constrained = constrained
        self._stopped = False
        self._scores = spec.dialect == "prox-document"
        self._windows = spec.window is not None
        self._markers = [self._marker(10**digits) for digits in range(2, 7)]
        known = [size for size in (self._model.context, checkpoint.context) if size is not None]
        if not known:
            raise RefinerError(f"{checkpoint.folder}: neither model nor card says its context")
        self._context = min(known)
        self._choices = answer_ids(self._tokens, self._template, [*_KEEP, *_DROP])
        answer = max(map(len, self._choices)) if self._scores else self._model.max_new_tokens
        room = self._context - answer
        self._max_prompt = min(room, self._model.max_prompt or room)
        self._check_window(spec)

    @cached_property
    def engine(self) -> Engine:
        """The engine, made at the first use."""
        return self._make_engine(self._context)

    def measure(self, lines: Sequence[str], first: int = 0) -> list[int]:
        """Tokens or characters, as the card says; each line counts with its marker. `first` is the
        number of the first line in its document."""
        sizes = self._sizes(lines, self._markers[0])
        for digits, marker in enumerate(self._markers[1:], start=4):
            start = 10 ** (digits - 1) - 1 - first  # the first that may have so many digits
            if start >= len(lines):
                break
            more = self._sizes([""], marker)[0] - self._sizes([""], self._markers[0])[0]
            end = 10**digits - 1 - first if marker is not self._markers[-1] else len(lines)
            for number in range(max(start, 0), min(end, len(lines))):
                sizes[number] += more
        return sizes

    def _sizes(self, lines: Sequence[str], marker: str) -> list[int]:
        if self._model.measure == "characters":
            return [len(marker) + len(line) + 1 for line in lines]
        return self._tokens.counts(lines, marker)

    def _marker(self, number: int) -> str:
        """What the dialect writes before a line with about this number."""
        chunk = Chunk(["\x00"], number, (number, number))
        return self._dialect.render(chunk).user.partition("\x00")[0].rpartition("\n")[2]

    def write(self, chunks: Sequence[Chunk]) -> list[Draft]:
        if self._stopped:
            raise RefinerError(f"{self.name} was stopped")
        split = [self.asked(chunk) for chunk in chunks]
        drafts = iter(self._write([pair for pairs in split for pair in pairs]))
        return [_joined([chunk for chunk, _ in pairs], drafts) for pairs in split]

    def answer(self, program: Program, chunk: Chunk) -> list[int]:
        """The ids of a program where the model writes it, behind the window's prompt; the end token
        is not among them. Raises ValueError for a program that the dialect can not say."""
        text = spoken(self._template, self._dialect.format(program, chunk))
        return answer_ids(self._tokens, self._template, [text])[0]

    def _write(self, asked: Sequence[tuple[Chunk, Request]]) -> list[Draft]:
        short = [n for n, (_, request) in enumerate(asked) if self.fits(request)]
        requests = [asked[n][1] for n in short]
        if not requests:
            answers = []
        elif self._scores and self._scores_with_engine():
            answers = self._decide(requests)
        else:
            answers = self._ask(requests, [asked[n][0] for n in short])
        drafts = dict(zip(short, answers, strict=True))
        return [
            drafts[n] if n in drafts else self._too_long(request.prompt)
            for n, (_, request) in enumerate(asked)
        ]

    def stop(self) -> None:
        """Ends the batches under way, in whatever thread, as soon as the engine can."""
        self._stopped = True
        stop = getattr(self.__dict__.get("engine"), "stop", None)
        if stop is not None:
            stop()

    def ready(self) -> None:
        """Takes back `stop`, once no batch is under way."""
        self._stopped = False
        ready = getattr(self.__dict__.get("engine"), "ready", None)
        if ready is not None:
            ready()

    # ------------------------------------------------------------------------------ prompts

    def _request(self, chunk: Chunk) -> Request:
        prompt = replace(self._dialect.render(chunk), system=self._system)
        if self._model.max_text is not None:
            text = self._tokens.first(prompt.user, self._model.max_text)
            prompt = replace(prompt, user=text)
        return Request(
            self._template.encode(self._tokens, prompt.user),
            self._model.max_new_tokens,
            self._grammar(chunk) if self._constrained else None,
            prompt,
        )

    def fits(self, request: Request) -> bool:
        """Whether the prompt leaves the room that an answer needs; else it is a failure."""
        return len(request.prompt) <= self._max_prompt

    def asked(self, chunk: Chunk) -> list[tuple[Chunk, Request]]:
        """The window and its prompt; where that is too long (a window measured in characters, of a
        script with many tokens), its halves, unless the model wants a whole page."""
        request = self._request(chunk)
        middle = len(chunk.lines) // 2
        if self.fits(request) or not (self._windows and middle):
            return [(chunk, request)]
        split = chunk.first + middle
        halves = (
            Chunk(
                chunk.lines[:middle], chunk.first, (chunk.owned[0], min(chunk.owned[1], split - 1))
            ),
            Chunk(chunk.lines[middle:], split, (max(chunk.owned[0], split), chunk.owned[1])),
        )
        owning = [half for half in halves if half.owned[0] <= half.owned[1]]
        return [pair for half in owning for pair in self.asked(half)]

    def _too_long(self, prompt: Sequence[int]) -> Draft:
        message = f"the prompt has {len(prompt)} tokens; the limit is {self._max_prompt}"
        return Draft(None, (Issue("context", message),))

    def _check_window(self, spec: StageSpec) -> None:
        """Whether a full window fits into the context, as far as that can be known."""
        window = spec.window if self._model.measure == "tokens" else None
        window = window if self._model.max_text is None else self._model.max_text
        if window is None:
            return
        frame = len(self._request(Chunk(["x"], 0, (0, 0))).prompt)
        if window + frame > self._max_prompt:
            raise RefinerError(
                f"{self.name}: a window of {window} tokens, the frame of the prompt ({frame}) and "
                f"{self._model.max_new_tokens} new tokens do not fit into the model's context of "
                f"{self._context}; make the card's window, max_text or max_new_tokens smaller"
            )

    # ------------------------------------------------------------------------------ programs

    def _ask(self, requests: Sequence[Request], chunks: Sequence[Chunk]) -> list[Draft]:
        with self._lock:
            engine = self.engine
            if not (self._constrained and engine.grammar_is_slow):
                return self._drafts(engine, requests, chunks)
            # An answer that follows the grammar by itself is the one that it would have led to.
            free = [replace(request, grammar=None) for request in requests]
            drafts = self._drafts(engine, free, chunks)
            again = [n for n, draft in enumerate(drafts) if draft.program is None or draft.issues]
            led = self._drafts(engine, [requests[n] for n in again], [chunks[n] for n in again])
            for n, draft in zip(again, led, strict=True):
                drafts[n] = draft
            return drafts

    def _drafts(
        self, engine: Engine, requests: Sequence[Request], chunks: Sequence[Chunk]
    ) -> list[Draft]:
        """The engine's answers, read; near ties among several are asked again, each alone."""
        if not requests:
            return []
        answers = _generate(engine, requests)
        for n, answer in enumerate(answers):
            if answer.margin < engine.tolerance and len(requests) > 1:
                answers[n] = _generate(engine, [requests[n]])[0]
        return [self._read(a, c) for a, c in zip(answers, chunks, strict=True)]

    def _grammar(self, chunk: Chunk) -> str:
        """The dialect's grammar; the answer may begin with the blank that some templates need."""
        rules = self._dialect.grammar(chunk)
        return 'root ::= " "? program\n' + rules.replace("root ::=", "program ::=", 1)

    def _read(self, answer: Completion, chunk: Chunk) -> Draft:
        if answer.finish == "error":
            return Draft(None, (Issue("engine", answer.error),))
        parsed = self._dialect.parse(answer.text, chunk)
        if answer.finish == "stop":
            return Draft(parsed.program, parsed.issues)
        issues = parsed.issues
        if not any(issue.code == "cut-off" for issue in issues):
            message = f"the answer was cut off after {self._model.max_new_tokens} tokens"
            issues = (*issues, Issue("cut-off", message))
        if parsed.program and any(isinstance(op, RewriteLines) for op in parsed.program):
            return Draft(None, issues)  # the rest of the text would be lost
        return Draft(parsed.program, issues)

    def _scores_with_engine(self) -> bool:
        with self._lock:
            return self.engine.can_score

    def _decide(self, requests: Sequence[Request]) -> list[Draft]:
        """Keep or drop, by likelihood: `scores["keep"]` is the probability of keeping, given that
        the model says one of the two."""
        choices = self._choices
        prompts = [request.prompt for request in requests]
        with self._lock:
            engine = self.engine
            found = [_probability(scores) for scores in engine.score(prompts, choices)]
            for n, (keep, slope) in enumerate(found):
                shift = slope * engine.score_tolerance
                if len(prompts) > 1 and _rounded(keep - shift) != _rounded(keep + shift):
                    found[n] = _probability(engine.score([prompts[n]], choices)[0])
        return [_decision(keep) for keep, _ in found]


def _joined(chunks: Sequence[Chunk], drafts: Iterator[Draft]) -> Draft:
    """One draft for a window from those of its parts; a failure if one of them failed."""
    found = [next(drafts) for _ in chunks]
    if len(found) == 1:
        return found[0]
    issues = tuple(issue for draft in found for issue in draft.issues)
    programs = [draft.program for draft in found if draft.program is not None]
    return Draft(merge(chunks, programs) if len(programs) == len(chunks) else None, issues)


def _generate(engine: Engine, requests: Sequence[Request]) -> list[Completion]:
    """The engine's answers. Where it breaks, each request is tried alone; RefinerError if it breaks
    with all of several."""
    try:
        return engine.generate(requests)
    except BurnishError:
        raise
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        if len(requests) == 1:
            return [Completion("", "error", error=told)]
        answers = [_generate(engine, [request])[0] for request in requests]
        if all(answer.finish == "error" for answer in answers):
            raise RefinerError(f"the engine {engine.name} is broken: {told}") from error
        return answers


def _probability(likelihoods: Sequence[float]) -> tuple[float, float]:
    """The probability of keeping, and how far it moves with a likelihood (both NaN if unknown)."""
    if any(map(isnan, likelihoods)):
        return nan, nan
    keep, drop = _log_sum(likelihoods[: len(_KEEP)]), _log_sum(likelihoods[len(_KEEP) :])
    probability = 1 / (1 + exp(min(drop - keep, 700)))
    return probability, 2 * probability * (1 - probability)


def _rounded(probability: float) -> float:
    return round(probability, _SCORE_DIGITS)


def _decision(keep: float) -> Draft:
    if isnan(keep):
        message = "the engine could not tell how likely the programs are"
        return Draft(None, (Issue("engine", message),))
    score = _rounded(keep)
    return Draft(() if score >= 0.5 else (DropDocument(),), scores={"keep": score})


def _log_sum(values: Sequence[float]) -> float:
    """The logarithm of the sum of the numbers whose logarithms these are."""
    highest = max(values)
    return highest + log(sum(exp(value - highest) for value in values))
