"""What the teacher is asked, from the prompt files, and how its answers are cut and read.

`recipes/annotation/README.md` describes the files. Nothing here numbers lines or reads programs:
the dialect shows the chunk, to the teacher as to every refiner, and the dialect reads the program.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, get_args

from burnish.annotation.variants import Variant
from burnish.dialects import get_dialect
from burnish.dialects.base import Prompt
from burnish.errors import InputError, UsageError
from burnish.program.derive import Mode
from burnish.program.lines import Chunk, split_lines
from burnish.program.parser import answer_start, thought_end

KINDS = ("navigation", "links", "footer")
VARIANTS: tuple[Variant, ...] = get_args(Variant)
MODES: tuple[Mode, ...] = get_args(Mode)
SCORES = {"educational": "Educational score", "format": "Extraction quality score"}
DIALECT = "prox-chunk"
HIGHEST_SCORE = 5
HEAD, TAIL = 6_000, 2_000  # characters shown of a longer document
CRITIQUE_WORDS = 100
_CRITIQUE_CHARACTERS = 1_000  # where words are not told apart by blanks

_FOLDER = Path(__file__).parent.parent / "recipes" / "annotation"


# ------------------------------------------------------------------------------------------ tasks


@dataclass(frozen=True, slots=True)
class Task:
    """One instruction to the teacher, filled and ready to be asked about any text.

    Attributes:
        name: "educational", "navigation", "rewrite-edit"; of a joint task the parts with "+".
        parts: what is asked: one thing, or the several of a joint task in the answer's order.
        version: the versions of the files that it was filled from.
        system: the filled text.
        shows: how the user part shows the text.
        head, tail: how many characters of a longer document are shown, from its beginning and its
            end; one of up to `head + tail` is shown whole.
    """

    name: str
    parts: tuple[str, ...]
    version: str
    system: str
    shows: Literal["document", "chunk", "rewrite"]
    head: int = HEAD
    tail: int = TAIL

    @property
    def hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the system text."""
        return hashlib.sha256(self.system.encode()).hexdigest()[:16]

    def prompt(self, shown: Chunk | str) -> Prompt:
        """What is asked about a chunk, or about a text as one chunk."""
        chunk = Chunk.whole(shown) if isinstance(shown, str) else shown
        return Prompt(self.system, self._user(chunk))

    def _user(self, chunk: Chunk) -> str:
        if self.shows == "chunk":
            return get_dialect(DIALECT).render(chunk).user
        if self.shows == "rewrite":
            return _marked("text", chunk.text)
        return _marked("document", _shortened(chunk.text, self.head, self.tail))


def document_tasks(
    joint: bool, *, folder: Path | None = None, head: int = HEAD, tail: int = TAIL
) -> tuple[Task, ...]:
    """The two scores as two tasks, or as one that asks for both.

    Raises InputError for a prompt file that can not be read or used.
    """
    frame = _load(folder, "document/frame")
    files = [_load(folder, f"document/{name}") for name in SCORES]
    tasks = []
    for names, group in _groups(tuple(SCORES), files, joint):
        scores = "\n".join(f"{SCORES[name]}: N" for name in names)
        system = frame.fill(
            criteria="\n\n".join(file.text for file in group),
            answer=frame.part("joint" if joint else "separate", scores=scores),
        )
        version = _versions(frame, *group)
        tasks.append(Task("+".join(names), names, version, system, "document", head, tail))
    return tuple(tasks)


def chunk_tasks(variant: str, joint: bool, *, folder: Path | None = None) -> tuple[Task, ...]:
    """The kinds of noise as three tasks, or as one whose answer has a section for each.

    The joint task shows the examples of the variant's cautions in place of those of the kinds.
    Raises UsageError for an unknown variant, InputError as `document_tasks` does.
    """
    _known("variant", variant, VARIANTS)
    frame = _load(folder, "chunk/frame")
    cautions = _load(folder, f"chunk/{variant}/cautions")
    files = [_load(folder, f"chunk/{variant}/{kind}") for kind in KINDS]
    headings = "\n".join(f"## {kind}" for kind in KINDS)
    tasks = []
    for names, group in _groups(KINDS, files, joint):
        answer = frame.part("joint", headings=headings) if joint else frame.part("separate")
        system = frame.fill(
            cautions=cautions.text,
            criteria="\n\n".join(f"## {n}\n{f.text}" for n, f in zip(names, group, strict=True)),
            answer=answer,
            examples=_chunk_examples(cautions if joint else group[0], names),
        )
        version = _versions(frame, cautions, *group)
        tasks.append(Task("+".join(names), names, version, system, "chunk"))
    return tuple(tasks)


def rewrite_task(mode: str, *, folder: Path | None = None) -> Task:
    """The task to give the cleaned text back.

    "delete" allows deletions alone, "edit" also repairs inside lines, "insert" also a lost line.
    Raises UsageError for an unknown mode, InputError as `document_tasks` does.
    """
    _known("mode", mode, MODES)
    frame = _load(folder, "rewrite/frame")
    file = _load(folder, f"rewrite/{mode}")
    shown = [
        f"{_marked('text', example.text)}\nAnswer:\n{_marked('text', example.answer)}"
        for example in file.examples
    ]
    system = frame.fill(mode=file.text, examples="\n\n".join(shown))
    name = f"rewrite-{mode}"
    return Task(name, (name,), _versions(frame, file), system, "rewrite")


def again(shown: str, problem: str, folder: Path | None = None) -> str:
    """The user part of a prompt for the second time, with what was wrong with the answer.

    Raises InputError as `document_tasks` does.
    """
    return _load(folder, "again").fill(shown=shown, problem=" ".join(problem.split()))


def _groups(
    names: tuple[str, ...], files: list[PromptFile], joint: bool
) -> Iterator[tuple[tuple[str, ...], list[PromptFile]]]:
    """The parts of each task with their files: all in one, or one by one."""
    if joint:
        yield names, files
        return
    for name, file in zip(names, files, strict=True):
        yield (name,), [file]


def _chunk_examples(file: PromptFile, names: tuple[str, ...]) -> str:
    """The examples as the teacher sees them. Raises InputError for an answer that is not right."""
    dialect = get_dialect(DIALECT)
    shown = []
    for example in file.examples:
        said = sections(example.answer, names) if len(names) > 1 else {names[0]: example.answer}
        if missing := [name for name in names if name not in said]:
            file.fault(example.line, f"the answer has no section {missing[0]}")
        for name, program in said.items():
            read = dialect.parse(program, example.chunk)
            if read.program is None or read.issues:
                file.fault(example.line, f"the program for {name}: {read.issues[0].message}")
        shown.append(f"{dialect.render(example.chunk).user}\nAnswer:\n{example.answer}")
    return "\n\n".join(shown)


def _known(what: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise UsageError(f"unknown {what} {name!r}; known: {', '.join(names)}")


def _versions(*files: PromptFile) -> str:
    return ", ".join(f"{file.name} {file.version}" for file in files)


def _marked(name: str, text: str) -> str:
    return f"<{name}>\n{text}\n</{name}>"


def _shortened(text: str, head: int, tail: int) -> str:
    """The text, or its beginning and end with a line between them that says what is left out."""
    left_out = len(text) - head - tail
    if left_out <= 0:
        return text
    mark = f"[... {left_out} characters are left out here ...]"
    return f"{text[:head]}\n{mark}\n{text[len(text) - tail :]}"


# ------------------------------------------------------------------------------------------ files

_MARK = re.compile(r"=== *(?:(separate|joint|answer)|(example)(?: +(\d{1,9}))?)\s*")
_VERSION = re.compile(r"version: *([1-9]\d{0,8})\s*")
_PLACE = re.compile(r"\{([a-z]+)\}")


@dataclass(frozen=True, slots=True)
class Example:
    """A sample text and the answer that is right for it.

    `first` is the number that its first line gets (0-based), `line` where it stands in the file
    (1-based).
    """

    text: str
    answer: str
    first: int
    line: int

    @property
    def chunk(self) -> Chunk:
        lines = split_lines(self.text)
        return Chunk(lines, self.first, (self.first, self.first + len(lines) - 1))


@dataclass(frozen=True, slots=True)
class PromptFile:
    """A prompt file, read: its text, the named parts behind it, and the examples."""

    path: Path
    name: str
    version: int
    text: str
    parts: dict[str, str]
    examples: tuple[Example, ...]

    def fill(self, **values: str) -> str:
        """The text with the values in their places. Raises InputError where a place is missing."""
        return self._filled(self.text, "the text", values)

    def part(self, part: str, **values: str) -> str:
        """A named part, filled like the text. Raises InputError if there is none."""
        if part not in self.parts:
            raise InputError(f"{self.path}: there is no part === {part}")
        return self._filled(self.parts[part], f"the part {part}", values)

    def fault(self, line: int, message: str) -> NoReturn:
        raise InputError(f"{self.path}, line {line}: {message}")

    def _filled(self, text: str, where: str, values: dict[str, str]) -> str:
        # In one pass: braces inside a value are LaTeX or code, and no places.
        if missing := values.keys() - set(_PLACE.findall(text)):
            place = "{" + min(missing) + "}"
            raise InputError(f"{self.path}: {where} has no place {place}")
        return _PLACE.sub(lambda place: values.get(place[1], place[0]), text)


def read_prompt(path: Path, name: str) -> PromptFile:
    """Reads a prompt file. Raises InputError, naming file and line, where it is malformed."""
    try:
        lines = split_lines(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the prompt {path} can not be read: {error}") from None
    return _PromptReader(path, name, lines).read()


def _load(folder: Path | None, name: str) -> PromptFile:
    return read_prompt((folder or _FOLDER) / f"{name}.txt", name)


@dataclass(slots=True)
class _Block:
    """The lines below a mark: its name, its number, and the 1-based line where it stands."""

    name: str
    number: int
    line: int
    lines: list[str]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class _PromptReader:
    """One pass over a prompt file."""

    def __init__(self, path: Path, name: str, lines: Sequence[str]) -> None:
        self.path = path
        self.name = name
        self.lines = lines

    def read(self) -> PromptFile:
        version = _VERSION.fullmatch(self.lines[0])
        if version is None:
            self._fault(1, f"a prompt begins with 'version: 1' or higher, not {self._quote(1)}")
        head, *blocks = self._blocks()
        if not head.text.strip():
            self._fault(2, "there is no text below the version")
        parts, examples = self._sorted(blocks)
        text = head.text.strip("\n")
        return PromptFile(self.path, self.name, int(version[1]), text, parts, examples)

    def _blocks(self) -> list[_Block]:
        blocks = [_Block("text", 0, 2, [])]
        for number, line in enumerate(self.lines[1:], 2):
            if not line.startswith("==="):
                blocks[-1].lines.append(line)
                continue
            mark = _MARK.fullmatch(line)
            if mark is None:
                known = "=== separate, joint, example, example NUMBER, answer"
                self._fault(number, f"unknown mark {self._quote(number)}; known: {known}")
            blocks.append(_Block(mark[1] or mark[2], int(mark[3] or 0), number, []))
        return blocks

    def _sorted(self, blocks: Sequence[_Block]) -> tuple[dict[str, str], tuple[Example, ...]]:
        """The named parts, and the examples with the answer that follows each."""
        parts: dict[str, str] = {}
        examples: list[Example] = []
        asked: _Block | None = None
        for block in blocks:
            if (block.name == "answer") != (asked is not None):
                wanted = "an answer" if asked else "an example before the answer"
                self._fault(block.line, f"expected {wanted} here")
            if asked is not None:
                answer = block.text.strip("\n")
                examples.append(Example(asked.text, answer, asked.number, asked.line))
                asked = None
            elif not block.text.strip():
                self._fault(block.line, f"there is nothing below {self._quote(block.line)}")
            elif block.name == "example":
                asked = block
            elif block.name in parts:
                self._fault(block.line, f"there are two parts {block.name}")
            else:
                parts[block.name] = block.text.strip("\n")
        if asked is not None:
            self._fault(asked.line, "the example has no answer")
        return parts, tuple(examples)

    def _quote(self, line: int) -> str:
        return repr(self.lines[line - 1][:60])

    def _fault(self, line: int, message: str) -> NoReturn:
        raise InputError(f"{self.path}, line {line}: {message}")


# ------------------------------------------------------------------------------------------ answers

_DECORATION = " \t\r#*_`>~+-[]("
_BEHIND = " \t\r#*_`:\uff1a-\u2013])"
_CALL = re.compile(r"[a-z_]{1,40} ?\(")
_REMARK = re.compile(r"\([^()]{0,200}\)[\s*_:\uff1a]*")


def _answer_lines(text: str) -> Iterator[str]:
    """The lines of the answer without its thinking blocks, found as the parser of programs does."""
    place = answer_start(text)
    while place <= len(text):
        end = thought_end(text, place)
        if end is None:
            end = text.find("\n", place)
            end = len(text) if end < 0 else end
            yield text[place:end]
            end += 1
        place = end


def sections(text: str, parts: Sequence[str]) -> dict[str, str]:
    """The answer of a joint task, cut by its headings: what stands below each part's name.

    A heading is a line with the name alone, however it is marked up, or with the name, a colon and
    a call. A part without heading is missing; of one that has two the last counts, because a
    teacher that begins again has thought better of it. Thinking blocks do not count.
    """
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in _answer_lines(text):
        heading = _heading(line, parts)
        if heading is not None:
            name, rest = heading
            current = found[name] = [rest] if rest else []
        elif current is not None:
            current.append(line)
    return {name: "\n".join(lines).strip("\n") for name, lines in found.items()}


def _heading(line: str, parts: Sequence[str]) -> tuple[str, str] | None:
    """The part that the line is a heading of, and the call behind it."""
    plain = re.sub(r"^\(?\d{1,3}[.)] *", "", line.lstrip(_DECORATION)).lstrip(_DECORATION)
    for name in parts:
        if plain[: len(name)].casefold() != name.casefold():
            continue
        behind = plain[len(name) :]
        rest = behind.lstrip(_BEHIND).rstrip()
        if not rest or _REMARK.fullmatch(rest):
            return name, ""
        if behind != rest and _CALL.match(rest):
            return name, rest
    return None


# ------------------------------------------------------------------------------------------ scores

_LABELS = {
    "educational": r"edu(?:cation(?:al)?)?(?:[ -]+value)?",
    "format": r"(?:format(?:ting)?|(?:extraction[ -]+)?quality|extraction)",
}
_NUMBER = (
    r"\[?(?P<number>[-+\u2212]?\d{1,9}(?:[.,]\d{1,9})?(?: ?[-\u2013] ?\d{1,9})?)\]?"
    r"(?: ?(?:/|out of|of) ?(?P<of>\d{1,9}))?(?: points?)?"
)
_AFTER = r"(?: ?\([^()]{0,200}\)| [-\u2013\u2014] \D{1,200})?[\s.\u3002!)]*"
_MARKUP = re.compile(r"[*_`#>$|]")
_TITLE = re.compile(r"\s*(?:#{1,6} .{0,80}|\*\*[^*]{1,80}\*\*:?)\s*")
_CRITIQUE = re.compile(r"critique\b[^:\uff1a.]{0,40}[:\uff1a]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Score:
    """A score that was read, or why there is none.

    Attributes:
        value: 0 to 5; None where there is a problem.
        problem: in words that can be counted over many answers ("no score", "score out of range",
            "contradicting scores", "not a whole score"); else empty.
        critique: what stands before the score line, at most 100 words of it, on one line.
    """

    value: int | None
    problem: str
    critique: str


def read_score(text: str, name: str, *, joint: bool = False) -> Score:
    """The score of that name in an answer; thinking blocks do not count.

    A score line is one that ends with the score's label and a number, in any markup, also as "3/5".
    Where the answer is about this score alone, a line "Score: 3" will do; with `joint` the label
    must say which score it is.
    """
    written = list(_answer_lines(text))
    lines = [" ".join(_MARKUP.sub("", line).split()) for line in written]
    places: list[int] = []  # lines that hold any score
    values: list[str | int] = []
    critique = written
    for place, line in enumerate(lines):
        found = _score_line(line, name, joint)
        if found:
            values.append(_value(found))
            begin = places[-1] + 1 if places else 0
            critique = [*written[begin:place], line[: found.start()]]
        if found or any(_score_line(line, other, True) for other in _LABELS):
            places.append(place)
    return _settled(values, _one_paragraph(critique))


def _settled(values: Sequence[str | int], critique: str) -> Score:
    if len(set(values)) > 1:
        return Score(None, "contradicting scores", critique)
    value = values[0] if values else "no score"
    return Score(None, value, critique) if isinstance(value, str) else Score(value, "", critique)


def _score_line(line: str, name: str, joint: bool) -> re.Match[str] | None:
    for pattern in _PATTERNS[name][: 2 if joint else 3]:
        if found := pattern.search(line):
            return found
    return None


def _patterns(label: str) -> tuple[re.Pattern[str], ...]:
    """How a score is written: labelled, labelled without a colon, and by the word alone."""
    colon = r" *(?:\([^()]{0,200}\) *)?[:\uff1a=] *"
    ways = (
        rf"\b{label}[ -]+score{colon}",
        rf"^\W*{label}[ -]+score(?: +is)? +",
        rf"^\W*(?:(?:the|my|final|total|overall) +){{0,3}}score{colon}",
    )
    return tuple(re.compile(f"{way}{_NUMBER}{_AFTER}$", re.IGNORECASE) for way in ways)


_PATTERNS = {name: _patterns(label) for name, label in _LABELS.items()}


def _value(found: re.Match[str]) -> int | str:
    """The score, or the problem with it."""
    number, of = found["number"].replace(",", ".").replace("\u2212", "-"), found["of"]
    try:
        value = float(number)
    except ValueError:  # a range
        return "not a whole score"
    if not 0 <= value <= HIGHEST_SCORE or (of is not None and int(of) != HIGHEST_SCORE):
        return "score out of range"
    return int(value) if value.is_integer() else "not a whole score"


def _one_paragraph(lines: Sequence[str]) -> str:
    """The critique without headings, markup, and the word "Critique:" before it."""
    told = " ".join(_MARKUP.sub("", line) for line in lines if not _TITLE.fullmatch(line))
    words = _CRITIQUE.sub("", told.lstrip()).split()
    return " ".join(words[:CRITIQUE_WORDS])[:_CRITIQUE_CHARACTERS]
