"""A share on the command line: 25% or 0.25."""

from __future__ import annotations

import re
from decimal import Decimal

import click

_FORM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(%?)")


class _Share(click.ParamType[float]):
    name = "share"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        match = _FORM.fullmatch(str(value).strip())
        found = float(Decimal(match[1]) / (100 if match[2] else 1)) if match else 0.0
        if not 0 < found <= 1:
            self.fail(f"{value!r} is no share above 0 and up to 1, such as 25% or 0.25", param, ctx)
        return found


SHARE = _Share()
