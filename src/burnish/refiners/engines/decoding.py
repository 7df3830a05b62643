"""Greedy decoding under a grammar, for engines that choose the tokens themselves.

Where the grammar leaves one way on, those tokens are taken at once, with the chosen one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.gbnf_to_lark import gbnf_to_lark
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray

from burnish.refiners.engines.base import Completion, Request
from burnish.refiners.tokens import Tokens

_KNOWN_GRAMMARS = 1_024  # windows of the same lines have the same one


@dataclass(slots=True)
class Row:
    """One request on its way.

    Attributes:
        place: where its completion stands among those that were asked for.
        ids: the completion so far.
        feed: tokens that the model has to read next: chosen and forced.
        length: tokens that it has read.
        finish: "stop" or "length" once it is done.
    """

    place: int
    request: Request
    matcher: LLMatcher | None
    ids: list[int] = field(default_factory=list)
    feed: list[int] = field(default_factory=list)
    length: int = 0
    log_probability: float = 0.0
    margin: float = inf
    finish: str = ""

    def take(self, token: int, chance: float, margin: float, ends: frozenset[int]) -> None:
        """Adds the chosen token, of log-probability `chance` and so much before the next best, and
        what the grammar forces behind it. Tokens among `ends` end the completion."""
        self.log_probability += chance
        self.margin = min(self.margin, margin)
        if token in ends:
            self.finish = "stop"
            return
        self.feed = [token]
        matcher = self.matcher
        if matcher is not None:
            matcher.consume_token(token)
            forced = [] if matcher.is_stopped() else matcher.compute_ff_tokens()
            if forced:
                matcher.consume_tokens(forced)
                self.feed += [t for t in forced if t not in ends]
            if matcher.is_stopped():
                self.finish = "stop"
        self.ids += self.feed
        most = self.request.max_new_tokens
        if len(self.ids) >= most and not (self.finish and len(self.ids) == most):
            del self.ids[most:]
            self.finish = "length"

    def completion(self, tokens: Tokens) -> Completion:
        return Completion(
            text=tokens.decode(self.ids),
            finish="stop" if self.finish == "stop" else "length",
            tokens=len(self.ids),
            log_probability=self.log_probability,
            margin=self.margin,
        )


class Grammars:
    """The grammars that answers of one model may have to follow."""

    def __init__(self, tokenizer: Path, vocabulary: int, end_tokens: Sequence[int]) -> None:
        """`tokenizer` is a tokenizer.json, `vocabulary` how many tokens the model tells apart."""
        self._tokenizer = LLTokenizer(
            tokenizer.read_text("utf-8"), n_vocab=vocabulary, eos_token=list(end_tokens)
        )
        self._fresh: dict[str, LLMatcher] = {}  # before the first token, by grammar

    def row(self, place: int, request: Request) -> Row:
        """The request, at its beginning. Raises ValueError for a grammar that is none."""
        grammar = request.grammar
        return Row(place, request, None if grammar is None else self._matcher(grammar))

    def _matcher(self, grammar: str) -> LLMatcher:
        fresh = self._fresh.get(grammar)
        if fresh is None:
            fresh = LLMatcher(self._tokenizer, _lark(grammar), log_level=0)
            if fresh.is_error():
                raise ValueError(f"the grammar can not be used: {fresh.get_error()}")
            if len(self._fresh) >= _KNOWN_GRAMMARS:
                self._fresh.clear()
            self._fresh[grammar] = fresh
        return fresh.deep_copy()


def allowed_bits(rows: Sequence[Row], vocabulary: int) -> NDArray[np.int32]:
    """A bit for each token that the row's grammar allows next, `[row, ceil(vocabulary / 32)]`, the
    lowest bit first."""
    masks: NDArray[np.int32] = allocate_token_bitmask(len(rows), vocabulary)
    masks.fill(-1)  # all bits: without a grammar, everything is allowed
    for n, row in enumerate(rows):
        if row.matcher is not None:
            fill_next_token_bitmask(row.matcher, masks, n)
    return masks


def _lark(grammar: str) -> str:
    try:
        return str(gbnf_to_lark(grammar))
    except Exception as error:
        raise ValueError(f"the grammar can not be read: {error}") from None
