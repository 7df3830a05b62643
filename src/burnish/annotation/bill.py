"""What answers cost: known roughly before they are asked for, counted when they came, bounded."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from burnish.annotation.answers import Answer, Question, Usage

BYTES_OF_TOKEN = 4
"""UTF-8 bytes of an average token of English text; other languages come to nearly as many."""
FRAME_TOKENS = 12
"""Tokens of a chat template around a system and a user message."""
_MOST_TOKENS_OF_BYTE = 0.4
"""No prompt is taken to have more, until the server counted one that has."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens: read, written, and read again from the server's cache."""

    prompt: float
    completion: float
    cached: float

    def of(self, usage: Usage) -> float:
        """The price of so many tokens in dollars."""
        fresh = usage.prompt_tokens - usage.cached_tokens
        dollars = fresh * self.prompt + usage.cached_tokens * self.cached
        return (dollars + usage.completion_tokens * self.completion) / 1e6


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be spent in all, over all sessions of a run; None sets no bound."""

    dollars: float | None = None
    tokens: int | None = None


def expected_tokens(text: str) -> int:
    """About how many tokens a text has."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_OF_TOKEN)


def expected(question: Question, answer_tokens: int) -> Usage:
    """About what a question will come to, with an answer of so many tokens."""
    prompt = expected_tokens(question.prompt.system) + expected_tokens(question.prompt.user)
    return Usage(1, prompt + FRAME_TOKENS, 0, answer_tokens)


class Ledger:
    """Counts what is spent on each teacher, and keeps all of it within the budget.

    A question may be asked only if it fits into the budget with an answer of full length, beside
    all others that are under way. While those are, it waits, as their answers are usually shorter.
    """

    def __init__(
        self, budget: Budget, prices: Mapping[str, Price], spent: Mapping[str, Usage]
    ) -> None:
        """`prices` and `spent` (in earlier sessions) are by the teacher's name; a budget in dollars
        needs the price of each."""
        self._budget = budget
        self._prices = prices
        self._spent = dict(spent)
        self._under_way: list[tuple[str, Usage]] = []
        self._changed = threading.Condition()
        self._ratio = _MOST_TOKENS_OF_BYTE
        self.exhausted = False

    @property
    def usage(self) -> Usage:
        """What was spent on all teachers."""
        total = Usage()
        with self._changed:
            for usage in self._spent.values():
                total.merge(usage)
        return total

    @property
    def dollars(self) -> float | None:
        """What was spent in dollars; None where a teacher has no price."""
        with self._changed:
            return self._dollars()

    def _dollars(self) -> float | None:
        if not self._prices or any(name not in self._prices for name in self._spent):
            return None
        return sum(self._prices[name].of(usage) for name, usage in self._spent.items())

    def reserve(self, teacher: str, question: Question, *, wait: bool = True) -> Usage | None:
        """Sets aside the most that the question may come to, to be handed back to `settle`; None
        if there is no room for it.

        With `wait` it first waits for what is under way; if there is no room even then, the budget
        is `exhausted`.
        """
        with self._changed:
            while not self.exhausted:
                most = self._most(question)
                if self._fits(teacher, most):
                    self._under_way.append((teacher, most))
                    return most
                if not wait:
                    return None
                if not self._under_way:
                    self.exhausted = True
                    self._changed.notify_all()
                else:
                    self._changed.wait()
            return None

    def settle(self, teacher: str, most: Usage, question: Question, answer: Answer | None) -> None:
        """Counts the answer to a question that `reserve` let pass; None if there was none."""
        with self._changed:
            self._under_way.remove((teacher, most))
            if answer is not None:
                self._spent.setdefault(teacher, Usage()).add(answer)
                text_tokens = answer.prompt_tokens - FRAME_TOKENS
                self._ratio = max(self._ratio, text_tokens / _bytes(question))
            self._changed.notify_all()

    def _most(self, question: Question) -> Usage:
        prompt = math.ceil(_bytes(question) * self._ratio) + FRAME_TOKENS
        return Usage(1, prompt, 0, question.max_tokens)

    def _fits(self, teacher: str, most: Usage) -> bool:
        """Whether the budget holds what is spent, what is under way and this beside it."""
        reserved = [*self._under_way, (teacher, most)]
        if self._budget.tokens is not None:
            spent = sum(usage.tokens for usage in self._spent.values())
            if spent + sum(usage.tokens for _, usage in reserved) > self._budget.tokens:
                return False
        if self._budget.dollars is not None:
            dollars = self._dollars() or 0.0
            dollars += sum(self._prices[name].of(usage) for name, usage in reserved)
            return dollars <= self._budget.dollars
        return True


def _bytes(question: Question) -> int:
    prompt = question.prompt
    return max(len((prompt.system + prompt.user).encode("utf-8", "surrogatepass")), 1)
