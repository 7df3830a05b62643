"""Programs derived from refined texts: proved by execution, small, or rejected with a reason."""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.dialects import get_dialect
from burnish.program.alignment import align, contains, embed, heaviest_chain
from burnish.program.derive import Derivation, Mode, derive
from burnish.program.executor import execute
from burnish.program.limits import Limits
from burnish.program.lines import Chunk
from burnish.program.operations import (
    InsertLines,
    Operation,
    Program,
    RemoveLines,
    ReplaceText,
    RewriteLines,
)

SHARED = Path(__file__).absolute().parents[2] / "shared" / "data" / "boilerplate"
LIMITLESS = Limits(max_removed=2, min_words=0, growth_floor=10**9)
FAST = settings(max_examples=300, deadline=None)
OTTERS = (
    "Home | News | Contact\n"
    "\n"
    "The otters are back in the river. | Share this\n"
    "They were seen near the old mill,\n"
    "where the water is clean.\n"
    "\n"
    "Subscribe to our newsletter\n"
    "Colour prints are sold at the mill shop."
)

# All that may be lost on the way, and that other programs split lines at.
WORDS = ["the", "otters", "back", "Reply", "a", "a", "aa", ",", ".", "|", "中文", "字", "\xa0"]
WORDS += ["\u200b", "\ufeff", "\r", "\u2028", "\x85", "\ud800", "\t"]
lines = st.sampled_from(["", "", " ", "\xa0", "Reply"]) | st.lists(
    st.sampled_from(WORDS), min_size=1, max_size=8
).map(" ".join)
texts = st.lists(lines, min_size=1, max_size=8)
modes: st.SearchStrategy[Mode] = st.sampled_from(["delete", "edit", "insert"])


def after(text: str, program: Program) -> str:
    outcome = execute(text, program, limits=LIMITLESS)
    assert outcome.issues == ()
    return outcome.text


def program_of(source: str, refined: str, mode: Mode = "edit") -> Program:
    """The derived program, which must be there."""
    found = derive(source, refined, mode=mode)
    assert found.program is not None, found
    assert after(source, found.program) == refined
    return found.program


def without(text: str, *parts: str) -> str:
    for part in parts:
        assert part in text
        text = text.replace(part, "", 1)
    return text


# ------------------------------------------------------------------------------------ examples


def test_equal_texts_need_no_operation() -> None:
    for text in ("", "\n", OTTERS):
        found = derive(text, text)
        assert found.program == () and found.outcome is not None and not found.reason


def test_removed_lines_are_canonical_ranges() -> None:
    refined = without(OTTERS, "Home | News | Contact\n\n", "\nSubscribe to our newsletter")
    assert program_of(OTTERS, refined, "delete") == (RemoveLines(0, 1), RemoveLines(6, 6))


@pytest.mark.parametrize("mode", ["delete", "edit", "insert"])
def test_an_empty_text_removes_all(mode: Mode) -> None:
    assert program_of("a\n\nb", "", mode) == (RemoveLines(0, 2),)
    assert program_of("\n", "", mode) == (RemoveLines(0, 1),)
    assert program_of("\n\n", "\n", mode) in ((RemoveLines(0, 0),), (RemoveLines(2, 2),))


def test_of_equal_lines_the_fewest_runs_go() -> None:
    source = "x\na\nmenu\nx\nb\nmenu\nx\nc"
    assert len(program_of(source, "x\nb\nmenu\nx\nc")) == 1
    assert len(program_of("a\nb\na\nb\nc", "a\nb\nc")) == 1


def test_strings_are_deleted_and_replaced_in_a_line() -> None:
    assert program_of(OTTERS, without(OTTERS, " | Share this"), "delete") == (
        ReplaceText(2, 2, " | Share this"),
    )
    assert program_of(OTTERS, OTTERS.replace("Colour", "Color")) == (ReplaceText(7, 7, "u"),)
    assert program_of(OTTERS, OTTERS.replace("clean", "cold")) == (
        ReplaceText(4, 4, "lean", "old"),
    )


def test_a_string_grows_until_it_stands_once() -> None:
    source = "so it is so and so it was"
    assert program_of(source, "so it is so and so was") == (ReplaceText(0, 0, "it w", "w"),)
    assert program_of("a b a c", "a b c") == (ReplaceText(0, 0, " a", ""),)  # not "a ", as it twice


def test_changes_whose_strings_would_overlap_are_one() -> None:
    source = "aaaaaaaa"
    for refined in ("aabaabaa", "baaaaaab", "aaaab", "baaaa"):
        program_of(source, refined)


def test_lines_are_joined_and_split() -> None:
    joined = OTTERS.replace("mill,\nwhere", "mill, where")
    assert program_of(OTTERS, joined) == (ReplaceText(3, 4, "\n", " "),)
    assert program_of(joined, OTTERS) == (ReplaceText(3, 3, ", ", ",\n"),)
    source = "The river, other-\nwise quiet and\nAdvertisement\nslow, was full."
    assert program_of(source, "The river, otherwise quiet and slow, was full.") == (
        ReplaceText(0, 1, "-\n"),
        ReplaceText(1, 2, "\n", " "),
        ReplaceText(2, 3, "Advertisement\n"),
    )


def test_new_blank_lines_are_an_edit() -> None:
    assert program_of("one two\nthree four", "one two\n\nthree four", "insert") == (
        InsertLines(1, 1, ""),
    )
    (operation,) = program_of("one two\nthree four", "one two\n\nthree four")
    assert isinstance(operation, ReplaceText)
    assert derive("one two\nthree four", "one two\n\nthree four", mode="delete").program is None


def test_a_line_may_lose_all_that_it_held() -> None:
    assert program_of("a\nmenu\nb", "a\n\nb", "delete") == (ReplaceText(1, 1, "menu"),)


def test_an_empty_line_is_filled_by_its_line_end() -> None:
    assert program_of("a b\n\nc d", "a b\n \nc d") == (ReplaceText(1, 2, "\n", " \n"),)
    assert program_of("a b\n", "a b\n ") == (ReplaceText(0, 1, "\n", "\n "),)
    assert program_of("", " ", "insert") == (RemoveLines(0, 0), InsertLines(0, 1, " "))
    assert program_of("", " ") == (RewriteLines(0, 0, " "),)


def test_new_lines_are_inserted_in_their_order() -> None:
    refined = OTTERS.replace("Subscribe to our newsletter", "# Prints\n\n# The shop")
    assert program_of(OTTERS, refined, "insert") == (
        RemoveLines(6, 6),
        InsertLines(6, 1, "# Prints"),
        InsertLines(6, 2, ""),
        InsertLines(6, 3, "# The shop"),
    )


@pytest.mark.parametrize(
    "character", ["\xa0", "\u200b", "\ufeff", "\r", "\u2028", "\f", "\x85", "\ud800", "\x00"]
)
def test_every_character_is_one(character: str) -> None:
    source = f"{character}The otters{character} are back.{character}\nThey swim."
    clean = source.replace(character, "")
    for mode in ("delete", "edit"):
        program = program_of(source, clean, "delete" if mode == "delete" else "edit")
        assert {type(operation) for operation in program} == {ReplaceText}
    program_of(clean, source)


# ------------------------------------------------------------------------------------ reasons


def reason(source: str, refined: str, mode: Mode = "edit") -> tuple[str, str]:
    found = derive(source, refined, mode=mode)
    assert found.program is None and found.outcome is None
    return found.reason, found.detail


def test_a_text_that_stops_inside_of_a_line_was_cut_off() -> None:
    why, detail = reason(OTTERS, OTTERS[: OTTERS.index("the old mill")])
    assert why == "truncated"
    assert "They were seen near" in detail and "the old mill" in detail
    for cut in ("They we", "They were seen near the o", "They were seen near…", "They were\n\n"):
        refined = OTTERS[: OTTERS.index("They were")] + cut
        for mode in ("delete", "edit", "insert"):
            if mode != "delete" or "…" not in cut:
                assert derive(OTTERS, refined, mode=mode).reason == "truncated", cut  # type: ignore[arg-type]


def test_what_ends_with_a_whole_line_or_sentence_was_not_cut_off() -> None:
    program_of(OTTERS, OTTERS[: OTTERS.index("\nwhere")])
    program_of(OTTERS, OTTERS[: OTTERS.index(" | Share")])
    assert derive(OTTERS, OTTERS, cut_off=True).reason == "truncated"


def test_other_words_are_a_paraphrase() -> None:
    text = "Some animals that live in water have come home, and people have noticed it at once."
    why, detail = reason(OTTERS, text)
    assert why == "paraphrase" and "Some animals" in detail
    changed = OTTERS.replace("the old mill", "a house that nobody uses").replace(
        "clean", "so fresh"
    )
    why, detail = reason(OTTERS, changed)
    assert why == "paraphrase" and "are allowed" in detail
    assert derive(OTTERS, changed, max_new=100).program is not None
    assert derive(OTTERS, OTTERS.replace("old", "new"), max_new=0).reason == "paraphrase"


def test_moved_lines_are_reordered() -> None:
    parts = OTTERS.split("\n")
    moved = "\n".join([*parts[2:], parts[0]])
    for mode in ("delete", "edit"):
        why, detail = reason(OTTERS, moved, mode)  # type: ignore[arg-type]
        assert why == "reordered" and "Home" in detail
    program_of(OTTERS, moved, "insert")


def test_what_only_deletes_adds_nothing() -> None:
    for refined in (OTTERS + "\nThe end.", OTTERS.replace("old", "older"), OTTERS + " "):
        assert reason(OTTERS, refined, "delete")[0] == "inserts text"
    assert reason(OTTERS, OTTERS + "\nThe end.", "edit")[0] == "inserts text"
    joined = OTTERS.replace("mill,\nwhere", "mill,where")
    assert reason(OTTERS, joined, "delete")[0] == "joins lines"


# ------------------------------------------------------------------------------------ any text


@st.composite
def deletions(draw: st.DrawFn) -> tuple[str, str, bool]:
    """A text, what is left of it, and whether whole lines went only."""
    source = draw(texts)
    inside = draw(st.booleans())
    left = []
    for line in source:
        if draw(st.booleans()):
            continue
        if inside and line and draw(st.booleans()):
            start = draw(st.integers(0, len(line)))
            line = line[:start] + line[draw(st.integers(start, len(line))) :]
        left.append(line)
    return "\n".join(source), "\n".join(left), not inside


@settings(max_examples=600, deadline=None)
@given(deletions(), modes)
def test_deletions_are_found(given_texts: tuple[str, str, bool], mode: Mode) -> None:
    source, refined, whole_lines = given_texts
    found = derive(source, refined, mode=mode)
    if found.program is None:
        last = refined.rstrip().split("\n")[-1]
        assert found.reason == "truncated" and not whole_lines
        assert any(line.startswith(last[:1]) or last in line for line in source.split("\n"))
        return
    assert after(source, found.program) == refined
    if mode == "delete":
        for operation in found.program:
            assert isinstance(operation, RemoveLines) or is_deletion(operation)
    if whole_lines:
        assert all(isinstance(operation, RemoveLines) for operation in found.program)
        assert len(found.program) == fewest_runs(source.split("\n"), refined.split("\n"))


def is_deletion(operation: Operation) -> bool:
    if not isinstance(operation, ReplaceText) or operation.first != operation.last:
        return False
    return contains(operation.old, operation.new) and "\n" not in operation.old


def fewest_runs(a: Sequence[object], b: Sequence[object]) -> int:
    """By trying all ways; the empty text is what is left when all lines go."""
    if b == [""] and a != [""]:
        return 1
    ways = combinations(range(len(a)), len(b))
    return min(runs(len(a), way) for way in ways if [a[n] for n in way] == list(b))


def runs(size: int, kept: Sequence[int]) -> int:
    gone = [n not in kept for n in range(size)]
    return sum(now and not before for before, now in zip([False, *gone], gone, strict=False))


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, str]:
    source, refined, _ = draw(deletions())
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(refined)))
        new = draw(st.sampled_from([*WORDS, "\n", "\n\n", " ", "New line\n"]))
        refined = refined[:start] + new + refined[start + draw(st.integers(0, 2)) :]
    return source, refined


def check(source: str, refined: str, mode: Mode, found: Derivation) -> None:
    if found.program is None:
        assert found.reason and found.detail and found.reason != "not reproduced"
        return
    assert found.reason == found.detail == ""
    assert found.outcome is not None and found.outcome.text == refined
    assert after(source, found.program) == refined
    if mode != "insert":
        assert not any(isinstance(operation, InsertLines) for operation in found.program)


@settings(max_examples=600, deadline=None)
@given(edits(), modes)
def test_edits_are_reproduced_or_rejected(given_texts: tuple[str, str], mode: Mode) -> None:
    check(*given_texts, mode, derive(*given_texts, mode=mode))


@FAST
@given(st.text(max_size=30), st.text(max_size=30), modes, st.integers(0, 40) | st.none())
def test_any_pair_of_texts(source: str, refined: str, mode: Mode, most: int | None) -> None:
    check(source, refined, mode, derive(source, refined, mode=mode, max_new=most))
    assert derive(source, refined, mode=mode, max_new=most) == derive(
        source, refined, mode=mode, max_new=most
    )


@FAST
@given(edits())
def test_with_room_for_new_text_any_text_can_be_inserted(given_texts: tuple[str, str]) -> None:
    found = derive(*given_texts, mode="insert", max_new=10**6)
    assert found.program is not None or found.reason == "truncated"


@FAST
@given(deletions())
def test_deletions_are_no_paraphrase(given_texts: tuple[str, str, bool]) -> None:
    source, refined, _ = given_texts
    assert derive(source, refined, max_new=0).reason in ("", "truncated")


# ------------------------------------------------------------------------------------ dialects


@FAST
@given(edits(), st.sampled_from(["edit", "insert"]))
def test_ultrax_can_say_it(given_texts: tuple[str, str], mode: Mode) -> None:
    source, refined = given_texts
    program = derive(source, refined, mode=mode).program or ()
    if any(isinstance(operation, RewriteLines) for operation in program):
        return  # an empty line between removed ones that got text: nothing can be named
    said_and_read("ultrax", source, program)


@FAST
@given(st.lists(lines, min_size=1, max_size=5), st.data())
def test_a_word_less_in_a_line_is_said_by_both(source: list[str], data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(source) - 1))
    source[number] = f"x {source[number]} unlike any y"
    refined = source.copy()
    refined[number] = refined[number].replace(" unlike", "")
    text = "\n".join(source)
    program = program_of(text, "\n".join(refined), "delete")
    assert len(program) == 1
    for name in ("ultrax", "refinex"):
        said_and_read(name, text, program)


def said_and_read(name: str, source: str, program: Program) -> None:
    dialect, chunk = get_dialect(name), Chunk.whole(source)
    parsed = dialect.parse(dialect.format(program, chunk), chunk)
    assert (parsed.program, parsed.issues) == (program, ())


# ------------------------------------------------------------------------------------ alignment


@FAST
@given(st.text("abc", max_size=9), st.text("abc", max_size=5))
def test_embedding_leaves_out_the_fewest_runs(a: str, b: str) -> None:
    places = embed(a, b)
    assert (places is not None) == contains(a, b)
    if places is not None:
        assert [a[n] for n in places] == list(b) and sorted(set(places)) == places
        assert runs(len(a), places) == fewest_runs([*a, "-"], [*b, "-"])  # no text is empty


@FAST
@given(st.text("abc", max_size=12), st.text("abc", max_size=12), st.sampled_from([4, 1 << 26]))
def test_alignment_is_a_longest_common_subsequence(a: str, b: str, stored: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("burnish.program.alignment._STORED", stored)
        pairs = align(a, b)
    assert all(a[i] == b[j] for i, j in pairs)
    assert all(i < k and j < m for (i, j), (k, m) in pairwise(pairs))
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            best = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else best
    assert len(pairs) == table[-1][-1]


places = st.tuples(st.integers(0, 4), st.integers(0, 4))


@FAST
@given(st.dictionaries(places, st.integers(1, 9), max_size=7))
def test_the_heaviest_chain(weights: dict[tuple[int, int], int]) -> None:
    def weight(chain: Sequence[tuple[int, int]]) -> int:
        """-1 if the chain does not ascend."""
        steps = list(pairwise(chain))
        if not all(i < k and j < m for (i, j), (k, m) in steps):
            return -1
        following = sum((i + 1, j + 1) == pair for (i, j), pair in steps)
        return sum(weights[pair] for pair in chain) + following

    chains = [c for size in range(len(weights) + 1) for c in combinations(sorted(weights), size)]
    found = heaviest_chain((i, j, w) for (i, j), w in weights.items())
    assert weight(found) == max(map(weight, chains))


# ------------------------------------------------------------------------------------ long texts


def long_texts(count: int, mode: Mode) -> tuple[str, str]:
    """Web-like lines, of which runs are gone and every tenth is edited."""
    rng = random.Random(count)
    words = ["".join(rng.choices("etaoinshrdlu", k=1 + n % 9)) for n in range(3_000)]
    source, left = [], []
    for _ in range(count):
        line = " ".join(rng.choices(words, k=rng.choice([0, 2, 12, 20])))
        source.append(line or rng.choice(["", "Reply", "Share"]))
    gone = 0
    for line in source:
        gone = gone - 1 if gone else rng.choice([0] * 20 + [6])
        if not gone:
            pieces = line.split(" ")
            if len(pieces) > 9 and rng.random() < 0.1:
                pieces[4:5] = [] if mode == "delete" else ["otter"]
            left.append(" ".join(pieces))
    return "\n".join(source), "\n".join(left)


def calls_made(source: str, refined: str, mode: Mode) -> int:
    """Calls of functions, C's too, that one derivation makes."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        found = derive(source, refined, mode=mode)
    finally:
        sys.setprofile(None)
    assert found.program
    return count


@pytest.mark.parametrize("mode", ["delete", "edit"])
def test_work_grows_with_the_lines_and_not_with_their_square(mode: Mode) -> None:
    few = calls_made(*long_texts(500, mode), mode)
    many = calls_made(*long_texts(2_000, mode), mode)
    assert many < 6 * few
    assert many < 1_000 * 2_000


def test_a_text_of_equal_lines_takes_no_quadratic_work() -> None:
    few = calls_made("a\n" * 1_000 + "x b", "a\n" * 700 + "b", "delete")
    many = calls_made("a\n" * 4_000 + "x b", "a\n" * 2_800 + "b", "delete")
    assert many < 6 * few


# ------------------------------------------------------------------------------------ real pages


def test_the_labels_of_real_pages_come_back() -> None:
    file = SHARED / "dev.jsonl.zst"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    zstandard = pytest.importorskip("zstandard")
    with file.open("rb") as raw:
        reader = zstandard.ZstdDecompressor().stream_reader(raw)
        rows = [json.loads(row) for row in io.TextIOWrapper(reader, encoding="utf-8")]
    for row in rows[::5]:
        page = [line["text"] for line in row["lines"]]
        noise = {n for n, line in enumerate(row["lines"]) if line["label"] == 1}
        refined = "\n".join(line for n, line in enumerate(page) if n not in noise)
        removed: set[int] = set()
        for operation in program_of("\n".join(page), refined, "delete"):
            assert isinstance(operation, RemoveLines)
            removed.update(range(operation.first, operation.last + 1))
        assert sorted(page[n] for n in removed) == sorted(page[n] for n in noise)
