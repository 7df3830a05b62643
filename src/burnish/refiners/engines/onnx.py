"""Runs a decoder in ONNX with ONNX Runtime, on a CPU.

Each prompt is read by itself: its thousand tokens keep a CPU busy. Then all requests are continued
together, a token a step. Keys and values are written in place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from burnish.errors import MissingExtra, RefinerError
from burnish.program.alignment import shared_ends
from burnish.refiners.engines.base import Completion, Request
from burnish.refiners.engines.batches import padded_groups
from burnish.refiners.engines.exports import kept_export
from burnish.refiners.tokens import Tokens

try:
    from burnish.refiners.engines.decoding import Grammars, Row, allowed_bits
except ImportError as error:
    raise MissingExtra("the engine onnx", error.name or "llguidance", "onnx") from None

MODEL_FILE = "model.onnx"
_SETTINGS_FILE = "genai_config.json"

_TOLERANCE = 1e-4
"""How far log-probabilities may move with the batch. Measured over 1,000 prompts, all at once and
in batches of 7 in another order, with each type of weights: not at all."""

_BITS = re.compile(rb"\n\x04bits\x18([\x04\x08])")  # an attribute of a product in the model's file

_Cache = list[NDArray[np.float32]]
"""Keys and values of each layer, `[row, head, place, size]`."""


class OnnxEngine:
    """Runs the model in a folder.

    Attributes:
        name: "onnx" and the type of the weights.
        tolerance: see `burnish.refiners.engines.base.Engine`.
    """

    can_score = True
    grammar_is_slow = False
    score_tolerance = 0.0  # each prompt is scored alone
    tolerance = _TOLERANCE

    def __init__(
        self,
        folder: Path,
        end_tokens: Sequence[int],
        *,
        weights: str = "int8",
        threads: int | None = None,
        cache_tokens: int = 32_768,
    ) -> None:
        """Loads the model; a Hugging Face checkpoint is exported first, once (seconds to minutes).

        Args:
            folder: an export (model.onnx and its settings), or a checkpoint. The export of a
                checkpoint goes into the subfolder `onnx-int8` (`onnx-int4`, `onnx-float32`), or
                under ~/.cache/burnish if the folder can not be written.
            end_tokens: tokens that end an answer.
            weights: how a checkpoint is exported; an export is taken as it is.
            threads: the library's own choice is one for each physical core.
            cache_tokens: bounds the tokens of all requests that are continued together, answers
                included. A token takes layers * key-value heads * head size * 8 bytes: 224 KiB in
                Qwen3 0.6B.

        Raises RefinerError for a model that can not be exported or loaded.
        """
        place = exported(folder, weights=weights)
        self._session = _session(place / MODEL_FILE, threads)
        self._context, self._vocabulary, shape = _settings(place)
        inputs = [node.name for node in self._session.get_inputs()]
        self._past = [name for name in inputs if name.startswith("past_key_values.")]
        if {*inputs} - {*self._past} != {"input_ids", "attention_mask"} or not self._past:
            raise RefinerError(
                f"{place / MODEL_FILE} is no decoder as burnish exports them: its inputs are "
                f"{', '.join(inputs)}"
            )
        self._present = [name.replace("past_key_values", "present") for name in self._past]
        self._heads, self._size = shape
        self._cache_tokens = cache_tokens
        self._ends = frozenset(end_tokens)
        self._stopped = False
        self._tokens = Tokens(place / "tokenizer.json")
        self._grammars = Grammars(
            place / "tokenizer.json", max(self._vocabulary, self._tokens.size), end_tokens
        )
        self.name = f"onnx {_weights_type(place / MODEL_FILE)}"

    def stop(self) -> None:
        """Ends what another thread asks, before its next step, with RefinerError."""
        self._stopped = True

    def ready(self) -> None:
        """Takes back `stop`."""
        self._stopped = False

    # ---------------------------------------------------------------------------------- generate

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `burnish.refiners.engines.base.Engine.generate`."""
        done: dict[int, Completion] = {}
        rows = []
        for place, request in enumerate(requests):
            room = self._context - len(request.prompt)
            request = replace(request, max_new_tokens=min(request.max_new_tokens, room))
            try:
                self._check(request.prompt, request.max_new_tokens)
                rows.append(self._grammars.row(place, request))
            except ValueError as error:
                done[place] = Completion("", "error", error=str(error))
        for group in padded_groups([_most(row) for row in rows], self._cache_tokens):
            self._run([rows[n] for n in group])
        done.update((row.place, row.completion(self._tokens)) for row in rows)
        return [done[place] for place in range(len(requests))]

    def _run(self, rows: list[Row]) -> None:
        """Reads the prompts, then continues all rows, step by step, until each has finished."""
        cache = self._empty(len(rows), max(map(_most, rows)))
        for n, row in enumerate(rows):
            row.length = len(row.request.prompt)
            chances = self._read([row.request.prompt], [row.length], _part(cache, n, n + 1))
            self._choose([row], chances)
        while rows := _live(rows, cache):
            ids = [[row.feed.pop(0)] for row in rows]
            for row in rows:
                row.length += 1
            logits = self._read(ids, [row.length for row in rows], _part(cache, 0, len(rows)))
            free = [n for n, row in enumerate(rows) if not row.feed]  # others have forced tokens
            self._choose([rows[n] for n in free], logits[free])

    def _choose(self, rows: Sequence[Row], logits: NDArray[np.float32]) -> None:
        """Each row's best allowed token, and what the grammar forces behind it."""
        if any(row.matcher for row in rows):
            bits = allowed_bits(rows, logits.shape[1]).view(np.uint8)
            allowed = np.unpackbits(bits, axis=1, bitorder="little")[:, : logits.shape[1]]
            logits = np.where(allowed, logits, np.float32(-inf))
        second, best = np.partition(logits, -2, axis=1)[:, -2:].T
        totals = np.log(np.exp(logits - best[:, None]).sum(axis=1))
        for row, token, total, margin in zip(
            rows, logits.argmax(axis=1).tolist(), totals.tolist(), (best - second).tolist(),
            strict=True,
        ):  # fmt: skip
            row.take(token, -total, margin, self._ends)

    # ------------------------------------------------------------------------------------- score

    def score(
        self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """See `burnish.refiners.engines.base.Engine.score`."""
        found = []
        for prompt in prompts:
            try:
                self._check(prompt, max(map(len, choices), default=1))
                found.append(self._score(prompt, choices))
            except ValueError:
                found.append([nan] * len(choices))
        return found

    def _score(self, prompt: Sequence[int], choices: Sequence[Sequence[int]]) -> list[float]:
        """Beginnings that choices share are read once; the next choice overwrites the rest."""
        cache = self._empty(1, len(prompt) + max(map(len, choices), default=0))
        chances = [self._chances(prompt, len(prompt), cache)]  # behind the prompt, then each token
        read: list[int] = []
        found = {}
        for choice in sorted(set(map(tuple, choices))):
            shared, _ = shared_ends(read, choice[:-1])
            del read[shared:], chances[shared + 1 :]
            for token in choice[shared:-1]:
                read.append(token)
                chances.append(self._chances([token], len(prompt) + len(read), cache))
            found[choice] = sum(
                float(of[token]) for of, token in zip(chances, choice, strict=False)
            )
        return [found[tuple(choice)] for choice in choices]

    def _chances(self, ids: Sequence[int], length: int, cache: _Cache) -> NDArray[np.float64]:
        """Log-probabilities of the token behind these, `[vocabulary]`."""
        logits = self._read([ids], [length], cache)[0].astype(np.float64)
        logits -= logits.max()
        chances: NDArray[np.float64] = logits - np.log(np.exp(logits).sum())
        return chances

    # --------------------------------------------------------------------------------- the model

    def _check(self, prompt: Sequence[int], answer: int) -> None:
        """Raises ValueError for a prompt that can not be read, or leaves no room for the answer."""
        if not prompt:
            raise ValueError("the prompt is empty")
        if len(prompt) >= self._context or len(prompt) + answer > self._context:
            raise ValueError(
                f"the prompt has {len(prompt)} tokens, with its answer the model reads at most "
                f"{self._context}"
            )
        if answer < 1:
            raise ValueError("max_new_tokens must be at least 1")
        wrong = next((token for token in prompt if not 0 <= token < self._vocabulary), None)
        if wrong is not None:
            raise ValueError(
                f"the prompt holds {wrong}, the vocabulary ends at {self._vocabulary - 1}"
            )

    def _empty(self, rows: int, places: int) -> _Cache:
        shape = (rows, self._heads, places, self._size)
        return [np.zeros(shape, np.float32) for _ in self._past]

    def _read(
        self, ids: Sequence[Sequence[int]], lengths: Sequence[int], cache: _Cache
    ) -> NDArray[np.float32]:
        """Reads the tokens of each row, which then has the length told; the logits behind them,
        `[row, vocabulary]`."""
        if self._stopped:
            raise RefinerError("the engine was stopped")
        seen = np.arange(max(lengths)) < np.array(lengths)[:, None]
        binding = self._session.io_binding()
        binding.bind_output("logits", "cpu")
        binding.bind_cpu_input("input_ids", np.array(ids, dtype=np.int64))
        binding.bind_cpu_input("attention_mask", seen.astype(np.int64))
        for past, present, array in zip(self._past, self._present, cache, strict=True):
            at: Any = ("cpu", 0, np.float32, array.shape, array.ctypes.data)
            binding.bind_input(past, *at)
            binding.bind_output(present, *at)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # the library has its own
            raise RefinerError(f"ONNX Runtime can not go on: {error}") from None
        logits: NDArray[np.float32] = binding.get_outputs()[0].numpy()
        return logits[:, -1]


def exported(folder: Path, *, weights: str = "int8") -> Path:
    """The folder with the ONNX files of a model; a checkpoint is exported where it has none.

    Raises RefinerError where there is neither, or the checkpoint can not be exported.
    """

    def export(out: Path, note: tuple[str, str]) -> None:
        from burnish.refiners.engines import onnx_export

        onnx_export.export(folder, out, weights=weights, note=note)

    return kept_export(folder, f"onnx-{weights}", MODEL_FILE, export)


def _session(path: Path, threads: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 4  # errors are raised anyway
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library has its own
        raise RefinerError(f"{path} can not be loaded: {error}") from None


def _settings(folder: Path) -> tuple[int, int, tuple[int, int]]:
    """How many tokens the model reads and how many it knows; key-value heads and their size."""
    path = folder / _SETTINGS_FILE
    try:
        model = json.loads(path.read_text("utf-8"))["model"]
        decoder = model["decoder"]
        shape = int(decoder["num_key_value_heads"]), int(decoder["head_size"])
        return int(model["context_length"]), int(model["vocab_size"]), shape
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RefinerError(f"can not read the size of the model from {path}: {error!r}") from None


def _weights_type(path: Path) -> str:
    """The narrowest type among the matrices."""
    bits = [found[0] for found in _BITS.findall(path.read_bytes())]
    return f"int{min(bits)}" if bits else "float32"


def _most(row: Row) -> int:
    """The length of a row at most, in tokens."""
    return len(row.request.prompt) + row.request.max_new_tokens


def _part(cache: _Cache, begin: int, end: int) -> _Cache:
    return [array[begin:end] for array in cache]


def _live(rows: list[Row], cache: _Cache) -> list[Row]:
    """The rows that are not done; the last one takes the place of one that is."""
    rows = list(rows)
    for n in reversed(range(len(rows))):
        if rows[n].finish:
            last = rows.pop()
            if n < len(rows):
                rows[n] = last
                for array in cache:
                    array[n, :, : last.length] = array[len(rows), :, : last.length]
    return rows
