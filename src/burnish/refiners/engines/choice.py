"""Which engine runs a model: chosen by name, or found on the machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

from burnish.errors import BurnishError, MissingExtra, RefinerError, UsageError
from burnish.refiners.engines.base import Engine
from burnish.refiners.engines.devices import visible_gpus

ENGINES = ("vllm", "openvino", "transformers", "onnx")
AUTO = "auto"
# Options that change how fast an engine is and not what it computes; a run does not remember them.
_HARMLESS = (
    "api_key_variable", "attempts", "batch_size", "cache_gib", "cache_tokens", "concurrency",
    "cpu_cache_bytes", "first_pause", "gpu_memory_utilization", "prompt_tokens",
    "requests_per_minute", "threads", "timeout", "token_limit",
)  # fmt: skip
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "str": (str,), "bool": (bool,), "None": (type(None),),
}  # fmt: skip
_GIVEN = ("folder", "end_tokens", "max_model_len", "url")  # not for the user to set


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine and its settings.

    `name` is "auto", one of `ENGINES`, or the address of an OpenAI-compatible server
    ("http://host:8000/v1"). `options` are names and values of keyword arguments of the engine's
    class. Without `constrained`, models write freely and the tolerant parser reads what comes.
    `models` says how many share the device.
    """

    name: str = AUTO
    options: tuple[tuple[str, Any], ...] = ()
    constrained: bool = True
    models: int = 1

    @property
    def identity(self) -> str:
        """The engine and those of its options that change what a model computes."""
        name = "a server" if self.is_server else self.name
        told = [f"{key}={value}" for key, value in self.options if key not in _HARMLESS]
        if self.name == "transformers" and "dtype" not in dict(self.options):
            told.append(
                f"dtype={self.engine_class().default_dtype(dict(self.options).get('device'))}"
            )
        free = [] if self.constrained else ["free"]
        return " ".join([name, *told, *free])

    @property
    def is_server(self) -> bool:
        return self.name.startswith(("http://", "https://"))

    @property
    def gpus(self) -> list[str]:
        """The GPUs that the engine would use, one for each worker."""
        choice = self.settled()
        on_cpu = choice.name in ("openvino", "onnx") or dict(self.options).get("device") == "cpu"
        return [] if choice.is_server or on_cpu else visible_gpus()

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

    def engine_class(self) -> Any:
        """The class of a settled choice, its options checked.

        Raises MissingExtra if its library is not installed, UsageError for an option that it does
        not have or that has another type.
        """
        module, name, package = _CLASSES["server" if self.is_server else self.name]
        if find_spec(package) is None:
            raise MissingExtra(f"the engine {self.name}", package, _EXTRAS.get(package, package))
        engine = getattr(import_module(f"burnish.refiners.engines.{module}"), name)
        parameters = signature(engine).parameters
        known = [name for name in parameters if name not in _GIVEN]
        for option, value in self.options:
            if option not in known:
                raise UsageError(
                    f"the engine {self.name} has no option {option!r}; it has: {', '.join(known)}"
                )
            kinds = str(parameters[option].annotation)
            allowed = [_TYPES[kind] for kind in kinds.split(" | ") if kind in _TYPES]
            fits = any(isinstance(value, kind) for kind in allowed)
            if allowed and (not fits or (isinstance(value, bool) and "bool" not in kinds)):
                raise UsageError(f"the engine option {option} is {kinds}, not {value!r}")
        return engine

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
            if isinstance(read[key], list | dict):
                raise UsageError(f"the engine option {key} is one value, not {value}")
        return cls(name, tuple(sorted(read.items())), constrained)


@lru_cache(maxsize=4)
def make_engine(
    choice: EngineChoice, folder: Path, end_tokens: tuple[int, ...], context: int
) -> Engine:
    """Loads the model in the folder for sequences of up to `context` tokens. `choice` is settled;
    the stages of one model share it.

    Raises RefinerError or MissingExtra where that fails, UsageError for a wrong option.
    """
    engine = choice.engine_class()
    options = dict(choice.options)
    if choice.is_server:
        given: dict[str, Any] = {"url": choice.name}
    else:
        given = {"folder": folder, "end_tokens": end_tokens}
    if choice.name == "vllm":
        given["max_model_len"] = context
        options.setdefault("gpu_memory_utilization", 0.9 / choice.models)
    try:
        made: Engine = engine(**given, **options)
    except BurnishError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise RefinerError(f"the engine {choice.name} can not start: {what}") from error
    return made


_CLASSES = {
    "vllm": ("vllm", "VllmEngine", "vllm"),
    "openvino": ("openvino", "OpenVinoEngine", "openvino_genai"),
    "transformers": ("transformers", "TransformersEngine", "transformers"),
    "onnx": ("onnx", "OnnxEngine", "llguidance"),
    "server": ("openai_compatible", "OpenAiCompatibleEngine", "httpx"),
}
_EXTRAS = {"openvino_genai": "openvino", "llguidance": "onnx", "httpx": "openai"}


def _found() -> str:
    """The fastest engine that is installed: vLLM where there is a GPU, else OpenVINO."""
    order = ["vllm", "transformers", "openvino"] if visible_gpus() else ["openvino", "transformers"]
    for name in (*order, "vllm", "onnx"):
        if find_spec(_CLASSES[name][2]) is not None:
            return name
    raise MissingExtra("a language model as refiner", "an engine", "transformers")
