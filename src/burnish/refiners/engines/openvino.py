"""A causal language model in this process, run by OpenVINO GenAI: the fast engine on a CPU."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from itertools import count
from math import exp, inf, log1p, nan
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from burnish.errors import MissingExtra, RefinerError
from burnish.refiners.engines.base import Completion, Request
from burnish.refiners.engines.batches import padded_groups
from burnish.refiners.engines.exports import kept_export

try:
    import openvino as ov
    import openvino_genai as genai
    import openvino_tokenizers  # noqa: F401  (lets openvino read a detokenizer)
    from openvino import opset13 as ops
    from tokenizers import Tokenizer
except ImportError as error:
    raise MissingExtra("the OpenVINO engine", error.name or "openvino-genai", "openvino") from None

MODEL_FILE = "openvino_model.xml"
TOLERANCE = 1e-4
"""How far log-probabilities may move with the batch. Measured over 40 prompts of 40 to 440 tokens,
alone and in batches of 7 and 40, in all orders: 5e-6 with float weights, 6e-6 with int8 weights
(hidden size 256, 4 layers). See `EXACT`."""

SCORED_TOKENS = 2_048
"""Tokens of prompts that are scored together; their keys and values are copied for each choice."""

EXACT = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
}
"""Weights may be int8; all else is computed in float32. By default OpenVINO computes in bfloat16,
rounds activations to int8 and keeps keys and values as int8. That is twice as fast, but moves
log-probabilities by up to 0.1 with the batch: 16 of the 40 prompts then had the same answer."""

_PREFIX_CACHING = False
"""It would let an answer depend, by 2e-6, on the requests before."""


class OpenVinoEngine:
    """Runs the model in a folder with continuous batching.

    A request that comes alone, to `generate` or `score`, depends on the request alone, to the last
    bit. `Completion.margin` is a lower bound, from the probability p of each chosen token
    among all tokens, with or without a grammar: no other token has more than 1 - p. It is 0 where
    some p is at most 1/2. `Completion.log_probability` is NaN under a grammar.

    Attributes:
        name: "openvino" and the type of the weights.
        tolerance: see `burnish.refiners.engines.base.Engine`.
    """

    can_score = True
    grammar_is_slow = True
    score_tolerance = 1e-4

    def __init__(
        self,
        folder: Path,
        *,
        end_tokens: Sequence[int],
        device: str = "CPU",
        int8: bool = True,
        cache_gib: int = 4,
        batch_size: int = 128,
        tolerance: float = TOLERANCE,
        exact: bool = True,
    ) -> None:
        """Loads the model; a Hugging Face checkpoint is exported first, once (seconds to minutes).

        Args:
            folder: an OpenVINO export (openvino_model.xml and its tokenizer files), or a
                checkpoint. The export of a checkpoint goes into the subfolder `openvino-int8` or
                `openvino-float`, or under ~/.cache/burnish if the folder can not be written.
            end_tokens: tokens that end an answer, under a grammar too.
            device: as OpenVINO names it. All figures here are of the CPU.
            int8: how a checkpoint is exported; an export is taken as it is.
            cache_gib: memory for keys and values, taken as it is used. A token takes
                layers * key-value heads * head size * 8 bytes: 224 KiB in Qwen3 0.6B.
            batch_size: requests computed together, at most.
            tolerance: instead of the one measured.
            exact: computes as `EXACT` says. False takes OpenVINO's own settings: up to twice as
                fast, and the same document may get another program in another batch.

        Raises:
            RefinerError: the model can not be exported or loaded.
        """
        if not end_tokens:
            raise RefinerError("the OpenVINO engine needs at least one end token (end_tokens)")
        self._folder = exported(folder, int8=int8)
        self._device = device
        self._ends = [int(token) for token in end_tokens]
        self._settings = EXACT if exact else {}
        self._context, self._vocabulary = _bounds(self._folder)
        tokenizer = _find_tokenizer(self._folder, folder)
        self._text = _read_tokenizer(tokenizer)
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = cache_gib
        scheduler.max_num_seqs = batch_size
        scheduler.enable_prefix_caching = _PREFIX_CACHING
        try:
            grammars = _grammar_tokenizer(self._folder, tokenizer)
            self._pipeline = genai.ContinuousBatchingPipeline(
                self._folder, grammars, scheduler, device, **self._settings
            )
        except RefinerError:
            raise
        except Exception as error:  # RuntimeError, or MemoryError
            raise RefinerError(
                f"OpenVINO can not load {self._folder}: {_brief(error)}. If memory does not "
                "suffice, lower cache_gib; if the files are damaged, export them again"
            ) from error
        self._scorer: _Scorer | None = None
        self._numbers = count()
        self.name = f"openvino {_weights_type(self._folder / MODEL_FILE)}"
        self.tolerance = tolerance

    # ---------------------------------------------------------------------------------- generate

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `burnish.refiners.engines.base.Engine`."""
        answers: dict[int, Completion] = {}
        waiting: list[int] = []
        for index, request in enumerate(requests):
            problem = self._problem(request.prompt)
            if request.grammar is not None and not request.grammar.strip():
                problem = "the grammar is empty"  # OpenVINO would take it for none
            if request.max_new_tokens < 1:
                problem = f"max_new_tokens must be at least 1, not {request.max_new_tokens}"
            if problem:
                answers[index] = Completion("", "error", error=problem)
            else:
                waiting.append(index)
        self._answer(requests, waiting, answers)
        return [answers[index] for index in range(len(requests))]

    def _answer(
        self, requests: Sequence[Request], waiting: list[int], answers: dict[int, Completion]
    ) -> None:
        """Answers the waiting requests. OpenVINO tells that a step failed, but not which request
        was to blame: those without an answer are then asked again in halves, down to one.
        """
        if not waiting:
            return
        problem = self._run(requests, waiting, answers)
        left = [index for index in waiting if index not in answers]
        if left and len(waiting) == 1:
            answers[left[0]] = Completion("", "error", error=problem)
            return
        half = (len(left) + 1) // 2
        self._answer(requests, left[:half], answers)
        self._answer(requests, left[half:], answers)

    def _run(
        self, requests: Sequence[Request], waiting: list[int], answers: dict[int, Completion]
    ) -> str:
        """Answers what can be answered of the waiting requests in one go; the rest's fault."""
        handles: dict[int, Any] = {}
        problem = "the attention cache is too small for this request: raise cache_gib"
        try:
            for index in waiting:
                request = requests[index]
                prompt = ov.Tensor(np.array([request.prompt], dtype=np.int64))
                handles[index] = self._pipeline.add_request(
                    next(self._numbers), prompt, self._greedy(request)
                )
            while self._pipeline.has_non_finished_requests():
                self._pipeline.step()
        except MemoryError as error:
            raise _out_of_memory(error) from error
        except RuntimeError as error:
            if "alloc" in str(error):
                raise _out_of_memory(error) from error
            problem = _brief(error)
        finally:  # what is still there would fail, or be answered, with the next requests
            self._drop(handles.values())
        for index, handle in handles.items():
            if handle.get_status() == genai.GenerationStatus.FINISHED:
                answers[index] = self._completion(requests[index], handle.read_all()[0])
        return problem

    def _drop(self, handles: Any) -> None:
        if not self._pipeline.has_non_finished_requests():
            return
        for handle in handles:
            if handle.get_status() == genai.GenerationStatus.RUNNING:
                handle.cancel()
        try:
            while self._pipeline.has_non_finished_requests():
                self._pipeline.step()
        except (RuntimeError, MemoryError) as error:
            raise RefinerError(
                f"OpenVINO can not go on after a fault: {_brief(error)}. Load the engine again"
            ) from error

    def _greedy(self, request: Request) -> Any:
        config = genai.GenerationConfig()
        config.do_sample = False
        config.apply_chat_template = False
        config.logprobs = 1
        config.max_new_tokens = min(request.max_new_tokens, self._context - len(request.prompt))
        config.eos_token_id = self._ends[0]
        config.stop_token_ids = set(self._ends)
        if request.grammar is not None:
            structure = genai.StructuredOutputConfig()
            structure.grammar = request.grammar
            config.structured_output_config = structure
        return config

    def _completion(self, request: Request, output: Any) -> Completion:
        ids: list[int] = list(output.generated_ids)
        chosen: list[float] = list(output.generated_log_probs)
        finish: Literal["stop", "length"] = "length"
        if ids and ids[-1] in self._ends:
            finish = "stop"
            ids.pop()
        return Completion(
            text=str(self._text.decode(ids, skip_special_tokens=True)),
            finish=finish,
            tokens=len(ids),
            log_probability=sum(chosen) if request.grammar is None else nan,
            margin=min(map(_margin, chosen), default=inf),
        )

    def _problem(self, prompt: Sequence[int]) -> str:
        if not prompt:
            return "the prompt is empty"
        if len(prompt) >= self._context:
            return f"the prompt has {len(prompt)} tokens, the model reads less than {self._context}"
        wrong = next((token for token in prompt if not 0 <= token < self._vocabulary), None)
        if wrong is not None:
            return f"the prompt holds {wrong}, the vocabulary ends at {self._vocabulary - 1}"
        return ""

    # ------------------------------------------------------------------------------------- score

    def score(
        self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """See `burnish.refiners.engines.base.Engine`.

        Prompts of like length are read together, once, then all their choices. The first call
        loads the model a second time, in another form.

        Raises RefinerError for an empty or too long prompt or choice.
        """
        longest = max(map(len, choices), default=0)
        for prompt in prompts:
            problem = self._problem(prompt)
            if not problem and len(prompt) + longest > self._context:
                problem = f"prompt and choice have more than {self._context} tokens"
            if problem:
                raise RefinerError(f"can not score: {problem}")
        for choice in choices:
            if self._problem(choice):
                raise RefinerError(f"can not score: {self._problem(choice)} (a choice)")
        if not choices:
            return [[] for _ in prompts]
        try:
            if self._scorer is None:
                self._scorer = _Scorer(self._folder / MODEL_FILE, self._device, self._settings)
            found: dict[int, list[float]] = {}
            for group in padded_groups([len(prompt) for prompt in prompts], SCORED_TOKENS):
                scores = self._scorer.score([prompts[n] for n in group], choices)
                found.update(zip(group, scores, strict=True))
            return [found[n] for n in range(len(prompts))]
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or "alloc" in str(error):
                raise _out_of_memory(error) from error
            raise RefinerError(f"OpenVINO can not score: {_brief(error)}") from error


class _Scorer:
    """The same model as a plain network with a state.

    It has one input more, "kept": of how many tokens, from the end, logits are wanted. Those of a
    whole prompt would take gigabytes.
    """

    def __init__(self, path: Path, device: str, settings: Mapping[str, Any]) -> None:
        core = ov.Core()
        model = core.read_model(path)
        head = model.output("logits").get_node().input_value(0).get_node()
        while head.get_type_name() != "MatMul":
            head = head.input_value(0).get_node()
        kept = ops.parameter([1], np.int64, name="kept")
        kept.output(0).get_tensor().set_names({"kept"})
        end = ops.constant(np.array([np.iinfo(np.int64).max]))
        one = ops.constant(np.array([1]))
        last = ops.slice(head.input_value(0), ops.negative(kept), end, one, one)
        head.input(0).replace_source_output(last.output(0))
        model.add_parameters([kept])
        model.validate_nodes_and_infer_types()
        self._names = {name for node in model.inputs for name in node.get_names()}
        self._network = core.compile_model(model, device, dict(settings)).create_infer_request()

    def score(
        self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        self._network.reset_state()
        width = max(map(len, prompts))
        ids = np.zeros((len(prompts), width))
        seen = np.zeros((len(prompts), width))
        for row, prompt in enumerate(prompts):  # aligned at their ends
            ids[row, width - len(prompt) :] = prompt
            seen[row, width - len(prompt) :] = 1
        positions = np.maximum(seen.cumsum(axis=1) - 1, 0)
        rows = np.arange(len(prompts))
        first = self._log_softmax(ids, seen, positions, rows, 1)[:, 0]
        found = [[float(chances[choice[0]]) for choice in choices] for chances in first]
        longer = [number for number, choice in enumerate(choices) if len(choice) > 1]
        if not longer:
            return found
        # Every choice but its last token, filled up with zeros that no token before them sees.
        most = max(len(choices[number]) for number in longer) - 1
        tails = np.zeros((len(longer), most))
        tails_seen = np.zeros((len(longer), most))
        for row, number in enumerate(longer):
            tail = choices[number][:-1]
            tails[row, : len(tail)] = tail
            tails_seen[row, : len(tail)] = 1
        owners = np.repeat(rows, len(longer))
        starts = np.array([len(prompt) for prompt in prompts])[owners]
        values = self._log_softmax(
            np.tile(tails, (len(prompts), 1)),
            np.concatenate((seen[owners], np.tile(tails_seen, (len(prompts), 1))), axis=1),
            starts[:, None] + np.arange(most),
            owners,
            most,
        )
        for place, owner in enumerate(owners):
            number = longer[place % len(longer)]
            following = choices[number][1:]
            found[owner][number] += float(values[place, range(len(following)), following].sum())
        return found

    def _log_softmax(
        self,
        ids: NDArray[Any],
        seen: NDArray[Any],
        positions: NDArray[Any],
        owners: NDArray[Any],
        kept: int,
    ) -> NDArray[np.float64]:
        """Log-probabilities after each of the last `kept` tokens, `[row, kept, vocabulary]`; each
        row goes on from the row of the last call that `owners` names."""
        inputs = {
            "input_ids": ids.astype(np.int64),
            "attention_mask": seen.astype(np.int64),
            "position_ids": positions.astype(np.int64),
            "beam_idx": owners.astype(np.int32),
            "kept": np.array([kept], dtype=np.int64),
        }
        known = {name: value for name, value in inputs.items() if name in self._names}
        logits = self._network.infer(known)["logits"].astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        result: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return result


# ---------------------------------------------------------------------------------------- folder


def exported(folder: Path, *, int8: bool = True) -> Path:
    """The folder with the OpenVINO files of a model; a checkpoint is exported where it has none.

    Raises RefinerError where there is neither, or the checkpoint can not be exported.
    """

    def export(out: Path, note: tuple[str, str]) -> None:
        from burnish.refiners.engines import openvino_export

        openvino_export.export(folder, out, int8=int8, note=note)

    name = "openvino-int8" if int8 else "openvino-float"
    return kept_export(folder, name, MODEL_FILE, export)


def _bounds(folder: Path) -> tuple[int, int]:
    """How many tokens the model reads, and how many it knows."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
        return int(config["max_position_embeddings"]), int(config["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RefinerError(f"can not read the size of the model from {path}: {error!r}") from error


def _weights_type(path: Path) -> str:
    """The narrowest type among the stored constants, which is that of the matrices."""
    found: set[str] = set()
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            found.update(re.findall(r'element_type="([a-z0-9]+)"', line))
    names = (("u4", "int4"), ("i4", "int4"), ("nf4", "int4"), ("u8", "int8"), ("i8", "int8"))
    floats = (("f16", "float16"), ("bf16", "bfloat16"))
    return next((name for kind, name in (*names, *floats) if kind in found), "float32")


# ------------------------------------------------------------------------------------- tokenizer


_TOKENIZER_SETTINGS = ("config.json", "tokenizer_config.json", "special_tokens_map.json")


def _find_tokenizer(*folders: Path) -> Path:
    for folder in folders:
        if (folder / "tokenizer.json").is_file():
            return folder / "tokenizer.json"
    raise RefinerError(f"{folders[0]}: there is no tokenizer.json")


def _read_tokenizer(path: Path) -> Any:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise RefinerError(f"{path} is not a tokenizer: {error}") from None


def _grammar_tokenizer(folder: Path, tokenizer: Path) -> Any:
    """The tokenizer of an export, in which a grammar finds what each token really stands for.

    OpenVINO takes the vocabulary for grammars from the constants of the detokenizer. In exports of
    tokenizers like that of Llama 2 these are names: "\u2581the" for " the", "<0x0A>" for a LF.
    """
    path = folder / "openvino_detokenizer.xml"
    if not path.is_file():
        raise RefinerError(
            f"there is no {path}. Make it with: "
            f"convert_tokenizer {tokenizer.parent} --with-detokenizer -o {folder}"
        )
    detokenizer = ov.Core().read_model(path)
    texts = token_bytes(tokenizer)
    ends = np.cumsum([len(text) for text in texts], dtype=np.int32)
    starts = np.concatenate([np.zeros(1, np.int32), ends[:-1]])
    characters = np.frombuffer(b"".join(texts), np.uint8)
    for node in detokenizer.get_ops():
        if node.get_type_name() == "VocabDecoder":
            for place, array in enumerate((starts, ends, characters), start=1):
                node.input(place).replace_source_output(ops.constant(array).output(0))
    with tempfile.TemporaryDirectory(prefix="burnish-") as name:
        ov.save_model(detokenizer, Path(name) / path.name)
        for file in _TOKENIZER_SETTINGS:
            if (folder / file).is_file():
                shutil.copyfile(folder / file, Path(name) / file)
        return genai.Tokenizer(name)


def token_bytes(path: Path) -> list[bytes]:
    """What each token of a tokenizer.json stands for in the middle of a text; a special token
    stands for nothing."""
    data = json.loads(path.read_text("utf-8"))
    names: dict[str, int] = _read_tokenizer(path).get_vocab(with_added_tokens=True)
    found = [b""] * (max(names.values()) + 1)
    byte_level = '"ByteLevel"' in json.dumps([data.get("decoder"), data.get("pre_tokenizer")])
    for name, number in names.items():
        if not byte_level and _BYTE.fullmatch(name):
            found[number] = bytes([int(name[3:5], 16)])
        elif byte_level and all(character in _BYTES for character in name):
            found[number] = bytes(_BYTES[character] for character in name)
        else:
            found[number] = name.replace("\u2581", " ").encode()
    for token in data.get("added_tokens", ()):
        found[token["id"]] = b"" if token["special"] else token["content"].encode()
    return found


_BYTE = re.compile("<0x[0-9A-F]{2}>")


def _byte_names() -> dict[str, int]:
    """The character that names each byte in byte-level tokenizers: itself where it is printable in
    Latin-1, else the next of those from U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = count(0x100)
    return {chr(n if n in printable else next(others)): n for n in range(256)}


_BYTES = _byte_names()


# ---------------------------------------------------------------------------------------- little


def _margin(log_probability: float) -> float:
    """The least by which a token of this log-probability beats any other, never below 0."""
    share = exp(log_probability)
    return max(0.0, log_probability - log1p(-share)) if share < 1 else inf


def _brief(error: BaseException) -> str:
    """The message without the places in the library's own sources."""
    text = re.sub(r"(\[[\d:]+\] )?\S*/\S+\.(?:cc|cpp|hpp|h):\d+:?", "", str(error))
    return " ".join(text.split()) or type(error).__name__


def _out_of_memory(error: BaseException) -> RefinerError:
    return RefinerError(
        f"OpenVINO ran out of memory ({_brief(error)}): lower cache_gib or batch_size"
    )
