"""The options that say what runs a language model; the same for every verb that uses one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from burnish.refiners.engines.choice import AUTO, EngineChoice


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --engine, --engine-option and --free, handed over together as `engine`."""

    @wraps(command)
    def with_engine(
        *args: Any, engine: str, engine_option: tuple[str, ...], free: bool, **others: Any
    ) -> Any:
        choice = EngineChoice.parse(engine, engine_option, not free)
        return command(*args, engine=choice, **others)

    for option in reversed(_OPTIONS):
        with_engine = option(with_engine)
    return with_engine


_OPTIONS = (
    click.option(
        "--engine", default=AUTO, show_default=True, metavar="E",
        help="What runs a language model: vllm, openvino, transformers, onnx, or a server's "
        "address (http://host:8000/v1).",
    ),
    click.option(
        "--engine-option", multiple=True, metavar="NAME=VALUE",
        help="A setting of the engine, such as dtype=float32.",
    ),
    click.option(
        "--free", is_flag=True, help="Let the model write freely, without the dialect's grammar."
    ),
)  # fmt: skip
