"""A causal language model in this process, run by vLLM on one GPU (or on the CPU)."""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from itertools import count
from math import fsum, inf, isinf
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from burnish.errors import MissingExtra, RefinerError
from burnish.refiners.engines.base import Completion, Request
from burnish.refiners.tokens import Tokens

SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # all in this process: nothing is left over at exit
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # the default is where programs and reports go
    "VLLM_NO_USAGE_STATS": "1",
    "TQDM_DISABLE": "1",
}
"""What vLLM reads from the environment, unless the caller has set it already."""

TOLERANCES = {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.5}
"""How far log-probabilities may move with the batch. Margins of 60 prompts alone and together, on a
CPU with random weights, moved by up to 4e-5, 0.008 and 0.05. Logits were about 2 to 4 there (steps
of 1/64 in bfloat16); in trained models they reach 32, with steps of 1/8. Not measured on a GPU."""

CPU_CACHE_BYTES = 1 << 30
"""Attention cache on a CPU, where vLLM would take most of the memory of the machine."""

NODE_TOKENS = 100
"""Next tokens asked for in one request; vLLM takes 128 at most."""


class VllmEngine:
    """Runs the model in a folder with vLLM, on the first visible device.

    The log-probabilities of a request that comes alone, and all that `score` gives, depend on the
    request alone: it then shares no attention cache with what came before. A batch shares the cache
    of common prefixes and is computed in whatever groups vLLM finds, which moves log-probabilities
    by up to `tolerance`.

    One engine lives in a process at a time; `close` frees its memory. On a CPU vLLM makes
    `torch.set_num_threads` do nothing from then on.

    Attributes:
        name: "vllm" and the precision.
        batch_size: as many requests as vLLM should have at hand.
        tolerance: see `burnish.refiners.engines.base.Engine`; 0 with `batch_invariant`.
    """

    can_score = True
    grammar_is_slow = False
    score_tolerance = 0.0

    def __init__(
        self,
        folder: Path,
        *,
        end_tokens: Sequence[int],
        max_model_len: int,
        dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto",
        gpu_memory_utilization: float = 0.9,
        cpu_cache_bytes: int = CPU_CACHE_BYTES,
        batch_size: int = 1024,
        tolerance: float | None = None,
        batch_invariant: bool = False,
    ) -> None:
        """Loads the model, which takes from ten seconds to minutes.

        Args:
            folder: weights, config and tokenizer as `save_pretrained` writes them.
            end_tokens: tokens that end an answer.
            max_model_len: tokens of prompt and completion together. A longer prompt is an error of
                its request; a completion that runs into it ends with "length".
            dtype: precision; "auto" is that of the stored weights, or half of it for float32.
            gpu_memory_utilization: share of the GPU's memory to take, weights included.
            cpu_cache_bytes: attention cache, on a CPU only.
            batch_size: for the caller; vLLM queues what it is given.
            tolerance: instead of the one for the precision in `TOLERANCES`.
            batch_invariant: ask vLLM for kernels whose results do not depend on the batch. Slower;
                NVIDIA GPUs of compute capability 9.0 and above; untested here.

        Raises:
            MissingExtra: vLLM is not installed.
            RefinerError: the model can not be loaded, or memory does not suffice.
        """
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of vLLM's own imports and start
            vllm = _vllm()
            on_cpu = vllm.platforms.current_platform.is_cpu()
            if batch_invariant:
                if on_cpu:
                    raise RefinerError(
                        "vLLM has no batch-invariant kernels for a CPU: leave batch_invariant out"
                    )
                os.environ["VLLM_BATCH_INVARIANT"] = "1"
            device = (
                {"kv_cache_memory_bytes": cpu_cache_bytes, "enforce_eager": True}
                if on_cpu
                else {"gpu_memory_utilization": gpu_memory_utilization}
            )
            try:
                self._llm = vllm.LLM(
                    model=str(folder),
                    dtype=dtype,
                    max_model_len=max_model_len,
                    tensor_parallel_size=1,
                    enable_prefix_caching=True,
                    generation_config="vllm",  # the folder's own may hold penalties and samplers
                    logprobs_mode="processed_logprobs",  # after the grammar's mask
                    # In the strings of a program xgrammar takes 10 to 70 ms for a token (32,000 to
                    # 114,000 entries), guidance 0.1 to 0.4; either compiles in 1 to 7 ms.
                    structured_outputs_config={"backend": "guidance"},
                    use_tqdm_on_load=False,
                    seed=0,
                    **device,
                )
            except Exception as error:
                raise RefinerError(_why(folder, error, max_model_len)) from error
        self._close = weakref.finalize(self, _shut_down, self._llm)
        self._vllm = vllm
        self._vocabulary = int(self._llm.model_config.get_vocab_size())
        self._max_model_len = int(self._llm.model_config.max_model_len)
        self._tokens = Tokens(folder / "tokenizer.json")
        self._salts = count()
        self._ends = list(end_tokens)
        _let_end(self._llm, self._ends)
        precision = str(self._llm.model_config.dtype).removeprefix("torch.")
        self._invariant = batch_invariant
        self.name = f"vllm {precision}" + (" batch-invariant" if batch_invariant else "")
        self.batch_size = batch_size
        if tolerance is None:
            tolerance = 0.0 if batch_invariant else TOLERANCES.get(precision, inf)
        self.tolerance = tolerance

    def close(self) -> None:
        """Stops vLLM and frees its memory; happens by itself at exit."""
        self._close()
        self._llm = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `burnish.refiners.engines.base.Engine`."""
        alone = len(requests) == 1
        answers: dict[int, Completion] = {}
        waiting: list[int] = []
        for index, request in enumerate(requests):
            problem = self._problem(request.prompt) or _length_problem(request.max_new_tokens)
            grammar = None
            if not problem and request.grammar is not None:
                grammar, problem = _lark(request.grammar)
            if not problem:
                problem = self._add(
                    request.prompt,
                    self._greedy(request, grammar),
                    salt=str(next(self._salts)) if alone else None,
                    may_fail=grammar is not None,
                    waiting=len(waiting),
                )
            if problem:
                answers[index] = Completion("", "error", error=problem)
            else:
                waiting.append(index)
        for index, output in zip(waiting, self._outputs(len(waiting)), strict=True):
            answers[index] = self._completion(requests[index], output.outputs[0])
        return [answers[index] for index in range(len(requests))]

    def score(
        self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """See `burnish.refiners.engines.base.Engine`.

        The choices are read as a tree of tokens. One pass over the prompt gives the probability of
        every first token; each further node (a beginning of a choice that has a next token) is a
        request that takes the prompt from the cache and computes the few tokens after it. Prompts
        are computed one after another, so that a value depends on its prompt alone; all at once
        with `batch_invariant`.

        Raises RefinerError if a prompt with its longest choice does not fit `max_model_len`, or
        holds a token that the model does not have.
        """
        nodes = _nodes(choices)
        longest = max((len(choice) for choice in choices), default=0)
        for index, prompt in enumerate(prompts):
            problem = self._problem(prompt, max(longest, 1))
            if problem:
                raise RefinerError(f"prompt {index} can not be scored: {problem}")
        if any(not 0 <= token < self._vocabulary for choice in choices for token in choice):
            raise RefinerError(f"a choice holds a token outside 0 … {self._vocabulary - 1}")
        size = self.batch_size if self._invariant else 1
        scores: list[list[float]] = []
        for start in range(0, len(prompts), size):
            together = prompts[start : start + size]
            salts = [str(next(self._salts)) for _ in together]
            found: list[dict[tuple[int, ...], dict[int, float]]] = [{} for _ in together]
            for stage in (nodes[:1], nodes[1:]):  # the prompt itself, then what its cache serves
                asked = []
                for index, prompt in enumerate(together):
                    for begin, following in stage:
                        for part in range(0, len(following), NODE_TOKENS):
                            wanted = following[part : part + NODE_TOKENS]
                            self._add([*prompt, *begin], self._next(wanted), salt=salts[index])
                            asked.append((index, begin, wanted))
                outputs = self._outputs(len(asked))
                for (index, begin, wanted), output in zip(asked, outputs, strict=True):
                    given = output.outputs[0].logprobs
                    if not given:
                        raise RefinerError("vLLM did not compute a score")
                    node = found[index].setdefault(begin, {})
                    node.update({token: float(given[0][token].logprob) for token in wanted})
            for table in found:
                scores.append([_sum(table, choice) for choice in choices])
        return scores

    def _problem(self, prompt: Sequence[int], room: int = 1) -> str:
        """Why a prompt can not be computed with `room` tokens after it; empty if it can."""
        if not prompt:
            return "the prompt is empty"
        if len(prompt) + room > self._max_model_len:
            return (
                f"a prompt of {len(prompt)} tokens and {room} more do not fit "
                f"max_model_len={self._max_model_len}"
            )
        if min(prompt) < 0 or max(prompt) >= self._vocabulary:
            return f"the prompt holds a token outside 0 … {self._vocabulary - 1}"
        return ""

    def _greedy(self, request: Request, grammar: str | None) -> Any:
        outputs = self._vllm.sampling_params.StructuredOutputsParams
        return self._vllm.SamplingParams(
            temperature=0.0,
            max_tokens=min(request.max_new_tokens, self._max_model_len - len(request.prompt)),
            logprobs=2,
            detokenize=False,
            ignore_eos=True,  # of the tokenizer's; what ends an answer stands in stop_token_ids
            stop_token_ids=self._ends,
            structured_outputs=None if grammar is None else outputs(grammar=grammar),
        )

    def _next(self, tokens: Sequence[int]) -> Any:
        return self._vllm.SamplingParams(
            temperature=0.0,
            max_tokens=1,
            logprob_token_ids=list(tokens),
            detokenize=False,
            ignore_eos=True,
        )

    def _add(
        self,
        prompt: Sequence[int],
        parameters: Any,
        *,
        salt: str | None = None,
        may_fail: bool = False,
        waiting: int = 0,
    ) -> str:
        """Queues one request; requests share cached prefixes where they share the salt.

        With `may_fail`, gives the reason if vLLM refuses this request, else an empty string.
        """
        if self._llm is None:
            raise RefinerError("the engine is closed")
        tokens = {"prompt_token_ids": list(prompt)}
        if salt is not None:
            tokens["cache_salt"] = salt  # type: ignore[assignment]
        try:
            self._llm.enqueue(self._vllm.TokensPrompt(**tokens), parameters, use_tqdm=False)
        except Exception as error:
            if may_fail and self._llm.llm_engine.get_num_unfinished_requests() == waiting:
                return f"vLLM refuses the request: {error}"
            raise RefinerError(f"vLLM refuses a request: {error}") from error
        return ""

    def _outputs(self, expected: int) -> list[Any]:
        """What became of the queued requests, in order."""
        if not expected:
            return []
        try:
            outputs = list(self._llm.wait_for_completion(use_tqdm=False))
        except Exception as error:
            raise RefinerError(_stopped(error)) from error
        if len(outputs) != expected:
            raise RefinerError(
                f"vLLM answered {len(outputs)} of {expected} requests; make a new engine"
            )
        return outputs

    def _completion(self, request: Request, output: Any) -> Completion:
        if output.finish_reason not in ("stop", "length"):
            reason = "vLLM gave up on the request"
            if request.grammar is not None:
                reason += "; its grammar can not be compiled or followed"
            return Completion("", "error", error=reason)
        tokens = list(output.token_ids)
        total, margin = 0.0, inf
        for token, near in zip(tokens, output.logprobs, strict=True):
            chosen = float(near[token].logprob)
            total += chosen
            for other, entry in near.items():
                if other != token and not isinf(entry.logprob):
                    margin = min(margin, chosen - float(entry.logprob))
        if output.finish_reason == "stop":
            del tokens[-1]
        text = self._tokens.decode(tokens)
        return Completion(text, output.finish_reason, len(tokens), total, margin)


def _vllm() -> Any:
    """The package; imported here because it reads `SETTINGS` while it is imported."""
    try:
        vllm = import_module("vllm")
        for part in ("vllm.platforms", "vllm.sampling_params", "llguidance.hf"):
            import_module(part)
    except ModuleNotFoundError as error:
        raise MissingExtra("the engine vllm", error.name or "vllm", "vllm") from None
    return vllm


@lru_cache(maxsize=4_096)
def _lark(grammar: str) -> tuple[str, str]:
    """The grammar in the spelling of llguidance, or why there is none; vLLM would convert it twice
    for each request, at 1 to 2 ms."""
    convert = import_module("llguidance.gbnf_to_lark").gbnf_to_lark
    try:
        return str(convert(grammar)), ""
    except Exception as error:  # the library raises bare Exception
        return "", f"the grammar can not be read: {error}"


def _let_end(llm: Any, ends: Sequence[int]) -> None:
    """Lets a grammar end with any of these tokens; vLLM alone allows the tokenizer's own only.

    vLLM makes its grammar backend with the first grammar; this makes it before, with all ends.
    """
    engine = llm.llm_engine
    try:
        manager = engine.engine_core.engine_core.structured_output_manager
        size = llm.model_config.get_vocab_size()
        kind = import_module("vllm.v1.structured_output.backend_guidance").GuidanceBackend
        backend = kind(engine.vllm_config, tokenizer=manager.tokenizer, vocab_size=size)
        backend.ll_tokenizer = import_module("llguidance.hf").from_tokenizer(
            manager.tokenizer, max(size, len(manager.tokenizer)), eos_token=list(ends)
        )
        manager.backend = backend
    except (AttributeError, TypeError, ImportError) as error:
        raise RefinerError(
            f"this version of vLLM keeps its grammars elsewhere ({error}); burnish was tested with "
            "vLLM 0.32, in one process (VLLM_ENABLE_V1_MULTIPROCESSING=0)"
        ) from error


def _length_problem(max_new_tokens: int) -> str:
    return "" if max_new_tokens > 0 else f"max_new_tokens is {max_new_tokens}, not at least 1"


def _nodes(choices: Sequence[Sequence[int]]) -> list[tuple[tuple[int, ...], list[int]]]:
    """Beginnings of choices with the tokens that follow them, the empty beginning first."""
    nodes: dict[tuple[int, ...], set[int]] = {(): set()}
    for choice in choices:
        for place, token in enumerate(choice):
            nodes.setdefault(tuple(choice[:place]), set()).add(token)
    return [(begin, sorted(following)) for begin, following in nodes.items()]


def _sum(table: dict[tuple[int, ...], dict[int, float]], choice: Sequence[int]) -> float:
    return fsum(table[tuple(choice[:place])][token] for place, token in enumerate(choice))


def _of_memory(error: BaseException) -> bool:
    told = f"{type(error).__name__} {error}".lower()
    return "memory" in told or "kv cache" in told


def _why(folder: Path, error: Exception, max_model_len: int) -> str:
    if _of_memory(error):
        return (
            f"{folder}: memory does not suffice for vLLM. Lower max_model_len "
            f"(now {max_model_len}); lower gpu_memory_utilization where other programs use the "
            f"GPU, raise it where none does; on a CPU raise cpu_cache_bytes. vLLM says: {error}"
        )
    return f"{folder}: vLLM can not load the model: {error}"


def _stopped(error: Exception) -> str:
    fix = "; lower gpu_memory_utilization or max_model_len" if _of_memory(error) else ""
    return f"vLLM stopped: {error}{fix}"


def _shut_down(llm: Any) -> None:
    """Frees the model and the process group, which the next engine makes anew."""
    llm.llm_engine.engine_core.shutdown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_module("vllm.distributed").cleanup_dist_env_and_memory()
