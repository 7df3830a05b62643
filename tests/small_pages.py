"""Pages of our own, their programs, and tokenizers built like the published ones."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from burnish.dialects import get_dialect
from burnish.program.lines import Chunk
from burnish.program.operations import DropDocument, Program, ReplaceText, removal

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


def write_tokenizer(folder: Path, family: str, pages: Sequence[Page]) -> None:
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
