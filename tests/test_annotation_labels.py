"""From answers to labels: what is asked, how answers are read, votes, limits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.annotation import prompts
from burnish.annotation.answers import Answer, Question
from burnish.annotation.labels import Labeller, Labels
from burnish.annotation.policy import Policy
from burnish.annotation.votes import Annotator
from burnish.errors import InputError, UsageError
from burnish.program.executor import execute
from burnish.program.limits import Limits
from burnish.program.operations import from_json
from burnish.schema import Document, Edit, apply_edits

PACKAGED = Path(prompts.__file__).parent.parent / "recipes" / "annotation"
PAGE = "\n".join(
    [
        "Home | About",
        "The otters of the Lenne",
        "An otter eats a kilogram of fish a day. Read more",
        "It needs so much because water takes its warmth.",
        "Share this page",
        "Copyright",
    ]
)
DOCUMENT = Document("a", PAGE, {"lang": "en", "url": "https://x.example/a", "license": "CC0"})
ONE = (Annotator("t", 0, 0),)
THREE = tuple(Annotator("t", 0, n) for n in range(3))
SCORES = "Fine.\n\nEducational score: 3\n\nClean.\n\nExtraction quality score: 2"

Say = Callable[[Annotator, Question, int], Answer | str | None]


def labelled(
    policy: Policy, say: Say, annotators: tuple[Annotator, ...] = ONE, document: Document = DOCUMENT
) -> Labels:
    """The labels, where `say` answers the number-th question of an annotator (from 0)."""
    asked: dict[tuple[Annotator, Question], int] = {}

    def find(annotator: Annotator, question: Question) -> Answer | str | None:
        key = annotator, question
        asked.setdefault(key, sum(one is annotator for one, _ in asked))
        return say(annotator, question, asked[key])

    return Labeller(policy, annotators, find).label(document)


def answers(*texts: str, finish: Any = "stop") -> Say:
    return lambda annotator, question, n: Answer(texts[min(n, len(texts) - 1)], finish)


def by_pass(*texts: str) -> Say:
    return lambda annotator, question, n: Answer(texts[annotator.number], "stop")


def chunk(calls: str = "separate", **settings: Any) -> Policy:
    return Policy(stages=("chunk",), calls=calls, **settings)


# ---------------------------------------------------------------------------------- documents


def test_what_is_not_answered_is_asked() -> None:
    policy = Policy(stages=("document", "chunk"), calls="separate")
    found = labelled(policy, lambda annotator, question, n: None)
    assert len(found.missing) == 5
    assert not found.documents and not found.windows and not found.rejected
    assert len({question.key({"model": "t"}) for _, question in found.missing}) == 5


def test_a_document_is_labelled_by_both_scores() -> None:
    found = labelled(Policy(stages=("document",), calls="joint"), answers(SCORES))
    (row,) = found.documents
    assert (row["edu"], row["format"], row["keep"], row["reason"]) == (3, 2, 1, "Fine.")
    assert row["text"] == PAGE and row["url"] == "https://x.example/a"
    (annotator,) = row["annotators"]
    assert annotator["critiques"] == {"educational": "Fine.", "format": "Clean."}
    assert len(annotator["prompts"]["format"]) == 16


@pytest.mark.parametrize(
    ("edu", "form", "keep"),
    [(0, 5, 0), (1, 5, 0), (2, 3, 0), (2, 4, 1), (2, 5, 1), (3, 0, 1), (5, 5, 1)],
)
def test_the_rule_of_the_paper_has_no_gap(edu: int, form: int, keep: int) -> None:
    text = f"x\nEducational score: {edu}\ny\nExtraction quality score: {form}"
    found = labelled(Policy(stages=("document",), calls="joint"), answers(text))
    assert found.documents[0]["keep"] == keep


def test_the_rule_can_be_set() -> None:
    policy = Policy(stages=("document",), calls="joint", keep_edu=4, keep_format=6)
    assert labelled(policy, answers(SCORES)).documents[0]["keep"] == 0


def test_several_annotators_give_the_median() -> None:
    texts = [f"x\nEducational score: {e}\ny\nExtraction quality score: {f}"
             for e, f in ((1, 4), (3, 4), (2, 1))]  # fmt: skip
    found = labelled(Policy(stages=("document",), calls="joint"), by_pass(*texts), THREE)
    row = found.documents[0]
    assert (row["edu"], row["format"], row["keep"]) == (2, 4, 1)
    assert [a["edu"] for a in row["annotators"]] == [1, 3, 2]
    assert [a["keep"] for a in row["annotators"]] == [0, 1, 0]


def test_without_a_majority_of_voices_there_is_no_label() -> None:
    def say(annotator: Annotator, question: Question, n: int) -> Answer | str | None:
        return Answer(SCORES, "stop") if annotator.number == 0 else "the server is out of order"

    found = labelled(Policy(stages=("document",), calls="joint"), say, THREE)
    assert not found.documents and not found.missing
    assert [row["reason"] for row in found.rejected] == ["no answer", "no answer"]


def test_windows_may_wait_for_the_decision() -> None:
    policy = Policy(stages=("document", "chunk"), calls="joint", only_kept=True)

    def dropping(annotator: Annotator, question: Question, n: int) -> Answer | None:
        assert "<document>" in question.prompt.user
        return Answer(SCORES.replace("score: 3", "score: 1"), "stop")

    found = labelled(policy, dropping)
    assert not found.missing and not found.windows and found.documents[0]["keep"] == 0

    def keeping(annotator: Annotator, question: Question, n: int) -> Answer | None:
        return Answer(SCORES, "stop") if "<document>" in question.prompt.user else None

    assert len(labelled(policy, keeping).missing) == 1
    assert len(labelled(policy, lambda a, q, n: None).missing) == 1


# ---------------------------------------------------------------------------------- answers


def test_an_answer_that_can_not_be_used_is_asked_for_again() -> None:
    policy = Policy(stages=("document",), calls="joint")
    bad = SCORES.replace("score: 3", "score: 7")
    asked: list[Question] = []

    def say(annotator: Annotator, question: Question, n: int) -> Answer:
        asked.append(question)
        return Answer(SCORES if n else bad, "stop")

    found = labelled(policy, say)
    assert found.documents[0]["edu"] == 3 and not found.rejected
    assert found.counts["asked again"] == 1
    first, second = asked
    assert second.prompt.user.startswith(first.prompt.user)
    assert "score out of range" in second.prompt.user


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no idea", "no score"),
        ("Educational score: 3", "no score"),
        (SCORES.replace("score: 2", "score: 9"), "score out of range"),
        (SCORES.replace("score: 2", "score: 2.5"), "not a whole score"),
        (SCORES + "\nEducational score: 1", "contradicting scores"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("<think>Educational score: 3\nExtraction quality score: 3</think>", "no score"),
    ],
)
def test_documents_are_rejected_with_a_reason(text: str, reason: str) -> None:
    found = labelled(Policy(stages=("document",), calls="joint"), answers(text))
    assert [row["reason"] for row in found.rejected] == [reason]
    assert found.rejected[0]["answer"] == text
    assert not found.documents and not found.missing


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no program"),
        ("Nothing to remove here.", "no program"),
        ("remove_lines(line_start=99, line_end=100)", "no program"),
        ("remove_lines(0, 0)\nremove_lines(9, 9)", "unusable call"),
        ("remove_lines(0, 0)\nnormalize(source_str=", "unusable call"),
        ("I cannot assist with this request.", "refusal"),
        ("remove_lines(line_start=0, line_end=5)", "removal limit"),
    ],
)
def test_programs_are_rejected_with_a_reason(text: str, reason: str) -> None:
    found = labelled(chunk(), lambda a, q, n: Answer(text, "stop"))
    assert {row["reason"] for row in found.rejected} == {reason}
    assert not found.windows and not found.missing


def test_an_answer_that_was_cut_off_is_none() -> None:
    found = labelled(chunk(), answers("remove_lines(0, 0)", finish="length"))
    assert {row["reason"] for row in found.rejected} == {"cut off"}


def test_prose_and_thoughts_around_a_program_do_not_matter() -> None:
    text = (
        "<think>\nremove_lines(0, 4)\n</think>\nI think that the menu goes:\n```python\n"
        "remove_lines(line_start=0, line_end=0)\n```\nDone!"
    )
    (row,) = labelled(chunk(), answers(text)).windows
    assert row["program"] == ["remove_lines(line_start=0, line_end=0)"]


# ---------------------------------------------------------------------------------- windows


def sections(navigation: str, links: str = "keep_chunk()", footer: str = "keep_chunk()") -> str:
    return f"## navigation\n{navigation}\n\n## links\n{links}\n\n## footer\n{footer}"


NAVIGATION = "remove_lines(line_start=0, line_end=0)"
LINKS = 'remove_lines(4, 4)\nnormalize(source_str=" Read more", target_str="")'
FOOTER = "remove_lines(5, 5)"


def test_programs_are_merged_executed_and_explained() -> None:
    (row,) = labelled(chunk("joint"), answers(sections(NAVIGATION, LINKS, FOOTER))).windows
    assert [line["label"] for line in row["lines"]] == [1, 0, 0, 0, 1, 1]
    assert row["lines"][2]["kinds"] == ["links"] and "kinds" not in row["lines"][1]
    assert row["kinds"] == ["footer", "links", "navigation"]
    assert row["program"] == [
        "remove_lines(line_start=0, line_end=0)",
        "remove_lines(line_start=4, line_end=5)",
        'normalize(source_str=" Read more", target_str="")',
    ]
    refined = execute(PAGE, from_json(row["operations"])).text
    assert refined == apply_edits(PAGE, [Edit(*edit) for edit in row["edits"]])
    assert "Read more" not in refined and "Share" not in refined
    assert (row["window"], row["first_line"], row["of_lines"]) == ("whole", 0, 6)


def test_joint_and_separate_calls_say_the_same() -> None:
    def separately(annotator: Annotator, question: Question, n: int) -> Answer:
        return Answer([NAVIGATION, LINKS, FOOTER][n], "stop")

    (one,) = labelled(chunk(), separately).windows
    (other,) = labelled(chunk("joint"), answers(sections(NAVIGATION, LINKS, FOOTER))).windows
    assert {k: v for k, v in one.items() if k != "annotators"} == {
        k: v for k, v in other.items() if k != "annotators"
    }


def test_what_has_no_effect_is_no_part_of_the_program() -> None:
    links = 'normalize(source_str="Home", target_str="")\nnormalize(source_str="no", target_str="")'
    found = labelled(chunk("joint"), answers(sections(NAVIGATION, links)))
    (row,) = found.windows
    assert row["program"] == [NAVIGATION]
    assert found.counts["conflicts between kinds"] == 1


def test_keep_beside_removals_is_counted() -> None:
    found = labelled(chunk("joint"), answers(sections(NAVIGATION + "\nkeep_chunk()")))
    assert found.counts["contradictions"] == 1
    assert found.windows[0]["program"] == [NAVIGATION]


def test_a_missing_section_is_not_the_decision_to_keep() -> None:
    found = labelled(chunk("joint"), answers(f"## navigation\n{NAVIGATION}"))
    assert [row["reason"] for row in found.rejected] == ["missing section"]


def test_lines_go_where_most_annotators_say_so() -> None:
    told = (
        sections("remove_lines(0, 0)", LINKS),
        sections("remove_lines(0, 1)", LINKS, FOOTER),
        sections("keep_chunk()", "keep_chunk()", FOOTER),
    )
    found = labelled(chunk("joint"), by_pass(*told), THREE)
    (row,) = found.windows
    assert [line["label"] for line in row["lines"]] == [1, 0, 0, 0, 1, 1]
    assert [line["votes"] for line in row["lines"]] == [2, 1, 0, 0, 2, 2]
    assert row["program"][-1].startswith("normalize")
    assert [a["removed_lines"] for a in row["annotators"]] == [
        [[0, 0], [4, 4]],
        [[0, 1], [4, 5]],
        [[5, 5]],
    ]


def test_a_tie_keeps_the_line() -> None:
    found = labelled(
        chunk("joint"), by_pass(sections("remove_lines(0, 0)"), sections("keep_chunk()")), THREE[:2]
    )
    assert found.windows[0]["lines"][0] == {"text": "Home | About", "label": 0, "votes": 1}


def test_the_removal_limit_can_be_lifted() -> None:
    policy = chunk("joint", limits=Limits(max_removed=2, min_words=0))
    (row,) = labelled(policy, answers(sections("remove_lines(0, 5)"))).windows
    assert all(line["label"] for line in row["lines"])


def test_windows_are_cut_at_lines_and_drawn_by_their_hash() -> None:
    text = "\n".join(f"This is sentence number {n} of a long page." for n in range(100))
    document = Document("long", text, {"lang": "en"})
    policy = chunk("joint", window=1_000, windows=2)
    found = labelled(policy, answers(sections("keep_chunk()")), document=document)
    assert len(found.windows) == 2
    for row in found.windows:
        lines = [line["text"] for line in row["lines"]]
        assert text.split("\n")[row["first_line"] :][: len(lines)] == lines
        assert sum(len(line) + 1 for line in lines) <= 1_000
        assert row["of_lines"] == 100
    again = labelled(policy, answers(sections("keep_chunk()")), document=document)
    assert again.windows == found.windows
    everything = labelled(
        chunk("joint", window=1_000, windows=99), answers(sections("keep_chunk()")),
        document=document,
    )  # fmt: skip
    assert everything.windows[0]["window"] == "head"
    assert everything.windows[-1]["window"] == "tail"
    assert sum(len(row["lines"]) for row in everything.windows) == 100
    assert [row for row in everything.windows if row in found.windows] == found.windows


def test_lines_longer_than_a_window_are_counted() -> None:
    document = Document("x", "short\n" + "long " * 200 + "\n\n", {"lang": "en"})
    found = labelled(
        chunk("joint", window=500), answers(sections("keep_chunk()")), document=document
    )
    assert found.counts["lines longer than a window"] == 1
    assert [line["text"] for line in found.windows[0]["lines"]] == ["short"]


# ---------------------------------------------------------------------------------- rewriting


def rewriting(mode: Any = "edit") -> Policy:
    return Policy(stages=("rewrite",), mode=mode)


def test_a_clean_text_becomes_a_program() -> None:
    clean = "\n".join(PAGE.split("\n")[1:4]).replace(" Read more", "")
    found = labelled(rewriting(), answers(f"Here it is:\n<text>\n{clean}\n</text>"))
    (row,) = found.windows
    assert row["route"] == "rewrite" and row["dialect"] == "ultrax" and row["kinds"] == []
    assert [line["label"] for line in row["lines"]] == [1, 0, 0, 0, 1, 1]
    assert apply_edits(PAGE, [Edit(*edit) for edit in row["edits"]]) == clean
    assert execute(PAGE, from_json(row["operations"])).text == clean
    assert row["program"] is not None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<text>\nThe otters of the Lenne\nAn otter eats", "cut off"),
        (
            "<text>\nOtters are hungry since rivers are cold, says a new study.\n</text>",
            "paraphrase",
        ),
        ("Sorry, I can't do that.", "refusal"),
    ],
)
def test_a_text_that_is_no_cleaning_is_rejected(text: str, reason: str) -> None:
    found = labelled(rewriting(), answers(text))
    assert [row["reason"] for row in found.rejected] == [reason]
    assert not found.windows


def test_deleting_allows_nothing_new() -> None:
    clean = PAGE.replace("kilogram", "kilogramme")
    found = labelled(rewriting("delete"), answers(f"<text>\n{clean}\n</text>"))
    assert [row["reason"] for row in found.rejected] == ["inserts text"]
    assert labelled(rewriting(), answers(f"<text>\n{clean}\n</text>")).windows


# ---------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stages": ()}, "nothing to ask"),
        ({"stages": ("lines",)}, "unknown stage"),
        ({"stages": ("chunk", "rewrite")}, "same lines"),
        ({"stages": ("chunk",), "calls": "all"}, "calls is one of"),
        ({"stages": ("rewrite",), "mode": "write"}, "mode is one of"),
        ({"stages": ("chunk",), "only_kept": True}, "--document"),
        ({"stages": ("chunk",), "windows": 0}, "at least 1"),
    ],
)
def test_settings_that_can_not_be_meant(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Policy(**settings).check()


def test_all_prompts_are_read_before_anything_is_asked(tmp_path: Path) -> None:
    folder = tmp_path / "prompts"
    shutil.copytree(PACKAGED, folder)
    (folder / "chunk" / "code" / "links.txt").unlink()
    with pytest.raises(InputError, match=r"links\.txt can not be read"):
        Labeller(chunk(prompts=folder), ONE, lambda annotator, question: None)
