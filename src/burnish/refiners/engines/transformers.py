"""Runs a model with transformers: the portable engine, on a CPU or one CUDA device.

Prompts are read in batches of like length, then all of them are continued together. Where the
grammar leaves one way on, those tokens are taken at once and read in the next step, so that a call
such as `remove_lines(line_start=12, line_end=19)` costs steps for its numbers only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from inspect import signature
from math import inf
from pathlib import Path
from typing import Any

from burnish.errors import MissingExtra, RefinerError
from burnish.refiners.engines.base import Completion, Request
from burnish.refiners.engines.batches import padded_groups
from burnish.refiners.tokens import Tokens

try:
    import torch
    import transformers

    from burnish.refiners.engines.decoding import Grammars, Row, allowed_bits
except ImportError as error:  # pragma: no cover
    raise MissingExtra(
        "the engine transformers", error.name or "transformers", "transformers"
    ) from None

# How far a log-probability was seen to move between a request alone and in a batch, with room.
_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.5, "float16": 0.05}
_SCORE_TOLERANCE = {"float32": 1e-4}  # likewise of a score; others are computed alone


class TransformersEngine:
    """A causal language model of the Hugging Face library."""

    can_score = True
    grammar_is_slow = False

    def __init__(
        self,
        folder: Path,
        end_tokens: Sequence[int],
        *,
        device: str | None = None,
        dtype: str | None = None,
        prompt_tokens: int | None = None,
        cache_tokens: int | None = None,
    ) -> None:
        """Loads the model.

        `device` is "cpu", "cuda" or "cuda:N"; the default is CUDA where there is one. `dtype` is
        "bfloat16", "float16" or "float32"; the default is bfloat16 where the device computes in it,
        else float32. `prompt_tokens` bounds the (padded) tokens of prompts read at once,
        `cache_tokens` those of all requests that are continued together.

        Raises RefinerError for a model that can not be loaded.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or self.default_dtype(device)
        if dtype not in _TOLERANCE:
            raise RefinerError(f"dtype is one of {', '.join(_TOLERANCE)}, not {dtype!r}")
        # Ours is enough.
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        model: Any
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=getattr(torch, dtype), attn_implementation="sdpa"
            )
            model = model.to(device).eval()
        except torch.OutOfMemoryError:
            raise RefinerError(f"{folder}: the model does not fit into {device}") from None
        except Exception as error:
            raise RefinerError(f"{folder} can not be loaded as a model: {error}") from None
        self._set_up(model, folder, end_tokens, dtype, prompt_tokens, cache_tokens)

    @classmethod
    def around(
        cls, model: Any, folder: Path, end_tokens: Sequence[int], dtype: str
    ) -> TransformersEngine:
        """Runs a model that is in memory already, such as one in training, which must be in its
        evaluation mode whenever the engine is asked; its tokenizer is in the folder, and it
        computes in `dtype`."""
        engine = cls.__new__(cls)
        engine._set_up(model, folder, end_tokens, dtype, None, None)
        return engine

    def _set_up(
        self,
        model: Any,
        folder: Path,
        end_tokens: Sequence[int],
        dtype: str,
        prompt_tokens: int | None,
        cache_tokens: int | None,
    ) -> None:
        self._model = model
        self._cache_name = _cache_name(model)
        self._device = str(model.device)
        on_cpu = self._device == "cpu"
        self.name = f"transformers {dtype}"
        self.tolerance = _TOLERANCE[dtype]
        self.score_tolerance = _SCORE_TOLERANCE.get(dtype, 0.0)
        self._prompt_tokens = prompt_tokens or (4_096 if on_cpu else 32_768)
        self._cache_tokens = cache_tokens or (32_768 if on_cpu else 262_144)
        self._ends = frozenset(end_tokens)
        self._stopped = False
        self._tokens = Tokens(folder / "tokenizer.json")
        self._grammars = Grammars(
            folder / "tokenizer.json",
            max(self._model.config.vocab_size, self._tokens.size),
            end_tokens,
        )

    def stop(self) -> None:
        """Ends what another thread asks, before its next step, with RefinerError."""
        self._stopped = True

    def ready(self) -> None:
        """Takes back `stop`."""
        self._stopped = False

    @staticmethod
    def default_dtype(device: str | None) -> str:
        """bfloat16 where the device computes in it, else float32."""
        on_gpu = device != "cpu" and torch.cuda.is_available()
        return "bfloat16" if on_gpu or _cpu_has_bfloat16() else "float32"

    # ------------------------------------------------------------------------------ generating

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `burnish.refiners.engines.base.Engine.generate`."""
        done: list[Completion | None] = [None] * len(requests)
        rows = []
        for place, request in enumerate(requests):
            try:
                rows.append(self._grammars.row(place, request))
            except ValueError as error:
                done[place] = Completion("", "error", error=str(error))
        # The longest first: where memory is too small, that is known at once.
        for group in _groups(rows, self._cache_tokens):
            for place, completion in self._together(group):
                done[place] = completion
        assert all(completion is not None for completion in done)
        return [completion for completion in done if completion is not None]

    def _together(self, rows: Sequence[Row]) -> list[tuple[int, Completion]]:
        """The completions of requests that are continued together, halved where memory is short."""
        try:
            self._run(rows)
        except torch.OutOfMemoryError:
            self._free()
            if len(rows) == 1:
                size = len(rows[0].request.prompt)
                message = f"out of memory on {self._device} with a prompt of {size} tokens"
                return [(rows[0].place, Completion("", "error", error=message))]
            fresh = [self._grammars.row(row.place, row.request) for row in rows]
            half = len(fresh) // 2
            return [*self._together(fresh[:half]), *self._together(fresh[half:])]
        return [(row.place, row.completion(self._tokens)) for row in rows]

    @torch.inference_mode()
    def _run(self, rows: Sequence[Row]) -> None:
        """Reads the prompts, then continues all rows, step by step, until each has finished."""
        logits, cache, seen = self._read_prompts(rows)
        live = list(rows)
        while True:
            self._choose(live, logits)
            stay = [n for n, row in enumerate(live) if not row.finish]
            if not stay:
                return
            if len(stay) < len(live):
                index = torch.tensor(stay, device=self._device)
                cache.batch_select_indices(index)
                seen = seen[index]
                live = [live[n] for n in stay]
            logits, seen = self._step(live, cache, seen)

    def _read_prompts(self, rows: Sequence[Row]) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """Logits after each prompt [row, vocabulary], the cache of all, and which places of it hold
        tokens [row, place]; prompts are aligned at their ends."""
        parts = []
        for group in _groups(rows, self._prompt_tokens):
            for row in group:
                row.feed = list(row.request.prompt)
            parts.append(self._first_step(group))
        if len(parts) == 1:
            return parts[0]
        logits = torch.cat([part[0] for part in parts])
        width = max(part[2].shape[1] for part in parts)
        seen = torch.cat([_widened(part[2], width, 1) for part in parts])
        cache = transformers.DynamicCache()
        for n in range(len(parts[0][1].layers)):
            layers = [part[1].layers[n] for part in parts]
            keys = torch.cat([_widened(layer.keys, width, 2) for layer in layers])
            values = torch.cat([_widened(layer.values, width, 2) for layer in layers])
            cache.update(keys, values, n)
            for layer in layers:
                layer.keys = layer.values = None
        return logits, cache, seen

    def _first_step(self, rows: Sequence[Row]) -> tuple[torch.Tensor, Any, torch.Tensor]:
        cache = transformers.DynamicCache()
        nothing = torch.zeros((len(rows), 0), dtype=torch.bool, device=self._device)
        logits, seen = self._step(rows, cache, nothing)
        return logits, cache, seen

    def _step(
        self, rows: Sequence[Row], cache: Any, seen: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Reads what each row feeds; logits behind it and the places of the cache that now hold
        tokens."""
        if self._stopped:
            raise RefinerError("the engine was stopped")
        width = max(len(row.feed) for row in rows)
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        held = torch.zeros((len(rows), width), dtype=torch.bool)
        places = torch.zeros((len(rows), width), dtype=torch.long)
        for n, row in enumerate(rows):
            size = len(row.feed)
            ids[n, width - size :] = torch.tensor(row.feed)
            held[n, width - size :] = True
            places[n, width - size :] = torch.arange(row.length, row.length + size)
            row.length += size
            row.feed = []
        seen = torch.cat((seen, held.to(self._device)), dim=1)
        out = self._model(
            input_ids=ids.to(self._device),
            attention_mask=None if bool(seen.all()) else seen.long(),
            position_ids=places.to(self._device),
            use_cache=True,
            logits_to_keep=1,
            **{self._cache_name: cache},
        )
        return out.logits[:, -1].float(), seen

    def _choose(self, rows: Sequence[Row], logits: torch.Tensor) -> None:
        """Each row's best allowed token, and what the grammar forces behind it."""
        if any(row.matcher for row in rows):
            logits = logits.masked_fill(~self._allowed(rows, logits.shape[1]), -inf)
        best = logits.topk(2, dim=1)
        chances = (best.values[:, 0] - logits.logsumexp(dim=1)).tolist()
        margins = (best.values[:, 0] - best.values[:, 1]).tolist()
        for row, token, chance, margin in zip(
            rows, best.indices[:, 0].tolist(), chances, margins, strict=True
        ):
            row.take(token, chance, margin, self._ends)

    def _allowed(self, rows: Sequence[Row], vocabulary: int) -> torch.Tensor:
        """Which tokens each row's grammar allows [row, token]."""
        bits = torch.from_numpy(allowed_bits(rows, vocabulary)).to(self._device)
        each = torch.arange(32, dtype=torch.int32, device=self._device)
        allowed = (bits[:, :, None] >> each & 1).bool().flatten(1)
        return allowed[:, :vocabulary]

    # ------------------------------------------------------------------------------ scoring

    @torch.inference_mode()
    def score(
        self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """See `burnish.refiners.engines.base.Engine.score`.

        All choices are read in the same pass as their prompt, side by side: each sees the prompt
        and itself.
        """
        most = self._prompt_tokens if self.score_tolerance else 1
        found: dict[int, list[float]] = {}
        for group in padded_groups([len(prompt) for prompt in prompts], most):
            scores = self._score([prompts[n] for n in group], choices)
            found.update(zip(group, scores, strict=True))
        return [found[n] for n in range(len(prompts))]

    def _score(
        self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        if self._stopped:
            raise RefinerError("the engine was stopped")
        width = max(map(len, prompts))
        behind = [choice[:-1] for choice in choices]  # what is read to know the next token
        size = width + sum(map(len, behind))
        ids = torch.zeros((len(prompts), size), dtype=torch.long)
        places = torch.zeros((len(prompts), size), dtype=torch.long)
        sees = torch.zeros((len(prompts), 1, size, size), dtype=torch.bool)
        sees[:, :, :width, :width] = torch.ones((width, width), dtype=torch.bool).tril()
        starts = []
        column = width
        for tokens in behind:
            starts.append(column)
            end = column + len(tokens)
            ids[:, column:end] = torch.tensor(tokens)
            sees[:, :, column:end, :width] = True
            sees[:, :, column:end, column:end] = torch.ones(
                (len(tokens), len(tokens)), dtype=torch.bool
            ).tril()
            for n, prompt in enumerate(prompts):
                places[n, column:end] = torch.arange(len(prompt), len(prompt) + len(tokens))
            column = end
        for n, prompt in enumerate(prompts):
            pad = width - len(prompt)
            ids[n, pad:width] = torch.tensor(prompt)
            places[n, pad:width] = torch.arange(len(prompt))
            sees[n, :, :, :pad] = False
            sees[n, 0, range(pad), range(pad)] = True  # a row that sees nothing is not a number
        out = self._model(
            input_ids=ids.to(self._device),
            attention_mask=sees.to(self._device),
            position_ids=places.to(self._device),
            use_cache=False,
            logits_to_keep=size - width + 1,
        )
        chances = out.logits.float().log_softmax(2)
        first = chances[:, 0].cpu()
        rest = chances[:, 1:].cpu()
        return [
            [
                float(first[n, choice[0]])
                + sum(
                    float(rest[n, start - width + k, token]) for k, token in enumerate(choice[1:])
                )
                for choice, start in zip(choices, starts, strict=True)
            ]
            for n in range(len(prompts))
        ]

    def _free(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()


def _cache_name(model: Any) -> str:
    """What the model calls its cache: the library gave it another name in version 5.24."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "cache" if "cache" in signature(plain.forward).parameters else "past_key_values"


def _groups(rows: Sequence[Row], most: int) -> Iterator[list[Row]]:
    """The rows in groups whose prompts, padded to the longest, hold at most `most` tokens."""
    for group in padded_groups([len(row.request.prompt) for row in rows], most):
        yield [rows[place] for place in group]


def _widened(tensor: torch.Tensor, width: int, dim: int) -> torch.Tensor:
    """The tensor with zeros before it along `dim`, `width` long."""
    missing = width - tensor.shape[dim]
    if not missing:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat((tensor.new_zeros(shape), tensor), dim=dim)


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 numbers by itself."""
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and bool(re.search(r"\b(avx512_bf16|amx_bf16)\b", flags.read_text()))
