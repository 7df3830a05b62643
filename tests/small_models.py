"""Small language models that write real programs, made from nothing in a minute.

    python tests/small_models.py FOLDER [llama|qwen3]

A model of one to two million parameters, with a tokenizer trained on the same pages, is fine-tuned
on our own documents until it writes their programs in every dialect that its family speaks. It is a
folder like any other checkpoint: config.json, tokenizer.json, model.safetensors.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from burnish.dialects import get_dialect
from burnish.program.lines import Chunk
from burnish.program.operations import DropDocument, Program, ReplaceText, removal
from burnish.refiners.checkpoint import Checkpoint

DIALECTS = {
    "llama": ("prox-chunk", "prox-document"),
    "qwen3": ("ultrax", "rescraper", "refinex"),
}
TEMPLATES = {"llama": "llama2", "qwen3": "qwen3"}
PAGES = 24

SITES = ["Harbour News", "The Orchard", "Lakeside Club", "Old Mill Museum", "North Library"]
TOPICS = ["otters", "apples", "rowing", "windmills", "maps", "bees", "bread", "tides"]
SENTENCES = [
    "The volunteers counted {} along the whole valley before the rain came.",
    "Nobody had expected {} to matter so much to a town of this size.",
    "In the morning a small crowd gathered to talk about {} and to drink tea.",
    "A long letter about {} was read aloud, and it was answered the same day.",
    "What we know about {} comes from three notebooks and one careful drawing.",
    "The first chapter explains why {} need more patience than money.",
]
MENU = ["Home", "About us", "Contact", "Log in", "Search", "Subscribe", "Menu", "Next page"]
FOOTERS = [
    "All rights reserved",
    "Privacy policy",
    "Share this page",
    "Follow us",
    "Cookie settings",
]
SPAM = ["Cheap {} here, best {} offer, buy {} today", "Click click {} win win {} free {}"]


@dataclass(frozen=True)
class Page:
    """A text, the lines of it that are noise, and whether it is worth keeping."""

    text: str
    noise: frozenset[int]
    keep: bool


def made_pages(count: int, seed: int = 0) -> list[Page]:
    """Pages of our own: a menu, an article, a footer; every sixth is spam."""
    chance = random.Random(seed)
    pages = []
    for n in range(count):
        topic = chance.choice(TOPICS)
        if n % 6 == 5:
            lines = [line.format(topic, topic, topic) for line in SPAM]
            pages.append(Page("\n".join(lines), frozenset(), False))
            continue
        head = [chance.choice(SITES), *chance.sample(MENU, chance.randint(1, 3))]
        body = [line.format(topic) for line in chance.sample(SENTENCES, chance.randint(2, 4))]
        body[0] += chance.choice(["", " [edit]"])
        foot = chance.sample(FOOTERS, chance.randint(0, 2))
        lines = [*head, *body, *foot]
        noise = {*range(len(head)), *range(len(head) + len(body), len(lines))}
        pages.append(Page("\n".join(lines), frozenset(noise), True))
    return pages


def gold(page: Page, dialect: str) -> Program:
    """The program that the model shall write for the page."""
    if dialect == "prox-document":
        return () if page.keep else (DropDocument(),)
    program = removal(page.noise)
    last = page.text.count("\n")
    lines = page.text.split("\n")
    places = [n for n, line in enumerate(lines) if line.endswith(" [edit]")]
    if dialect == "prox-chunk":
        return (*program, *(ReplaceText(0, last, " [edit]", "") for _ in places))
    if dialect == "rescraper":
        return program
    return (*program, *(ReplaceText(n, n, " [edit]", "") for n in places))


def make_model(folder: Path, family: str, *, hidden: int = 128, layers: int = 3) -> list[Page]:
    """Writes the checkpoint of a "llama" or "qwen3" model; returns the pages that it knows."""
    torch.manual_seed(0)
    pages = made_pages(PAGES)
    folder.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(folder, family, pages)
    model = _model(family, hidden, layers, Checkpoint(folder).tokens.size, folder)
    _train(model, folder, family, pages)
    model.save_pretrained(folder)
    return pages


def write_card(folder: Path, family: str, dialect: str, **settings: object) -> Path:
    """A refiner card for the model in the folder; its path."""
    stage = "document" if dialect == "prox-document" else "chunk"
    window = None if dialect in ("prox-document", "rescraper") else 400
    card = {
        "name": f"small-{family}-{dialect}",
        "kind": "causal",
        "version": "1",
        "stages": {stage: {"name": stage, "dialect": dialect, "window": window}},
        "model": {
            "weights": ".", "template": TEMPLATES[family], "max_new_tokens": 120,
            "max_text": 500 if stage == "document" else None, **settings,
        },
    }  # fmt: skip
    path = folder / f"{dialect}.json"
    path.write_text(json.dumps(card), "utf-8")
    return path


# ---------------------------------------------------------------------------------- tokenizers


def _corpus(pages: Sequence[Page]) -> Iterator[str]:
    for page in pages:
        yield page.text
        for names in DIALECTS.values():
            for name in names:
                chunk = Chunk.whole(page.text)
                yield get_dialect(name).render(chunk).user
                yield get_dialect(name).format(gold(page, name), chunk)


_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _write_tokenizer(folder: Path, family: str, pages: Sequence[Page]) -> None:
    """A tokenizer built like that of Llama 2 (blanks are characters, bytes as a way out) or of
    Qwen3 (pieces by a pattern, then bytes)."""
    if family == "llama":
        specials = ["<unk>", "<s>", "</s>"]
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r"\n"), "removed"),
                pre_tokenizers.Split(Regex(r"[\d\[\]_(),=\"]"), "isolated"),
                pre_tokenizers.Metaspace(prepend_scheme="always"),
            ]
        )
        first = [*specials, *(f"<0x{byte:02X}>" for byte in range(256))]
        names = {"bos_token": "<s>", "eos_token": "</s>"}
    else:
        specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_PIECES), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        first = [*specials]
        names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    trainer = trainers.BpeTrainer(
        vocab_size=1_200,
        special_tokens=first,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if family == "qwen3" else [],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(pages), trainer)
    if family == "qwen3":
        tokenizer.add_tokens(["<think>", "</think>"])
    data = json.loads(tokenizer.to_str())
    if family == "llama":
        data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] in specials]
        data["pre_tokenizer"] = None
        blank = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
        prepend = {"type": "Prepend", "prepend": "\u2581"}
        data["normalizer"] = {"type": "Sequence", "normalizers": [prepend, blank]}
        steps: list[dict[str, object]] = [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]
        data["decoder"] = {"type": "Sequence", "decoders": steps}
    (folder / "tokenizer.json").write_text(json.dumps(data), "utf-8")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    if family == "qwen3":
        settings["chat_template"] = _CHAT_TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")


_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)


# ---------------------------------------------------------------------------------- the model


def _model(family: str, hidden: int, layers: int, vocabulary: int, folder: Path) -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    kind, config = {
        "llama": (LlamaForCausalLM, LlamaConfig),
        "qwen3": (Qwen3ForCausalLM, Qwen3Config),
    }[family]
    heads = max(hidden // 32, 2)
    settings = config(
        vocab_size=-(-vocabulary // 64) * 64,
        hidden_size=hidden,
        intermediate_size=hidden * 2,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=32,
        max_position_embeddings=2_048,
        tie_word_embeddings=True,
        bos_token_id=1 if family == "llama" else None,
        eos_token_id=Checkpoint(folder).end_tokens[0],
    )
    return kind(settings)


def _examples(folder: Path, family: str, pages: Sequence[Page]) -> list[tuple[list[int], int]]:
    """Prompt and program of every page in every dialect; the ids, and where the program begins."""
    checkpoint = Checkpoint(folder)
    tokens = checkpoint.tokens
    found = []
    for name in DIALECTS[family]:
        dialect = get_dialect(name)
        template = checkpoint.template(
            TEMPLATES[family], dialect.render(Chunk([""], 0, (0, 0))).system
        )
        for page in pages:
            chunk = Chunk.whole(page.text)
            prompt = template.encode(tokens, dialect.render(chunk).user)
            answer = dialect.format(gold(page, name), chunk)
            ids = tokens.exactly(answer)  # begins with a blank where the tokenizer sets one
            found.append(([*prompt, *ids, checkpoint.end_tokens[0]], len(prompt)))
    return found


def _train(model: torch.nn.Module, folder: Path, family: str, pages: Sequence[Page]) -> None:
    """Trains on the programs alone until the model writes each of them."""
    examples = _examples(folder, family, pages)
    chance = random.Random(0)
    rate = 2e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    model.train()
    right = 0  # batches in a row without a mistake
    for step in range(1_500):
        batch = chance.sample(examples, 16)
        ids, labels = _batch(batch)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 30, 0.1 + 0.9 * max(0.0, 1 - step / 600))
        out = model(input_ids=ids)
        logits, wanted = out.logits[:, :-1], labels[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        right = right + 1 if _all_right(logits, wanted) and loss.item() < 0.02 else 0
        if right >= 6 and _knows(model, examples):
            break
    model.eval()


def _batch(examples: Sequence[tuple[list[int], int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels [example, place]; what is not part of a program has the label -100."""
    width = max(len(row) for row, _ in examples)
    ids = torch.zeros((len(examples), width), dtype=torch.long)
    labels = torch.full((len(examples), width), -100)
    for n, (row, start) in enumerate(examples):
        ids[n, : len(row)] = torch.tensor(row)
        labels[n, start : len(row)] = torch.tensor(row[start:])
    return ids, labels


def _all_right(logits: torch.Tensor, wanted: torch.Tensor) -> bool:
    return bool(((logits.argmax(-1) == wanted) | (wanted == -100)).all())


@torch.inference_mode()
def _knows(model: torch.nn.Module, examples: Sequence[tuple[list[int], int]]) -> bool:
    """Whether greedy decoding would write every program."""
    ids, labels = _batch(examples)
    return _all_right(model(input_ids=ids).logits[:, :-1], labels[:, 1:])


if __name__ == "__main__":
    target, family_name = Path(sys.argv[1]), (sys.argv[2:] or ["llama"])[0]
    make_model(target, family_name)
    for dialect_name in DIALECTS[family_name]:
        print(write_card(target, family_name, dialect_name))
