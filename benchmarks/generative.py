"""A language model's refiner beside the recipe of the published script: same model, same engine,
same machine.

    python benchmarks/generative.py MODEL [--engine transformers|openvino|onnx] [--chunks 480]

MODEL is a folder made by `python tests/small_models.py MODEL llama`: a small model that writes real
programs for the pages it knows. Those pages are refined over and over. Measured in one run:

    chunks      `Generative.write` against the recipe: each line encoded by itself to find the
                windows, prompts as text that the engine encodes again, batches in the order of
                arrival, 256 free tokens and no grammar
    documents   keep or drop by likelihood, against up to 2,000 free tokens

Both sides stop at the end token, and both must give the same programs (counted).

    failed      of `--unseen` pages that the model does not know: the share without a usable program
                and the share with any unusable call, with the dialect's grammar and without
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from burnish.dialects import get_dialect
from burnish.program.lines import Chunk
from burnish.program.operations import Program
from burnish.refiners import EngineChoice, load_refiner
from burnish.refiners.checkpoint import Checkpoint
from burnish.refiners.generative import Generative

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

_BATCH = 16
_SYSTEM = "You are a helpful, respectful and honest assistant."

Complete = Callable[[Sequence[str], int], list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--engine", choices=list(_RECIPES), default="transformers")
    parser.add_argument("--engine-option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--unseen", type=int, default=1_000)
    parser.add_argument("--chunks", type=int, default=480)
    options = parser.parse_args()

    from small_pages import PAGES, made_pages  # type: ignore[import-not-found]

    known = [page.text for page in made_pages(PAGES)]
    texts = [known[n % len(known)] for n in range(options.chunks)]
    complete = _RECIPES[options.engine](options.model)
    for stage, name, free in (("chunk", "prox-chunk", 256), ("document", "prox-document", 2_000)):
        choice = EngineChoice.parse(options.engine, options.engine_option, True)
        ours, ours_seconds = _ours(options.model, name, stage, choice, texts)
        theirs, their_seconds = _recipe(options.model, name, texts, complete, free)
        same = sum(a == b for a, b in zip(ours, theirs, strict=True))
        print(
            f"{name:14} ours {len(texts) / ours_seconds:8.1f}/s   recipe "
            f"{len(texts) / their_seconds:8.1f}/s   ratio {their_seconds / ours_seconds:5.2f}   "
            f"same programs {same} of {len(texts)}"
        )

    unseen = [Chunk.whole(page.text) for page in made_pages(options.unseen, seed=7)]
    for constrained in (True, False):
        choice = EngineChoice.parse(options.engine, options.engine_option, constrained)
        refiner, _ = load_refiner(str(options.model / "prox-chunk.json"), "chunk", choice)
        drafts = refiner.write(unseen)
        failed = sum(draft.program is None for draft in drafts) / len(drafts)
        faulty = sum(bool(draft.issues) for draft in drafts) / len(drafts)
        how = "with grammar" if constrained else "without grammar"
        print(f"{how:16} failed {failed:6.2%}   with any unusable call {faulty:6.2%}")


def _ours(
    folder: Path, dialect: str, stage: str, engine: EngineChoice, texts: Sequence[str]
) -> tuple[list[Program | None], float]:
    if engine.name == "transformers":
        engine = EngineChoice(engine.name, (("dtype", "float32"),))
    refiner, _ = load_refiner(str(folder / f"{dialect}.json"), stage, engine)
    assert isinstance(refiner, Generative)
    refiner.write([Chunk.whole(text) for text in texts[:_BATCH]])  # warm
    begin = time.perf_counter()
    refiner.measure([line for text in texts for line in text.split("\n")])
    drafts = refiner.write([Chunk.whole(text) for text in texts])
    return [draft.program for draft in drafts], time.perf_counter() - begin


def _recipe(
    folder: Path, name: str, texts: Sequence[str], complete: Complete, free: int
) -> tuple[list[Program | None], float]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    dialect = get_dialect(name)
    complete([_prompt(text, name) for text in texts[:_BATCH]], 8)  # warm
    begin = time.perf_counter()
    prompts = []
    for text in texts:
        if name == "prox-chunk":
            for number, line in enumerate(text.split("\n")):
                len(tokenizer.encode(f"[{number:03d}]{line}"))
        prompts.append(_prompt(text, name))
    answers = complete(prompts, free)
    programs = [
        dialect.parse(answer, Chunk.whole(text)).program
        for answer, text in zip(answers, texts, strict=True)
    ]
    return programs, time.perf_counter() - begin


def _prompt(text: str, name: str) -> str:
    user = get_dialect(name).render(Chunk.whole(text)).user
    return f"<s>[INST] <<SYS>>\n{_SYSTEM}\n<</SYS>>\n\n{user} [/INST]"


def _transformers(folder: Path) -> Complete:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.eval()

    def complete(prompts: Sequence[str], free: int) -> list[str]:
        found: list[str] = []
        for batch in _batches(prompts):
            inputs = tokenizer(batch, return_tensors="pt", padding=True, add_special_tokens=False)
            out = model.generate(
                input_ids=inputs.input_ids,
                attention_mask=inputs.attention_mask,
                max_new_tokens=free,
                do_sample=False,
                pad_token_id=tokenizer.eos_token_id,
            )
            new = out[:, inputs.input_ids.shape[1] :]
            found += tokenizer.batch_decode(new, skip_special_tokens=True)
        return found

    return complete


def _openvino(folder: Path) -> Complete:
    import openvino_genai
    from transformers import AutoTokenizer

    exported = folder / "openvino-int8"
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 2
    pipeline = openvino_genai.ContinuousBatchingPipeline(str(exported), scheduler, "CPU")
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def complete(prompts: Sequence[str], free: int) -> list[str]:
        settings = openvino_genai.GenerationConfig()
        settings.max_new_tokens = free
        settings.apply_chat_template = False
        settings.eos_token_id = tokenizer.eos_token_id
        results = pipeline.generate(list(prompts), [settings] * len(prompts))
        return [str(result.m_generation_ids[0]) for result in results]

    return complete


def _onnx(folder: Path) -> Complete:
    """One prompt after the other: a batch of prompts of unlike length gets other answers."""
    import onnxruntime_genai
    from transformers import AutoTokenizer

    from burnish.refiners.engines.onnx import exported

    model = onnxruntime_genai.Model(str(exported(folder)))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    context = Checkpoint(folder).context or 0

    def complete(prompts: Sequence[str], free: int) -> list[str]:
        found = []
        for prompt in prompts:
            ids = tokenizer.encode(prompt, add_special_tokens=False)
            settings = onnxruntime_genai.GeneratorParams(model)
            settings.set_search_options(max_length=min(len(ids) + free, context), do_sample=False)
            generator = onnxruntime_genai.Generator(model, settings)
            generator.append_tokens(ids)
            while not generator.is_done():
                generator.generate_next_token()
            new = generator.get_sequence(0)[len(ids) :]
            found.append(str(tokenizer.decode(new, skip_special_tokens=True)))
        return found

    return complete


def _batches(prompts: Sequence[str]) -> Iterator[list[str]]:
    for begin in range(0, len(prompts), _BATCH):
        yield list(prompts[begin : begin + _BATCH])


_RECIPES = {"transformers": _transformers, "openvino": _openvino, "onnx": _onnx}


if __name__ == "__main__":
    main()
