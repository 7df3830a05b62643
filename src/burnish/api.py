"""The functions of the Python interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from burnish.dialects import Parsed, get_dialect
from burnish.errors import InputError, UsageError
from burnish.io.rows import BadRow, Columns, choose_id, choose_text
from burnish.program import derive as derivation
from burnish.program import executor
from burnish.program.derive import Derivation, Mode
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
    chunk = Chunk.whole(text)
    parsed = get_dialect(dialect).parse(program, chunk)
    return executor.execute_parsed(
        text, parsed.program, parsed.issues, limits=limits or Limits(), lines=chunk.lines
    )


def derive(source: str, refined: str, mode: Mode = "edit") -> Derivation:
    """The smallest program that turns `source` into `refined`, proved by executing it.

    `mode` says what it may do: "delete" removes lines and deletes inside of them, "edit" also
    replaces inside of lines, joins and splits them, "insert" also adds lines. Where the refined
    text is no such edit (cut off, put in other words or another order), `program` is None and
    `reason` says why. Never raises for any two texts.
    """
    return derivation.derive(source, refined, mode=mode)


def refine(
    documents: Iterable[Mapping[str, Any] | Document],
    refiner: str | Sequence[str] = "default",
    stages: str | Sequence[str] | None = None,
    *,
    keep_threshold: float | None = None,
    noise_threshold: float | None = None,
    engine: str = "auto",
    text_column: str = "text",
    id_column: str | None = None,
) -> Iterator[Record]:
    """Refines documents and yields one Record for each, in order.

    Args:
        documents: Documents, or mappings with a text under `text_column`. They are read as the
            records are asked for.
        refiner: name of a known refiner, a folder with a refiner card, or "hf:organisation/name" on
            the Hugging Face hub; or several, of which a stage is done by the first that has it.
        stages: "document" (keep or drop the whole), "chunk" (remove lines), in the order wanted, or
            one of them alone; None means all that the refiner has.
        keep_threshold: drop documents whose probability of keeping is lower than this (0 to 1);
            None takes the refiner's own.
        noise_threshold: remove lines whose probability of being noise is this or higher (0 to 1);
            None takes the refiner's own. For refiners that give such probabilities.
        engine: what runs a language model: "vllm", "openvino", "transformers", "onnx", the address
            of a server, or "auto".
        text_column: the key of a mapping's text.
        id_column: the key of a mapping's id, a string or an integer. None takes "id" where there is
            one, and otherwise the document's number, counted from 0.

    Raises RefinerError for an unknown refiner, UsageError for an argument that can not be used, at
    the call; and InputError for a document without a text (or without the id that was asked for)
    when it is reached, after the records of all documents before it.
    """
    from burnish.refiners import EngineChoice
    from burnish.workflows.refine import load_pipeline

    if isinstance(documents, str | bytes | Mapping | Document) or not _is_iterable(documents):
        raise UsageError(
            "refine takes documents, one after the other, and not a single "
            f"{type(documents).__name__}; put it in a list"
        )
    stages = (stages,) if isinstance(stages, str) else stages
    pipeline = load_pipeline(refiner, stages, keep_threshold, EngineChoice(engine), noise_threshold)
    return pipeline.run(_documents(documents, Columns(text_column, id_column)))


def _is_iterable(value: object) -> bool:
    try:
        iter(value)  # type: ignore[call-overload]
    except TypeError:
        return False
    return True


def _documents(
    rows: Iterable[Mapping[str, Any] | Document], columns: Columns
) -> Iterator[Document]:
    for number, row in enumerate(rows):
        if isinstance(row, Document):
            if not isinstance(row.text, str):
                kind = type(row.text).__name__
                raise InputError(f"document {number}: its text is {kind}, not a string")
            yield row
        elif isinstance(row, Mapping):
            try:
                text, identity = choose_text(row, columns), choose_id(row, columns, str(number))
            except BadRow as bad:
                raise InputError(f"document {number}: {bad}") from None
            yield Document(identity, text, row)
        else:
            kind = type(row).__name__
            raise InputError(f"document {number} is {kind}, neither a mapping nor a Document")
