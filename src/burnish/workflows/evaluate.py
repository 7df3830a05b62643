"""Measure a refiner against gold, alone or beside another one.

The metrics are those of the ProX paper (A.3: F1 of the removed lines, pooled; F1 of keep) and more.
Lines are judged at the chunk stage alone, documents at the document stage alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.annotation.agreement import Agreement, between_annotators, with_gold
from burnish.errors import InputError, UsageError
from burnish.evaluation.comparison import Difference, compare_documents, compare_pages
from burnish.evaluation.judgement import (
    LENGTH_GROUPS,
    DocumentJudgement,
    PageJudgement,
    judge_document,
    judge_page,
)
from burnish.evaluation.summary import (
    document_summary,
    document_table,
    page_summary,
    page_table,
)
from burnish.io.gold import Row, first_line_of, read_gold, text_of
from burnish.io.labels import REJECTED, labelled_files
from burnish.metrics import expected_calibration_error, reliability
from burnish.program.lines import Chunk
from burnish.program.operations import from_json
from burnish.refiners import EngineChoice, is_language_model, stages_of
from burnish.schema import Document, Record, Status
from burnish.stages import Pipeline
from burnish.workflows.refine import load_pipeline

GROUPS = ("source", "language", "page_type", "length")
WORST = 50
"""Documents of each kind of mistake that are shown."""

_STAGES = {"lines": "chunk", "documents": "document"}
"""The stage that each kind of gold judges."""

Judgement = PageJudgement | DocumentJudgement


@dataclass
class Evaluation:
    """What a refiner did to one gold file.

    `kind` is "lines" or "documents". `judgements` and `removed` (the numbers of the lines that
    went) have one entry for each of `rows`. `agreement` tells, where several annotators made the
    gold, how well each two of them agree: more than that can not be asked of a refiner.
    `thresholds` are those that replaced the refiner's own, by what they cut ("keep", "noise").
    `comparison` is with the refiner `against`, on `compared` pages or documents.
    """

    gold: str
    kind: str
    refiner: str
    rows: Sequence[Row]
    judgements: list[Any] = field(default_factory=list)
    removed: list[frozenset[int]] = field(default_factory=list)
    agreement: dict[str, Agreement] = field(default_factory=dict)
    against: str = ""
    compared: int = 0
    thresholds: dict[str, float] = field(default_factory=dict)
    comparison: dict[str, Difference] = field(default_factory=dict)

    def summary(self, judgements: Sequence[Any] | None = None) -> dict[str, Any]:
        """Counts and metrics of these judgements, or of all."""
        found = self.judgements if judgements is None else judgements
        return page_summary(found) if self.kind == "lines" else document_summary(found)

    def groups(self, name: str) -> dict[str, dict[str, Any]]:
        """The summary of each group, by one of `GROUPS`: lengths ascending, others by size."""
        parts: dict[str, list[Judgement]] = {}
        for judgement in self.judgements:
            parts.setdefault(getattr(judgement.group, name), []).append(judgement)
        order = sorted(parts, key=lambda part: (-len(parts[part]), part))
        if name == "length":
            order.sort(key=LENGTH_GROUPS.index)
        return {part: self.summary(parts[part]) for part in order}

    def calibration(self) -> dict[str, dict[str, Any]]:
        """How far probabilities are what they say, where the refiner tells some."""
        pairs: list[tuple[float, bool]] = []
        name = "keep"
        if self.kind == "lines":
            name = "noise"
            pairs = [pair for page in self.judgements for pair in page.scores]
        else:
            told = [d.pairs["keep"] for d in self.judgements if "keep" in d.pairs]
            pairs = [(score, bool(gold)) for score, gold in told]
        if not pairs:
            return {}
        scores, actual = [score for score, _ in pairs], [so for _, so in pairs]
        bins = [
            {"mean": part.probability, "share": part.positives, "count": part.count}
            for part in reliability(scores, actual)
        ]
        error = expected_calibration_error(scores, actual)
        return {name: {"expected_calibration_error": error, "bins": bins}}

    def to_json(self) -> dict[str, Any]:
        return {
            "gold": self.gold,
            "kind": self.kind,
            "refiner": self.refiner,
            "thresholds": self.thresholds,
            "total": self.summary(),
            **{f"by_{name}": self.groups(name) for name in GROUPS},
            "calibration": self.calibration(),
            "agreement": {pair: found.to_json() for pair, found in self.agreement.items()},
            "comparison": {
                "refiner": self.against,
                "compared": self.compared,
                "metrics": {name: found.to_json() for name, found in self.comparison.items()},
            }
            if self.against
            else None,
        }


def evaluate(gold: Path, refiner: str = "default", **given: Any) -> Evaluation:
    """`evaluate_all` for one file."""
    return evaluate_all([gold], refiner, **given)[0]


def evaluate_all(
    gold: Iterable[Path],
    refiner: str = "default",
    engine: EngineChoice | None = None,
    *,
    against: str | None = None,
    keep_threshold: float | None = None,
    noise_threshold: float | None = None,
) -> list[Evaluation]:
    """Runs the refiner on gold files (JSONL, plain or compressed) and compares; all are read before
    the first is judged. `engine` runs a refiner that is a language model; `against` is a second
    one, compared on the same pages, or on the documents on which neither failed. The thresholds
    replace the refiner's own, not the second one's: `noise_threshold` where the gold is of lines,
    `keep_threshold` where it is of documents.

    Raises InputError if a file can not be read or holds no gold, UsageError for a threshold that no
    file is judged with, RefinerError and UsageError as `load_pipeline` does.
    """
    read = [(path, _read(path)) for path in gold]
    kinds = {_kind(rows) for _, rows in read}
    for name, value, cut in (
        ("keep", keep_threshold, "documents"),
        ("noise", noise_threshold, "lines"),
    ):
        if value is not None and cut not in kinds:
            raise UsageError(f"a {name} threshold has no effect: no file is gold of {cut}")
    for name in (refiner, *filter(None, [against])):
        has = stages_of(name)
        for path, rows in read:
            if _STAGES[_kind(rows)] not in has:
                raise UsageError(
                    f"the refiner {name!r} has no stage {_STAGES[_kind(rows)]!r}, which {path} "
                    f"judges; it has: {', '.join(has)}"
                )
    engines = _engines(refiner, against, engine)
    thresholds = (keep_threshold, noise_threshold)
    return [_evaluate(path, rows, refiner, against, engines, thresholds) for path, rows in read]


def _read(path: Path) -> list[Row]:
    """Raises InputError for a file that can not be used."""
    rows = list(read_gold(path))
    for number, row in enumerate(rows, 1):
        try:
            from_json(row.get("operations") or ())
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}, row {number}: {error}") from None
    labels = {line["label"] for row in rows for line in row.get("lines", ())}
    if _kind(rows) == "lines" and labels <= {-1}:
        raise InputError(f"no line of {path} has a label 0 or 1: there is nothing to measure")
    return rows


def _evaluate(
    path: Path,
    rows: Sequence[Row],
    refiner: str,
    against: str | None,
    engines: tuple[EngineChoice | None, EngineChoice | None],
    thresholds: tuple[float | None, float | None],
) -> Evaluation:
    """One file; engines are the two refiners', thresholds those of documents and lines."""
    kind = _kind(rows)
    keep, noise = thresholds
    thresholds = (None, noise) if kind == "lines" else (keep, None)
    found = Evaluation(str(path), kind, refiner, rows)
    found.judgements, found.removed = _judged(rows, kind, refiner, engines[0], *thresholds)
    told = zip(("keep", "noise"), thresholds, strict=True)
    found.thresholds = {name: value for name, value in told if value is not None}
    found.agreement = between_annotators(rows)
    if against is not None:
        others, _ = _judged(rows, kind, against, engines[1])
        found.against = against
        if kind == "lines":
            found.compared = len(rows)
            found.comparison = compare_pages(page_table(found.judgements), page_table(others))
        else:
            pairs = zip(found.judgements, others, strict=True)
            found.compared = sum(not (one.failed or other.failed) for one, other in pairs)
            found.comparison = compare_documents(
                document_table(found.judgements), document_table(others)
            )
    return found


def _kind(rows: Sequence[Row]) -> str:
    """Of what a file's rows are gold: "lines" or "documents"; they are all of one kind."""
    return "lines" if "lines" in rows[0] else "documents"


def _engines(
    refiner: str, against: str | None, engine: EngineChoice | None
) -> tuple[EngineChoice | None, EngineChoice | None]:
    """The engine of each refiner: where one of two is a language model, it is for that one."""
    if against is None or is_language_model(refiner) == is_language_model(against):
        return engine, engine
    return (engine, None) if is_language_model(refiner) else (None, engine)


def _judged(
    rows: Sequence[Row],
    kind: str,
    refiner: str,
    engine: EngineChoice | None,
    keep_threshold: float | None = None,
    noise_threshold: float | None = None,
) -> tuple[list[Any], list[frozenset[int]]]:
    pipeline = load_pipeline(refiner, (_STAGES[kind],), keep_threshold, engine, noise_threshold)
    tells = kind == "lines" and not is_language_model(refiner)
    documents = (
        Document(str(n), text_of(row), first_line=first_line_of(row) if kind == "lines" else 0)
        for n, row in enumerate(rows)
    )
    judgements: list[Any] = []
    removed: list[frozenset[int]] = []
    for n, (row, record) in enumerate(zip(rows, pipeline.run(documents), strict=True)):
        removed.append(frozenset(record.removed_lines))
        if kind == "lines":
            scores = _line_scores(pipeline, record) if tells else ()
            judgements.append(judge_page(n, row, record, scores))
        else:
            judgements.append(judge_document(n, row, record))
    return judgements, removed


def _line_scores(pipeline: Pipeline, record: Record) -> Sequence[float]:
    """The probability of each line to be noise, where the refiner tells it (a tagger remembers the
    last pages, so that this costs little)."""
    refiner = pipeline.stages[0].refiner
    return refiner.write([Chunk.whole(record.document.text)])[0].line_scores


def evaluate_labels(gold: Path, folder: Path) -> Agreement:
    """How well the labels of a folder, as `burnish annotate` writes them, agree with people's gold
    for the same documents (by id).

    Raises InputError if either can not be read, or if they have no document in common.
    """
    paths = [found.path for found in labelled_files(folder) if found.kind != REJECTED]
    rows = (row for path in paths for row in read_gold(path))
    found = with_gold(read_gold(gold), rows)
    if not found.windows and not found.documents:
        raise InputError(
            f"no document of {gold} is labelled in {folder}; they are compared by their ids, and "
            "lines where the texts are the same"
        )
    return found


# ---------------------------------------------------------------------------------- the worst


def worst(found: Evaluation) -> dict[str, list[Judgement]]:
    """The documents with the worst mistakes of each kind, at most `WORST` of each."""
    judged = found.judgements
    failed = [one for one in judged if one.failed]
    if found.kind == "lines":
        kinds = {
            "content lost": _most(judged, lambda page: page.lost_words),
            "noise left": _most(judged, lambda page: page.left_words),
        }
    else:
        kinds = {
            "kept, though the gold drops": sorted(
                (d for d in judged if d.kept == (True, False)), key=lambda d: -_keep(d)
            ),
            "dropped, though the gold keeps": sorted(
                (d for d in judged if d.kept == (False, True)), key=_keep
            ),
            "educational score far off": _most(judged, lambda d: _off(d, "edu")),
            "format score far off": _most(judged, lambda d: _off(d, "format")),
        }
    kinds["failed or refused"] = failed
    return {kind: list(cases[:WORST]) for kind, cases in kinds.items() if cases}


def _most(judged: Iterable[Any], size: Callable[[Any], float]) -> list[Any]:
    """Those where it is not 0, the largest first."""
    return sorted((one for one in judged if size(one) > 0), key=lambda one: -size(one))[:WORST]


def _keep(document: DocumentJudgement) -> float:
    return document.pairs.get("keep", (0.5, 0.0))[0]


def _off(document: DocumentJudgement, name: str) -> float:
    score, gold = document.pairs.get(name, (0.0, 0.0))
    return abs(score - gold)


def facts(judgement: Judgement) -> Mapping[str, str]:
    """What stands beside the title of one of the worst."""
    group = judgement.group
    told = {"": group.source, "language": group.language}
    if isinstance(judgement, PageJudgement):
        told["content words lost"] = f"{judgement.lost_words:,} of {judgement.content_words:,}"
        told["noise words left"] = f"{judgement.left_words:,} of {judgement.noise_words:,}"
    else:
        for name, (score, gold) in judgement.pairs.items():
            told[name] = f"{score:.2f} (gold {gold:g})"
    if judgement.status in (Status.FAILED, Status.REFUSED):
        told["status"] = str(judgement.status)
    return told
