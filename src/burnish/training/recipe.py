"""How a language model is trained: all settings that are not files.

The defaults are those of the ProX paper (arXiv 2409.17115, section 2 and appendix A) where it names
them. Recipes are TOML files with some of these keys; those in `recipes/training/` are known by
name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import inf
from pathlib import Path
from typing import Any

from burnish.errors import UsageError
from burnish.spec import STAGES, TEMPLATES

RECIPES = Path(__file__).parent.parent / "recipes" / "training"
STATE = "state"
"""Folder, in that of the result, of what a run goes on from; removed when it is done."""

DIALECTS = ("prox-chunk", "prox-document", "ultrax", "refinex")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings of a training run.

    Attributes:
        base: folder, or "hf:organisation/name", of the model that is trained.
        stage: "document" or "chunk".
        dialect: what the model learns to write; None for prox-document or prox-chunk.
        template: the frame of a prompt (`burnish.spec.ModelSpec`); None for what fits the base.
        window: tokens of a window, or at the document stage of the text that is shown; None for
            1,500, or 1,900.
        max_new_tokens: longest program in tokens, end token included; None for 256, or 32.
        max_length: prompt and program together, in tokens; also the context of the result.
        epochs: passes over the examples.
        batch: examples of one step, over all devices.
        per_device_batch: of which so many are computed at once on one device; None for the largest
            divisor that is at most 4.
        lr, min_lr: learning rate after the warm-up, and at the end of a cosine.
        warmup: steps of linear warm-up; below 1, their share of all steps.
        lora: rank of LoRA adapters, merged at the end; None trains all weights.
        bf16: compute in bfloat16 (weights and optimiser stay float32); None: where the device can.
        gradient_checkpointing: saves memory, costs about a third more time.
        fsdp: shards model and optimiser over the devices.
        eval_every: steps between measurements on dev, and between states to go on from; None for
            once an epoch.
        patience: measurements in a row without a better F1 that end the run; None: run to the end.
        seed: of everything random.
    """

    base: str = ""
    stage: str = ""
    dialect: str | None = None
    template: str | None = None
    window: int | None = None
    max_new_tokens: int | None = None
    max_length: int = 2048
    epochs: int = 4
    batch: int = 64
    per_device_batch: int | None = None
    lr: float = 1e-5
    min_lr: float = 1e-6
    warmup: float = 0.03
    lora: int | None = None
    bf16: bool | None = None
    gradient_checkpointing: bool = False
    fsdp: bool = False
    eval_every: int | None = None
    patience: int | None = None
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def check(self) -> None:
        """Raises UsageError, naming the setting, for one that can not be."""
        if not self.base:
            raise UsageError("no model to train: --base FOLDER or --base hf:organisation/name")
        if self.stage not in STAGES:
            raise UsageError(f"--stage is one of {', '.join(STAGES)}, not {self.stage!r}")
        dialect = self.settled_dialect
        if dialect not in DIALECTS:
            raise UsageError(f"the dialect is one of {', '.join(DIALECTS)}, not {dialect!r}")
        if (dialect == "prox-document") != (self.stage == "document"):
            raise UsageError(f"the stage {self.stage!r} does not speak {dialect}")
        if self.template is not None and self.template not in TEMPLATES:
            raise UsageError(
                f"the template is one of {', '.join(TEMPLATES)}, not {self.template!r}"
            )
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        if not 0 <= self.min_lr <= self.lr < inf or self.lr <= 0:
            raise UsageError(f"0 <= min_lr <= lr, and lr above 0: not {self.min_lr}, {self.lr}")
        if not 0 <= self.warmup < inf:
            raise UsageError(f"warmup must be a number from 0: not {self.warmup}")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed must be from 0 to {2**32 - 1:,}, not {self.seed}")
        if self.fsdp and self.lora is not None:
            raise UsageError("LoRA needs little memory; leave --fsdp out with it")

    @property
    def settled_dialect(self) -> str:
        return self.dialect or ("prox-document" if self.stage == "document" else "prox-chunk")

    @property
    def settled_window(self) -> int:
        return self.window or (1_900 if self.stage == "document" else 1_500)

    @property
    def settled_new_tokens(self) -> int:
        return self.max_new_tokens or (32 if self.stage == "document" else 256)

    def micro_batch(self, devices: int) -> tuple[int, int]:
        """Examples at once on each device, and how many such rounds make a step.

        Raises UsageError where the batch can not be divided so.
        """
        share, rest = divmod(self.batch, devices)
        if rest or not share:
            raise UsageError(f"a batch of {self.batch} can not be divided over {devices} devices")
        size = self.per_device_batch or max(n for n in (1, 2, 3, 4) if share % n == 0)
        if share % size:
            raise UsageError(
                f"a device's share of the batch, {share}, is not a multiple of "
                f"per_device_batch, {size}"
            )
        return size, share // size


_COUNTS = (
    "window", "max_new_tokens", "max_length", "epochs", "batch", "per_device_batch", "lora",
    "eval_every", "patience",
)  # fmt: skip
_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (int, float), "bool": (bool,),
}  # fmt: skip


def recipe_names() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def read_recipe(name: str) -> dict[str, Any]:
    """The settings in a recipe: one of the package by name, or a TOML file.

    Raises UsageError for an unknown name or key, or a value of another kind.
    """
    path = RECIPES / f"{name}.toml" if name in recipe_names() else Path(name)
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        known = ", ".join(recipe_names())
        raise UsageError(f"there is no recipe {name!r}: not a file; known are {known}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can not be read: {error}") from None
    return _checked(data, path)


def _checked(data: Mapping[str, Any], path: Path) -> dict[str, Any]:
    kinds = {f.name: str(f.type).removesuffix(" | None") for f in fields(Recipe)}
    for key, value in data.items():
        if key not in kinds:
            raise UsageError(f"{path}: unknown setting {key!r}; known: {', '.join(kinds)}")
        kind = kinds[key]
        if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "bool"):
            raise UsageError(f"{path}: {key} must be of the kind {kind}, not {value!r}")
    return dict(data)
