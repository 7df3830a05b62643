"""What runs a language model, as everything else sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import Literal, Protocol

from burnish.dialects.base import Prompt


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to be continued greedily.

    Attributes:
        prompt: token ids, special tokens included; an engine adds and removes none.
        max_new_tokens: the completion is cut off after so many tokens, forced ones included.
        grammar: what the completion must be, as EBNF (see `burnish.program.grammar`); None leaves
            the model free.
        chat: the same prompt before any template, for a server that takes nothing else.
        seed: what tells apart answers to the same prompt, for a server that draws them at a
            temperature; None where there is only one.
    """

    prompt: Sequence[int]
    max_new_tokens: int
    grammar: str | None = None
    chat: Prompt | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer.

    Attributes:
        text: the completion, without the prompt and without special tokens.
        finish: "stop" where the model ended it, "length" where `max_new_tokens` cut it off, "error"
            where there is no answer; `error` then says why.
        tokens: how many tokens it has, the end token not counted.
        log_probability: natural logarithm of the probability of all chosen tokens (of those that
            the grammar allowed); NaN where the engine does not tell.
        margin: the smallest difference of log-probability between a chosen token and the best
            other allowed one; infinite where there was never a choice, NaN where the engine does
            not tell.
        prompt_tokens, cached_tokens: how many tokens a server read, and how many of them it had at
            hand from before; 0 where it does not tell, and of other engines.
    """

    text: str
    finish: Literal["stop", "length", "error"]
    tokens: int = 0
    log_probability: float = nan
    margin: float = inf
    error: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0


class Engine(Protocol):
    """Runs one model.

    Attributes:
        name: the engine's name and the kind of its numbers, such as "transformers bfloat16".
        tolerance: how far log-probabilities may move with the batch that a request came in. Where
            `Completion.margin` is below, the request is asked again alone, so that the answer does
            not depend on its neighbours.
        can_score: whether it tells the likelihood of given answers.
        grammar_is_slow: whether it pays to ask without a grammar first, and with it only where the
            answer breaks it.
        score_tolerance: how far those may move with the batch; 0 where they do not.
    """

    name: str
    tolerance: float
    can_score: bool
    grammar_is_slow: bool
    score_tolerance: float

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order. A request that fails by itself (too long,
        refused by the server) is a completion with finish "error"; RefinerError is raised where
        nothing can go on.
        """
        ...

    def score(
        self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """Natural log-likelihood of each choice (token ids) after each prompt: `[prompt][choice]`.

        Those of a prompt that failed by itself are NaN.
        """
        ...
