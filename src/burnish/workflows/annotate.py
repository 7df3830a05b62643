"""Annotate: documents and teachers in, a seed set that refiners are trained on out.

A run draws a sample, asks what is not answered yet, and writes labels (`burnish.annotation.folder`
shows the folder). So one that was stopped at any instant goes on where it was, ends with the same
bytes, and one that was finished costs nothing.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from burnish.annotation.agreement import between_annotators
from burnish.annotation.answers import Answer, Answers, Question, Usage
from burnish.annotation.asking import Asked, ask
from burnish.annotation.bill import Budget, Ledger, Price, expected
from burnish.annotation.card import Tally, make_card
from burnish.annotation.folder import ANSWERS, LabelFolder, StoredSample
from burnish.annotation.labels import Labeller, Labels
from burnish.annotation.pilot import Choice, choose, pilot
from burnish.annotation.policy import Policy
from burnish.annotation.sampling import draw, fingerprint, read_corpus
from burnish.annotation.splits import check_shares, split
from burnish.annotation.teacher import Teacher, make_teacher
from burnish.annotation.votes import Annotator
from burnish.dialects.base import Prompt
from burnish.errors import RefinerError, UsageError
from burnish.refiners import EngineChoice
from burnish.schema import Document, Rejected

SAMPLE = 1_000
"""Documents that are drawn unless something else is asked for."""
_REMEMBERED_REJECTS = 10_000
_SHOWN = 3  # prompts of a dry run


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to annotate, by whom, and how.

    Attributes:
        inputs: files or folders of JSONL and Parquet.
        output: the folder described above.
        teachers: places (an address, a folder or "hf:organisation/name"), each with the name of its
            model, None where the place is the model.
        engine: the engine of a model in this process, and the options of all engines.
        policy: what is asked and what the answers mean.
        passes: how often each teacher is asked everything.
        sample: how many documents are drawn; None takes all.
        stratify: "length", "language" or a column that the sample is spread over evenly.
        splits: names and shares.
        budget, prices: of all teachers together; one price for each, or one for all.
        answers: the file of the answers, where several runs share one.
        licence: of the labels.
    """

    inputs: tuple[Path, ...]
    output: Path
    teachers: tuple[tuple[str, str | None], ...]
    policy: Policy
    engine: EngineChoice = field(default_factory=EngineChoice)
    passes: int = 1
    sample: int | None = SAMPLE
    stratify: str | None = None
    splits: Mapping[str, float] = field(default_factory=lambda: {"train": 0.9, "dev": 0.1})
    budget: Budget = field(default_factory=Budget)
    prices: tuple[Price, ...] = ()
    answers: Path | None = None
    text_column: str = "text"
    id_column: str | None = None
    licence: str | None = None

    def check(self) -> None:
        """Raises UsageError for what can not be meant."""
        self.policy.check()
        check_shares(self.splits)
        if not self.teachers:
            raise UsageError("no teacher is named: --teacher http://host:8000/v1 --model NAME")
        if self.passes < 1:
            raise UsageError("there is at least one pass")
        if len(self.prices) not in (0, 1, len(self.teachers)):
            raise UsageError(f"{len(self.prices)} prices for {len(self.teachers)} teachers")
        if self.budget.dollars is not None and not self.prices:
            raise UsageError(
                "a budget in dollars needs the prices: --price READ/WRITTEN, in dollars for a "
                "million tokens"
            )


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands.

    `phase` tells what is done: "trying joint calls", "trying separate calls", "asking", and "asking
    again" for what could not be used. `looked_at` of `documents` have been asked about in it;
    `failed` questions got no answer.
    """

    phase: str
    looked_at: int
    documents: int
    spent: Usage
    dollars: float | None
    failed: int


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to: its card, and whether the budget ended before the questions did.

    `asked` counts the answers of this session, `failed` the questions that got none; `labelled`
    documents have labels; `spent` and `dollars` (None without prices) are what all answers came to
    that are kept, those that no label rests on included; `damaged` input files were not read to
    their end.
    """

    card: Mapping[str, Any]
    asked: int
    failed: int
    labelled: int
    spent: Usage
    dollars: float | None
    exhausted: bool
    damaged: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would ask: about how many questions (`usage.answers`), tokens and dollars.

    `kept` answers are there already; `separate` is the bill if calls have to be separate, where
    that is still to be found out; `prompts` are some of the first, with the document's id.
    """

    documents: int
    kept: int
    usage: Usage
    dollars: float | None
    separate: tuple[Usage, float | None] | None
    prompts: tuple[tuple[str, Prompt], ...]


def run(
    config: Config,
    on_progress: OnProgress = lambda progress: None,
    on_stopping: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda text: None,
) -> Summary:
    """Labels the sample; goes on where an earlier run stopped.

    Raises UsageError, InputError, MissingExtra and RefinerError before anything is asked;
    OutputError where the folder can not be used; RefinerError where a teacher is gone or none of
    the documents that were tried first got a label, and KeyboardInterrupt, with all answers kept.
    """
    with _prepared(config, say) as work:
        try:
            asked = work.ask_all(on_progress, on_stopping)
        except RefinerError:
            work.write()  # what is answered is labelled, and can be looked at
            raise
        card = work.write()
        return Summary(
            card=card,
            asked=asked,
            failed=len(work.failed),
            labelled=sum(card["licence"]["texts"].values()),
            spent=work.ledger.usage,
            dollars=work.ledger.dollars,
            exhausted=work.ledger.exhausted,
            damaged=work.sample.note["damaged"],
        )


def estimate(config: Config, say: Callable[[str], None] = lambda text: None) -> Estimate:
    """What a run would ask and cost, without asking anything.

    Answers that are there already cost nothing. Windows that `only_kept` would leave out, and
    questions that have to be asked again, are not foreseen.
    """
    with _prepared(config, say) as work:
        return work.estimate()


@contextmanager
def _prepared(config: Config, say: Callable[[str], None]) -> Iterator[_Work]:
    config.check()
    teachers = _teachers(config)
    with LabelFolder(config.output) as folder:
        sample = _sample(config, folder, say)
        answers = Answers(config.answers or config.output / ANSWERS)
        try:
            yield _Work(config, folder, sample, teachers, answers)
        finally:
            answers.close()


def _sample(config: Config, folder: LabelFolder, say: Callable[[str], None]) -> StoredSample:
    """The sample; one that was drawn before from the same inputs in the same way is used again."""
    columns = config.text_column, config.id_column
    wanted = {
        "inputs": fingerprint(config.inputs, *columns, exclude=config.output),
        "size": config.sample,
        "seed": config.policy.seed,
        "stratify": config.stratify,
    }
    known = folder.sample(wanted)
    if known is None:
        say("drawing the sample")
        rejected: list[Rejected] = []

        def reject(row: Rejected) -> None:
            if len(rejected) < _REMEMBERED_REJECTS:
                rejected.append(row)

        corpus = read_corpus(config.inputs, *columns, exclude=config.output)
        found = draw(corpus, config.sample, config.policy.seed, config.stratify, on_rejected=reject)
        folder.keep_sample(found, rejected, wanted)
        known = folder.sample(wanted)
        assert known is not None
    return known


def _teachers(config: Config) -> list[Teacher]:
    found = [
        make_teacher(place, model, config.engine, passes=config.passes)
        for place, model in config.teachers
    ]
    names = [teacher.name for teacher in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"the teacher {name} is named twice; ask one several times: --passes N"
            )
    return found


def _without(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != name}


class _Work:
    """A sample, its teachers, and what they answered so far."""

    def __init__(
        self,
        config: Config,
        folder: LabelFolder,
        sample: StoredSample,
        teachers: list[Teacher],
        answers: Answers,
    ) -> None:
        self.sample, self.teachers, self.answers = sample, teachers, answers
        self.failed: dict[str, str] = {}
        self._config, self._folder = config, folder
        # A document that would bring a near copy of another into a second split is in none.
        self._splits = split(sample.documents, config.splits, config.policy.seed)
        self.documents = [d for d in sample.documents if d.id in self._splits]
        self._annotators = [
            Annotator(teacher.name, n, number)
            for n, teacher in enumerate(teachers)
            for number in range(config.passes)
        ]
        calls = config.policy.calls
        self._tried = pilot(self.documents) if calls == "auto" and config.policy.asks_calls else ()
        self.labeller = self._labeller("separate" if calls == "auto" and not self._tried else calls)
        self.choice: Choice | None = None
        names = [teacher.name for teacher in teachers]
        prices = config.prices * (len(names) if len(config.prices) == 1 else 1)
        self.prices = dict(zip(names, prices, strict=True)) if prices else {}
        spent = {name: answers.usage(name) for name in names}
        self.ledger = Ledger(config.budget, self.prices, spent)

    def _labeller(self, calls: str) -> Labeller:
        policy = replace(self._config.policy, calls=calls)
        return Labeller(policy, self._annotators, self._find)

    def _find(self, annotator: Annotator, question: Question) -> Answer | str | None:
        key = question.key(self.teachers[annotator.teacher].identity)
        return self.failed.get(key) or self.answers.find(key)

    def ask_all(self, on_progress: OnProgress, on_stopping: Callable[[], None]) -> int:
        """Asks until no document has an open question or the budget ends; how many answered."""
        asked = 0

        def ask_about(documents: Sequence[Document], phase: str) -> None:
            nonlocal asked
            for number in itertools.count(1):
                documents = [d for d in documents if self.labeller.label(d).missing]
                if not documents or self.ledger.exhausted:
                    return
                for n in range(len(self.teachers)):
                    told = phase if number == 1 else "asking again"
                    asking = _Round(self, n, told, documents, on_progress)
                    asking.run(on_stopping)
                    asked += asking.answered

        if any(self.labeller.label(document).missing for document in self.documents):
            for teacher in self.teachers:
                teacher.prepare()  # one that is gone is noticed before others are paid
        if self._tried:
            labels: list[list[Labels]] = []
            for calls in ("joint", "separate"):
                self.labeller = self._labeller(calls)
                ask_about(self._tried, f"trying {calls} calls")
                labels.append([self.labeller.label(document) for document in self._tried])
            if not self.ledger.exhausted:
                _check_some(found for way in labels for found in way)
            self.choice = choose(zip(*labels, strict=True))
            self.labeller = self._labeller(self.choice.calls)
        ask_about(self.documents, "asking")
        return asked

    def estimate(self) -> Estimate:
        """What `ask_all` would come to."""
        kept = 0
        prompts: list[tuple[str, Prompt]] = []
        for document in self.documents:
            found = self.labeller.label(document)
            kept += len(found.answers)
            for _, question in found.missing if len(prompts) < _SHOWN else ():
                if not any(prompt == question.prompt for _, prompt in prompts):
                    prompts.append((document.id, question.prompt))
        separate = None
        tried = self._bill(self._tried, "separate")
        if self._tried:
            separate = self._bill(self.documents, "separate")
        usage, dollars = self._bill(self.documents, self.labeller.policy.calls)
        usage.merge(tried[0])
        dollars = None if dollars is None else dollars + (tried[1] or 0.0)
        shown = tuple(prompts[:_SHOWN])
        return Estimate(len(self.documents), kept, usage, dollars, separate, shown)

    def _bill(self, documents: Sequence[Document], calls: str) -> tuple[Usage, float | None]:
        """What the open questions about documents will come to, about, asked in this way."""
        labeller = self._labeller(calls)
        total, dollars = Usage(), 0.0
        for document in documents:
            for annotator, question in labeller.label(document).missing:
                one = expected(question, question.likely_tokens)
                total.merge(one)
                dollars += self.prices[annotator.name].of(one) if self.prices else 0.0
        return total, dollars if self.prices else None

    def write(self) -> Mapping[str, Any]:
        """Writes the labels of all documents whose questions are answered, and the card."""
        tally, usage = Tally(), {teacher.name: Usage() for teacher in self.teachers}
        splits = self._config.splits

        def labels() -> Iterator[tuple[str, Labels]]:
            for document in self.documents:
                found, name = self.labeller.label(document), self._splits[document.id]
                tally.add(name, str(document.columns.get("license") or "not stated"), found)
                for annotator, answer in found.answers:
                    usage[annotator.name].add(answer)
                yield name, found

        self._folder.write_labels(splits, self.sample.rejected, labels())
        card = self._card(tally, usage)
        self._folder.write_card(card)
        return card

    def _card(self, tally: Tally, usage: Mapping[str, Usage]) -> dict[str, Any]:
        config = self._config
        several = len(self._annotators) > 1
        between = between_annotators(self._folder.rows(config.splits)) if several else {}
        tasks = {
            task.hash: {"name": task.name, "version": task.version, "hash": task.hash}
            for variant in sorted(tally.variants) or ["web"]
            for stage in self.labeller.tasks(variant).values()
            for task in stage
        }
        left_out = len(self.sample.documents) - len(self.documents)
        total = Usage()
        for one in usage.values():
            total.merge(one)
        dollars = sum(price.of(usage[name]) for name, price in self.prices.items())
        return make_card(
            name=config.output.resolve().name,
            settings={
                **config.policy.to_json(),
                "passes": config.passes,
                "sample": config.sample,
                "stratify": config.stratify,
                "splits": dict(config.splits),
                "calls": self.labeller.policy.calls,
            },
            choice=None if self.choice is None else self.choice.to_json(),
            teachers=[{"name": t.name, **t.identity} for t in self.teachers],
            annotators=self._annotators,
            prompts=list(tasks.values()),
            sample={**_without(self.sample.note, "drawn_for"), "left out of all splits": left_out},
            tally=tally,
            agreement={pair: found.to_json() for pair, found in between.items()} or None,
            usage={
                **total.to_json(),
                "by_teacher": {name: one.to_json() for name, one in usage.items()},
                "dollars": dollars if self.prices else None,
            },
            licence=config.licence,
        )


def _check_some(labels: Iterable[Labels]) -> None:
    """Raises RefinerError where no document has a label."""
    reasons: Counter[str] = Counter()
    for found in labels:
        if found.documents or found.windows:
            return
        reasons.update(row["reason"] for row in found.rejected)
    told = f"; the commonest reason: {reasons.most_common(1)[0][0]}" if reasons else ""
    raise RefinerError(
        f"none of the documents that were tried first got a label{told}. Look at the answers with "
        "burnish inspect --rejected; to go on all the same, choose --calls joint or separate"
    )


class _Round:
    """One teacher is asked all that is open in some documents."""

    def __init__(
        self,
        work: _Work,
        teacher: int,
        phase: str,
        documents: list[Document],
        on_progress: OnProgress,
    ) -> None:
        self.answered = 0
        self._work, self._teacher, self._phase = work, teacher, phase
        self._documents = documents
        self._looked_at = 0
        self._on_progress = on_progress

    def run(self, on_stopping: Callable[[], None]) -> None:
        work = self._work
        teacher = work.teachers[self._teacher]
        ask(teacher, self._open(), work.answers, work.ledger, self._count, on_stopping)

    def _open(self) -> Iterator[Asked]:
        """The open questions, each once."""
        identity = self._work.teachers[self._teacher].identity
        seen: set[str] = set()
        for number, document in enumerate(self._documents, 1):
            for annotator, question in self._work.labeller.label(document).missing:
                key = question.key(identity)
                if annotator.teacher == self._teacher and key not in seen:
                    seen.add(key)
                    yield Asked(question, key)
            self._looked_at = number

    def _count(self, asked: Asked, answer: Answer | str) -> None:
        if isinstance(answer, Answer):
            self.answered += 1
        else:
            self._work.failed[asked.key] = answer
        ledger = self._work.ledger
        self._on_progress(
            Progress(
                self._phase,
                self._looked_at,
                len(self._documents),
                ledger.usage,
                ledger.dollars,
                len(self._work.failed),
            )
        )
