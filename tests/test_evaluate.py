"""Gold files: read as they come, refused where a label could not be meant."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from click.testing import CliRunner

from burnish.cli import cli
from burnish.cli.evaluate import command
from burnish.errors import InputError, UsageError
from burnish.evaluation.comparison import compare_documents, compare_pages
from burnish.evaluation.judgement import (
    DocumentJudgement,
    Group,
    judge_document,
    judge_page,
    match_spans,
)
from burnish.evaluation.summary import (
    document_estimates,
    document_table,
    page_estimates,
    page_summary,
    page_table,
)
from burnish.io.gold import read_gold
from burnish.metrics import Counts, pearson, roc_auc
from burnish.program.lines import Chunk
from burnish.refiners.scripted import Scripted
from burnish.schema import Document, Edit, Record, StageTrace, Status
from burnish.spec import StageSpec
from burnish.stages import Pipeline, Stage
from burnish.workflows import evaluate as workflow
from burnish.workflows.evaluate import evaluate, evaluate_all, worst

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


def test_another_threshold_is_judged(tmp_path: Path) -> None:
    gold = written(tmp_path / "gold.jsonl", PAGE)
    (all_lines,) = evaluate(gold, noise_threshold=0.0).judgements
    (none,) = evaluate(gold, noise_threshold=1.0).judgements
    assert all_lines.lost_words == all_lines.content_words > 0
    assert none.left_words == none.noise_words > 0
    scored = written(tmp_path / "scored.jsonl", {"text": "The tide rises.", "keep": 1})
    decided = [
        evaluate(scored, keep_threshold=threshold).judgements[0].kept for threshold in (0.0, 1.0)
    ]
    assert decided == [(True, True), (False, True)]


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
        estimate = page_estimates(page_table(drawn), seed)["removed_lines_f1"]
        covered += estimate.low <= truth <= estimate.high
    assert covered >= 85


def test_few_pages_have_no_interval() -> None:
    assert page_summary(pages(4, 2))["metrics"]["removed_lines_f1"]["low"] is None


def test_two_refiners_are_compared_page_by_page() -> None:
    better, worse = page_table(pages(40, 4)), page_table(pages(40, 24))
    found = compare_pages(better, worse)["removed_lines_f1"]
    assert found.difference.value > 0 and found.difference.low > 0 and found.p < 0.01
    same = compare_pages(better, better)["removed_lines_f1"]
    assert same.difference.value == 0 and same.p == 1
    back = compare_pages(worse, better)["removed_lines_f1"]
    assert back.difference.value == -found.difference.value
    with pytest.raises(ValueError, match="beside"):
        compare_pages(better, worse[:3])


def test_swaps_without_an_f1_are_no_evidence() -> None:
    """Each of two refiners takes one line of a page without noise: F1 is 0 for both, and where a
    swap gives both lines to one, the other has none."""
    clean = page(("One two", 0), ("Three four", 0))
    took, left = judge_page(0, clean, record(clean, 0)), judge_page(0, clean, record(clean))
    found = compare_pages(page_table([took, left]), page_table([left, took]))["removed_lines_f1"]
    assert found.difference.value == 0 and found.p == 1
    # Where most swaps have none, there is no p.
    many = 20
    neither = page_table([left] * many)
    one = page_table([took] + [left] * (many - 1))
    assert math.isnan(compare_pages(one, neither)["removed_lines_f1"].p)


def documents(count: int, noise: float, seed: int = 0) -> list[DocumentJudgement]:
    """Scores that tell the gold, with noise; the gold is the same for each seed."""
    import random

    gold, chance = random.Random(1), random.Random(seed)
    group = Group("s", "en", "?", "under 100")
    found = []
    for number in range(count):
        edu = gold.uniform(0, 5)
        told = edu + chance.gauss(0, noise)
        pairs = {"edu": (told, edu), "keep": (round(told / 5, 1), float(edu > 2.5))}
        kept = told > 2.5, edu > 2.5
        found.append(DocumentJudgement(number, group, Status.KEPT, kept, pairs))
    return found


def test_documents_have_the_numbers_of_the_plain_measures() -> None:
    """Also where they are drawn again, with ties and with documents that miss something."""
    made = documents(60, 1.0)
    made[3] = replace(made[3], status=Status.FAILED, kept=None, pairs={})
    made[5] = replace(made[5], pairs={})
    for drawn in (made, made[:9] * 3, made[:1], made[3:4]):
        found = document_estimates(document_table(drawn))
        keep = [d.pairs["keep"] for d in drawn if "keep" in d.pairs]
        edu = [d.pairs["edu"] for d in drawn if "edu" in d.pairs]
        counts = Counts()
        for document in drawn:
            if document.kept is not None:
                counts.add(*document.kept)
        for name, value in (
            ("keep_f1", counts.f1),
            ("keep_roc_auc", roc_auc([s for s, _ in keep], [bool(g) for _, g in keep])),
            ("edu_pearson_r", pearson([s for s, _ in edu], [g for _, g in edu])),
            ("format_pearson_r", math.nan),
        ):
            assert found[name].value == pytest.approx(value, nan_ok=True)


def test_two_refiners_are_compared_document_by_document() -> None:
    better, worse = document_table(documents(80, 0.5)), document_table(documents(80, 3, seed=7))
    found = compare_documents(better, worse)
    for name in ("keep_f1", "keep_roc_auc", "edu_pearson_r"):
        assert found[name].difference.value > 0 and found[name].difference.low > 0
        assert found[name].p < 0.01
    assert math.isnan(found["format_pearson_r"].p)
    same = compare_documents(better, better)["edu_pearson_r"]
    assert same.difference.value == 0 and same.p == 1
    back = compare_documents(worse, better)["keep_roc_auc"]
    assert back.difference.value == -found["keep_roc_auc"].difference.value
    with pytest.raises(ValueError, match="beside"):
        compare_documents(better, worse[:3])


def test_a_document_that_one_of_two_failed_counts_for_neither() -> None:
    one, other = documents(30, 0.5), documents(30, 1, seed=2)
    other[4] = replace(other[4], status=Status.FAILED, kept=None, pairs={})
    found = compare_documents(document_table(one), document_table(other))
    del one[4], other[4]
    alone = compare_documents(document_table(one), document_table(other))
    for name in ("keep_f1", "keep_roc_auc", "edu_pearson_r"):
        assert found[name].first == pytest.approx(alone[name].first)
        assert found[name].second == pytest.approx(alone[name].second)


def test_by_chance_p_is_even() -> None:
    """Of refiners that are equally good, one in ten or so has a p below 0.1."""
    low = 0
    for seed in range(60):
        one, other = (document_table(documents(40, 1, seed=2 * seed + n)) for n in (10, 11))
        low += compare_documents(one, other, seed=seed)["edu_pearson_r"].p < 0.1
    assert 1 <= low <= 14


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
        ({"first_line": -1}, "first_line must be"),
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


def test_documents_are_compared_by_the_command(tmp_path: Path) -> None:
    texts = [f"The river number {n} rises in the hills and runs to the sea." for n in range(4)]
    texts += [f"buy now {n} click here" for n in range(4)]
    gold = written(
        tmp_path / "gold.jsonl",
        *({"text": text, "keep": int(n < 4), "edu": 5 - n / 2} for n, text in enumerate(texts)),
    )
    report = tmp_path / "report.html"
    arguments = [str(gold), "--against", "default"]
    told = CliRunner().invoke(command, [*arguments, "--html", str(report)])
    assert told.exit_code == 0, told.output
    said = "on the 8 documents that neither failed"
    assert said in " ".join(told.output.split()) and said in report.read_text("utf-8")
    found = json.loads(CliRunner().invoke(command, [*arguments, "--json"]).output)[0]["comparison"]
    assert found["compared"] == 8
    assert found["metrics"]["edu_pearson_r"]["difference"]["value"] == 0
    assert found["metrics"]["edu_pearson_r"]["p"] == 1
    assert found["metrics"]["format_pearson_r"]["p"] is None


def test_groups_by_length_ascend(tmp_path: Path) -> None:
    rows = [page(("Word " * size, 0), ("Menu", 1)) for size in (3_500, 2_000, 500, 500, 150, 20)]
    found = evaluate(written(tmp_path / "gold.jsonl", *rows), "c4-lines")
    lengths = ["under 100", "under 300", "under 1,000", "under 3,000", "3,000 on"]
    assert list(found.groups("length")) == lengths
    told = CliRunner().invoke(command, [str(tmp_path / "gold.jsonl"), "--refiner", "c4-lines"])
    places = [told.output.index(f" {name} ") for name in lengths]
    assert places == sorted(places)


def test_a_window_is_shown_with_the_numbers_of_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is in training; what comes back is counted from the window's own first line."""
    shown: list[Chunk] = []

    def says(chunk: Chunk) -> str:
        shown.append(chunk)
        return f"remove_lines({chunk.first + 1}, {chunk.first + 1})"

    stage = Stage(StageSpec(name="chunk", dialect="prox-chunk", window=60), Scripted(says))
    monkeypatch.setattr(workflow, "load_pipeline", lambda *_, **__: Pipeline([stage]))
    monkeypatch.setattr(workflow, "is_language_model", lambda _: True)
    monkeypatch.setattr(workflow, "stages_of", lambda _: ["chunk"])
    gold = written(tmp_path / "gold.jsonl", {**PAGE, "first_line": 998}, PAGE)
    found = evaluate(gold, "scripted")
    assert [(c.first, c.owned) for c in shown] == [(998, (998, 1_000)), (0, (0, 2))]
    assert found.removed == [{1}, {1}]
    assert found.summary()["removed_lines"]["f1"] == 1


def test_a_page_that_can_not_be_written_is_known_before_the_run(tmp_path: Path) -> None:
    gold = written(tmp_path / "gold.jsonl", PAGE)
    told = CliRunner().invoke(command, [str(gold), "--html", str(tmp_path / "no" / "x.html")])
    assert told.exit_code == 2 and "--html names a file" in told.output


def test_a_page_that_can_not_be_written_after_all_is_an_error(tmp_path: Path) -> None:
    gold = written(tmp_path / "gold.jsonl", PAGE)
    told = CliRunner().invoke(cli, ["evaluate", str(gold), "--html", "/dev/full"])
    assert told.exit_code == 1
    assert "removed lines F1" in told.output and "The worst documents" not in told.output


def test_a_threshold_is_told_and_must_have_an_effect(tmp_path: Path) -> None:
    gold = written(tmp_path / "gold.jsonl", PAGE)
    html = tmp_path / "page.html"
    told = CliRunner().invoke(command, [str(gold), "--noise-threshold", "0.7", "--html", str(html)])
    assert "noise threshold 0.7" in told.output
    assert "<p>default, lines, noise threshold 0.7</p>" in html.read_text()
    assert evaluate(gold, noise_threshold=0.7).to_json()["thresholds"] == {"noise": 0.7}
    with pytest.raises(UsageError, match="no file is gold of documents"):
        evaluate(gold, keep_threshold=0.7)


def test_all_gold_is_read_before_any_is_judged(tmp_path: Path) -> None:
    unknown = written(tmp_path / "unknown.jsonl", {"lines": [{"text": "Home", "label": -1}]})
    gold = written(tmp_path / "gold.jsonl", PAGE)
    with pytest.raises(InputError, match="has a label 0 or 1"):
        CliRunner().invoke(command, [str(gold), str(unknown)], catch_exceptions=False)


def test_labels_are_judged_alone(tmp_path: Path) -> None:
    gold = written(tmp_path / "gold.jsonl", PAGE)
    for more in (
        ["--engine", "onnx"],
        ["--noise-threshold", "0.7"],
        ["--against", "c4-lines"],
        ["--refiner", "c4-lines"],
    ):
        told = CliRunner().invoke(command, [str(gold), "--annotations", str(tmp_path), *more])
        assert told.exit_code == 2 and "--annotations judges labels" in told.output


def test_a_stage_that_is_missing_is_known_before_any_is_judged(tmp_path: Path) -> None:
    pages = written(tmp_path / "pages.jsonl", PAGE)
    documents = written(tmp_path / "documents.jsonl", {"text": "A text.", "keep": 1})
    with pytest.raises(UsageError, match=r"'c4-lines' has no stage 'document', which .*documents"):
        evaluate_all([pages, documents], against="c4-lines")


def test_gold_is_not_written_over(tmp_path: Path) -> None:
    gold = written(tmp_path / "gold.jsonl", PAGE)
    told = CliRunner().invoke(command, [str(gold), "--html", str(tmp_path / "." / "gold.jsonl")])
    assert told.exit_code == 2 and "--html would write over the gold" in told.output
    assert json.loads(gold.read_text()) == PAGE


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"operations": [["nope", 0]]}, "row 2: unknown operation 'nope'"),
        ({"operations": [["remove_lines"]]}, "row 2: remove_lines"),
        ({"operations": [[["remove_lines"], 1]]}, "row 2: "),
        (
            {"annotators": [{"teacher": 1, "pass": 0, "removed_lines": [[0]]}]},
            r"row 2: an annotator's removed_lines must be a list of \[first, last\]",
        ),
    ],
)
def test_what_stands_beside_gold_is_checked(
    tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    gold = written(tmp_path / "gold.jsonl", PAGE, {**PAGE, **more})
    with pytest.raises(InputError, match=message):
        evaluate(gold, "c4-lines")


@pytest.mark.parametrize("column", ["x", 7, ["anna", "ben"], [{"teacher": 1}, {"teacher": 2}]])
def test_a_column_of_annotators_may_be_somebody_elses(tmp_path: Path, column: Any) -> None:
    gold = written(tmp_path / "gold.jsonl", {**PAGE, "annotators": column})
    assert evaluate(gold, "c4-lines").agreement == {}


def test_scores_of_annotators_are_checked(tmp_path: Path) -> None:
    said = [{"teacher": "t", "pass": n, "edu": "high"} for n in range(2)]
    gold = written(tmp_path / "gold.jsonl", {"text": "x", "keep": 1, "annotators": said})
    with pytest.raises(InputError, match="row 1: edu must be a number from 0 to 5, not 'high'"):
        evaluate(gold)
