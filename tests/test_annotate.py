"""burnish annotate from end to end, with a strong teacher that is played from our recordings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("httpx", reason="a teacher behind an address needs the extra annotate")
pytest.importorskip("py3langid", reason="recognising languages needs the extra annotate")

from played import Played, answer, playing
from recorded import DOCUMENTS, recorded, rows

from burnish.annotation.agreement import with_gold
from burnish.annotation.bill import Budget, Price
from burnish.annotation.policy import Policy
from burnish.cli.annotate import command
from burnish.errors import OutputError, RefinerError, UsageError
from burnish.io.gold import read_gold
from burnish.io.output import read_part
from burnish.program.executor import execute
from burnish.program.operations import from_json
from burnish.refiners import EngineChoice
from burnish.schema import Edit, apply_edits
from burnish.workflows.annotate import Config, Progress, estimate, run
from burnish.workflows.evaluate import evaluate, evaluate_labels

QUICK = EngineChoice(options=(("attempts", 2), ("first_pause", 0.01)))
Row = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[Played]:
    with recorded() as played:
        yield played


def config(server: Played, output: Path, **settings: Any) -> Config:
    policy = {"stages": ("document", "chunk"), "calls": "joint", **settings.pop("policy", {})}
    given: dict[str, Any] = {
        "inputs": (DOCUMENTS,),
        "teachers": ((server.url, "strong"),),
        "engine": QUICK,
        "sample": None,
        **settings,
    }
    return Config(output=output, policy=Policy(**policy), **given)


def found(folder: Path, name: str) -> list[Row]:
    return [dict(row) for row in read_part(folder / f"{name}.jsonl.zst")]


def everywhere(folder: Path, kind: str = "") -> dict[str, Row]:
    """The rows of all splits, by id."""
    return {row["id"]: row for name in ("train", "dev") for row in found(folder, kind + name)}


def rejected(folder: Path) -> set[tuple[str, str, str]]:
    return {(row["id"], row["stage"], row["reason"]) for row in found(folder, "rejected")}


def contents(folder: Path) -> Mapping[str, bytes]:
    """All files but the answers, whose order is that in which they came."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "answers.sqlite"}


TEXTS = {row["id"]: row["text"] for row in rows("documents.jsonl")}

# ---------------------------------------------------------------------------------- what comes out

REJECTED = {
    ("link-farm", "document", "refusal"),
    ("cookie-wall", "document", "no score"),
    ("link-farm", "chunk", "removal limit"),
    ("cookie-wall", "chunk", "removal limit"),
}


def test_joint_calls_label_documents_and_windows(server: Played, tmp_path: Path) -> None:
    summary = run(config(server, tmp_path))
    documents, windows = everywhere(tmp_path), everywhere(tmp_path, "chunks_")
    assert rejected(tmp_path) == REJECTED | {("table-page", "chunk", "refusal")}
    assert documents.keys() == TEXTS.keys() - {"link-farm", "cookie-wall"}
    assert windows.keys() == TEXTS.keys() - {"link-farm", "cookie-wall", "table-page"}
    assert {name for name, row in documents.items() if row["keep"]} == {
        "blog-bees", "blog-compost", "blog-bees-copy", "math-lecture", "code-tutorial", "ja-page",
        "fr-page", "essay-clean", "table-page", "invisible",
    }  # fmt: skip
    events = summary.card["events"]
    assert events["asked again"] and events["refusals"] and events["conflicts between kinds"]
    assert events["contradictions"] == 1
    assert summary.card["unanswered"] == 0
    assert windows["math-lecture"]["variant"] == "math"
    assert windows["ja-page"]["variant"] == "multilingual"
    assert windows["essay-clean"]["program"] == ["keep_chunk()"]


def test_programs_make_what_the_edits_make(server: Played, tmp_path: Path) -> None:
    for stage in ("chunk", "rewrite"):
        run(config(server, tmp_path / stage, policy={"stages": (stage,)}))
        for row in everywhere(tmp_path / stage, "chunks_").values():
            text = "\n".join(line["text"] for line in row["lines"])
            assert text == TEXTS[row["id"]]
            refined = apply_edits(text, [Edit(*edit) for edit in row["edits"]])
            assert execute(text, from_json(row["operations"])).text == refined
            gone = {n for a, b in row["annotators"][0]["removed_lines"] for n in range(a, b + 1)}
            assert gone == {n for n, line in enumerate(row["lines"]) if line["label"]}


def test_a_rewritten_text_is_reproduced_to_the_character(server: Played, tmp_path: Path) -> None:
    run(config(server, tmp_path, policy={"stages": ("rewrite",)}))
    windows = everywhere(tmp_path, "chunks_")
    assert rejected(tmp_path) == {
        ("link-farm", "rewrite", "removal limit"),
        ("cookie-wall", "rewrite", "removal limit"),
        ("product-lamp", "rewrite", "paraphrase"),
    }
    last = {
        row["document"]: row["answer"]
        for row in sorted(rows("answers.jsonl"), key=lambda row: row["attempt"])
        if row["task"] == "rewrite-edit" and row["teacher"] == "strong"
    }
    for name, row in windows.items():
        told = last[name].rpartition("</think>")[2]
        clean = told.partition("<text>\n")[2].partition("\n</text>")[0]
        refined = apply_edits(TEXTS[name], [Edit(*edit) for edit in row["edits"]])
        assert refined.strip("\n") == clean.strip("\n"), name


def test_no_site_and_no_near_copy_is_in_two_splits(server: Played, tmp_path: Path) -> None:
    for seed in range(4):
        run(config(server, tmp_path / str(seed), policy={"seed": seed}))
        train, dev = (
            {row["id"] for row in found(tmp_path / str(seed), name)} for name in ("train", "dev")
        )
        assert len({"blog-bees", "blog-compost", "blog-bees-copy"} & train) in (0, 3)
        assert not train & dev


# ---------------------------------------------------------------------------------- votes


def test_two_teachers_vote_and_their_agreement_is_told(server: Played, tmp_path: Path) -> None:
    six = tmp_path / "six.jsonl"
    known = {row["document"] for row in rows("answers.jsonl") if row["teacher"] == "second"}
    lines = DOCUMENTS.read_text("utf-8").split("\n")
    six.write_text("\n".join(line for line in lines if line and json.loads(line)["id"] in known))
    teachers = ((server.url, "strong"), (server.url, "second"))
    output = tmp_path / "out"
    summary = run(
        config(server, output, inputs=(six,), teachers=teachers, policy={"calls": "separate"})
    )
    (pair,) = summary.card["agreement"]
    agreement = summary.card["agreement"][pair]
    assert pair == "strong #0 and second #0"
    assert agreement["windows"] == agreement["documents"] == 6
    assert 0.5 < agreement["removed_lines"]["kappa"] < 1
    assert agreement["removed_lines"]["f1"] < 1
    assert agreement["edu_pearson_r"] < 1
    assert pair in (output / "README.md").read_text("utf-8")
    told = evaluate(output / "chunks_train.jsonl.zst", "c4-lines")
    assert 0 < told.agreement[pair].lines.kappa <= 1


def test_passes_are_drawn_at_a_temperature_and_vote(tmp_path: Path) -> None:
    def script(number: int, body: Row) -> Any:
        score = {0: 1, 1: 3, 2: 4}[body.get("seed", 0)]
        text = f"x\nEducational score: {score}\ny\nExtraction quality score: 5"
        return answer({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})

    with playing(script) as server:
        summary = run(config(server, tmp_path, passes=3, policy={"stages": ("document",)}))
        assert {body["temperature"] for body in server.bodies} == {0.7}
        assert len(server.bodies) == 60
    assert {row["edu"] for row in everywhere(tmp_path).values()} == {3}
    assert len(summary.card["agreement"]) == 3
    assert summary.card["usage"]["prompt_tokens"] > 0  # estimated, as the server tells none


# ---------------------------------------------------------------------------------- calls


def labels_by_line(text: str) -> str:
    """An answer that removes the first line, whatever the page."""
    return "remove_lines(0, 0)" if text else ""


@pytest.mark.parametrize("joint_is_right", [True, False])
def test_joint_calls_are_tried_on_a_few_documents(tmp_path: Path, joint_is_right: bool) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        "".join(
            json.dumps({"id": str(n), "lang": "en", "text": "\n".join(
                f"Line {m} of a page on subject {n} that has a number." for m in range(20))}) + "\n"
            for n in range(120)
        )
    )  # fmt: skip

    def script(number: int, body: Row) -> Any:
        joint = "## navigation" in body["messages"][0]["content"].partition("# The answer")[2]
        text = "remove_lines(0, 0)"
        if joint:
            more = "keep_chunk()" if joint_is_right else "remove_lines(9, 15)"
            text = f"## navigation\n{text}\n## links\nkeep_chunk()\n## footer\n{more}"
        elif "## links" in body["messages"][0]["content"] or "## footer" in str(body["messages"]):
            text = "keep_chunk()"
        return answer({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})

    with playing(script) as server:
        policy = {"stages": ("chunk",), "calls": "auto"}
        made = config(server, tmp_path / "out", inputs=(corpus,), policy=policy)
        card = run(made).card
        asked = len(server.bodies)
    assert card["settings"]["calls"] == card["pilot"]["calls"]
    assert card["pilot"]["pilot_documents"] == 10
    if joint_is_right:
        assert (card["pilot"]["calls"], asked) == ("joint", 10 * 3 + 120)
    else:
        assert (card["pilot"]["calls"], asked) == ("separate", 10 + 120 * 3)
        assert "kappa of removed lines" in card["pilot"]["reason"]


def test_a_small_sample_is_asked_separately(server: Played, tmp_path: Path) -> None:
    card = run(config(server, tmp_path, policy={"calls": "auto"})).card
    assert card["settings"]["calls"] == "separate" and card["pilot"] is None


# ---------------------------------------------------------------------------------- costs nothing


def test_a_rerun_asks_nothing_and_writes_the_same(server: Played, tmp_path: Path) -> None:
    made = config(server, tmp_path)
    first = run(made)
    before, asked = contents(tmp_path), len(server.bodies)
    second = run(made)
    assert (first.asked > 0, second.asked, len(server.bodies)) == (True, 0, asked)
    assert contents(tmp_path) == before


def test_a_larger_sample_asks_for_the_rest_alone(server: Played, tmp_path: Path) -> None:
    before = len(server.bodies)
    run(config(server, tmp_path / "grown", sample=8))
    few = len(server.bodies) - before
    run(config(server, tmp_path / "grown"))
    grown = len(server.bodies) - before
    run(config(server, tmp_path / "whole"))
    assert grown == len(server.bodies) - before - grown
    assert few < grown
    names = ("train.jsonl.zst", "dev.jsonl.zst", "chunks_train.jsonl.zst", "rejected.jsonl.zst")
    for name in names:
        assert contents(tmp_path / "grown")[name] == contents(tmp_path / "whole")[name]


def test_a_budget_ends_the_run_and_a_larger_one_goes_on(server: Played, tmp_path: Path) -> None:
    price = (Price(1.0, 4.0, 0.1),)
    whole = config(server, tmp_path / "whole", prices=price)
    cost = run(whole).card["usage"]["dollars"]
    made = config(server, tmp_path / "part", prices=price, budget=Budget(dollars=0.8 * cost))
    stopped = run(made)
    assert stopped.exhausted and 0 < stopped.card["usage"]["dollars"] <= 0.8 * cost
    assert stopped.card["unanswered"] > 0
    assert stopped.card["splits"]  # what is answered is labelled
    done = run(replace(made, budget=Budget()))
    assert not done.exhausted
    for name in ("train.jsonl.zst", "dev.jsonl.zst", "chunks_train.jsonl.zst"):
        assert contents(tmp_path / "part")[name] == contents(tmp_path / "whole")[name]


def test_an_estimate_asks_nothing(server: Played, tmp_path: Path) -> None:
    asked = len(server.bodies)
    made = config(server, tmp_path, prices=(Price(1.0, 4.0, 0.1),))
    told = estimate(made)
    assert len(server.bodies) == asked
    assert (told.documents, told.usage.answers, len(told.prompts)) == (20, 40, 3)
    assert told.dollars is not None
    real = run(made).card["usage"]
    # The server counts a token for four characters, as the estimate does for four bytes; what is
    # asked again is not foreseen.
    assert 0.6 < told.usage.prompt_tokens / real["prompt_tokens"] < 1.1
    again = estimate(made)
    assert (again.usage.answers, again.dollars) == (0, 0)


def test_the_estimate_of_what_is_written_is_near(server: Played, tmp_path: Path) -> None:
    """Of the recorded answers, asked for once, in tokens of four characters."""
    told = estimate(config(server, tmp_path))
    first = [row for row in rows("answers.jsonl") if row["teacher"] == "strong"
             and row["attempt"] == 1 and row["pass"] == 0 and "+" in row["task"]]  # fmt: skip
    written = sum(len(row["answer"]) // 4 + 1 for row in first)
    assert 0.5 < told.usage.completion_tokens / written < 4


def test_progress_tells_tokens_and_dollars(server: Played, tmp_path: Path) -> None:
    seen: list[Progress] = []
    run(config(server, tmp_path, prices=(Price(1.0, 4.0, 0.1),)), seen.append)
    assert seen[-1].spent.answers == len(seen)
    assert all(snapshot.dollars is not None for snapshot in seen)
    assert {snapshot.phase for snapshot in seen} == {"asking", "asking again"}


def test_a_teacher_that_talks_nonsense_is_not_paid_to_the_end(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    made = ({"id": str(n), "lang": "en", "text": f"Page {n} tells of {n} things.\n" * 9}
            for n in range(200))  # fmt: skip
    corpus.write_text("".join(json.dumps(row) + "\n" for row in made))
    nonsense = answer({"choices": [{"message": {"content": "Well."}, "finish_reason": "stop"}]})
    with playing(lambda number, body: nonsense) as server:
        given = config(server, tmp_path / "out", inputs=(corpus,), policy={"calls": "auto"})
        with pytest.raises(RefinerError, match=r"no program|no score"):
            run(given)
        assert len(server.bodies) < 200
    assert found(tmp_path / "out", "rejected")


def test_splits_of_an_earlier_run_do_not_stay(server: Played, tmp_path: Path) -> None:
    run(config(server, tmp_path, splits={"train": 0.5, "test": 0.5}))
    assert (tmp_path / "test.jsonl.zst").exists()
    run(config(server, tmp_path))
    assert not list(tmp_path.glob("*test*"))


def test_what_was_spent_holds_what_no_label_rests_on(server: Played, tmp_path: Path) -> None:
    run(config(server, tmp_path, policy={"calls": "separate"}))
    summary = run(config(server, tmp_path))
    assert summary.spent.prompt_tokens > summary.card["usage"]["prompt_tokens"]


# ---------------------------------------------------------------------------------- read by others


def test_evaluate_reads_what_annotate_writes(server: Played, tmp_path: Path) -> None:
    run(config(server, tmp_path))
    for name in ("train", "dev", "chunks_train", "chunks_dev"):
        assert list(read_gold(tmp_path / f"{name}.jsonl.zst"))
    told = evaluate(tmp_path / "chunks_train.jsonl.zst", "default")
    assert told.summary()["removed_lines"]["f1"] > 0.5


def test_train_reads_what_annotate_writes(server: Played, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    from burnish.training.material import from_labels

    run(config(server, tmp_path))
    files = [tmp_path / f"{name}.jsonl.zst" for name in ("chunks_train", "train")]
    material = from_labels({path: list(read_gold(path)) for path in files}, {}, [], seed=0)
    (pages,) = material.gold.values()
    assert len(pages) == len(found(tmp_path, "chunks_train"))
    assert {label for page in pages for label in page.labels} == {0, 1}
    assert {page.kind for page in pages} == {"chunks"}
    assert material.documents is not None
    assert material.documents.scores.shape == (len(found(tmp_path, "train")), 3)


def test_labels_are_judged_against_human_gold(server: Played, tmp_path: Path) -> None:
    """Pages with labels are annotated as their lines, and found again by their ids."""
    labels = tmp_path / "labels"
    run(config(server, labels))
    gold = tmp_path / "gold.jsonl"
    windows = everywhere(labels, "chunks_")
    page = windows["blog-bees"]
    lines = [{"text": line["text"], "label": line["label"]} for line in page["lines"]]
    lines[0]["label"] = 0  # a human would keep it
    lines[1]["label"] = -1
    gold.write_text(json.dumps({"id": "blog-bees", "lines": lines}) + "\n")
    told = evaluate_labels(gold, labels)
    assert (told.windows, told.lines.fp, told.lines.fn) == (1, 1, 0)
    assert told.lines.tp + told.lines.tn == len(lines) - 2
    human = tmp_path / "human.jsonl"
    human.write_text(
        json.dumps({"id": "blog-bees", "text": TEXTS["blog-bees"], "keep": 0, "edu": 2}) + "\n"
    )
    assert evaluate_labels(human, labels).keep.to_json()["fp"] == 1


def test_labels_are_judged_against_all_windows_of_gold() -> None:
    def window(first: int, labels: list[int]) -> Row:
        lines = [{"text": f"line {n}", "label": label} for n, label in enumerate(labels, first)]
        return {"id": "a", "first_line": first, "lines": lines}

    gold = [window(0, [1, 0]), window(6, [0, 1])]
    told = with_gold(gold, [window(0, [1, 1]), window(6, [0, 1]), window(9, [1])])
    assert (told.windows, told.lines.tp, told.lines.fp, told.lines.tn) == (2, 2, 1, 1)


def test_gold_pages_can_be_annotated(server: Played, tmp_path: Path) -> None:
    pages = tmp_path / "pages.jsonl"
    text = TEXTS["recipe-soup"]
    row = {"id": "recipe-soup", "lang": "en",
           "lines": [{"text": line, "label": 0} for line in text.split("\n")]}  # fmt: skip
    pages.write_text(json.dumps(row) + "\n")
    run(config(server, tmp_path / "out", inputs=(pages,), policy={"stages": ("chunk",)}))
    (window,) = everywhere(tmp_path / "out", "chunks_").values()
    assert "\n".join(line["text"] for line in window["lines"]) == text


def test_the_card_names_teacher_prompts_counts_and_licence(server: Played, tmp_path: Path) -> None:
    run(config(server, tmp_path, licence="CC-BY-4.0"))
    card = json.loads((tmp_path / "data_card.json").read_text("utf-8"))
    assert card["teachers"][0]["name"] == "strong"
    hashes = {prompt["hash"] for prompt in card["prompts"]}
    for row in everywhere(tmp_path, "chunks_").values():
        assert set(row["annotators"][0]["prompts"].values()) <= hashes
    assert card["licence"] == {"labels": "CC-BY-4.0", "texts": {"Apache-2.0": 18}}
    readme = (tmp_path / "README.md").read_text("utf-8")
    assert "CC-BY-4.0" in readme and "strong" in readme and "removal limit" in readme


# ---------------------------------------------------------------------------------- input


def test_bad_rows_are_kept_and_nothing_else_is_lost(server: Played, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    good = DOCUMENTS.read_text("utf-8").split("\n")[0]
    odd = ['{"id": "no text"}', "no json", '{"id": "b", "text": "  "}']
    corpus.write_text("\n".join([good, *odd, good]))
    summary = run(config(server, tmp_path / "out", inputs=(corpus,)))
    assert len(everywhere(tmp_path / "out")) == 1
    sample = summary.card["sample"]
    assert (sample["seen"], sample["rejected"], sample["blank"], sample["duplicates"]) == (
        3,
        2,
        1,
        1,
    )
    told = [row for row in found(tmp_path / "out", "rejected") if row["stage"] == "input"]
    assert [row["raw"].strip() for row in told] == odd[:2]


def test_a_folder_with_other_things_is_left_alone(server: Played, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        run(config(server, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"teachers": ()}, "no teacher"),
        ({"teachers": (("http://127.0.0.1:9/v1", None),)}, "--model"),
        ({"teachers": (("http://127.0.0.1:9/v1", "m"),) * 2}, "named twice"),
        ({"budget": Budget(dollars=1)}, "--price"),
        ({"splits": {"train": 0.5, "dev": 0.6}}, "sum 1"),
        ({"passes": 0}, "pass"),
        ({"prices": (Price(1, 1, 1),) * 3}, "3 prices for 1 teachers"),
        ({"engine": EngineChoice(options=(("temprature", 1),))}, "no option 'temprature'"),
        ({"engine": EngineChoice(options=(("api", "completions"),))}, "chat API"),
        ({"passes": 2, "engine": EngineChoice(options=(("temperature", 0),))}, "temperature 0"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    server: Played, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        run(config(server, tmp_path / "out", **settings))
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------- command line


def invoke(*given: str | Path) -> Result:
    return CliRunner().invoke(command, [str(DOCUMENTS), *map(str, given)])


def test_the_command_shows_counts_and_where_to_look(server: Played, tmp_path: Path) -> None:
    told = invoke(
        "-o", tmp_path / "out", "-t", server.url, "-m", "strong", "--all", "--calls", "joint",
        "--price", "1/4/0.1", "--engine-option", "first_pause=0.01",
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    assert "removal limit 2" in told.output.replace("\n", " ") and "$0.0" in told.output
    assert f"burnish inspect {tmp_path / 'out'}" in told.output.replace("\n", "")


def test_a_dry_run_prints_prompts_and_the_bill(server: Played, tmp_path: Path) -> None:
    asked = len(server.bodies)
    told = invoke(
        "-o", tmp_path / "out", "-t", server.url, "-m", "strong", "--dry-run", "--price", "1/4"
    )
    assert told.exit_code == 0, told.output
    assert told.output.count("system") >= 3 and "questions" in told.output
    assert "dollars, about" in told.output
    assert len(server.bodies) == asked


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("-t", "http://x/v1"), "1 addresses and 0 models"),
        (("-t", "http://x/v1", "-m", "a", "--price", "cheap"), "0.6/2.4"),
        (("-t", "http://x/v1", "-m", "a", "--splits", "train"), "train=0.9"),
        (
            (
                "-t",
                "no-such-folder",
            ),
            "no-such-folder",
        ),
    ],
)
def test_wrong_options_name_the_right_ones(
    tmp_path: Path, given: tuple[str, ...], words: str
) -> None:
    told = invoke("-o", tmp_path / "out", *given)
    assert told.exit_code != 0
    assert words in told.output + str(told.exception)
