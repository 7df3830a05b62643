"""What the teacher is asked: the tasks, filled from the prompt files.

Nothing here numbers lines or reads programs: the dialect shows the chunk, to the teacher as to
every refiner, and the dialect reads the program.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from burnish.annotation.prompt_files import PromptFile, read_prompt
from burnish.annotation.scores import SCORES
from burnish.annotation.sections import sections
from burnish.annotation.variants import VARIANTS
from burnish.dialects import get_dialect
from burnish.dialects.base import Prompt
from burnish.errors import UsageError
from burnish.program.derive import MODES
from burnish.program.lines import Chunk

KINDS = ("navigation", "links", "footer")
DIALECT = "prox-chunk"
"""The dialect in which a teacher writes programs."""
HEAD, TAIL = 6_000, 2_000  # characters shown of a longer document

_FOLDER = Path(__file__).parent.parent / "recipes" / "annotation"


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


def _load(folder: Path | None, name: str) -> PromptFile:
    return read_prompt((folder or _FOLDER) / f"{name}.txt", name)
