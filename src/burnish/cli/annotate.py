"""burnish annotate: documents and a strong model in, labelled data out."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from burnish.annotation.bill import Budget, Price
from burnish.annotation.policy import CALLS, Policy
from burnish.cli.progress import AnnotationProgress
from burnish.program.derive import MODES, Mode
from burnish.program.limits import NO_REMOVAL_LIMIT, Limits
from burnish.refiners.engines.choice import AUTO, EngineChoice
from burnish.workflows.annotate import SAMPLE, Config, Estimate, Summary, estimate, run


class _Splits(click.ParamType[dict[str, float]]):
    name = "NAME=SHARE,..."

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, float]:
        if isinstance(value, dict):
            return value
        try:
            pairs = [part.split("=") for part in str(value).split(",")]
            return {name.strip(): float(share) for name, share in pairs}
        except ValueError:
            self.fail(f"{value!r} is not like train=0.9,dev=0.1", param, ctx)


class _Price(click.ParamType[Price]):
    name = "READ/WRITTEN[/CACHED]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Price:
        if isinstance(value, Price):
            return value
        try:
            prices = [float(part) for part in str(value).split("/")]
            if len(prices) in (2, 3) and min(prices) >= 0:
                return Price(prices[0], prices[1], prices[-1] if len(prices) == 3 else prices[0])
        except ValueError:
            pass
        self.fail(f"{value!r} is not like 0.6/2.4 or 0.6/2.4/0.06", param, ctx)


@click.command("annotate")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path),
    help="Folder for the labels; run again into the same folder to go on after a stop.",
)  # fmt: skip
@click.option(
    "--teacher", "-t", "teachers", multiple=True, required=True, metavar="T",
    help="Address of an OpenAI-compatible server (http://host:8000/v1), or a model for this "
    "machine: a folder or hf:organisation/name. Again for another one: they vote.",
)  # fmt: skip
@click.option(
    "--model", "-m", "models", multiple=True, metavar="M",
    help="Name of the model at the address; again for each further address, or for several models "
    "at one.",
)  # fmt: skip
@click.option("--document", is_flag=True,
              help="Label documents: educational score, format score, keep or drop.")  # fmt: skip
@click.option("--chunk", is_flag=True,
              help="Label lines: a program for each kind of noise in a window.")  # fmt: skip
@click.option("--rewrite", is_flag=True,
              help="Label lines by the clean text that the teacher writes.")  # fmt: skip
@click.option(
    "--sample", type=click.IntRange(1), default=SAMPLE, show_default=True, metavar="N",
    help="How many documents are drawn from the inputs.",
)  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Take all documents, draw none.")
@click.option(
    "--stratify", metavar="BY",
    help="Spread the sample evenly over: length, language, or the values of a column.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Of the sample, windows and splits.")
@click.option(
    "--splits", type=_Splits(), default="train=0.9,dev=0.1", show_default=True,
    help="No site, and no near copy of a document, is in two of them.",
)  # fmt: skip
@click.option(
    "--calls", type=click.Choice(CALLS), default="auto", show_default=True,
    help="Ask for all kinds of noise, and both scores, at once (under half the tokens) or one by "
    "one; auto tries both on a few documents and asks jointly if the labels agree.",
)  # fmt: skip
@click.option("--mode", type=click.Choice(MODES), default="edit", show_default=True,
              help="What a rewriting teacher may do.")  # fmt: skip
@click.option("--passes", type=click.IntRange(1), default=1, show_default=True, metavar="N",
              help="Ask each teacher so often, at a temperature; the answers vote.")  # fmt: skip
@click.option("--windows", type=click.IntRange(1), default=1, show_default=True, metavar="N",
              help="Windows of a document whose lines are labelled.")  # fmt: skip
@click.option("--window", type=click.IntRange(100), default=6_000, show_default=True, metavar="N",
              help="Largest window in characters.")  # fmt: skip
@click.option("--only-kept", is_flag=True,
              help="Label lines only in documents that the document stage keeps.")  # fmt: skip
@click.option("--keep-edu", type=click.IntRange(0, 5), default=3, show_default=True, metavar="E",
              help="Keep from this educational score on ...")  # fmt: skip
@click.option(
    "--keep-format", type=click.IntRange(0, 6), default=4, show_default=True, metavar="F",
    help="... and from one less with this format score (6: never).",
)  # fmt: skip
@click.option(
    "--max-removed", type=click.FloatRange(0, 1), default=0.95, show_default=True, metavar="S",
    help="Refuse programs that remove this share of the words; 1 refuses none.",
)  # fmt: skip
@click.option("--prompts", type=click.Path(path_type=Path), metavar="DIR",
              help="Prompts of your own, laid out like the package's.")  # fmt: skip
@click.option(
    "--price", "prices", type=_Price(), multiple=True,
    help="Dollars for a million tokens; one for each teacher, or one for all.",
)  # fmt: skip
@click.option("--budget-usd", type=click.FloatRange(0, min_open=True), metavar="X",
              help="Stop before more is spent.")  # fmt: skip
@click.option("--budget-tokens", type=click.IntRange(1), metavar="N",
              help="Stop before more tokens are read and written.")  # fmt: skip
@click.option("--dry-run", is_flag=True,
              help="Show three filled prompts and the estimated bill; ask nothing.")  # fmt: skip
@click.option("--answers", type=click.Path(path_type=Path), metavar="FILE",
              help="Where answers are kept.  [default: answers.sqlite in the output]")  # fmt: skip
@click.option("--thinking-tokens", type=click.IntRange(0), default=0, metavar="N",
              help="Room for a model that thinks before it answers.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1), metavar="N",
              help="Requests under way at once at a server.  [default: 32]")  # fmt: skip
@click.option("--requests-per-minute", type=click.FloatRange(0, min_open=True), metavar="N")
@click.option("--engine", default=AUTO, show_default=True, metavar="E",
              help="What runs a model here: vllm, openvino, transformers or onnx.")  # fmt: skip
@click.option("--engine-option", multiple=True, metavar="NAME=VALUE",
              help="A setting of engine or server, such as temperature=0.7, timeout=600, "
              "api_key_variable=MY_KEY or token_limit=max_completion_tokens.")  # fmt: skip
@click.option("--text-column", default="text", show_default=True, metavar="C")
@click.option(
    "--id-column", metavar="C", help='[default: "id" where a row has it, else file and position]'
)
@click.option("--license", "licence", metavar="L", help="Of the labels, for the data card.")
def command(
    inputs: tuple[Path, ...],
    output: Path,
    teachers: tuple[str, ...],
    models: tuple[str, ...],
    document: bool,
    chunk: bool,
    rewrite: bool,
    sample: int,
    everything: bool,
    stratify: str | None,
    seed: int,
    splits: dict[str, float],
    calls: str,
    mode: Mode,
    passes: int,
    windows: int,
    window: int,
    only_kept: bool,
    keep_edu: int,
    keep_format: int,
    max_removed: float,
    prompts: Path | None,
    prices: tuple[Price, ...],
    budget_usd: float | None,
    budget_tokens: int | None,
    dry_run: bool,
    answers: Path | None,
    thinking_tokens: int,
    concurrency: int | None,
    requests_per_minute: float | None,
    engine: str,
    engine_option: tuple[str, ...],
    text_column: str,
    id_column: str | None,
    licence: str | None,
) -> None:
    """Label documents of INPUTS with a strong model, to train a refiner on.

    The output folder holds one file a split: documents with scores (train, dev), windows with
    programs and a label for each line (chunks_train, chunks_dev), what could not be used and why
    (rejected), and a data card. Answers are kept: running again costs nothing and goes on where it
    stopped. A key is taken from the variable OPENAI_API_KEY.

    \b
    Examples:
      burnish annotate crawl/ -o seed -t http://localhost:8000/v1 -m llama-70b --dry-run
      burnish annotate crawl/ -o seed -t http://localhost:8000/v1 -m llama-70b
      burnish annotate crawl/ -o seed -t https://api.example.com/v1 -m large --document \\
        --sample 5000 --stratify language --price 0.6/2.4 --budget-usd 20
      burnish inspect seed --disagreement
    """
    options = [*engine_option]
    options += [f"concurrency={concurrency}"] if concurrency else []
    options += [f"requests_per_minute={requests_per_minute}"] if requests_per_minute else []
    config = Config(
        inputs=inputs,
        output=output,
        teachers=_paired(teachers, models),
        engine=EngineChoice.parse(engine, options, constrained=False),
        policy=Policy(
            stages=_stages(document=document, chunk=chunk, rewrite=rewrite),
            calls=calls,
            keep_edu=keep_edu,
            keep_format=keep_format,
            only_kept=only_kept,
            window=window,
            windows=windows,
            mode=mode,
            limits=_limits(max_removed),
            thinking_tokens=thinking_tokens,
            seed=seed,
            prompts=prompts,
        ),
        passes=passes,
        sample=None if everything else sample,
        stratify=stratify,
        splits=splits,
        budget=Budget(budget_usd, budget_tokens),
        prices=prices,
        answers=answers,
        text_column=text_column,
        id_column=id_column,
        licence=licence,
    )
    console = Console(stderr=True, markup=False)

    def say(text: str) -> None:
        console.print(text, style="dim", highlight=False)

    if dry_run:
        _show_estimate(estimate(config, say), Console(file=sys.stdout, markup=False))
        return
    with AnnotationProgress(console) as bar:
        summary = run(config, bar.update, bar.stopping, say)
    _show(summary, output, console)
    if not summary.labelled and not summary.exhausted:
        raise click.ClickException(_nothing(summary, output))
    if summary.damaged:
        raise click.ClickException(
            f"{summary.damaged} damaged files or parts of files were not read to their end; see "
            f"{output / 'rejected.jsonl.zst'}"
        )
    if summary.exhausted or summary.failed:
        raise click.exceptions.Exit(3)


def _limits(max_removed: float) -> Limits:
    """The bound on what programs remove; a share of 1 is none."""
    return NO_REMOVAL_LIMIT if max_removed == 1 else Limits(max_removed=max_removed)


def _stages(**chosen: bool) -> tuple[str, ...]:
    """Those that were asked for; documents and their lines if none was."""
    return tuple(name for name, asked in chosen.items() if asked) or ("document", "chunk")


def _paired(
    teachers: tuple[str, ...], models: tuple[str, ...]
) -> tuple[tuple[str, str | None], ...]:
    """Each teacher with its model: models go to the addresses in their order; several models with
    one address are all there."""
    places = [place for place in teachers if place.startswith(("http://", "https://"))]
    if len(places) == 1 and len(models) > 1:
        return (
            *((places[0], model) for model in models),
            *((place, None) for place in teachers if place not in places),
        )
    if len(models) != len(places):
        raise click.UsageError(
            f"{len(places)} addresses and {len(models)} models: give each --teacher http://... a "
            "--model"
        )
    names = iter(models)
    return tuple((place, next(names) if place in places else None) for place in teachers)


def _nothing(summary: Summary, output: Path) -> str:
    rejected = summary.card["rejected"]
    if not rejected:
        return f"no document was labelled: the inputs hold none ({output / 'README.md'})"
    commonest = next(iter(rejected))
    return f"no document was labelled; the commonest reason: {commonest} ({output})"


def _show(summary: Summary, output: Path, console: Console) -> None:
    card = summary.card
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("")
    for split in card["splits"]:
        table.add_column(split, justify="right")
    names = list(dict.fromkeys(name for counts in card["splits"].values() for name in counts))
    for name in names:
        table.add_row(name, *(f"{counts.get(name, 0):,}" for counts in card["splits"].values()))
    if card["splits"]:
        console.print(table)
    spent = summary.spent
    told = f"{spent.prompt_tokens:,} tokens read, {spent.completion_tokens:,} written"
    if summary.dollars is not None:
        told += f", ${summary.dollars:,.2f}"
    console.print(
        f"{summary.asked:,} answers in this session; spent in all: {told}", highlight=False
    )
    if card["rejected"]:
        total = sum(card["rejected"].values())
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in card["rejected"].items())
        console.print(f"{total:,} rejected answers: {reasons}", style="dim", highlight=False)
    if summary.exhausted:
        console.print(
            f"The budget ended before {card['unanswered']:,} documents were labelled. Raise it and "
            "run the same command to go on.",
            style="yellow",
        )
    if summary.failed:
        console.print(
            f"{summary.failed:,} questions got no answer; run the same command to ask them again.",
            style="yellow",
        )
    console.print(
        f"Labels: {output} (look at them with: burnish inspect {output})", highlight=False
    )


def _show_estimate(found: Estimate, console: Console) -> None:
    for identity, prompt in found.prompts:
        body = Text()
        body.append("system\n", style="bold")
        body.append(prompt.system + "\n\n")
        body.append("user\n", style="bold")
        body.append(prompt.user)
        console.print(Panel(body, title=Text(identity), box=box.ROUNDED))
    table = Table(box=box.SIMPLE, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, count in (
        ("documents", found.documents),
        ("answers that are there already", found.kept),
        ("questions", found.usage.answers),
        ("tokens read, about", found.usage.prompt_tokens),
        ("tokens written, about", found.usage.completion_tokens),
    ):
        table.add_row(name, f"{count:,}")
    priced = "- (--price is not given)" if found.dollars is None else f"{found.dollars:,.2f}"
    table.add_row("dollars, about", priced)
    console.print(table)
    if found.separate is not None:
        usage, dollars = found.separate
        price = "" if dollars is None else f", ${dollars:,.2f}"
        console.print(
            f"If joint calls turn out not to label as well: {usage.prompt_tokens:,} tokens read, "
            f"{usage.completion_tokens:,} written{price}.",
            highlight=False,
        )
    if found.documents:
        tokens = found.usage.tokens / found.documents
        console.print(f"{tokens:,.0f} tokens a document; nothing was asked.", highlight=False)
