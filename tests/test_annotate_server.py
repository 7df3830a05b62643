"""Teachers that fail in every way: on the line, in what they say, at the budget's end, for good."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("httpx", reason="a teacher behind an address needs the extra annotate")
pytest.importorskip("py3langid", reason="recognising languages needs the extra annotate")

from played import Answer, Body, Played, answer, playing, problem
from proxy import LATE, PASSING, Fault, asked, page, proxy
from recorded import DOCUMENTS, Recordings, recorded
from servers import Server, transformers_server, vllm_server

from burnish.annotation import asking
from burnish.annotation.answers import Answer as Kept
from burnish.annotation.answers import Answers, Question, Usage
from burnish.annotation.asking import Asked, ask
from burnish.annotation.bill import FRAME_TOKENS, Budget, Ledger, Price
from burnish.annotation.policy import Policy
from burnish.annotation.prompts import KINDS
from burnish.annotation.variants import VARIANTS
from burnish.dialects.base import Prompt
from burnish.errors import OutputError, RefinerError
from burnish.io.output import read_part
from burnish.refiners import EngineChoice
from burnish.refiners.engines.base import Completion
from burnish.workflows.annotate import Config, Summary, run

Row = dict[str, Any]
AGAIN = "\n\nYour last answer to this could not be used"


def config(url: str, output: Path, **given: Any) -> Config:
    """A run over our twenty documents, or over others; for the same bytes, folders have the same
    name."""
    engine = {"attempts": 4, "first_pause": 0.005, "concurrency": 8, **given.pop("engine", {})}
    policy = {"stages": ("document", "chunk"), "calls": "joint", **given.pop("policy", {})}
    return Config(
        output=output,
        policy=Policy(**policy),
        engine=EngineChoice(options=tuple(sorted(engine.items()))),
        **{"inputs": (DOCUMENTS,), "teachers": ((url, "strong"),), "sample": None, **given},
    )


def labels(folder: Path) -> dict[str, bytes]:
    """All files of a run but the answers, which stand in the order in which they came."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "answers.sqlite"}


def found(folder: Path, name: str) -> list[Row]:
    return [dict(row) for row in read_part(folder / f"{name}.jsonl.zst")]


def everywhere(folder: Path, kind: str) -> dict[str, Row]:
    """The rows of all splits, by id."""
    return {row["id"]: row for name in ("train", "dev") for row in found(folder, kind + name)}


def until_done(made: Config, sessions: int = 40) -> list[Summary | str]:
    """Runs again until every question has an answer; what each session came to."""
    told: list[Summary | str] = []
    for _ in range(sessions):
        try:
            told.append(done := run(made))
        except RefinerError as error:
            told.append(str(error))
            continue
        if not done.failed:
            return told
    raise AssertionError(f"not done after {sessions} sessions: {told[-3:]}")


@pytest.fixture(scope="module")
def server() -> Iterator[Played]:
    with recorded() as played:
        yield played


@pytest.fixture(scope="module")
def undisturbed(server: Played, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed") / "labels"
    run(config(server.url, folder))
    return folder


PAGE = "essay-clean"
FEW = (PAGE, "blog-compost", "link-farm", "fr-page")
LINES = {row["id"]: line for line in DOCUMENTS.read_text("utf-8").split("\n") if line
         for row in [json.loads(line)]}  # fmt: skip
SHOWN = json.loads(LINES[PAGE])["text"]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four of the documents."""
    path = tmp_path_factory.mktemp("few") / "few.jsonl"
    path.write_text("".join(LINES[name] + "\n" for name in FEW), "utf-8")
    return path


@pytest.fixture(scope="module")
def undisturbed_few(server: Played, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "labels"
    run(config(server.url, folder, inputs=(few,)))
    return folder


# ---------------------------------------------------------------------------------- the line


def first_time(fault: Fault) -> Callable[[int, Body], Fault | None]:
    """A plan: each prompt meets the fault once."""
    seen: set[str] = set()
    lock = threading.Lock()

    def plan(number: int, body: Body) -> Fault | None:
        with lock:
            new = asked(body) not in seen
            seen.add(asked(body))
        return fault if new else None

    return plan


@pytest.mark.parametrize("name", PASSING)
def test_a_line_that_fails_once_leaves_no_trace(
    server: Played, few: Path, undisturbed_few: Path, tmp_path: Path, name: str
) -> None:
    with proxy(server.url, first_time(PASSING[name])) as between:
        done = run(config(between.url, tmp_path / "labels", inputs=(few,)))
        assert between.met == {PASSING[name]: len(between.delivered)}
    assert done.failed == 0
    assert labels(tmp_path / "labels") == labels(undisturbed_few)
    assert set(between.delivered.values()) == {1}


@pytest.mark.parametrize("name", LATE)
def test_an_answer_that_does_not_come_is_asked_for_twice(
    server: Played, undisturbed: Path, tmp_path: Path, name: str
) -> None:
    """And by the next run again."""
    late: Counter[str] = Counter()
    lock = threading.Lock()

    def plan(number: int, body: Body) -> Fault | None:
        user = body["messages"][1]["content"]
        with lock:
            if "pour over tea" in user.lower() or "<document>" not in user:
                return None
            if len(late) < 3 or asked(body) in late:
                late[asked(body)] += 1
                return LATE[name] if late[asked(body)] <= 2 else None
        return None

    with proxy(server.url, plan) as between:
        made = config(between.url, tmp_path / "labels", engine={"timeout": 3.0})
        first = run(made)
        told = {row["detail"] for row in found(made.output, "rejected") if row["detail"]}
        assert first.failed == 3 and set(late.values()) == {2}
        assert any("no answer in time (ReadTimeout), after 2 attempts" in one for one in told)
        assert run(made).asked >= 3
    assert labels(made.output) == labels(undisturbed)
    assert set(between.delivered.values()) == {1}


@pytest.mark.parametrize("seed", range(4))
def test_a_line_that_fails_at_random_leaves_no_trace(
    server: Played, undisturbed: Path, tmp_path: Path, seed: int
) -> None:
    """Requests fail for good, and whole sessions; what was handed over is not asked for again."""
    chance = random.Random(seed)
    late = 2
    lock = threading.Lock()

    def plan(number: int, body: Body) -> Fault | None:
        nonlocal late
        with lock:
            drawn = chance.random()
            if drawn < 0.05:
                return page
            if drawn < 0.10 and late:
                late -= 1
                return chance.choice(list(LATE.values()))
            return chance.choice(list(PASSING.values())) if drawn < 0.55 else None

    with proxy(server.url, plan) as between:
        engine = {"attempts": 2, "timeout": 3.0}
        made = config(between.url, tmp_path / "labels", engine=engine)
        told = until_done(made)
        assert len(between.met) > 8
    assert len(told) > 2  # sessions
    assert labels(made.output) == labels(undisturbed)
    assert set(between.delivered.values()) == {1}
    assert len(between.delivered) == found_answers(undisturbed)


def found_answers(folder: Path) -> int:
    with sqlite3.connect(folder / "answers.sqlite") as file:
        (count,) = file.execute("SELECT count(*) FROM answers").fetchone()
    file.close()
    return int(count)


def test_a_server_that_is_gone_stops_the_run_and_keeps_what_came(
    server: Played, undisturbed: Path, tmp_path: Path
) -> None:
    with proxy(server.url) as between:
        made = config(between.url, tmp_path / "labels", policy={"stages": ("document",)})
        run(made)
        came = dict(between.delivered)
    with pytest.raises(RefinerError, match="does not answer: no connection"):
        run(config(between.url, tmp_path / "labels"))
    assert not (tmp_path / "labels" / "answers.sqlite-journal").exists()
    with proxy(server.url) as between:
        run(config(between.url, tmp_path / "labels"))
        assert not came.keys() & between.delivered.keys()
    assert labels(tmp_path / "labels") == labels(undisturbed)


# ---------------------------------------------------------------------------------- what is said

Change = Callable[[Body], Answer | None]
"""Changes the JSON of a server's answer, or gives another answer in its place."""


def saying(change: Callable[[str], str | None]) -> Change:
    def changed(told: Body) -> None:
        message = told["choices"][0]["message"]
        message["content"] = change(message["content"])

    return changed


def scored(value: str) -> Change:
    return saying(lambda text: re.sub(r"(Educational score: )\d", rf"\g<1>{value}", text))


def ending(reason: str | None) -> Change:
    return lambda told: told["choices"][0].update(finish_reason=reason)


def both(first: Change, second: Change) -> Change:
    return lambda told: first(told) or second(told)


def disturbed(
    stage: str, change: Change, times: int, only: str = SHOWN
) -> Callable[[int, Body, Answer], Answer]:
    """For `recorded`: changes the first so many answers about a page's scores or lines. A question
    that is asked again is answered as the first time."""
    recordings = Recordings()
    asked_before: Counter[str] = Counter()
    lock = threading.Lock()
    first_line = only.split("\n")[0]

    def disturb(number: int, body: Body, given: Answer) -> Answer:
        system, user = (message["content"] for message in body["messages"])
        about_lines = "[doc]" in user
        if about_lines != (stage == "chunk") or first_line not in user:
            return given
        plain = {**body, "messages": [{"content": system}, {"content": user.partition(AGAIN)[0]}]}
        status, headers, data = recordings.respond(plain)
        with lock:
            asked_before[system] += 1
            if asked_before[system] > times:
                return status, headers, data
        told = json.loads(data)
        return change(told) or answer(told, status)

    return disturb


REFUSAL = "I'm sorry, but I can't help with this page."
BAD_SCORES: dict[str, tuple[Change, str, str]] = {
    "7": (scored("7"), "score out of range", ""),
    "-1": (scored("-1"), "score out of range", ""),
    "of another scale": (scored("3/10"), "score out of range", ""),
    "2.5": (scored("2.5"), "not a whole score", ""),
    "a range": (scored("2-3"), "not a whole score", ""),
    "none": (scored("high"), "no score", ""),
    "two": (saying(lambda text: text + "\nEducational score: 0"), "contradicting scores", ""),
    "cut off": (ending("length"), "cut off", ""),
    "cut off before the score": (
        both(saying(lambda text: text[:40]), ending("length")),
        "cut off",
        "",
    ),
    "refused": (saying(lambda text: REFUSAL), "refusal", REFUSAL),
    "empty": (saying(lambda text: ""), "no score", ""),
    "thoughts without an end": (saying(lambda text: f"<think>{text}"), "no score", ""),
}
BAD_PROGRAMS: dict[str, tuple[Change, str, str]] = {
    "no call": (saying(lambda text: "\n".join(
        f"## {kind}\nThere is none." for kind in ("navigation", "links", "footer"))),
        "no program", "no call"),
    "lines that are not there": (
        saying(lambda text: text + "\nremove_lines(900, 901)"), "unusable call", "900"),
    "an unknown call": (saying(lambda text: text + "\nrewrite_all(1)"), "unusable call", "rewrite"),
    "a call that is cut off": (
        saying(lambda text: text + "\nremove_lines(1, "), "unusable call", "remove_lines"),
    "a section is missing": (
        saying(lambda text: text.replace("footer", "the rest")), "missing section", "footer"),
    "cut off": (ending("length"), "cut off", ""),
    "refused": (saying(lambda text: REFUSAL), "refusal", REFUSAL),
    "empty": (saying(lambda text: ""), "missing section", "navigation"),
}  # fmt: skip
NO_ANSWER: dict[str, tuple[Change, str]] = {
    "null": (saying(lambda text: None), "holds no text but None"),
    "too long": (
        lambda told: problem(400, "maximum context length is 2048 tokens"),
        "400 maximum context length",
    ),
    "no choices": (lambda told: told.update(choices=[]), "holds no completion"),
    "no message": (lambda told: told.update(choices=[{"index": 0}]), "holds no completion"),
    "filtered": (ending("content_filter"), "for the reason 'content_filter'"),
    "no reason": (ending(None), "for the reason None"),
    "tools": (ending("tool_calls"), "for the reason 'tool_calls'"),
    "in parts": (
        lambda told: told["choices"][0]["message"].update(content=[{"type": "text", "text": "a"}]),
        "holds no text but [",
    ),
}


@pytest.mark.parametrize(
    ("stage", "name"),
    [*(("document", name) for name in BAD_SCORES), *(("chunk", name) for name in BAD_PROGRAMS)],
)
def test_a_bad_answer_is_asked_again_and_then_rejected(
    few: Path, undisturbed_few: Path, tmp_path: Path, stage: str, name: str
) -> None:
    change, reason, detail = (BAD_SCORES if stage == "document" else BAD_PROGRAMS)[name]
    kind = "" if stage == "document" else "chunks_"
    with recorded(disturbed(stage, change, 2)) as server:
        made = config(server.url, tmp_path / "labels", inputs=(few,))
        done = run(made)
        before = len(server.bodies)
        told = [row for row in found(made.output, "rejected") if row["id"] == PAGE]
        if not reason:
            assert not told and everywhere(made.output, kind)[PAGE]
            return
        (row,) = told
        assert (row["stage"], row["reason"]) == (stage, reason)
        assert detail in row["detail"]
        assert PAGE not in everywhere(made.output, kind)
        other = everywhere(made.output, "chunks_" if stage == "document" else "")
        assert other[PAGE] == everywhere(undisturbed_few, "chunks_" if kind == "" else "")[PAGE]
        assert done.failed == 0 and run(made).asked == 0 and len(server.bodies) == before
    with recorded(disturbed(stage, change, 1)) as server:
        made = config(server.url, tmp_path / "once" / "labels", inputs=(few,))
        done = run(made)
        again = [body for body in server.bodies if AGAIN in body["messages"][1]["content"]
                 and SHOWN.split("\n")[0] in body["messages"][1]["content"]]  # fmt: skip
    (question,) = again
    assert reason in question["messages"][1]["content"]  # the teacher is told
    for file in ("train", "dev", "chunks_train", "chunks_dev", "rejected"):
        assert found(made.output, file) == found(undisturbed_few, file)
    asked_again = json.loads(labels(undisturbed_few)["data_card.json"])["events"]["asked again"]
    assert done.card["events"]["asked again"] == asked_again + 1


@pytest.mark.parametrize("name", NO_ANSWER)
def test_what_is_no_answer_is_asked_for_by_the_next_run(
    few: Path, undisturbed_few: Path, tmp_path: Path, name: str
) -> None:
    change, words = NO_ANSWER[name]
    with recorded(disturbed("document", change, 1)) as server:
        made = config(server.url, tmp_path / "labels", inputs=(few,))
        first = run(made)
        before = len(server.bodies)
        (row,) = [row for row in found(made.output, "rejected") if row["id"] == PAGE]
        assert (first.failed, row["reason"]) == (1, "no answer") and words in row["detail"]
        second = run(made)
        assert (second.asked, second.failed, len(server.bodies) - before) == (1, 0, 1)
    assert labels(made.output) == labels(undisturbed_few)


def thinking(text: str) -> str:
    return f"<think>\nPerhaps remove_lines(0, 2)?\n## footer\ndrop_doc()\n</think>\n\n{text}"


UNHARMED: dict[str, Change] = {
    "prose": saying(lambda text: f"Here is what I found.\n\n{text}\n\nThat is all."),
    "thoughts": saying(thinking),
    "fences": saying(lambda text: text.replace("\n## ", "\n```\n\n## ").replace(
        "keep_chunk()", "```python\nkeep_chunk()")),
    "carriage returns": saying(lambda text: text.replace("\n", "\r\n")),
    "numbers before headings": saying(lambda text: text.replace("## ", "**1.** ")),
    "blank lines": saying(lambda text: "\n\n" + text.replace("\n", "\n\n") + "\n"),
    "no usage": lambda told: told.__delitem__("usage"),
    "usage is null": lambda told: told.update(usage=None),
    "usage without cache": lambda told: told["usage"].update(prompt_tokens_details=None),
    "more fields": lambda told: told["choices"][0].update(logprobs=None, stop_reason=2, x={}),
}  # fmt: skip


@pytest.mark.parametrize("name", UNHARMED)
def test_what_stands_around_a_program_changes_nothing(
    few: Path, undisturbed_few: Path, tmp_path: Path, name: str
) -> None:
    with recorded(disturbed("chunk", UNHARMED[name], 1)) as server:
        done = run(config(server.url, tmp_path, inputs=(few,)))
    for file in ("train", "dev", "chunks_train", "chunks_dev", "rejected"):
        assert found(tmp_path, file) == found(undisturbed_few, file)
    usage = json.loads(labels(undisturbed_few)["data_card.json"])["usage"]
    assert done.card["usage"]["answers"] == usage["answers"]
    assert 0.9 < done.card["usage"]["prompt_tokens"] / usage["prompt_tokens"] < 1.1


@pytest.mark.parametrize("text", ["one \ud800 two\nthree", "nul \x00 and bell \x07\nthree"])
def test_odd_characters_are_carried_both_ways(tmp_path: Path, text: str) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(json.dumps({"id": "odd", "text": text}) + "\n")
    critique = "Odd \ud800 and \x00."

    def script(number: int, body: Body) -> Answer:
        told = f"{critique}\nEducational score: 3\nSo.\nExtraction quality score: 4"
        return answer({"choices": [{"message": {"content": told}, "finish_reason": "stop"}]})

    with playing(script) as server:
        made = config(server.url, tmp_path / "labels", inputs=(corpus,),
                      policy={"stages": ("document",)})  # fmt: skip
        run(made)
        before = labels(made.output)
        assert run(made).asked == 0 and labels(made.output) == before
        (body,) = server.bodies
    assert text.replace("\ud800", "?") in body["messages"][1]["content"]
    row = everywhere(made.output, "")["odd"]
    assert (row["text"], row["reason"]) == (text, critique)


# ---------------------------------------------------------------------------------- stopped


def test_ctrl_c_keeps_the_answers_under_way(
    server: Played, undisturbed: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    count = 0

    def progress(snapshot: object) -> None:
        nonlocal count
        count += 1
        if count == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with proxy(server.url) as between:
        made = config(between.url, tmp_path / "labels")
        with pytest.raises(KeyboardInterrupt):
            run(made, progress, lambda: told.append("stopping"))
        came = len(between.delivered)
        assert told == ["stopping"] and 5 <= came == found_answers(made.output)
        run(made)
    assert set(between.delivered.values()) == {1}
    assert labels(made.output) == labels(undisturbed)


def test_ctrl_c_waits_for_the_slowest_answer(
    server: Played, undisturbed: Path, tmp_path: Path
) -> None:
    """Whichever thread it is that the main one waits for."""

    def plan(number: int, body: Body) -> Fault | None:
        if number == 0:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            time.sleep(1.0)
        return None

    with proxy(server.url, plan) as between:
        made = config(between.url, tmp_path / "labels", engine={"concurrency": 1})
        with pytest.raises(KeyboardInterrupt):
            run(made)
        assert len(between.delivered) == found_answers(made.output) == 1
        run(made)
    assert set(between.delivered.values()) == {1}
    assert labels(made.output) == labels(undisturbed)


def test_a_second_ctrl_c_leaves_them(
    server: Played, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_GRACE_SECONDS", 1.0)
    silent = threading.Event()

    def plan(number: int, body: Body) -> Fault | None:
        if number == 6:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        return LATE["silent"] if number >= 6 and not silent.is_set() else None

    def stopping() -> None:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    with proxy(server.url, plan) as between:
        made = config(between.url, tmp_path / "labels")
        with pytest.raises(KeyboardInterrupt):
            run(made, on_stopping=stopping)
        silent.set()
        assert found_answers(made.output) == 6
        run(made)
    assert labels(made.output) == labels(undisturbed)
    assert set(between.delivered.values()) == {1}


def test_budgets_in_small_steps_end_where_none_does(
    server: Played, undisturbed: Path, tmp_path: Path
) -> None:
    with proxy(server.url) as between:
        made = config(between.url, tmp_path / "labels")
        spent, sessions = 0, 0
        while True:
            budget = Budget(tokens=spent + 9_000)
            done = run(replace(made, budget=budget))
            sessions += 1
            with_answers = Answers(made.output / "answers.sqlite")
            spent = with_answers.usage("strong").tokens
            with_answers.close()
            assert budget.tokens is not None and spent <= budget.tokens
            if not done.exhausted:
                break
            assert done.card["unanswered"] > 0 and done.asked > 0
    assert sessions > 3
    assert labels(made.output) == labels(undisturbed)
    assert set(between.delivered.values()) == {1}


def test_a_budget_too_small_for_anything_asks_nothing(server: Played, tmp_path: Path) -> None:
    before = len(server.bodies)
    done = run(config(server.url, tmp_path, budget=Budget(tokens=100)))
    assert (done.exhausted, done.asked, len(server.bodies)) == (True, 0, before)
    assert done.card["unanswered"] == 20 and not done.card["splits"]


# ---------------------------------------------------------------------------------- the file


def test_a_second_process_is_refused(server: Played, tmp_path: Path) -> None:
    told: list[subprocess.CompletedProcess[str]] = []
    command = [
        *(sys.executable, "-m", "burnish", "annotate", str(DOCUMENTS), "-o", str(tmp_path)),
        *("-t", server.url, "-m", "strong"),
    ]

    def progress(snapshot: object) -> None:
        if not told:
            told.append(subprocess.run(command, capture_output=True, text=True, check=False))

    run(config(server.url, tmp_path), progress)
    assert told[0].returncode == 1 and "Traceback" not in told[0].stderr
    assert f"another process works on {tmp_path}; wait for it or stop it" in told[0].stderr


class SmallDisk(sqlite3.Connection):
    """A file that has room for a few answers and no more."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.execute("PRAGMA max_page_count = 4")


class ReadOnly(sqlite3.Connection):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.execute("PRAGMA query_only = 1")


def test_a_full_disk_stops_the_run_and_loses_nothing_that_was_kept(
    server: Played, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(server.url) as between:
        made = config(between.url, tmp_path / "labels")
        with monkeypatch.context() as small:
            small.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=SmallDisk))
            with pytest.raises(OutputError, match=r"answers\.sqlite can not be .*is full\)\. Mend"):
                run(made)
        kept, came = found_answers(made.output), len(between.delivered)
        assert 0 < kept < came <= kept + 16  # requests under way at once, and some that follow
        run(made)
        assert sum(between.delivered.values()) == found_answers(undisturbed) + came - kept
    assert labels(made.output) == labels(undisturbed)


def test_what_can_not_be_written_is_known_before_anything_is_asked(
    server: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(config(server.url, tmp_path, sample=3))
    before = len(server.bodies)
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=ReadOnly))
    with pytest.raises(OutputError, match=r"readonly database\)\. Mend that and run the same"):
        run(config(server.url, tmp_path))
    assert len(server.bodies) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_can_not_be_written(server: Played, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir(mode=0o500)
    with pytest.raises(OutputError, match=r"can not use .*labels: Permission denied"):
        run(config(server.url, tmp_path / "labels"))


def test_an_output_where_nothing_can_be_made(server: Played) -> None:
    with pytest.raises(OutputError, match="can not use /proc/labels: "):
        run(config(server.url, Path("/proc/labels")))


def _torn(data: bytes) -> bytes:
    return data[:4096] + b"\x55" * (len(data) - 4096)


def _other_table() -> bytes:
    file = sqlite3.connect(":memory:")
    file.execute("CREATE TABLE answers (question TEXT, answer TEXT)")
    data = file.serialize()
    file.close()
    return data


@pytest.mark.parametrize(
    "damage",
    [
        _torn,
        lambda data: b"not a database, but long enough to look like one" * 100,
        lambda data: data[:9_000],
        lambda data: _other_table(),
    ],
    ids=["torn", "something else", "cut", "another table"],
)
def test_damaged_answers_are_not_thrown_away(
    server: Played, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    run(config(server.url, tmp_path))
    file = tmp_path / "answers.sqlite"
    file.write_bytes(damage(file.read_bytes()))
    data, before = file.read_bytes(), len(server.bodies)
    with pytest.raises(OutputError, match=r"answers\.sqlite is damaged, or no file of answers .*"
                       "Bring a copy of it back, or move it away"):  # fmt: skip
        run(config(server.url, tmp_path))
    assert file.read_bytes() == data and len(server.bodies) == before


def test_answers_serve_several_runs(server: Played, undisturbed: Path, tmp_path: Path) -> None:
    file = tmp_path / "shared" / "answers.sqlite"
    with proxy(server.url) as between:
        first = config(between.url, tmp_path / "a" / "labels", answers=file,
                       policy={"stages": ("document",)})  # fmt: skip
        second = config(between.url, tmp_path / "b" / "labels", answers=file)
        run(first)
        run(second)
    assert set(between.delivered.values()) == {1}
    assert labels(second.output) == labels(undisturbed)
    assert found(first.output, "train") == found(undisturbed, "train")
    assert not (first.output / "answers.sqlite").exists()


def test_answers_serve_several_runs_at_once(
    server: Played, undisturbed: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / name / "labels" for name in "abc"]
    threads = [
        threading.Thread(target=run, args=(config(
            server.url, folder, answers=tmp_path / "answers.sqlite"),))
        for folder in folders
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(labels(folder) == labels(undisturbed) for folder in folders)


def test_answers_of_any_text_come_back(tmp_path: Path) -> None:
    texts = ["", "\x00", "a\x00b", "\ud800", "\udcff\x00", "𝄞\u2028", "x" * 3_000_000]
    file = Answers(tmp_path / "answers.sqlite")
    for number, text in enumerate(texts):
        file.keep(str(number), "t", Kept(text, "length", number, 1, 2))
        file.keep(str(number), "t", Kept("another", "stop", 9, 9, 9))  # the first stays
    file.close()
    file = Answers(tmp_path / "answers.sqlite")
    for number, text in enumerate(texts):
        assert file.find(str(number)) == Kept(text, "length", number, 1, 2)
    assert file.find("none") is None
    count = len(texts)
    assert file.usage("t") == Usage(count, sum(range(count)), count, 2 * count)
    assert file.usage("other") == Usage()
    file.close()
    with pytest.raises(OutputError, match="closed"):
        file.find("0")


# ---------------------------------------------------------------------------------- the budget


class Counting:
    """A teacher that counts what it answers, as many tokens as a hash says, never more than were
    set aside; every so many questions get no answer."""

    name = "counting"
    identity: Mapping[str, Any] = {"model": "counting"}

    def __init__(self, threads: int, batch: int, seed: int, ledger: Ledger, bound: float) -> None:
        self.threads, self.batch = threads, batch
        self.asked: list[int] = []
        self._seed, self._ledger, self._bound = seed, ledger, bound
        self.exceeded = False

    def answer(self, questions: Sequence[Question]) -> list[Completion]:
        found = []
        for question in questions:
            self.asked.append(int(question.prompt.user))
            chance = random.Random(f"{self._seed} {question.prompt.user}")
            most = ceil(0.4 * len(question.prompt.user + question.prompt.system)) + FRAME_TOKENS
            if chance.random() < 0.1:
                found.append(Completion("", "error", error="no"))
                continue
            tokens = chance.randint(1, question.max_tokens)
            prompt = chance.randint(1, most)
            cached = chance.randint(0, prompt)
            found.append(Completion("a", "stop", tokens, prompt_tokens=prompt,
                                    cached_tokens=cached))  # fmt: skip
        self._look()
        return found

    def _look(self) -> None:
        spent = self._ledger.dollars
        spent = self._ledger.usage.tokens if spent is None else spent
        self.exceeded = self.exceeded or spent > self._bound * (1 + 1e-9)

    def stop(self) -> None: ...

    def ready(self) -> None: ...


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 300)), max_size=60),
    threads=st.integers(1, 12),
    batch=st.sampled_from([1, 3, 64]),
    share=st.floats(0, 1.3),
    in_dollars=st.booleans(),
)
def test_a_budget_is_kept_by_any_number_of_threads(
    seed: int,
    sizes: list[tuple[int, int]],
    threads: int,
    batch: int,
    share: float,
    in_dollars: bool,
) -> None:
    """Nothing is spent above it, the questions before its end are all asked, and it is exhausted
    where the next one has no room beside what was spent."""
    questions = [
        Question(Prompt("s" * size, str(number)), most) for number, (size, most) in enumerate(sizes)
    ]
    price = Price(3.0, 11.0, 0.5)

    def most(question: Question) -> float:
        size = len(question.prompt.system + question.prompt.user)
        usage = Usage(1, ceil(0.4 * size) + FRAME_TOKENS, 0, question.max_tokens)
        return price.of(usage) if in_dollars else usage.tokens

    bound = share * sum(map(most, questions))
    budget = Budget(dollars=bound) if in_dollars else Budget(tokens=int(bound))
    ledger = Ledger(budget, {"counting": price} if in_dollars else {}, {})
    teacher = Counting(threads, batch, seed, ledger, bound)
    answered: list[int] = []
    file = Answers(Path(":memory:"))
    try:
        ask(
            teacher,
            (Asked(question, question.prompt.user) for question in questions),
            file,
            ledger,
            lambda asked, answer: answered.append(int(asked.key)),
        )
        kept = file.usage("counting")
    finally:
        file.close()
    usage = ledger.usage
    spent = price.of(usage) if in_dollars else usage.tokens
    assert kept == usage  # what is counted is what is kept
    little = 1e-9 * bound  # dollars are not exact
    assert spent <= bound + little and not teacher.exceeded
    count = len(teacher.asked)
    assert sorted(teacher.asked) == sorted(answered) == list(range(count))
    assert ledger.exhausted == (count < len(questions))
    if ledger.exhausted:
        assert spent + most(questions[count]) > (bound - little if in_dollars else int(bound))


def test_a_teacher_that_breaks_frees_what_was_set_aside(tmp_path: Path) -> None:
    """So that no thread waits for ever for room, and the first error is the one that is told."""
    ledger = Ledger(Budget(tokens=2_000), {}, {})

    class Breaking(Counting):
        def answer(self, questions: Sequence[Question]) -> list[Completion]:
            self.asked.append(0)
            if len(self.asked) > 3:
                raise RefinerError("broken")
            return super().answer(questions)

    teacher = Breaking(6, 1, 0, ledger, 2_000)
    file = Answers(tmp_path / "answers.sqlite")
    questions = (Asked(Question(Prompt("", str(n)), 300), str(n)) for n in range(100))
    with pytest.raises(RefinerError, match="broken"):
        ask(teacher, questions, file, ledger, lambda asked, answer: None)
    assert ledger.reserve("counting", Question(Prompt("", "1"), 300), wait=False) is not None
    file.close()


def test_nothing_new_is_asked_once_a_run_is_stopped_while_it_waits_for_room(tmp_path: Path) -> None:
    """The only room is taken by an answer that is on its way as Ctrl-C comes."""
    full, stopping = threading.Event(), threading.Event()

    class Watched(Ledger):
        def _fits(self, teacher: str, most: Usage) -> bool:
            fits = super()._fits(teacher, most)
            if not fits:
                full.set()
            return fits

    class Slow(Counting):
        def answer(self, questions: Sequence[Question]) -> list[Completion]:
            self.asked.append(int(questions[0].prompt.user))
            stopping.wait(10)
            return [Completion("a", "stop", 1, prompt_tokens=1) for _ in questions]

    ledger = Watched(Budget(tokens=700), {}, {})
    teacher = Slow(4, 1, 0, ledger, 700)
    file = Answers(tmp_path / "answers.sqlite")
    questions = (Asked(Question(Prompt("", str(n)), 400), str(n)) for n in range(20))

    def interrupt() -> None:
        full.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        ask(teacher, questions, file, ledger, lambda asked, answer: None, stopping.set)
    assert teacher.asked == [0] and file.usage("counting").answers == 1
    assert not ledger.exhausted
    file.close()


@pytest.mark.parametrize("count", [-5, 10**20, 0])
def test_counts_that_can_not_be_are_estimated(tmp_path: Path, count: int) -> None:
    ledger = Ledger(Budget(tokens=10_000), {}, {})

    class Odd(Counting):
        def answer(self, questions: Sequence[Question]) -> list[Completion]:
            return [Completion("eight by", "stop", count, prompt_tokens=count,
                               cached_tokens=count) for _ in questions]  # fmt: skip

    file = Answers(tmp_path / "answers.sqlite")
    question = Asked(Question(Prompt("four" * 10, ""), 300), "key")
    ask(Odd(1, 1, 0, ledger, 0), [question], file, ledger, lambda asked, answer: None)
    assert file.find("key") == Kept("eight by", "stop", 10 + FRAME_TOKENS, 0, 2)
    assert ledger.usage.tokens == 12 + FRAME_TOKENS
    file.close()


# ---------------------------------------------------------------------------------- real models

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
GARBAGE = {"no score", "cut off", "no program", "unusable call", "removal limit", "no answer"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages like those that the small models know."""
    from small_pages import made_pages

    path = tmp_path_factory.mktemp("pages") / "pages.jsonl"
    rows = [{"id": str(n), "text": p.text, "lang": "en"} for n, p in enumerate(made_pages(8))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shortest prompts that can be, for models that can not read ours to the end."""
    folder = tmp_path_factory.mktemp("prompts")
    files = {
        "again": "{shown}\nAgain: {problem}",
        "document/frame": "{criteria}\n{answer}\n=== separate\n{scores}\n=== joint\n{scores}",
        "document/educational": "Is it of use?",
        "document/format": "Is it clean?",
        "chunk/frame": "{cautions}{criteria}{answer}{examples}\n=== separate\nOne.\n=== joint\n"
        "{headings}",
        **{f"chunk/{variant}/cautions": "Mind." for variant in VARIANTS},
        **{f"chunk/{v}/{kind}": f"Find {kind}." for v in VARIANTS for kind in KINDS},
    }
    for name, text in files.items():
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"version: 1\n{text}\n")
    return folder


def small(place: str, model: str | None, output: Path, pages: Path, short: Path | None) -> Config:
    """A run that asks a small model all there is, one by one."""
    engine = {"concurrency": 4} if model else {}
    return Config(
        inputs=(pages,),
        output=output,
        teachers=((place, model),),
        policy=Policy(stages=("document", "chunk"), calls="separate", prompts=short),
        engine=EngineChoice("auto" if model else "transformers", tuple(engine.items())),
        sample=None,
    )


def check_small(made: Config, count: int) -> None:
    """A small model knows no scores; each page has a window or says why not, and asking again
    costs nothing."""
    done = run(made)
    assert done.failed == 0
    usage = done.card["usage"]
    assert usage["answers"] == done.asked >= 5 * count
    assert usage["prompt_tokens"] > 5 * count and usage["completion_tokens"] > 0
    out = found(made.output, "rejected")
    assert {row["reason"] for row in out} <= GARBAGE and all(row["answer"] for row in out)
    assert {row["stage"] for row in out} == {"document", "chunk"}
    windows = everywhere(made.output, "chunks_")
    assert len(windows.keys() | {row["id"] for row in out if row["stage"] == "chunk"}) == count
    before = labels(made.output)
    assert run(made).asked == 0
    assert labels(made.output) == before


@pytest.mark.slow
def test_a_real_server_by_chat(
    request: pytest.FixtureRequest, pages: Path, short: Path, tmp_path: Path
) -> None:
    for library in ("fastapi", "uvicorn", "openai", "accelerate"):
        pytest.importorskip(library, reason=f"transformers serve needs {library}")
    qwen3 = request.getfixturevalue("qwen3")
    with transformers_server(qwen3) as server:
        check_small(small(server.url, str(qwen3), tmp_path, pages, short), 8)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*past_key_values.*:FutureWarning")
def test_a_model_in_this_process(
    request: pytest.FixtureRequest, pages: Path, short: Path, tmp_path: Path
) -> None:
    qwen3 = request.getfixturevalue("qwen3")
    folders = [tmp_path / name / "labels" for name in "ab"]
    for folder in folders:
        check_small(small(str(qwen3), None, folder, pages, short), 8)
    assert labels(folders[0]) == labels(folders[1])
    assert found_answers(folders[0]) == found_answers(folders[1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*past_key_values.*:FutureWarning")
def test_a_prompt_too_long_for_a_model_in_this_process(
    request: pytest.FixtureRequest, pages: Path, tmp_path: Path
) -> None:
    """Our own prompts for lines have more tokens here than its context."""
    qwen3 = request.getfixturevalue("qwen3")
    made = small(str(qwen3), None, tmp_path, pages, None)
    made = replace(made, sample=2, policy=replace(made.policy, stages=("chunk",)))
    done = run(made)
    assert (done.asked, done.failed) == (0, 6)
    out = found(tmp_path, "rejected")
    assert {row["reason"] for row in out} == {"no answer"} and len(out) == 6
    words = r"a prompt of \d+ tokens and 1024 new ones do not fit into the model's context of 2048"
    assert all(re.fullmatch(words, row["detail"]) for row in out)


@pytest.fixture(scope="module")
def vllm(request: pytest.FixtureRequest) -> Iterator[tuple[Server, Path]]:
    folder = request.getfixturevalue("qwen3")
    with vllm_server(folder, max_model_len=2_048) as server:
        yield server, folder


@pytest.mark.engines
@needs_vllm
def test_a_real_vllm_server(
    vllm: tuple[Server, Path], pages: Path, short: Path, tmp_path: Path
) -> None:
    server, folder = vllm
    check_small(small(server.url, str(folder), tmp_path, pages, short), 8)


@pytest.mark.engines
@needs_vllm
def test_a_prompt_too_long_for_a_vllm_server(
    vllm: tuple[Server, Path], pages: Path, tmp_path: Path
) -> None:
    server, folder = vllm
    made = small(server.url, str(folder), tmp_path, pages, None)
    done = run(replace(made, policy=replace(made.policy, stages=("chunk",)), sample=2))
    assert (done.asked, done.failed) == (0, 6)
    out = found(tmp_path, "rejected")
    assert all(row["reason"] == "no answer" and "400 " in row["detail"] for row in out)
