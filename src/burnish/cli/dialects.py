"""burnish dialects: the program languages."""

from __future__ import annotations

import sys

import click
from rich import box
from rich.console import Console
from rich.table import Table

from burnish.dialects import dialect_names, get_dialect


@click.command("dialects")
def command() -> None:
    """List the dialects: what a program in each may do, and where it is from.

    \b
    Example:
      burnish dialects
    """
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in ("dialect", "operations", "source"):
        table.add_column(column)
    for name in dialect_names():
        dialect = get_dialect(name)
        operations = ", ".join(operation.__name__ for operation in dialect.operations)
        table.add_row(name, operations, dialect.source)
    Console(file=sys.stdout, markup=False).print(table)
