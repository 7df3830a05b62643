"""Which engine runs a model: chosen by name, or found on the machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING, Any

from burnish.errors import MissingExtra, UsageError
from burnish.refiners.engines.base import Engine
from burnish.refiners.engines.devices import visible_gpus

if TYPE_CHECKING:
    from burnish.refiners.checkpoint import Checkpoint

ENGINES = ("vllm", "openvino", "transformers")
AUTO = "auto"
_NUMBERS = ("api", "device", "dtype", "grammar", "int8", "model")


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine and its settings.

    `name` is "auto", one of `ENGINES`, or the address of an OpenAI-compatible server
    ("http://host:8000/v1"). `options` are names and values of keyword arguments of the engine's
    class. Without `constrained`, models write freely and the tolerant parser reads what comes.
    """

    name: str = AUTO
    options: tuple[tuple[str, Any], ...] = ()
    constrained: bool = True

    @property
    def identity(self) -> str:
        """The engine and those of its options that change what a model computes."""
        name = "a server" if self.is_server else self.name
        told = [f"{key}={value}" for key, value in self.options if key in _NUMBERS]
        free = [] if self.constrained else ["free"]
        return " ".join([name, *told, *free])

    @property
    def is_server(self) -> bool:
        return self.name.startswith(("http://", "https://"))

    def settled(self) -> EngineChoice:
        """The same choice with "auto" settled for this machine.

        Raises UsageError for an unknown name, MissingExtra where no engine is installed.
        """
        if self.is_server or self.name in ENGINES:
            return self
        if self.name != AUTO:
            known = ", ".join(ENGINES)
            raise UsageError(
                f"unknown engine {self.name!r}; known: {AUTO}, {known}, and the address of a "
                "server (http://host:8000/v1)"
            )
        return replace(self, name=_found())

    @classmethod
    def parse(cls, name: str, options: Sequence[str], constrained: bool) -> EngineChoice:
        """From the command line: options are NAME=VALUE, values are JSON where they can be.

        Raises UsageError for an option that is not.
        """
        read: dict[str, Any] = {}
        for option in options:
            key, equals, value = option.partition("=")
            if not equals or not key.isidentifier():
                raise UsageError(f"an engine option is NAME=VALUE, not {option!r}")
            try:
                read[key] = json.loads(value)
            except ValueError:
                read[key] = value
        return cls(name, tuple(sorted(read.items())), constrained)


def make_engine(choice: EngineChoice, checkpoint: Checkpoint, context: int) -> Engine:
    """Loads the model of the checkpoint for sequences of up to `context` tokens.

    Raises RefinerError or MissingExtra where that fails, UsageError for an unknown option.
    """
    choice = choice.settled()
    ends = checkpoint.end_tokens
    engine: Any
    given: dict[str, Any]
    if choice.is_server:
        from burnish.refiners.engines.openai_compatible import OpenAiCompatibleEngine

        engine, given = OpenAiCompatibleEngine, {"url": choice.name}
    elif choice.name == "vllm":
        from burnish.refiners.engines.vllm import VllmEngine

        given = {"folder": checkpoint.folder, "end_tokens": ends, "max_model_len": context}
        engine = VllmEngine
    elif choice.name == "openvino":
        from burnish.refiners.engines.openvino import OpenVinoEngine

        engine, given = OpenVinoEngine, {"folder": checkpoint.folder, "end_tokens": ends}
    else:
        from burnish.refiners.engines.transformers import TransformersEngine

        engine, given = TransformersEngine, {"folder": checkpoint.folder, "end_tokens": ends}
    known = [name for name in signature(engine).parameters if name not in given]
    for name, _ in choice.options:
        if name not in known:
            raise UsageError(
                f"the engine {choice.name} has no option {name!r}; it has: {', '.join(known)}"
            )
    made: Engine = engine(**given, **dict(choice.options))
    return made


def _found() -> str:
    """The fastest engine that is installed: vLLM where there is a GPU, else OpenVINO."""
    gpu = bool(visible_gpus())
    if find_spec("vllm") and gpu:
        return "vllm"
    if find_spec("openvino_genai") and not gpu:
        return "openvino"
    if find_spec("transformers") and find_spec("torch"):
        return "transformers"
    if find_spec("vllm"):
        return "vllm"
    raise MissingExtra("a language model as refiner", "an engine", "transformers")
