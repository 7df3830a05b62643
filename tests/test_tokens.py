"""Token ids from memory are the tokenizer's own."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tokenizers", reason="needs the extra transformers")

from small_pages import PAGES, made_pages, write_tokenizer
from tokenizers import Tokenizer, models, trainers

from burnish.errors import RefinerError
from burnish.refiners.tokens import Tokens

SHARED = Path(__file__).absolute().parents[2] / "shared" / "data" / "corpus"
WORDS = [
    "Home",
    "a",
    "About us",
    "the",
    "(see",
    "p.m.)",
    "don't",
    "x2",
    "...",
    "—",
    "中文",
    "café",
    "",
]
WORDS += [
    "  ",
    "\t",
    "\xa0",
    "😀",
    "[12]",
    "]",
    "<lid:3>",
    "</s>",
    "<s>",
    "<|im_end|>",
    "\r",
    "\u2028",
    "\n",
]
texts = st.lists(st.sampled_from([*WORDS, " ", " ", "\n", "\n[003]"]), max_size=30).map("".join)


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def tokens(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    folder = tmp_path_factory.mktemp("tokens")
    write_tokenizer(folder, request.param, made_pages(PAGES))
    return Tokens(folder / "tokenizer.json")


@given(text=texts)
@settings(max_examples=400, deadline=None)
def test_encoding_from_memory_is_exact(tokens: Tokens, text: str) -> None:
    assert tokens.remembers
    assert tokens.encode(text) == tokens.exactly(text)
    assert tokens.encode("[doc]\n" + text) == tokens.exactly("[doc]\n" + text)


@given(text=texts, most=st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_the_beginning_of_a_text(tokens: Tokens, text: str, most: int) -> None:
    head = tokens.first(text, most)
    assert text.startswith(head)
    assert len(tokens.exactly(head)) <= most + 1  # the last word may be cut differently
    if len(tokens.exactly(text)) <= most:
        assert head == text


def test_a_long_text_of_few_tokens_is_not_cut(tokens: Tokens) -> None:
    word = max(tokens._tokenizer.get_vocab(False), key=len)[1:]
    assert tokens.first("a " * 3_000, 6_100) == "a " * 3_000
    assert word


def test_special_tokens_in_a_text_are_text(tokens: Tokens) -> None:
    for name in ("</s>", "<|im_end|>", "<s>"):
        assert len(tokens.exactly(f"a{name}b")) > 3
        assert name in tokens.decode(tokens.encode(f"a{name}b"))


def test_lone_surrogates_are_replaced(tokens: Tokens) -> None:
    assert tokens.encode("a\ud800b") == tokens.encode("a?b")


def test_lines_add_up(tokens: Tokens) -> None:
    lines = [*made_pages(1)[0].text.split("\n"), "", "  x", "a  b ", "\x00", "c\td"]
    shown = "".join(f"[{n:03d}]{line}\n" for n, line in enumerate(lines))
    assert sum(tokens.counts(lines, "[100]")) == len(tokens.after_anchor(shown))
    alone = [tokens.counts([line], "[100]")[0] for line in lines]
    assert tokens.counts(lines, "[100]") == tokens.counts(lines[:-2], "[100]") + alone[-2:] == alone


def test_a_tokenizer_that_joins_words_is_asked_for_whole_texts(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=300, show_progress=False)
    tokenizer.train_from_iterator([page.text for page in made_pages(12)], trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokens = Tokens(tmp_path / "tokenizer.json")
    assert not tokens.remembers
    text = made_pages(3)[1].text
    assert tokens.encode(text) == tokens.exactly(text)
    assert tokens.counts(["a line"], "[100]") == [
        len(tokens.after_anchor("[100")) + len(tokens.after_anchor("]a line\n"))
    ]


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(RefinerError, match="a fast tokenizer is needed"):
        Tokens(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(RefinerError, match="is not a tokenizer"):
        Tokens(tmp_path / "tokenizer.json")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared corpora")
@pytest.mark.parametrize("name", ["webpages_full", "web_registers_multilingual", "news_de"])
def test_on_real_web_text(tokens: Tokens, name: str) -> None:
    import zstandard

    with (SHARED / f"{name}.jsonl.zst").open("rb") as file:
        stream = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8")
        rows = [json.loads(line)["text"] for line in itertools.islice(stream, 150)]
    for text in rows:
        shown = "\n".join(f"[{n:03d}]{line}" for n, line in enumerate(text.split("\n")))
        assert tokens.encode(text) == tokens.exactly(text)
        assert tokens.encode(shown) == tokens.exactly(shown)
