"""What is taken off the ends of lines that stay, on texts written for these tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.dialects import get_dialect
from burnish.errors import RefinerError
from burnish.program.executor import execute
from burnish.program.lines import Chunk
from burnish.program.operations import RemoveLines, ReplaceText, from_json
from burnish.refiners import load_refiner
from burnish.refiners.line_ends import FILE, LETTERS_LEFT, LineEnds
from burnish.refiners.tagger import WEIGHTS
from burnish.schema import Status, revert_edits
from burnish.stages import Stage

ENDS = LineEnds.load(WEIGHTS)
ARTICLE = (
    "The lamp had to be wound every four hours, and in the long nights of December that meant "
    "climbing the ninety-two steps three times between supper and breakfast."
)
TAILS = (
    " Read more", " Read More »", " Continue reading →", " Continue reading The keeper's diary →",
    " Click here for details.", " Learn more.", " (read more)", " [Weiterlesen]", " Lire la suite",
    "Leia mais", " READ MORE...", " | mehr", " 続きを読む", "[edit]", " [ edit ]",
    "[redigera | redigera wikitext]", "[ترمیم]", " (AP Photo)", " (AP Photo/Ann Other, File)",
    " (Ann Other/AFP/Getty Images)", " Photo: Ann Other, The Morning News", " Foto: Ann Other/dpa",
    " — Foto: Ann Other/G1", " (Foto: Ann Other)", " Ann Other/AFP via Getty Images hide caption",
    " Photo by Ann Other", " | 12 comments", " - 3 min read", " | Visits: 2.944",
    " Follow her on Twitter at @another.", " (AP Photo/Ann Other) Photo: The Morning News",
)  # fmt: skip
HEADS = (
    "Image caption ", "Image copyright Ann Other Image caption ", "Facebook Twitter Pinterest ",
    "Media playback is unsupported on your device Media caption ",
)  # fmt: skip


def taken(line: str) -> list[str]:
    return [line[start:end] for start, end in ENDS.spans(line)]


@pytest.mark.parametrize("tail", TAILS)
def test_phrases_at_the_end_are_taken_and_nothing_else(tail: str) -> None:
    assert taken(ARTICLE + tail) == [tail]
    assert taken(f"{ARTICLE}{tail}\r") == [tail]
    assert taken(tail.strip()) == []


@pytest.mark.parametrize("head", HEADS)
def test_phrases_at_the_beginning(head: str) -> None:
    assert taken(head + ARTICLE) == [head]
    assert taken(f"{head}{ARTICLE} Photo: Ann Other") == [head, " Photo: Ann Other"]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "...",
        "[edit]",
        "Read more",
        "He wanted to read more",
        "She read on. He wanted more.",
        "It is a bundle over a field. More",  # a hard-wrapped text
        "Then press [edit]",
        "Click on the button [edit]",
        "The section is called Read more in the menu.",
        "He worked for the agency Reuters (Reuters is old).",
        "It runs on two systems (Windows/Linux)",
        "The patient record (PEPA)",
        "The course has three parts. Credit: 3 units",
        "Photo: how we made the picture",
        "Image caption text should be short",
        "The first part (1/2)",
        "She paid 12 comments",
        "[1]",
        "He said so [12].",
    ],
)
def test_text_is_left_alone(line: str) -> None:
    assert taken(line) == []


def test_what_stands_twice_in_the_line_is_left() -> None:
    assert taken(f"{ARTICLE} Read more. Some text. Read more") == []


PIECES = st.one_of(
    st.sampled_from([*TAILS, *HEADS, ARTICLE, "The otters are back. ", "(", ")", "/", " | ", ": "]),
    st.text(max_size=12).map(lambda text: text.replace("\n", " ")),
)
LINES = st.lists(PIECES, max_size=6).map("".join)


@given(LINES)
def test_spans_lie_apart_in_the_line_and_leave_letters(line: str) -> None:
    spans = ENDS.spans(line)
    assert len(spans) <= 2
    assert spans == sorted(spans)
    left, at = "", 0
    for start, end in spans:
        assert at <= start < end <= len(line)
        assert line.count(line[start:end]) == 1
        left, at = left + line[at:start], end
    if spans:
        assert sum(map(str.isalpha, left + line[at:])) >= LETTERS_LEFT


@settings(max_examples=60, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=12), st.integers(0, 500))
def test_replacements_lie_in_kept_lines_and_can_be_undone(lines: list[str], first: int) -> None:
    refiner, spec = load_refiner("default", "chunk")
    chunk = Chunk(lines, first, (first, first + len(lines) - 1))
    (draft,) = refiner.write([chunk])
    assert draft.program is not None
    removed = {
        n for op in draft.program if isinstance(op, RemoveLines)
        for n in range(op.first, op.last + 1)
    }  # fmt: skip
    for op in draft.program:
        if isinstance(op, ReplaceText):
            assert first <= op.first == op.last < first + len(lines)
            assert op.first not in removed
            assert op.new == ""
    dialect = get_dialect(spec.dialect)
    parsed = dialect.parse(dialect.format(draft.program, chunk), chunk)
    assert (parsed.program, parsed.issues) == (draft.program, ())

    text = "\n".join(lines)
    (whole,) = refiner.write([Chunk.whole(text)])
    assert whole.program is not None
    outcome = execute(text, whole.program, limits=spec.limits)
    assert outcome.original == text
    assert {issue.code for issue in outcome.issues} <= {"limit"}


def test_results_do_not_depend_on_the_batch() -> None:
    texts = [f"{ARTICLE}{tail}\n{head}{ARTICLE}" for tail in TAILS for head in HEADS]
    stage = Stage(*load_refiner("default", "chunk")[::-1])
    together = stage.run(texts)
    assert together == [stage.run([text])[0] for text in texts]
    changed = 0
    for text, (trace, refined) in zip(texts, together, strict=True):
        assert revert_edits(refined, trace.edits) == text
        changed += any(isinstance(op, ReplaceText) for op in from_json(trace.program or []))
    assert changed > len(texts) // 2


def test_a_sentence_that_was_wrapped_is_left() -> None:
    refiner, _ = load_refiner("default", "chunk")
    (draft,) = refiner.write([Chunk.whole(f"{ARTICLE} Learn more\nabout it. {ARTICLE}\n{ARTICLE}")])
    assert not any(isinstance(op, ReplaceText) for op in draft.program or ())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged refiner."""
    return Path(shutil.copytree(WEIGHTS, tmp_path / "refiner"))


def test_a_refiner_that_labels_lines_removes_lines_alone(folder: Path) -> None:
    (folder / FILE).unlink()
    card = json.loads((folder / "card.json").read_text())
    card["stages"]["chunk"]["dialect"] = "line-labels"
    (folder / "card.json").write_text(json.dumps(card))
    refiner, _ = load_refiner(str(folder), "chunk")
    (draft,) = refiner.write([Chunk.whole(f"{ARTICLE} Read more")])
    assert draft.program == ()


def test_missing_phrases_are_named(folder: Path) -> None:
    (folder / FILE).unlink()
    with pytest.raises(RefinerError, match=r"line_ends\.json"):
        load_refiner(str(folder), "chunk")


@pytest.mark.parametrize("data", ["", "[]", "{}", '{"edit": ["a"], "other": []}'])
def test_damaged_phrases_are_named(folder: Path, data: str) -> None:
    (folder / FILE).write_text(data)
    with pytest.raises(RefinerError, match=r"line_ends\.json"):
        load_refiner(str(folder), "chunk")


def test_no_more_is_replaced_than_a_program_may(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    card["stages"]["chunk"]["limits"]["max_edits"] = 2
    (folder / "card.json").write_text(json.dumps(card))
    refiner, spec = load_refiner(str(folder), "chunk")
    text = "\n".join(f"{n}. {ARTICLE} Read more" for n in range(5))
    ((trace, _),) = Stage(spec, refiner).run([text])
    assert trace.status is Status.EDITED
    assert len(trace.program or ()) == 2
