"""Probabilities that mean what they say: the measure, the card's map, and the packaged refiner."""

from __future__ import annotations

import io
import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from burnish.errors import RefinerError
from burnish.metrics import Bin, expected_calibration_error, reliability
from burnish.program.lines import Chunk
from burnish.refiners.tagger import WEIGHTS, Tagger
from burnish.refiners.tagging import DocumentTagger, LineTagger
from burnish.spec import Calibration, RefinerCard
from burnish.training import calibration as training
from burnish.training.material import dev_pages

SHARED = Path(__file__).absolute().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
EXAMPLES = Path(__file__).parent.parent / "examples" / "pages.jsonl"


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        stream = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8")
        yield from map(json.loads, stream)


# ------------------------------------------------------------------------------------ measure


def test_bins_of_equal_width() -> None:
    found = reliability([0.0, 0.1, 0.5, 0.99, 1.0], [False, True, True, True, False], bins=2)
    assert found == [Bin(0.05, 0.5, 2), Bin(pytest.approx(0.83), pytest.approx(2 / 3), 3)]


def test_calibration_error_by_hand() -> None:
    # two in the first of 15 bins, 0.03 against 0.5; two in the last, 0.97 against 1
    found = expected_calibration_error([0.02, 0.04, 0.96, 0.98], [True, False, True, True])
    assert found == pytest.approx((0.47 + 0.03) / 2)
    assert np.isnan(expected_calibration_error([], []))


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability(wrong: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        reliability([wrong], [True])


def test_bins_and_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match="one bin"):
        reliability([0.5], [True], bins=0)
    with pytest.raises(ValueError, match="longer"):
        expected_calibration_error([0.5], [True, False])


# ---------------------------------------------------------------------------------------- map

MAP = Calibration(((0.0, 0.0), (0.5, 0.3), (1.0, 1.0)))


@given(a=st.floats(0, 1), b=st.floats(0, 1))
def test_a_map_keeps_the_order(a: float, b: float) -> None:
    assert MAP(0.5) == 0.3
    assert (MAP(0), MAP(1)) == (0, 1)
    if a < b:
        assert MAP(a) <= MAP(b)
    assert MAP(a) == pytest.approx(np.interp(a, MAP.scores, MAP.probabilities))


@pytest.mark.parametrize(
    "points",
    [
        [],
        [[0, 0]],
        [[0, 0], [1, 2]],
        [[0, 0], [0.5, 0.5]],
        [[0, 0], [0.5, 0.5], [0.5, 0.6], [1, 1]],
        [[0, 0.5], [1, 0.5]],
        [[0, 0], [1, "1"]],
        [[0, 0], [1]],
        {"0": 1},
    ],
)
def test_a_map_that_is_none_is_refused(points: Any, tmp_path: Path) -> None:
    card = {**RefinerCard.read(WEIGHTS).to_json(), "calibration": {"noise": points}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(RefinerError, match=r"calibration\.noise must be a list"):
        RefinerCard.read(tmp_path)


def test_a_score_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    card = {**RefinerCard.read(WEIGHTS).to_json(), "calibration": {"edu": [[0, 0], [1, 1]]}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(RefinerError, match=r"calibration\.edu is unknown; known: noise, keep"):
        RefinerCard.read(tmp_path)


def test_a_card_with_a_map_comes_back(tmp_path: Path) -> None:
    card = replace(RefinerCard.read(WEIGHTS), calibration={"noise": MAP, "keep": MAP})
    card.write(tmp_path)
    assert RefinerCard.read(tmp_path) == card
    plain = replace(card, calibration={})
    assert "calibration" not in plain.to_json()  # cards of before have the same fingerprint


# ------------------------------------------------------------------------------------ refiner


def same_decisions(texts: list[str], calibration: Calibration) -> None:
    card = RefinerCard.read(WEIGHTS)
    spec = card.stages["chunk"]
    plain = LineTagger(WEIGHTS, replace(card, calibration={}), spec)
    mapped = LineTagger(WEIGHTS, replace(card, calibration={"noise": calibration}), spec)
    chunks = [Chunk.whole(text) for text in texts]
    pairs = zip(plain.write(chunks), mapped.write(chunks), strict=True)
    for before, after in pairs:
        assert before.program == after.program
        assert after.line_scores == pytest.approx(
            np.interp(before.line_scores, calibration.scores, calibration.probabilities)
        )


def test_a_map_changes_scores_and_no_program() -> None:
    texts = [json.loads(line)["text"] for line in EXAMPLES.read_text("utf-8").splitlines()]
    same_decisions(texts, MAP)
    same_decisions(texts, RefinerCard.read(WEIGHTS).calibration["noise"])


@needs_data
@pytest.mark.parametrize("name", ["boilerplate/dev", "boilerplate/dev_mild", "seed/chunks_dev"])
def test_no_program_changes_on_real_pages(name: str) -> None:
    pages = itertools.islice(rows(SHARED / f"{name}.jsonl.zst"), 120)
    texts = ["\n".join(line["text"] for line in page["lines"]) for page in pages]
    same_decisions(texts, RefinerCard.read(WEIGHTS).calibration["noise"])


def test_the_stored_keep_score_is_mapped() -> None:
    card = RefinerCard.read(WEIGHTS)
    chunk = Chunk.whole("Home\nThe tide rises because the moon pulls at the sea.")
    plain, mapped = (
        DocumentTagger(WEIGHTS, replace(card, calibration=maps)).write([chunk])[0].scores["keep"]
        for maps in ({}, {"keep": MAP})
    )
    assert mapped == pytest.approx(MAP(plain), abs=1e-4)
    assert mapped != plain


@needs_data
def test_the_packaged_map_is_the_one_that_training_makes() -> None:
    """The numbers of docs/refiner-card.md, from the data."""
    card = RefinerCard.read(WEIGHTS)
    found, errors = training.calibrate(dev_pages(SHARED), Tagger.load())
    assert found.probabilities == pytest.approx(card.calibration["noise"].probabilities, abs=0.002)
    for name, error in card.metrics["lines"]["calibration"].items():
        assert errors[name]["after"] == pytest.approx(error["after"], abs=0.002)
    assert errors["all"]["after"] <= 0.03
    assert errors["full"]["after"] <= 0.03
    assert all(error["after"] < error["before"] for error in errors.values())


# ----------------------------------------------------------------------------------- training


def test_a_fit_mends_scores_that_are_too_sure() -> None:
    chance = random.Random(1)
    truth = np.array([chance.random() for _ in range(20_000)])
    noise = np.array([chance.random() < p for p in truth])
    sure = np.clip(truth + 0.25 * np.sign(truth - 0.5) * 4 * truth * (1 - truth), 0, 1)
    before = expected_calibration_error(sure.tolist(), noise.tolist())
    found = training.fit(sure, noise)
    after = expected_calibration_error(training.apply(found, sure).tolist(), noise.tolist())
    assert before > 0.1
    assert after < 0.02
    assert Calibration.from_json(found.to_json()) == found


def test_a_fit_ascends_whatever_the_data() -> None:
    scores = np.linspace(0, 1, 200)
    falling = training.fit(scores, scores < 0.5)
    assert Calibration.from_json(falling.to_json()) == falling
    assert training.fit(np.zeros(5), np.zeros(5, bool)).points == ((0.0, 0.0), (1.0, 1.0))


def test_a_line_is_judged_by_a_map_of_other_sites() -> None:
    """Two sites that contradict each other, one noise in ten lines, one in nine of ten: each is
    judged by what the other says."""
    scores = np.tile(np.linspace(0.05, 0.95, 100), 2)
    tenth = np.arange(100) % 10 == 0
    folds = np.repeat([0, 1], 100)
    lines = training.Lines(scores, np.concatenate((tenth, ~tenth)), folds, np.full(200, "full"))
    found = training.cross_fitted(lines)
    assert found[:100].mean() > 0.65
    assert found[100:].mean() < 0.35


def test_the_error_of_few_documents_is_told_beside_what_chance_gives() -> None:
    chance = np.random.default_rng(2)
    keep = chance.random(100)
    found = training.document_error(keep, chance.random(100) < keep, 0)
    low, high = found["ece_keep_without_error"]
    assert 0.03 < low < found["ece_keep"] < high < 0.2
