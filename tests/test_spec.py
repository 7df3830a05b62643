"""Refiner cards: what is wrong in one is named before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import RefinerError
from burnish.program.limits import Limits
from burnish.spec import CARD_FILE, RefinerCard, StageSpec

STAGE: dict[str, Any] = {"name": "chunk", "dialect": "line-labels"}


def test_a_card_comes_back(tmp_path: Path) -> None:
    spec = StageSpec(
        name="document",
        dialect="prox-document",
        window=10,
        overlap=0.5,
        keep_threshold=0.3,
        limits=Limits(max_issues=2, on_removal="drop"),
    )
    card = RefinerCard(
        name="r", kind="tagger", version="1", stages={"document": spec}, thresholds={"noise": 0.5}
    )
    card.write(tmp_path)
    assert RefinerCard.read(tmp_path) == card


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ({"name": "sentence"}, "name"),
        ({"dialect": "klingon"}, "dialect"),
        ({"dialect": ["prox-chunk"]}, "dialect"),
        ({"window": 0}, "window"),
        ({"window": 1.5}, "window"),
        ({"overlap": 1}, "overlap"),
        ({"overlap": "x"}, "overlap"),
        ({"keep_threshold": "x"}, "keep_threshold"),
        ({"keep_threshold": 2}, "keep_threshold"),
        ({"windows": 9}, "windows"),
        ({"limits": []}, "limits"),
        ({"limits": {"max_removed": "a"}}, "limits.max_removed"),
        ({"limits": {"max_removed": float("nan")}}, "limits.max_removed"),
        ({"limits": {"min_words": True}}, "limits.min_words"),
        ({"limits": {"max_issues": 0}}, "limits.max_issues"),
        ({"limits": {"on_removal": "zap"}}, "limits.on_removal"),
        ({"limits": {"x": 1}}, "limits.x"),
    ],
)
def test_an_impossible_setting_of_a_stage_is_named(setting: dict[str, Any], key: str) -> None:
    with pytest.raises(RefinerError, match=f"{key}( |$)"):
        StageSpec.from_json({**STAGE, **setting})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"thresholds": {"noise": "x"}}, "thresholds.noise must be a number"),
        ({"thresholds": None}, "thresholds must be an object"),
        ({"name": None}, "name must be a string"),
        ({"stages": []}, "stages must be an object"),
        ({"stages": {"chunk": "x"}}, "stage 'chunk'"),
        ({"stages": {"chunk": {"name": "chunk"}}}, "stage 'chunk': dialect is missing"),
        ({"stages": {"document": STAGE}}, "stage 'document': its name is 'chunk'"),
        ({"colour": "red"}, "unknown setting: colour"),
    ],
)
def test_a_wrong_card_is_named_with_its_file(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    card = {"name": "r", "kind": "tagger", "version": "1", "stages": {"chunk": STAGE}}
    (tmp_path / CARD_FILE).write_text(json.dumps({**card, **change}))
    with pytest.raises(RefinerError, match=words) as caught:
        RefinerCard.read(tmp_path)
    assert str(tmp_path / CARD_FILE) in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_card_is_a_refiner_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / CARD_FILE).write_bytes(data)
    with pytest.raises(RefinerError, match=CARD_FILE):
        RefinerCard.read(tmp_path)
