"""What a language model's refiner costs beside the model: reading, chunking, encoding, parsing,
executing and writing, with an engine that answers at once.

    python benchmarks/host_side.py --tokenizer FOLDER INPUT... [--rounds 2]

FOLDER holds the tokenizer.json of a model (and tokenizer_config.json). INPUT are JSONL files. The
whole of `burnish refine` runs on one core with ProX's chunk card; the engine plays the program that
the packaged tagger's labels would be for every third line, about four calls. Its peer is the
chunking of the published script alone: each line, with its number, encoded by itself with the
transformers tokenizer. Round 2 shows what a warm memory of words does. Megabytes are 10^6 UTF-8
bytes of text.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from burnish.program.lines import split_lines
from burnish.refiners import refiner_card
from burnish.refiners.checkpoint import Checkpoint
from burnish.refiners.engines.base import Completion, Request
from burnish.refiners.generative import Generative
from burnish.runner import local
from burnish.runner.base import Job
from burnish.schema import Document, Record
from burnish.stages import Pipeline, Stage

_NUMBER = re.compile(r"^\[(\d+)\]", re.MULTILINE)


class AnswersAtOnce:
    """Writes about four calls for each chunk, for lines that it was shown."""

    name = "answers at once"
    tolerance = 0.0
    score_tolerance = 0.0
    grammar_is_slow = False
    can_score = False

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        return [Completion(self._program(request), "stop") for request in requests]

    def score(
        self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        raise NotImplementedError

    def _program(self, request: Request) -> str:
        assert request.chat is not None
        text = request.chat.user
        first = _NUMBER.search(text)
        assert first is not None
        top, count = int(first[1]), text.count("\n") - 1
        step = max(count // 4, 1)
        places = range(top, top + count, step)
        return "\n".join(f"remove_lines(start={n}, end={n})" for n in places) or "untouch_doc()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    checkpoint = Checkpoint(options.tokenizer)
    print(f"encoding from memory is exact for this tokenizer: {checkpoint.tokens.remembers}")
    refiner = _refiner(checkpoint)
    speeds = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            speeds.append(_refine(refiner, options.inputs, Path(folder) / "out"))
        print(f"burnish, whole run, round {number + 1}: {speeds[-1]:6.2f} MB/s")
    peer = _reference_chunking(options.tokenizer, options.inputs)
    print(f"chunking of the published script:  {peer:6.2f} MB/s")
    print("ratios: " + ", ".join(f"{speed / peer:.1f}" for speed in speeds))


def _refiner(checkpoint: Checkpoint) -> Generative:
    card = refiner_card("prox-web-chunk")
    assert card is not None
    return Generative(card, card.stages["chunk"], checkpoint, lambda context: AnswersAtOnce())


def _refine(refiner: Generative, inputs: Sequence[Path], output: Path) -> float:
    card = refiner_card("prox-web-chunk")
    assert card is not None
    spec = replace(card.stages["chunk"])

    def factory() -> object:
        pipeline = Pipeline([Stage(spec, refiner)], batch_documents=512, batch_characters=1 << 22)

        def process(documents: Iterable[Document]) -> Iterator[Record]:
            return pipeline.run(documents)

        return process

    begin = time.process_time()
    summary = local.run(Job(inputs=tuple(inputs), output=output, factory=factory))  # type: ignore[arg-type]
    return summary.text_bytes / 1e6 / (time.process_time() - begin)


def _reference_chunking(folder: Path, inputs: Sequence[Path]) -> float:
    """Megabytes a second of counting each numbered line by itself."""
    from transformers import AutoTokenizer

    from burnish.io.jsonl import decompress, lines_of_pieces

    tokenizer = AutoTokenizer.from_pretrained(folder)
    size, spent = 0, 0.0
    for path in inputs:
        compression = path.suffix.lstrip(".") if path.suffix in (".zst", ".gz") else ""
        for _, line in lines_of_pieces(decompress(str(path), compression)):
            text = json.loads(line)["text"]
            begin = time.process_time()
            for number, row in enumerate(split_lines(text)):
                len(tokenizer.encode(f"[{number:03d}]{row}"))
            spent += time.process_time() - begin
            size += len(text.encode("utf-8", "replace"))
            if spent > 20:
                return size / 1e6 / spent
    return size / 1e6 / spent


if __name__ == "__main__":
    main()
