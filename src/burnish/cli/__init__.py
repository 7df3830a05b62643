"""The command line: one file a verb, imported when the verb is used.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not all done (a budget ended, or a server left
questions unanswered: run again), 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from burnish import __version__
from burnish.errors import BurnishError, UsageError

_VERBS = {
    "annotate": "Label documents with a strong model, to train a refiner on.",
    "apply": "Execute one program on one text.",
    "dialects": "List the program languages that models write.",
    "estimate": "Tell from a small sample what a run would keep, and how long it would take.",
    "evaluate": "Measure a refiner against labelled pages or scored documents.",
    "export": "Write a language model for an engine, or the programs of runs as labels.",
    "inspect": "Page through labelled documents: removed text struck out, reasons beside it.",
    "pull": "Fetch a refiner or labels from the Hugging Face hub.",
    "push": "Share a refiner or labels on the Hugging Face hub.",
    "refine": "Refine a corpus: documents in, refined documents and their programs out.",
    "refiners": "List the refiners that are known by name, or show the card of one.",
    "restore": "Bring the original documents of a run back.",
    "train": "Train a refiner.",
}


_GO_ON = ("annotate ", "refine ", "train causal")
_WRITE_NOTHING = ("estimate ", "evaluate ")


def _after_a_stop(command: str) -> str:
    """What somebody who pressed Ctrl-C wants to know of a command, given its first two words.

    >>> _after_a_stop("estimate crawl/")
    'Nothing was written.'
    """
    if command.startswith(_GO_ON):
        return "Run the same command again to go on from here."
    return "Nothing was written." if command.startswith(_WRITE_NOTHING) else ""


class _Verbs(click.Group):
    """Lists the verbs without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _VERBS:
            return None
        command: click.Command = import_module(f"burnish.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="burnish")
def cli() -> None:
    """Turn raw web text into pre-training text by executing a program for each document.

    \b
    Example:
      burnish refine examples/pages.jsonl --output out
    """


def main() -> None:
    """The console script: errors become one clear message and an exit code."""
    try:
        # Without click's own error handling, an exit code comes back as the result.
        sys.exit(cli(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except UsageError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except BurnishError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"Stopped. {_after_a_stop(' '.join(sys.argv[1:3]))}".rstrip(), err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
