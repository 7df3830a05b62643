"""The settings of a stage, and the card that is saved with every refiner.

Nobody types a window size twice: training writes the card, inference reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from burnish.errors import RefinerError
from burnish.program.limits import Limits

CARD_FILE = "card.json"


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
        limits: the bounds of its programs.
    """

    name: str
    dialect: str
    window: int | None = None
    overlap: float = 0.0
    keep_threshold: float | None = None
    limits: Limits = field(default_factory=Limits)

    def with_threshold(self, keep_threshold: float | None) -> StageSpec:
        return self if keep_threshold is None else replace(self, keep_threshold=keep_threshold)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StageSpec:
        """Raises RefinerError for a key that no setting has."""
        unknown = set(data) - {f.name for f in fields(cls)}
        if unknown:
            raise RefinerError(f"unknown setting in a stage: {', '.join(sorted(unknown))}")
        limits = Limits(**data.get("limits", {}))
        return cls(**{**data, "limits": limits})


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinerCard:
    """What a refiner is, how it is run, what it was made from and how good it is.

    `kind` names the class of refiner ("tagger"); `stages` its settings by stage name; `thresholds`
    its decision points; `data` the training files with their SHA-256; `metrics` what was measured,
    by gold file.
    """

    name: str
    kind: str
    version: str
    stages: Mapping[str, StageSpec]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "version": self.version,
            "stages": {name: spec.to_json() for name, spec in self.stages.items()},
            "thresholds": dict(self.thresholds),
            "data": dict(self.data),
            "metrics": dict(self.metrics),
            "notes": dict(self.notes),
        }

    def write(self, folder: Path) -> None:
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False)
        (folder / CARD_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> RefinerCard:
        """The card of the refiner in this folder. Raises RefinerError if there is no usable one."""
        path = folder / CARD_FILE
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            stages = {name: StageSpec.from_json(spec) for name, spec in data.pop("stages").items()}
            return cls(stages=stages, **data)
        except FileNotFoundError:
            raise RefinerError(f"{folder} holds no refiner: there is no {CARD_FILE}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RefinerError(f"{path} is not a refiner card: {error}") from None
