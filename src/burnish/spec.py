"""The settings of a stage, and the card that is saved with every refiner.

Nobody types a window size twice: training writes the card, inference reads it.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

from burnish.dialects import dialect_names
from burnish.errors import OutputError, RefinerError
from burnish.program.limits import Limits
from burnish.program.released import SYSTEMS

CARD_FILE = "card.json"
STAGES = ("document", "chunk")
OUR_EXECUTION = "burnish"
TEMPLATES = ("llama2", "qwen3", "own", "plain")
HUB = "hf:"  # before organisation/name of a model on the Hugging Face hub
MEASURES = ("tokens", "characters")
CALIBRATED = ("noise", "keep")
"""Scores that a card may map to probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """How one stage asks its refiner and what it allows.

    Attributes:
        name: "document" or "chunk".
        dialect: name of the dialect that the refiner writes.
        window: largest size of a window in the refiner's own measure; None shows the whole
            document at once.
        overlap: share of a window, 0 to under 1, that repeats the window before it.
        keep_threshold: a document whose probability of keeping is below this is dropped; None
            leaves the decision to the refiner's program. (The scores are stored, so another
            threshold needs no model.)
        noise_threshold: a line whose probability of being noise is this or more goes; None leaves
            the cut to the refiner. Only for refiners that give such probabilities.
        limits: the bounds of its programs.
        execution: "burnish", or the published system whose executor is imitated, faults included
            ("prox", "ultrax", "rescraper"; see `burnish.program.released`); that has limits of its
            own.
    """

    name: str
    dialect: str
    window: int | None = None
    overlap: float = 0.0
    keep_threshold: float | None = None
    noise_threshold: float | None = None
    limits: Limits = field(default_factory=Limits)
    execution: str = OUR_EXECUTION

    def with_thresholds(self, keep: float | None, noise: float | None) -> StageSpec:
        """The same with the threshold that concerns the stage replaced, where one is given."""
        if self.name == "document":
            return self if keep is None else replace(self, keep_threshold=keep)
        return self if noise is None else replace(self, noise_threshold=noise)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StageSpec:
        """Raises RefinerError, naming the key, for an unknown, missing or impossible setting."""
        _check(data, cls, _STAGE_RULES)
        limits = data.get("limits", {})
        _check(limits, Limits, _LIMIT_RULES, "limits.")
        return cls(**{**data, "limits": Limits(**limits)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """How a language model is asked for programs.

    Attributes:
        weights: "hf:organisation/name" on the Hugging Face hub, or a folder (relative to the card).
        revision: commit or tag on the hub; None for the newest.
        system: the system prompt, or where it is (see `burnish.refiners.system_prompt`); None for
            the dialect's own.
        template: how the prompt is framed: "llama2", "qwen3" (thinking off), "own" (the chat
            template that comes with the model) or "plain" (the prompt and a line end).
        context: tokens that prompt and program may have together; None for what the model's
            configuration says.
        max_new_tokens: a program is cut off after so many tokens.
        max_prompt: largest prompt in tokens (inclusive); None for what the context leaves.
        max_text: a document shown without line numbers is cut after so many tokens; None shows it
            whole.
        measure: what windows are measured in, "tokens" or "characters"; each line's marker counts.
    """

    weights: str
    template: str
    max_new_tokens: int
    revision: str | None = None
    system: str | None = None
    context: int | None = None
    max_prompt: int | None = None
    max_text: int | None = None
    measure: str = "tokens"


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a refiner's own score means: a map from it to a probability, both from 0 to 1.

    Straight lines between `points`, (score, probability), which begin at score 0 and end at score
    1. Scores and probabilities strictly ascend, so that a cut of the one is a cut of the other.
    """

    points: tuple[tuple[float, float], ...]

    @property
    def scores(self) -> list[float]:
        return [score for score, _ in self.points]

    @property
    def probabilities(self) -> list[float]:
        return [probability for _, probability in self.points]

    def __call__(self, score: float) -> float:
        """The probability of a score. Raises ValueError outside 0 to 1."""
        if not 0 <= score <= 1:
            raise ValueError(f"a score is a number from 0 to 1, not {score}")
        above = min(max(bisect_right(self.points, (score, inf)), 1), len(self.points) - 1)
        (x, y), (next_x, next_y) = self.points[above - 1], self.points[above]
        return (next_y - y) / (next_x - x) * (score - x) + y

    def to_json(self) -> list[list[float]]:
        return [list(point) for point in self.points]

    @classmethod
    def from_json(cls, points: Any) -> Calibration:
        """Raises RefinerError for what is no such map."""
        if not (
            isinstance(points, list)
            and len(points) >= 2
            and all(isinstance(point, list) and len(point) == 2 for point in points)
            and all(_SHARE.allows(value) for point in points for value in point)
            and points[0][0] == 0
            and points[-1][0] == 1
            and all(a < b and c < d for (a, c), (b, d) in pairwise(points))
        ):
            raise RefinerError(
                "must be a list of [score, probability] from score 0 to score 1, both ascending "
                f"and from 0 to 1, not {points!r}"
            )
        return cls(tuple((float(x), float(y)) for x, y in points))


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinerCard:
    """What a refiner is, how it is run, what it was made from and how good it is.

    `kind` names the class of refiner ("tagger", "causal"); `stages` its settings by stage name;
    `model` the language model of a causal one; `thresholds` its decision points, in the network's
    own scores; `calibration` what these scores mean as probabilities ("noise" of a line, "keep" of
    a document; a score without an entry is one already); `data` the training files with their
    SHA-256; `metrics` what was measured, by gold file; `notes` what else a reader should know
    (source, licence).
    """

    name: str
    kind: str
    version: str
    stages: Mapping[str, StageSpec]
    model: ModelSpec | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        maps = {name: found.to_json() for name, found in self.calibration.items()}
        return {
            "name": self.name,
            "kind": self.kind,
            "version": self.version,
            "stages": {name: spec.to_json() for name, spec in self.stages.items()},
            **({} if self.model is None else {"model": asdict(self.model)}),
            "thresholds": dict(self.thresholds),
            **({"calibration": maps} if maps else {}),
            "data": dict(self.data),
            "metrics": dict(self.metrics),
            "notes": dict(self.notes),
        }

    def write(self, folder: Path) -> None:
        """Raises OutputError where the folder can not be written."""
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False)
        path = folder / CARD_FILE
        part = path.with_suffix(".part")  # a card is whole or not there
        try:
            part.write_text(text + "\n", encoding="utf-8")
            part.replace(path)
        except OSError as error:
            raise OutputError(f"{path} can not be written: {error}") from None

    @classmethod
    def read(cls, folder: Path) -> RefinerCard:
        """The card of the refiner in this folder. Raises RefinerError if there is no usable one."""
        return cls.read_file(folder / CARD_FILE)

    @classmethod
    def read_file(cls, path: Path) -> RefinerCard:
        """The card in this file. Raises RefinerError if it is none."""
        try:
            return cls._from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise RefinerError(f"{path.parent} holds no refiner: there is no {path.name}") from None
        except OSError as error:
            raise RefinerError(f"can not read {path}: {error.strerror or error}") from None
        except (ValueError, RecursionError, RefinerError) as error:
            raise RefinerError(f"{path} is not a refiner card: {error}") from None

    @classmethod
    def _from_json(cls, data: Mapping[str, Any]) -> RefinerCard:
        _check(data, cls, _CARD_RULES)
        for name, value in data.get("thresholds", {}).items():
            _SHARE.check(f"thresholds.{name}", value)
        stages = {}
        for name, stage in data["stages"].items():
            try:
                stages[name] = StageSpec.from_json(stage)
            except RefinerError as error:
                raise RefinerError(f"stage {name!r}: {error}") from None
            if stages[name].name != name:
                raise RefinerError(f"stage {name!r}: its name is {stages[name].name!r}")
            if (stages[name].dialect == "prox-document") != (name == "document"):
                raise RefinerError(f"stage {name!r} does not speak {stages[name].dialect}")
        model = data.get("model")
        if model is not None:
            _check(model, ModelSpec, _MODEL_RULES, "model.")
            model = ModelSpec(**model)
            if model.max_text is not None and any(
                stage.dialect != "prox-document" for stage in stages.values()
            ):
                raise RefinerError("model.max_text would cut numbered lines; a window bounds them")
        maps = {}
        for name, points in data.get("calibration", {}).items():
            if name not in CALIBRATED:
                known = ", ".join(CALIBRATED)
                raise RefinerError(f"calibration.{name} is unknown; known: {known}")
            try:
                maps[name] = Calibration.from_json(points)
            except RefinerError as error:
                raise RefinerError(f"calibration.{name} {error}") from None
        return cls(**{**data, "stages": stages, "model": model, "calibration": maps})


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Names and values of a tree of mappings, as a card holds them, in their order."""
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from leaves(part, (*path, str(name)))
    else:
        yield path, value


# ------------------------------------------------------------------------------------ checks


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a setting may be, for the program and for people."""

    allows: Callable[[Any], bool]
    words: str

    def check(self, key: str, value: Any) -> None:
        if not self.allows(value):
            raise RefinerError(f"{key} must be {self.words}, not {value!r}")


def _check(data: Any, kind: type[Any], rules: Mapping[str, _Rule], prefix: str = "") -> None:
    """Whether `data` holds what the dataclass `kind` needs, and nothing else."""
    _OBJECT.check(prefix.rstrip(".") or "it", data)
    known = {f.name: f for f in fields(kind)}
    for key in data.keys() - known.keys():
        raise RefinerError(f"unknown setting: {prefix}{key}")
    for key, setting in known.items():
        if key in data:
            rules[key].check(prefix + key, data[key])
        elif setting.default is MISSING and setting.default_factory is MISSING:
            raise RefinerError(f"{prefix}{key} is missing")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _number(low: float, high: float = inf) -> _Rule:
    words = f"a number from {low:g}" + ("" if high == inf else f" to {high:g}")
    return _Rule(lambda value: _is_number(value) and low <= value <= high, words)


def _integer(low: int) -> _Rule:
    return _Rule(lambda value: type(value) is int and value >= low, f"an integer from {low}")


def _choice(*names: str) -> _Rule:
    return _Rule(lambda value: value in names, f"one of {', '.join(names)}")


def _or_null(rule: _Rule) -> _Rule:
    return _Rule(lambda value: value is None or rule.allows(value), f"{rule.words}, or null")


_OBJECT = _Rule(lambda value: isinstance(value, Mapping), "an object")
_STRING = _Rule(lambda value: isinstance(value, str), "a string")
_SHARE = _number(0, 1)

_LIMIT_RULES = {
    "max_removed": _number(0),
    "min_words": _integer(0),
    "max_growth": _number(0),
    "growth_floor": _integer(0),
    "max_edits": _integer(0),
    "max_issues": _or_null(_integer(1)),
    "on_removal": _choice("refuse", "drop"),
}
_STAGE_RULES = {
    "name": _choice(*STAGES),
    "dialect": _choice(*dialect_names()),
    "window": _or_null(_integer(1)),
    "overlap": _Rule(lambda value: _is_number(value) and 0 <= value < 1, "at least 0 and under 1"),
    "keep_threshold": _or_null(_SHARE),
    "noise_threshold": _or_null(_SHARE),
    "limits": _OBJECT,
    "execution": _choice(OUR_EXECUTION, *SYSTEMS),
}
_MODEL_RULES = {
    "weights": _STRING,
    "revision": _or_null(_STRING),
    "system": _or_null(_STRING),
    "template": _choice(*TEMPLATES),
    "context": _or_null(_integer(1)),
    "max_new_tokens": _integer(1),
    "max_prompt": _or_null(_integer(1)),
    "max_text": _or_null(_integer(1)),
    "measure": _choice(*MEASURES),
}
_CARD_RULES = {
    "name": _STRING,
    "kind": _STRING,
    "version": _STRING,
    "stages": _OBJECT,
    "model": _or_null(_OBJECT),
    "thresholds": _OBJECT,
    "calibration": _OBJECT,
    "data": _OBJECT,
    "metrics": _OBJECT,
    "notes": _OBJECT,
}
