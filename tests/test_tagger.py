"""The packaged tagger on texts written for these tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from burnish.errors import RefinerError
from burnish.program.lines import Chunk
from burnish.refiners import load_refiner, tagging
from burnish.refiners import tagger as module
from burnish.refiners.features import Features
from burnish.refiners.tagger import THRESHOLD, Tagger, open_session

MENU = ["Home", "About us", "Contact", "Log in", "Sign up", "Search"]
ARTICLE = [
    "How a lighthouse keeper spent the winter of 1911",
    "The lamp had to be wound every four hours, and in the long nights of December that meant "
    "climbing the ninety-two steps three times between supper and breakfast.",
    "He kept a diary, in which he noted the wind, the ships that passed, and what he had eaten.",
    "On the third of January the sea came over the lower gallery and took the boat with it, so "
    "that for five weeks nobody could land on the rock and nobody could leave.",
    "What the diary does not mention is fear. He was, he wrote, too busy drying the coal.",
]
FOOTER = [
    "Share this article",
    "Related articles",
    "Subscribe to our newsletter",
    "Privacy policy | Terms of use",
    "© 2024 Example Media Ltd. All rights reserved.",
]
PAGE = "\n".join(MENU + ARTICLE + FOOTER)


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return Tagger.load()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n",
        "one line",
        "two\n",
        "\n\nword",
        "a\r\nb\r\n",
        "a\u2028b\nc\x0cd\x85e",
        "\ud800 lone\n\udc00",
        "nul\x00byte\n\x00",
        "日本語の文章です。\n\nภาษาไทย",
        "\n" * 50,
    ],
)
def test_one_probability_for_every_line_feed(tagger: Tagger, text: str) -> None:
    noise = tagger.predict(text).noise
    assert noise.shape == (text.count("\n") + 1,)
    assert noise.dtype == np.float32
    assert ((noise >= 0) & (noise <= 1)).all()


def test_menu_and_footer_score_above_the_article(tagger: Tagger) -> None:
    noise = tagger.predict(PAGE).noise
    article = noise[len(MENU) : len(MENU) + len(ARTICLE)]
    rest = np.concatenate((noise[: len(MENU)], noise[len(MENU) + len(ARTICLE) :]))
    assert article[1:].max() < rest.min()
    assert article[1:].max() < THRESHOLD < rest.mean()


def test_the_same_bits_whatever_else_is_predicted(tagger: Tagger) -> None:
    first = tagger.predict(PAGE)
    for other in ("", "x\n" * 5000, MENU[0], "word " * 20_000):
        tagger.predict(other)
    again, elsewhere = tagger.predict(PAGE), Tagger.load().predict(PAGE)
    for second in (again, elsewhere):
        assert first.noise.tobytes() == second.noise.tobytes()
        assert first.summary.tobytes() == second.summary.tobytes()


def test_many_lines_are_read_in_windows(tagger: Tagger) -> None:
    lines = module.WINDOW_LINES * 2 + 17
    text = "\n".join(
        ARTICLE[k % len(ARTICLE)] if k % 3 else MENU[k % len(MENU)] for k in range(lines)
    )
    noise = tagger.predict(text).noise
    assert noise.shape == (lines,)
    assert np.isfinite(noise).all()


class Counter:
    """A document head that counts lines."""

    def predict(self, text: str, found: Features, noise: np.ndarray) -> tuple[float, float, float]:
        return 2.0, 4.0, len(noise) / 100


def test_without_a_document_head_scores_are_not_numbers() -> None:
    found = Tagger(open_session(module.WEIGHTS / module.LINES_FILE)).predict(PAGE)
    assert np.isnan([found.edu, found.format, found.keep]).all()


def test_a_document_head_is_asked() -> None:
    found = Tagger.load(head=Counter()).predict(PAGE)
    assert (found.edu, found.format) == (2.0, 4.0)
    assert found.keep == pytest.approx((PAGE.count("\n") + 1) / 100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged refiner."""
    return Path(shutil.copytree(module.WEIGHTS, tmp_path / "refiner"))


@pytest.mark.parametrize("name", ["lines.onnx", "document_head.npz"])
@pytest.mark.parametrize("data", [None, b"", b"junk"])
def test_a_missing_or_damaged_file_is_named(folder: Path, name: str, data: bytes | None) -> None:
    if data is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(data)
    with pytest.raises(RefinerError, match=name):
        load_refiner(str(folder), "document")


def test_lines_need_no_document_head(folder: Path) -> None:
    (folder / "document_head.npz").unlink()
    refiner, _ = load_refiner(str(folder), "chunk")
    assert refiner.write([Chunk.whole(PAGE)])[0].program


def test_lines_need_a_threshold(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "thresholds": {}}))
    with pytest.raises(RefinerError, match=r"card\.json: thresholds\.noise"):
        load_refiner(str(folder), "chunk")


def test_predictions_are_remembered_for_a_batch_and_no_longer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tagging, "_REMEMBERED", 3)
    monkeypatch.setattr(tagging, "_REMEMBERED_CHARACTERS", 10)
    predictor = tagging._Predictor(folder)
    for text in ("a", "b", "c", "d"):
        predictor.predict(text)
    assert list(predictor.remembered) == ["b", "c", "d"]
    assert predictor.predict("b") is predictor.predict("b")
    predictor.predict("e" * 9)
    assert list(predictor.remembered) == ["d", "e" * 9]
    predictor.predict("f" * 99)
    assert list(predictor.remembered) == ["f" * 99]
    predictor.predict("g")
    assert list(predictor.remembered) == ["g"]


def test_a_very_long_document_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = Tagger.load()
    lines = [f"Line {n} tells of the river and of the mill." for n in range(25)]
    parts = [tagger.predict("\n".join(lines[n : n + 10])).noise for n in (0, 10, 20)]
    scores = tagger.predict("\n".join(lines[:10]))
    monkeypatch.setattr(module, "SEGMENT_LINES", 10)
    whole = tagger.predict("\n".join(lines))
    assert np.array_equal(whole.noise, np.concatenate(parts))
    assert (whole.edu, whole.keep) == (scores.edu, scores.keep)
    assert len(tagger.predict("\n" * 40).noise) == 41
