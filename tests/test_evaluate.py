"""Gold files: read as they come, refused where a label could not be meant."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from click.testing import CliRunner

from burnish.cli.evaluate import command
from burnish.errors import InputError, UsageError
from burnish.evaluation.judgement import judge_document, judge_page, match_spans
from burnish.evaluation.summary import compare_pages, page_estimates, page_summary, table
from burnish.io.gold import read_gold
from burnish.schema import Document, Edit, Record, StageTrace, Status
from burnish.workflows.evaluate import evaluate, worst

LINE = {"text": "A sentence that stays here.", "label": 0}
NOISE = {"text": "Menu", "label": 1}
PAGE: dict[str, Any] = {"lines": [LINE, NOISE, {"text": "Home", "label": -1}], "source": "s"}


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_lines_are_counted(tmp_path: Path) -> None:
    found = evaluate(written(tmp_path / "gold.jsonl", PAGE, PAGE), "c4-lines")
    assert found.summary()["removed_lines"]["f1"] == 1
    assert set(found.groups("source")) == {"s"}


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


# ---------------------------------------------------------------------------------- judgements


def page(*labelled: tuple[str, int], **more: Any) -> dict[str, Any]:
    return {"lines": [{"text": text, "label": label} for text, label in labelled], **more}


def record(row: dict[str, Any], *removed: int, edits: tuple[Edit, ...] = ()) -> Record:
    """What a refiner did: lines that went, and edits inside of lines."""
    text = "\n".join(line["text"] for line in row["lines"])
    trace = StageTrace(
        "chunk", "r", Status.EDITED, [], edits, removed_lines=tuple((n, n) for n in removed)
    )
    return Record(Document("x", text), Status.EDITED, "", (trace,))


ARTICLE = page(("Home", 1), ("News", 1), ("One two three", 0), ("four five", 0), ("Share", -1))


def test_words_lost_and_left_are_told_apart() -> None:
    found = judge_page(0, ARTICLE, record(ARTICLE, 0, 3, 4))
    assert (found.content_words, found.lost_words) == (5, 2)
    assert (found.noise_words, found.left_words) == (2, 1)
    removed = found.removed
    assert (removed.tp, removed.fp, removed.fn, removed.tn) == (1, 1, 1, 1)


def test_characters_and_runs_go_beyond_lines() -> None:
    row = page(("Home", 1), ("A sentence. [edit]", 0), ("Menu", 1), ("Links", 1))
    row["program"] = ["remove_lines(0, 0)", 'normalize(source_str=" [edit]", target_str="")']
    start = len("Home\nA sentence.")
    exact = judge_page(0, row, record(row, 0, 2, 3, edits=(Edit(start, " [edit]"),)))
    assert (exact.characters.fp, exact.characters.fn) == (0, 0)
    assert (exact.spans.tp, exact.spans.fp, exact.spans.fn) == (2, 0, 0)  # the edit joins Menu
    lines_alone = judge_page(0, row, record(row, 0, 2, 3))
    assert (lines_alone.characters.fn, lines_alone.characters.fp) == (len("[edit]"), 0)


def test_of_a_replacement_what_is_the_same_did_not_go() -> None:
    row = page(("teh cat", 0), ("x", 1))
    found = judge_page(0, row, record(row, 1, edits=(Edit(0, "teh cat", "the cat"),)))
    assert found.characters.fp == 2


def test_runs_end_at_lines_that_are_not_scored() -> None:
    row = page(("a", 1), ("b", -1), ("c", 1))
    found = judge_page(0, row, record(row, 0, 1, 2))
    assert (found.spans.tp, found.spans.fp, found.spans.fn) == (2, 0, 0)
    assert found.characters.tp == 2


@pytest.mark.parametrize(
    ("predicted", "gold", "right"),
    [
        ([(0, 10)], [(0, 10)], 1),
        ([(0, 10)], [(0, 20)], 1),
        ([(0, 9)], [(0, 20)], 0),
        ([(0, 2), (4, 20)], [(0, 20)], 1),
        ([(0, 20)], [(0, 9), (11, 20)], 0),
        ([], [(0, 1)], 0),
    ],
)
def test_runs_are_right_where_half_is_shared(
    predicted: list[tuple[int, int]], gold: list[tuple[int, int]], right: int
) -> None:
    found = match_spans(predicted, gold)
    assert (found.tp, found.fp, found.fn) == (right, len(predicted) - right, len(gold) - right)


def test_a_failed_document_has_neither_decision_nor_scores() -> None:
    row = {"text": "a b", "keep": 1, "edu": 3}
    failed = Record(Document("x", "a b"), Status.FAILED, "a b", (StageTrace("document", "r",
                    Status.FAILED, scores={"keep": 0.9}),))  # fmt: skip
    found = judge_document(0, row, failed)
    assert found.failed and found.kept is None and not found.pairs


# ---------------------------------------------------------------------------------- pooled


def pages(count: int, wrong: int) -> list[Any]:
    """Pages of which some keep their menu."""
    return [judge_page(n, ARTICLE, record(ARTICLE, *([] if n < wrong else [0, 1])))
            for n in range(count)]  # fmt: skip


def test_pooled_numbers_are_those_of_all_lines_together() -> None:
    found = page_summary(pages(10, 5))
    assert found["removed_lines"]["tp"] == 10 and found["removed_lines"]["fn"] == 10
    f1 = found["metrics"]["removed_lines_f1"]
    assert f1["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert f1["low"] < f1["value"] < f1["high"]
    assert found["metrics"]["noise_words_left"]["value"] == 0.5
    assert found["metrics"]["content_words_lost"] == {"value": 0, "low": 0, "high": 0}


def test_an_interval_covers_about_as_often_as_it_says() -> None:
    """Pages drawn from a population whose F1 is known."""
    import random

    chance = random.Random(0)
    right, wrong = pages(1, 0)[0], pages(1, 1)[0]
    truth = 2 * 0.7 / (0.7 * 2 + 0.3)  # seven of ten pages lose their menu
    covered = 0
    for seed in range(100):
        drawn = [right if chance.random() < 0.7 else wrong for _ in range(40)]
        estimate = page_estimates(table(drawn), seed)["removed_lines_f1"]
        covered += estimate.low <= truth <= estimate.high
    assert covered >= 85


def test_few_pages_have_no_interval() -> None:
    assert page_summary(pages(4, 2))["metrics"]["removed_lines_f1"]["low"] is None


def test_two_refiners_are_compared_page_by_page() -> None:
    better, worse = table(pages(40, 4)), table(pages(40, 24))
    found = compare_pages(better, worse)["removed_lines_f1"]
    assert found.difference.value > 0 and found.difference.low > 0 and found.p < 0.01
    same = compare_pages(better, better)["removed_lines_f1"]
    assert same.difference.value == 0 and same.p == 1
    back = compare_pages(worse, better)["removed_lines_f1"]
    assert back.difference.value == -found.difference.value
    with pytest.raises(ValueError, match="beside"):
        compare_pages(better, worse[:3])


# ---------------------------------------------------------------------------------- command


def test_the_worst_documents_are_shown_on_a_page(tmp_path: Path) -> None:
    body = [(f"The sentence with number {n} ends as sentences do.", 0) for n in range(9)]
    advert = page(*body, ("Sign up for our letter today and win a prize.", 1), ("no end here", 0),
                  url="https://x.example/<b>", source="made")  # fmt: skip
    gold = written(tmp_path / "gold.jsonl", advert, ARTICLE, *[PAGE] * 5)
    report = tmp_path / "report.html"
    told = CliRunner().invoke(
        command, [str(gold), "--refiner", "c4-lines", "--against", "default", "--html", str(report)]
    )
    assert told.exit_code == 0, told.output
    assert "against default" in told.output and "95 % interval" in told.output
    html = report.read_text("utf-8")
    assert "noise left" in html and "content lost" in html
    assert "https://x.example/&lt;b&gt;" in html
    assert "<script" not in html and "http-equiv" not in html


def test_calibration_is_told_where_there_are_probabilities(tmp_path: Path) -> None:
    gold = written(tmp_path / "gold.jsonl", *[PAGE] * 6)
    curve = evaluate(gold, "default").calibration()["noise"]
    assert sum(part["count"] for part in curve["bins"]) == 12
    assert 0 <= curve["expected_calibration_error"] <= 1
    assert evaluate(gold, "c4-lines").calibration() == {}


def test_the_worst_are_sorted_by_what_was_lost(tmp_path: Path) -> None:
    body = [(f"The sentence with number {n} ends as sentences do.", 0) for n in range(9)]
    small, large = (page(*body, (text, 0)) for text in ("no end", "no end and more words"))
    gold = written(tmp_path / "gold.jsonl", small, large, PAGE)
    found = worst(evaluate(gold, "c4-lines"))
    assert [judgement.number for judgement in found["content lost"]] == [1, 0]


@pytest.mark.parametrize(
    "more",
    [
        {"operations": [["replace_text", 1, 1, " [edit]", "", None, None]]},
        {"program": 'normalize(source_str=" [edit]", target_str="")'},
        {"program": ["replace_str(2, ' [edit]', '')"], "dialect": "ultrax"},
        {"edits": [[len("Home\nA sentence."), " [edit]", ""]]},
    ],
)
def test_gold_inside_lines_is_read_in_every_form(more: dict[str, Any]) -> None:
    row = page(("Home", 1), ("A sentence. [edit]", 0), **more)
    assert judge_page(0, row, record(row, 0)).characters.fn == len("[edit]")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"edits": [[0, "a"]]}, "edits must be"),
        ({"edits": [[100, "zzz", ""]]}, "the text has no"),
        ({"program": 5}, "program must be"),
        ({"operations": ["x"]}, "operations must be"),
        ({"lines": None, "text": "x", "keep": 1}, "lines must be a list"),
    ],
)
def test_gold_of_another_shape_is_named(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(read_gold(written(tmp_path / "gold.jsonl", {**PAGE, **more})))


def test_what_looks_like_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    gold = written(tmp_path / "[de]gold.jsonl", {**PAGE, "source": "[/b]"}, ARTICLE)
    told = CliRunner().invoke(command, [str(gold), "--refiner", "c4-lines"])
    assert told.exit_code == 0, told.output
    assert "[/b]" in told.output and "[de]gold" in told.output


def test_documents_are_not_compared_in_silence(tmp_path: Path) -> None:
    gold = written(tmp_path / "gold.jsonl", {"text": "a b c", "keep": 1})
    with pytest.raises(UsageError, match="on pages"):
        evaluate(gold, against="c4-lines")


def test_a_page_that_can_not_be_written_is_known_before_the_run(tmp_path: Path) -> None:
    gold = written(tmp_path / "gold.jsonl", PAGE)
    told = CliRunner().invoke(command, [str(gold), "--html", str(tmp_path / "no" / "x.html")])
    assert told.exit_code == 2 and "--html names a file" in told.output
