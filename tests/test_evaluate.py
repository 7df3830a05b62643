"""Gold files: read as they come, refused where a label could not be meant."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from burnish.errors import InputError
from burnish.workflows.evaluate import LineScores, evaluate, read_gold

LINE = {"text": "A sentence that stays here.", "label": 0}
NOISE = {"text": "Menu", "label": 1}
PAGE: dict[str, Any] = {"lines": [LINE, NOISE, {"text": "Home", "label": -1}], "source": "s"}


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_lines_are_counted(tmp_path: Path) -> None:
    found = evaluate(written(tmp_path / "gold.jsonl", PAGE, PAGE), "c4-lines")
    assert isinstance(found.total, LineScores)
    assert found.total.removed.to_json()["f1"] == 1
    assert set(found.by_source) == {"s"}


def test_blank_lines_and_a_byte_order_mark_mean_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    row = json.dumps(PAGE).encode()
    path.write_bytes(b"\xef\xbb\xbf" + row + b"\r\n\r\n\n" + row)
    assert list(read_gold(path)) == [PAGE, PAGE]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"lines": [{**LINE, "label": "1"}]}, "label of line 0"),
        ({"lines": [LINE, {**LINE, "label": 2}]}, "label of line 1"),
        ({"lines": [{**LINE, "label": 0.5}]}, "label"),
        ({"lines": [{**LINE, "label": None}]}, "label"),
        ({"lines": [{**LINE, "label": True}]}, "label"),
        ({"lines": [{"text": "a\nb", "label": 0}]}, "line 0 holds a line feed"),
        ({"lines": ["x"]}, "line 0 needs"),
        ({"text": "x", "keep": "yes"}, "keep must be"),
        ({"text": "x", "edu": "high"}, "edu must be"),
        ({"text": "x", "format": 6}, "format must be"),
        ({"text": "x"}, "no gold"),
    ],
)
def test_wrong_gold_is_named_with_file_and_row(
    tmp_path: Path, row: dict[str, Any], words: str
) -> None:
    path = written(tmp_path / "gold.jsonl", PAGE, row)
    with pytest.raises(InputError, match=words) as caught:
        list(read_gold(path))
    assert f"{path}, row 2" in str(caught.value)


def test_scores_may_be_missing(tmp_path: Path) -> None:
    rows = {"text": "x", "keep": None}, {"text": "x", "keep": True}, {"text": "x", "edu": 4.5}
    assert len(list(read_gold(written(tmp_path / "gold.jsonl", *rows)))) == 3


@pytest.mark.parametrize("data", [b"", b"junk", gzip.compress(b"{}" * 99)[:-9]])
def test_a_damaged_archive_is_an_input_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "gold.jsonl.gz"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"gold\.jsonl\.gz"):
        list(read_gold(path))


def test_a_truncated_archive_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl.zst"
    path.write_bytes(zstandard.compress((json.dumps(PAGE) + "\n").encode() * 9)[:-4])
    with pytest.raises(InputError, match="archive"):
        list(read_gold(path))
