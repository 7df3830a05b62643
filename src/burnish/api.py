"""The three functions of the Python interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from burnish.dialects import Parsed, get_dialect
from burnish.errors import InputError
from burnish.program import executor
from burnish.program.executor import Outcome
from burnish.program.limits import Limits
from burnish.program.lines import Chunk
from burnish.schema import Document, Record


def parse(program: str, text: str, dialect: str = "prox-chunk") -> Parsed:
    """Reads a program that was written for `text`; nothing is executed or evaluated.

    The `program` of the result is None where nothing usable was said. Raises UsageError for an
    unknown dialect.
    """
    return get_dialect(dialect).parse(program, Chunk.whole(text))


def execute(
    text: str, program: str, dialect: str = "prox-chunk", *, limits: Limits | None = None
) -> Outcome:
    """Executes a program, as written in a dialect, on `text`.

    Calls that can not be used are issues and the others are executed; a program without any usable
    call has status "failed", one that breaks the limits "refused", and both leave the text as it
    was. Raises UsageError for an unknown dialect.
    """
    limits = limits or Limits()
    parsed = parse(program, text, dialect)
    return executor.execute_parsed(text, parsed.program, parsed.issues, limits=limits)


def refine(
    documents: Iterable[Mapping[str, Any] | Document],
    refiner: str = "default",
    stages: Sequence[str] = ("document", "chunk"),
    *,
    keep_threshold: float | None = None,
    text_column: str = "text",
    id_column: str = "id",
) -> Iterator[Record]:
    """Refines documents and yields one Record for each, in order.

    Args:
        documents: Documents, or mappings with a text under `text_column`. They are read as the
            records are asked for.
        refiner: name of a refiner that comes with the package, or a folder with a refiner card.
        stages: "document" (keep or drop the whole), "chunk" (remove lines), in the order wanted.
        keep_threshold: drop documents whose probability of keeping is lower than this (0 to 1);
            None takes the refiner's own.

    Raises RefinerError for an unknown refiner, UsageError for an unknown stage, at the call; and
    InputError for a mapping without a text, when it is reached.
    """
    from burnish.workflows.refine import load_pipeline

    pipeline = load_pipeline(refiner, tuple(stages), keep_threshold)
    return pipeline.run(_documents(documents, text_column, id_column))


def _documents(
    rows: Iterable[Mapping[str, Any] | Document], text_column: str, id_column: str
) -> Iterator[Document]:
    for number, row in enumerate(rows):
        if isinstance(row, Document):
            yield row
            continue
        text = row.get(text_column)
        if not isinstance(text, str):
            raise InputError(
                f"document {number} has no text under {text_column!r}; its keys: {', '.join(row)}"
            )
        yield Document(str(row.get(id_column, number)), text, row)
