"""A small causal base of our own: tokenizer, Llama shape with one key-value head, pre-trained.

    python benchmarks/own_causal.py FOLDER BASE --hidden 384 --layers 6 --minutes 30
    python benchmarks/own_causal.py FOLDER BASE2 --start BASE --lookups 0.7 --minutes 25
    burnish train causal --base BASE2 --dev BASE2/dev_small.jsonl --stage chunk -o REFINER \
        --train FOLDER/seed/chunks_train.jsonl.zst --train FOLDER/boilerplate/train_mild.jsonl.zst \
        --lr 1e-3 --min-lr 1e-4 --epochs 1 --batch 16 --per-device-batch 2 --window 500 \
        --max-length 900 --eval-every 172 --bf16 --limit 16000
    burnish evaluate BASE2/dev_small.jsonl

The honest test of "a small language model writes programs" at the size that fits into a package.
Pre-training is by next token on running text and on web pages, for a given time on this machine;
it prints tokens and loss as it goes. Beside the base lies a part of dev that such a model can write
the programs of in a minute. What came of it stands in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from burnish.annotation.sampling import read_corpus
from burnish.dialects import get_dialect
from burnish.io.gold import read_gold
from burnish.program.lines import Chunk
from burnish.schema import Document

TEXTS = (
    "corpus/webpages_full.jsonl.zst",
    "corpus/webpages_main.jsonl.zst",
    "corpus/openwebtext_1k.jsonl.zst",
    "corpus/web_registers_multilingual.jsonl.zst",
    "text/wikitext2_valid_test.jsonl.zst",
    "text/books_en.jsonl.zst",
)
CONTEXT = 2_048
ROW = 512  # tokens of a row in pre-training
PASSAGE = 40_000  # characters taken of a long text
NUMBERED = 1_100  # characters of a page that is shown with line numbers
ASKED = 10  # lines of such a page whose numbers are asked for
DEV_PAGES, DEV_LINES = 60, 150  # of the part of dev: pages, and lines that each has at most
SPECIALS = ("<unk>", "<s>", "</s>")


def texts(folder: Path) -> list[str]:
    """The documents, of long ones a passage, in a fixed random order."""
    chance = random.Random(0)
    found = []
    for name in TEXTS:
        for row in read_corpus([folder / name]):
            if isinstance(row, Document):
                start = chance.randrange(max(1, len(row.text) - PASSAGE))
                found.append(row.text[start : start + PASSAGE])
    chance.shuffle(found)
    return found


def write_dev(folder: Path, path: Path) -> None:
    """A random part of the pages of dev_mild that are not long."""
    rows = list(read_gold(folder / "boilerplate/dev_mild.jsonl.zst"))
    random.Random(0).shuffle(rows)
    short = [row for row in rows if len(row["lines"]) <= DEV_LINES]
    path.write_text("".join(json.dumps(row) + "\n" for row in short[:DEV_PAGES]), "utf-8")


def make_tokenizer(base: Path, corpus: list[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE tokenizer; digits stand alone, so that line numbers are spelled."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus[:4_000], trainer)
    tokenizer.save(str(base / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (base / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    return tokenizer


def lookups(text: str, chance: random.Random) -> str:
    """A passage with line numbers, as a refiner is shown it, and then beginnings of some of its
    lines with their numbers: to name a line is what a program needs most."""
    lines = text.split("\n")
    start = chance.randrange(len(lines))
    chosen: list[str] = []
    for line in lines[start:]:
        if sum(map(len, chosen)) + len(line) > NUMBERED:
            break
        chosen.append(line)
    if len(chosen) < 3:
        return text[:NUMBERED]
    shown = get_dialect("prox-chunk").render(Chunk(chosen, 0, (0, len(chosen) - 1))).user
    asked = [chance.randrange(len(chosen)) for _ in range(ASKED)]
    told = (f"{' '.join(chosen[n].split()[:4])} ({n})" for n in asked)
    return "\n".join((shown, *told))


def rows(tokenizer: Tokenizer, corpus: list[str], share: float) -> Iterator[list[int]]:
    """Rows of `ROW` tokens, documents one after the other with an end token between them; of a
    `share` of the documents, `lookups`."""
    held: list[int] = []
    chance = random.Random(1)
    while True:
        for text in corpus:
            shown = lookups(text, chance) if chance.random() < share else text
            held += [1, *tokenizer.encode(shown).ids, 2]
            while len(held) >= ROW:
                yield held[:ROW]
                held = held[ROW:]


def pretrain(model: LlamaForCausalLM, found: Iterator[list[int]], minutes: float) -> int:
    """Trains for so long; returns how many tokens were read."""
    rate, batch = 2e-3, 4
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1)
    began, tokens, step, shown = time.monotonic(), 0, 0, 0.0
    while (passed := (time.monotonic() - began) / 60) < minutes:
        part = passed / minutes
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 100)
            group["lr"] = rate * warm * (0.1 + 0.45 * (1 + math.cos(math.pi * part)))
        ids = torch.tensor([next(found) for _ in range(batch)])
        with torch.autocast("cpu", torch.bfloat16):  # 1.7 times as fast where the CPU has it
            loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        tokens += ids.numel()
        step += 1
        if passed >= shown:
            print(f"{passed:5.1f} min  {tokens:>10,} tokens  loss {loss.item():.3f}", flush=True)
            shown += minutes / 10
    return tokens


def new_model(hidden: int, layers: int, vocabulary: int) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=8 * hidden // 3,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 64,
            num_key_value_heads=1,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=4_096)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--start", type=Path, help="go on from this base")
    parser.add_argument("--lookups", type=float, default=0.0, help="share of such documents")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    given.base.mkdir(parents=True, exist_ok=True)
    write_dev(given.data, given.base / "dev_small.jsonl")
    corpus = texts(given.data)
    if given.start:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(given.start / name, given.base / name)
        tokenizer = Tokenizer.from_file(str(given.base / "tokenizer.json"))
        model = LlamaForCausalLM.from_pretrained(given.start, dtype=torch.float32)
    else:
        tokenizer = make_tokenizer(given.base, corpus, given.vocabulary)
        model = new_model(given.hidden, given.layers, given.vocabulary)
    size = sum(parameter.numel() for parameter in model.parameters())
    characters = sum(map(len, corpus))
    print(f"{size:,} parameters; {len(corpus):,} texts, {characters:,} characters")
    tokens = pretrain(model, rows(tokenizer, corpus, given.lookups), given.minutes)
    print(f"{tokens:,} tokens in {given.minutes:g} minutes")
    model.save_pretrained(given.base)


if __name__ == "__main__":
    main()
