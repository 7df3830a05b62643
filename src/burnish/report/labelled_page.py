"""Labelled documents as pages to look at: removed text struck out, the reasons beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from burnish.io.labels import CHUNK, DOCUMENT, REJECTED
from burnish.report.labelled import (
    SCORES,
    Found,
    Row,
    calls_of,
    differ,
    kinds_of,
    programs_of,
    split_vote,
)
from burnish.report.line_pieces import Piece, line_pieces
from burnish.report.visible import paragraph, visible

_LINES = 40  # of a document or an answer, unless all are asked for
_CHARACTERS = 2000  # of one of these lines: some pages are a single one
_CALLS = 8  # of an annotator's program that are shown where programs differ


@dataclass(frozen=True, slots=True)
class Look:
    """How pages are shown.

    Attributes:
        full: all lines of documents and answers, not the first 40 alone.
        marks: changes inside a line as [-old-]{+new+}, for output without colours.
    """

    full: bool = False
    marks: bool = False


def page(found: Found, look: Look | None = None) -> RenderableType:
    """One row as a page: a heading, then its text with the reasons."""
    look = look or Look()
    body = {DOCUMENT: _document, CHUNK: _window, REJECTED: _rejected}[found.file.kind]
    what = {DOCUMENT: "document", CHUNK: "window", REJECTED: "rejected"}[found.file.kind]
    place = f"{what} · {found.file.path.name}, row {found.number}"
    title = visible(place, "bold")
    rule = Rule(title, align="left", style="dim")
    return Group(rule, *_heading(found.row), *body(found.row, look), Text())


def _heading(row: Row) -> Iterator[RenderableType]:
    """What a row is and where it is from."""
    yield visible(str(row.get("id", "no id")), "bold")
    if row.get("url"):
        yield visible(str(row["url"]), "cyan")
    elif row.get("domain"):
        yield visible(str(row["domain"]), "cyan")
    names = ("lang", "variant", "route", "dialect", "source", "license")
    facts = [visible(str(row[name])) for name in names if row.get(name)]
    yield from _facts([*_decision(row), *_scores(row), *_position(row), *facts])


def _facts(facts: Iterable[Text]) -> Iterator[Text]:
    """The facts on a line, none if there are none."""
    if line := _joined(facts):
        yield line


def _joined(texts: Iterable[Text]) -> Text:
    # Dim as a part: the style of a joining text as a whole would spread to all that it joins.
    return Text.assemble((" · ", "dim")).join(texts)


def _position(row: Row) -> Iterator[Text]:
    if row.get("window"):
        yield visible(str(row["window"]))
    if lines := row.get("lines"):
        first = row.get("first_line") or 0
        of = f" of {row['of_lines']}" if row.get("of_lines") is not None else ""
        yield visible(f"lines {first}-{first + len(lines) - 1}{of}")


def _decision(row: Row) -> Iterator[Text]:
    keep = row.get("keep")
    if keep is not None:
        yield Text("keep", "bold green") if keep else Text("drop", "bold red")
    if row.get("status"):
        yield visible(str(row["status"]), "green" if row["status"] == "kept" else "yellow")


def _scores(row: Row, uneven: Sequence[str] = ()) -> Iterator[Text]:
    for name in SCORES:
        if row.get(name) is not None:
            style = "yellow" if name in uneven else ""
            yield visible(f"{name} {row[name]}", style)


def _name(annotator: Row, several: bool) -> Text:
    name = visible(str(annotator.get("teacher") or "unknown teacher"))
    if several and annotator.get("pass") is not None:
        name.append_text(visible(f", pass {annotator['pass']}"))
    return name


# -------------------------------------------------------------------------------------- documents


def _document(row: Row, look: Look) -> Iterator[RenderableType]:
    if row.get("reason"):
        yield Text.assemble(("reason  ", "dim"), visible(str(row["reason"])))
    yield Text()
    annotators = row.get("annotators") or ()
    uneven = [name for name in ("keep", *SCORES) if differ(name, annotators)]
    for annotator in annotators:
        yield from _opinion(annotator, uneven, len(annotators) > 1)
    if annotators:
        yield Text()
    text = row.get("text")
    yield _numbered(text, look) if text is not None else Text("no text", "dim")


def _opinion(annotator: Row, uneven: Sequence[str], several: bool) -> Iterator[RenderableType]:
    """One annotator's scores, those that others do not share in yellow, and critiques."""
    name = _name(annotator, several)
    name.stylize("bold")
    yield from _facts([name, *_decision(annotator), *_scores(annotator, uneven)])
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for prompt, critique in (annotator.get("critiques") or {}).items():
        table.add_row(visible(str(prompt), "dim"), paragraph(str(critique)))
    if table.row_count:
        yield Padding(table, (0, 0, 0, 2))


def _numbered(text: str, look: Look) -> RenderableType:
    lines = text.split("\n")
    shown = lines if look.full else lines[:_LINES]
    table = _lines_table(len(shown) - 1)
    for number, line in enumerate(shown):
        table.add_row(str(number), "", _cut(line, look))
    return Group(table, *_more(len(lines) - len(shown)))


def _cut(line: str, look: Look, style: str = "") -> Text:
    if look.full or len(line) <= _CHARACTERS:
        return visible(line, style)
    more = f" … {len(line) - _CHARACTERS:,} more characters (--full shows them)"
    return visible(line[:_CHARACTERS], style).append(more, "dim")


def _more(lines: int) -> Iterator[Text]:
    if lines > 0:
        yield Text(f"… {lines:,} more lines (--full shows them)", "dim")


def _lines_table(last: int) -> Table:
    """Columns for the line's number, a mark and the text."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(justify="right", style="dim", no_wrap=True, width=len(str(last)))
    table.add_column(no_wrap=True, width=1)
    table.add_column(ratio=1, overflow="fold")
    return table


# ---------------------------------------------------------------------------------- rejected rows


def _rejected(row: Row, look: Look) -> Iterator[RenderableType]:
    names = ("stage", "task", "teacher", "file", "position")
    facts = [f"{name} {row[name]}" for name in names if row.get(name) is not None]
    yield from _facts(map(visible, facts))
    reason = visible(str(row.get("reason") or "no reason given"), "bold yellow")
    if row.get("detail"):
        reason.append(": ").append_text(visible(str(row["detail"]), "yellow"))
    yield reason
    yield Text()
    what = "row" if row.get("raw") is not None else "answer"
    text = row.get("raw" if what == "row" else "answer")
    if text is None:
        yield Text("no answer", "dim")
        return
    lines = str(text).split("\n")
    shown = lines if look.full else lines[:_LINES]
    answer = Text("\n", overflow="fold").join(_cut(line, look) for line in shown)
    yield Panel(answer, title=what, title_align="left", border_style="dim")
    yield from _more(len(lines) - len(shown))


# ---------------------------------------------------------------------------------------- windows


def _window(row: Row, look: Look) -> Iterator[RenderableType]:
    annotators = row.get("annotators") or ()
    if kinds := kinds_of(row):
        yield Text.assemble(("kinds  ", "dim"), visible(", ".join(kinds), "magenta"))
    if annotators:
        several = len(annotators) > 1
        names = _joined(_name(each, several) for each in annotators)
        yield Text.assemble(("labelled by  ", "dim"), names)
    yield from _differences(annotators)
    yield Text()
    lines = row.get("lines") or ()
    if not lines:
        yield Text("no lines", "dim")
        return
    first = row.get("first_line") or 0
    table = _lines_table(first + len(lines) - 1)
    table.add_column(max_width=26, overflow="fold")
    before: Sequence[str] = ()
    for number, (line, pieces) in enumerate(zip(lines, line_pieces(row), strict=True), first):
        kinds = list(map(str, line.get("kinds") or ()))
        reason = _reason(line, kinds, kinds == before, len(annotators))
        before = kinds
        table.add_row(str(number), _mark(line, pieces), _line(line, pieces, look), reason)
    yield table


def _differences(annotators: Sequence[Row]) -> Iterator[Text]:
    """For each annotator the calls that not all others wrote too."""
    programs = programs_of(annotators)
    shared = set(programs[0]).intersection(*programs[1:]) if programs else set()
    for annotator in annotators if len(programs) > 1 else ():
        if annotator.get("program") is None:
            continue
        own = [call for call in calls_of(annotator["program"]) if call not in shared]
        if own:
            more = f", … {len(own) - _CALLS} more calls" if len(own) > _CALLS else ""
            calls = visible(", ".join(own[:_CALLS]) + more, "yellow")
            yield Text.assemble(("only ", "dim"), _name(annotator, True), ": ", calls)


_STYLES = {"kept": "", "old": "red strike", "new": "green"}
_BRACKETS = {"kept": ("", ""), "old": ("[-", "-]"), "new": ("{+", "+}")}


def _line(line: Row, pieces: Sequence[Piece], look: Look) -> Text:
    text = Text()
    for kind, part in pieces:
        # A change of blanks alone could not be seen otherwise.
        shown = visible(part, _STYLES[kind], spaces=kind != "kept" and part.isspace())
        if look.marks and not (kind == "old" and line.get("label") == 1):
            opened, closed = _BRACKETS[kind]
            shown = Text.assemble(opened, shown, closed)
        text.append_text(shown)
    return text


def _mark(line: Row, pieces: Sequence[Piece]) -> Text:
    if line.get("label") == 1:
        return Text("-", "red")
    return Text("~", "yellow") if any(kind != "kept" for kind, _ in pieces) else Text()


def _reason(line: Row, kinds: Sequence[str], again: bool, annotators: int) -> Text:
    """The kinds of a line, dim where the line before has the same, and the votes that differ."""
    parts = [visible(", ".join(kinds), "dim magenta" if again else "magenta")] if kinds else []
    if split_vote(line, annotators):
        parts.append(Text(f"{line['votes']} of {annotators}", "yellow"))
    return Text("  ").join(parts)
