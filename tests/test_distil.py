"""Programs of runs as labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from burnish.cli import cli
from burnish.errors import InputError, OutputError, UsageError
from burnish.io.gold import read_gold
from burnish.program.operations import DropDocument, RemoveLines, ReplaceText, to_json
from burnish.schema import Edit, StageTrace, Status
from burnish.training.examples import gold_of
from burnish.workflows import refine
from burnish.workflows.distil import document_row, page_row, write_labels
from burnish.workflows.restore import Restored

PAGE = "Home | News\nThe otters came back to the river, and nobody knows why.\nRead more"


def run_of(folder: Path, name: str, refiner: str, text: str = PAGE, **more: Any) -> Path:
    corpus = folder / f"{name}.jsonl"
    rows = [{"id": "a", "lang": "en", "text": text}, {"id": "b", "text": PAGE.upper()}]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = folder / name
    refine.run(refine.Config(inputs=(corpus,), output=out, refiner=refiner, workers=1, **more))
    return out


def restored(*traces: StageTrace) -> Restored:
    return Restored("a", Status.KEPT, {"text": PAGE}, "text", PAGE, PAGE, traces)


def trace(*gone: int, status: Status = Status.EDITED, stage: str = "chunk") -> StageTrace:
    program = to_json(tuple(RemoveLines(n, n) for n in gone))
    return StageTrace(stage, "teacher", status, program, removed_lines=tuple((n, n) for n in gone))


def labels(*traces: StageTrace) -> list[int] | None:
    row = page_row([restored(one) for one in traces])
    return None if row is None else [line["label"] for line in row["lines"]]


def test_removed_lines_are_noise() -> None:
    assert labels(trace(0, 2)) == [1, 0, 1]
    assert labels(trace(status=Status.KEPT)) == [0, 0, 0]
    drop = StageTrace("chunk", "t", Status.DROPPED, to_json((DropDocument(),)))
    assert labels(drop) == [1, 1, 1]


def test_a_page_that_a_limit_dropped_is_labelled_by_its_program() -> None:
    found = trace(0, 2, status=Status.DROPPED)
    found = replace(found, removed_lines=((0, 2),))
    row = page_row([restored(found)])
    assert row is not None
    assert [line["label"] for line in row["lines"]] == [1, 0, 1]
    assert row["operations"] == found.program


def test_pages_that_one_run_alone_speaks_of_are_counted(tmp_path: Path) -> None:
    runs = [
        run_of(tmp_path, "all", "c4-lines", stages=("chunk",)),
        run_of(tmp_path, "some", "default", keep_threshold=1.0),
    ]
    found = write_labels(runs, tmp_path / "labels")
    assert (found.pages, found.alone) == (2, 2)


def test_what_was_refused_or_failed_counts_for_nothing() -> None:
    assert labels(trace(0, status=Status.REFUSED)) is None
    assert labels(trace(0, 2), trace(0, status=Status.FAILED)) == [1, 0, 1]


def test_the_majority_counts_and_a_tie_is_unknown() -> None:
    assert labels(trace(0, 2), trace(0), trace(0, 1)) == [1, 0, 0]
    assert labels(trace(0, 2), trace(0)) == [1, 0, -1]


def test_decisions_about_documents_are_counted_and_scores_averaged() -> None:
    def decided(status: Status, edu: float) -> Restored:
        found = StageTrace("document", "t", status, [], scores={"edu": edu, "keep": 0.4})
        return restored(found)

    keep, drop = decided(Status.KEPT, 3.0), decided(Status.DROPPED, 1.0)
    row = document_row([keep, keep, drop])
    assert row is not None
    assert (row["keep"], row["edu"], row["text"]) == (1, 2.3333, PAGE)
    assert "format" not in row
    assert document_row([keep, drop]) is None


def test_a_text_that_was_edited_before_is_not_labelled() -> None:
    first = StageTrace(
        "chunk", "t", Status.EDITED, [["remove_lines", 0, 0]], (Edit(0, "Home", ""),)
    )
    second = StageTrace("document", "t", Status.KEPT, [])
    assert document_row([restored(first, second)]) is None


def test_programs_are_taught_whole() -> None:
    """A replacement is in the program, where labels of lines can not hold it."""
    program = (RemoveLines(0, 0), ReplaceText(1, 1, ", and nobody knows why"))
    found = StageTrace("chunk", "t", Status.EDITED, to_json(program), removed_lines=((0, 0),))
    row = page_row([restored(found)])
    assert row is not None
    gold = gold_of(row, "chunk")
    assert gold is not None and gold.program == program


def test_a_run_becomes_a_folder_that_training_reads(tmp_path: Path) -> None:
    run = run_of(tmp_path, "one", "c4-lines")
    result = CliRunner().invoke(
        cli, ["export", "labels", str(run), "-o", str(tmp_path / "labels")], catch_exceptions=False
    )
    assert result.exit_code == 0 and "2 pages with line labels" in result.output
    first, second = read_gold(tmp_path / "labels" / "chunks_train.jsonl.zst")
    assert (first["id"], first["lang"], second["id"]) == ("a", "en", "b")
    assert [line["label"] for line in first["lines"]] == [1, 0, 1]
    assert first["source"].startswith("c4-lines")
    with pytest.raises(OutputError, match="exists already"):
        write_labels([run], tmp_path / "labels")


def test_a_document_stage_gives_decisions(tmp_path: Path) -> None:
    run = run_of(tmp_path, "one", "default", keep_threshold=1.0)
    found = write_labels([run], tmp_path / "labels")
    assert (found.pages, found.documents) == (0, 2)  # dropped before the chunk stage saw them
    rows = list(read_gold(tmp_path / "labels" / "train.jsonl.zst"))
    assert [row["keep"] for row in rows] == [0, 0]
    assert all(0 <= row["edu"] <= 5 for row in rows)


def test_runs_of_other_inputs_are_refused(tmp_path: Path) -> None:
    one = run_of(tmp_path, "one", "c4-lines")
    two = run_of(tmp_path, "two", "c4-lines", text=PAGE + "\nMore.")
    with pytest.raises(InputError, match="they part at a"):
        write_labels([one, two], tmp_path / "labels")
    with pytest.raises(InputError, match="no run of burnish refine"):
        write_labels([tmp_path], tmp_path / "labels")
    assert not (tmp_path / "labels").exists()


def test_a_run_has_one_vote_and_a_refusal_leaves_nothing(tmp_path: Path) -> None:
    one = run_of(tmp_path, "one", "c4-lines")
    other = run_of(tmp_path, "other", "c4-lines", text="Another text.")
    for runs, told in (([one, one], "named twice"), ([one, other], "not of the same input")):
        with pytest.raises(InputError, match=told):
            write_labels(runs, tmp_path / "labels")
        assert not (tmp_path / "labels").exists()


def test_a_tagger_is_not_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra [onnx-export] is not installed")
    from burnish.refiners.tagger import WEIGHTS

    with pytest.raises(UsageError, match="of the kind tagger, which runs as it is"):
        CliRunner().invoke(
            cli, ["export", "onnx", str(WEIGHTS), "-o", str(tmp_path / "x")], catch_exceptions=False
        )
