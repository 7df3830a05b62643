"""`burnish train causal`, on models that have learnt nothing and pages made here."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="the extra [train-causal] is not installed")
pytest.importorskip("transformers", reason="the extra [train-causal] is not installed")
pytest.importorskip("accelerate", reason="the extra [train-causal] is not installed")
pytest.importorskip("llguidance", reason="the extra [train-causal] is not installed")

import torch
from small_models import make_base
from small_pages import MENU, SENTENCES, TOPICS, Page, gold, made_pages

from burnish.cli import cli
from burnish.errors import (
    BurnishError,
    InputError,
    OutputError,
    RefinerError,
    SettingsChanged,
    UsageError,
)
from burnish.io.lock import take_lock
from burnish.metrics import Counts
from burnish.program.lines import Chunk
from burnish.program.operations import RemoveLines, to_json
from burnish.refiners import EngineChoice
from burnish.spec import RefinerCard
from burnish.training import causal
from burnish.training.dev import DevScore
from burnish.training.examples import Example
from burnish.training.recipe import STATE, Recipe
from burnish.workflows import train_causal
from burnish.workflows.refine import load_pipeline
from burnish.workflows.train_causal import Config

FLOAT = EngineChoice("transformers", (("dtype", "float32"),))
AS_MEASURED = EngineChoice("transformers")  # in the type of numbers that the device computes in
QUICK: dict[str, Any] = {
    "stage": "chunk", "window": 400, "max_length": 1_024, "max_new_tokens": 90, "epochs": 2,
    "batch": 8, "lr": 2e-3, "min_lr": 2e-4, "bf16": False, "eval_every": 4,
}  # fmt: skip


def write_seed(folder: Path, train: int = 40, dev: int = 6) -> Path:
    folder.mkdir(exist_ok=True)
    for part, pages in (("train", made_pages(train)), ("dev", made_pages(dev, seed=9))):
        write(folder / f"chunks_{part}.jsonl", [window_row(page) for page in pages])
        documents = [{"text": page.text, "keep": int(page.keep)} for page in pages]
        write(folder / f"{part}.jsonl", documents)
    return folder


def window_row(page: Page) -> dict[str, Any]:
    lines = [
        {"text": line, "label": int(number in page.noise)}
        for number, line in enumerate(page.text.split("\n"))
    ]
    return {"lines": lines, "operations": to_json(gold(page, "prox-chunk"))}


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"), "llama")


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seed(tmp_path_factory.mktemp("seed"))


def config(base: Path, seed: Path, output: Path, **changes: Any) -> Config:
    recipe = Recipe(**{"base": str(base), **QUICK, **changes})
    return Config(output=output, recipe=recipe, data=(seed,), name="small")


def removed_lines(refiner: Path, pages: Sequence[Page]) -> Counts:
    """How the refiner's programs agree with the pages' noise."""
    (stage,) = load_pipeline(str(refiner), engine=AS_MEASURED).stages
    writer = stage.refiner
    counts = Counts()
    for page in pages:
        chunk = Chunk.whole(page.text)
        (draft,) = writer.write([chunk])
        gone = {
            n
            for op in draft.program or ()
            if isinstance(op, RemoveLines)
            for n in range(op.first, op.last + 1)
        }
        for number in range(len(chunk.lines)):
            counts.add(number in gone, number in page.noise)
    return counts


def log(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / causal.LOG_FILE).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in log(folder) if "loss" in row]


def quiet(_: str) -> None:
    pass


# ------------------------------------------------------------------------------- from end to end


def test_the_command_makes_a_refiner(base: Path, seed: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "small.toml"
    settings = {**QUICK, "epochs": 9, "eval_every": 5}
    told = {True: "true", False: "false"}
    recipe.write_text(
        "".join(f"{k} = {told[v] if v in (True, False) and type(v) is bool else json.dumps(v)}\n"
                for k, v in settings.items())
    )  # fmt: skip
    out = tmp_path / "refiner"
    command = [
        "train", "causal", "--data", str(seed), "--base", str(base), "--recipe", str(recipe),
        "-o", str(out), "--epochs", "2",
    ]  # fmt: skip
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert "examples are packed" in done.output
    rows = log(out)
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 11))
    assert [row["step"] for row in rows if "dev_f1" in row] == [5, 10]
    assert losses(out)[-1] < losses(out)[0] - 1
    rates = [row["lr"] for row in rows if "lr" in row]
    assert rates[0] == 2e-3 and rates[-1] == pytest.approx(2e-4)  # one step of warm-up learns too
    card = RefinerCard.read(out)
    assert card.kind == "causal" and card.model is not None
    assert (card.model.template, card.model.context, card.stages["chunk"].window) == (
        "llama2", 1_024, 400,
    )  # fmt: skip
    assert card.notes["settings"]["epochs"] == 2  # the command line wins
    assert sorted(Path(name).name for name in card.data) == [
        "chunks_dev.jsonl", "chunks_train.jsonl",
    ]  # fmt: skip
    assert not (out / STATE).exists()
    # What the card says is what inference does.
    counts = removed_lines(out, made_pages(6, seed=9))
    assert counts.to_json().items() <= card.metrics["dev"].items()
    pages = {"id": "a", "text": made_pages(1)[0].text}
    path = tmp_path / "pages.jsonl"
    write(path, [pages])
    refined = CliRunner().invoke(
        cli,
        ["refine", str(path), "-o", str(tmp_path / "out"), "--refiner", str(out),
         "--engine", "transformers", "--workers", "1"],
        catch_exceptions=False,
    )  # fmt: skip
    assert refined.exit_code == 0
    again = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert again.exit_code == 0 and "is trained already" in again.output
    with pytest.raises(UsageError, match="is trained already, and is called 'refiner'"):
        CliRunner().invoke(cli, [*command, "--name", "yours"], catch_exceptions=False)
    with pytest.raises(SettingsChanged, match="seed: 0, now 1"):
        CliRunner().invoke(cli, [*command, "--seed", "1"], catch_exceptions=False)


def test_the_document_stage_is_scored_by_f1_of_keep(base: Path, seed: Path, tmp_path: Path) -> None:
    changes = {"stage": "document", "max_new_tokens": 16}
    card = train_causal.run(config(base, seed, tmp_path / "out", **changes), quiet)
    assert card is not None and card.metrics["dev"]["asked"] == 6
    assert card.metrics["dev"]["f1"] == pytest.approx(10 / 11)  # it keeps all, five of six rightly
    (stage,) = load_pipeline(str(tmp_path / "out"), engine=FLOAT).stages
    assert stage.spec.keep_threshold == 0.5
    trace, _ = stage.run([made_pages(1)[0].text])[0]
    assert 0 <= trace.scores["keep"] <= 1


@pytest.mark.slow
def test_a_model_learns_the_programs(tmp_path: Path) -> None:
    """Whether the first line goes, which half of the pages tell by what it is: to remove it always
    has an F1 of 0.67."""
    seed = tmp_path / "seed"
    seed.mkdir()
    pages = {"train": menu_pages(160, 0), "dev": menu_pages(12, 9)}
    for part, made in pages.items():
        write(seed / f"chunks_{part}.jsonl", [window_row(page) for page in made])
    base = make_base(tmp_path / "base", "llama", hidden=128, layers=3)
    changes = {"epochs": 10, "eval_every": 50, "batch": 16}
    card = train_causal.run(config(base, seed, tmp_path / "out", **changes), quiet)
    assert card is not None and card.metrics["dev"]["f1"] > 0.8
    counts = removed_lines(tmp_path / "out", pages["dev"])
    assert counts.to_json().items() <= card.metrics["dev"].items()


def menu_pages(count: int, seed: int) -> list[Page]:
    """Three sentences about one thing; before them, on every second page, a word of a menu."""
    chance = random.Random(seed)
    pages = []
    for number in range(count):
        topic = chance.choice(TOPICS)
        lines = [sentence.format(topic) for sentence in chance.sample(SENTENCES, 3)]
        if number % 2:
            lines.insert(0, chance.choice(MENU))
        pages.append(Page("\n".join(lines), frozenset({0} if number % 2 else ()), True))
    return pages


# --------------------------------------------------------------------------------------- packing


def test_a_model_is_never_written_over(base: Path, seed: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    for output in (base, base / "inside", base.parent):
        with pytest.raises(OutputError, match="choose another"):
            train_causal.run(config(base, seed, output), quiet)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    with pytest.raises(OutputError, match="holds another model"):
        train_causal.run(config(base, seed, other), quiet)
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before


def ids(*sizes: int) -> list[Example]:
    chance = torch.Generator().manual_seed(1)
    rows = [torch.randint(3, 300, (size,), generator=chance).tolist() for size in sizes]
    return [Example(tuple(row[:-3]), tuple(row[-3:])) for row in rows]


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@torch.no_grad()
def test_packed_examples_do_not_see_each_other(tmp_path: Path, family: str) -> None:
    model, _ = causal._load(make_base(tmp_path / "base", family))
    model.eval()
    examples = ids(40, 25, 60)
    packed = causal.packed_rows(examples)
    wanted = packed.pop("labels")[0]
    together = model(**packed, use_cache=False).logits[0]
    start = 0
    for example in examples:
        alone = causal.packed_rows([example])
        labels = alone.pop("labels")[0]
        logits = model(**alone, use_cache=False).logits[0]
        end = start + len(labels)
        assert torch.equal(wanted[start:end], labels)
        assert (labels == -100).sum() == len(example.prompt)  # the answer and its end are learnt
        torch.testing.assert_close(together[start:end], logits, rtol=0, atol=1e-5)
        start = end
    # Another neighbour changes nothing, to the bit.
    other = causal.packed_rows([ids(40, 40)[1], *examples[1:]])
    del other["labels"]
    assert torch.equal(model(**other, use_cache=False).logits[0, 40:], together[40:])
    assert causal.packs(model, examples)


def test_a_model_that_would_leak_is_padded(base: Path) -> None:
    model, _ = causal._load(base)
    plain = model.forward

    def leaky(**given: Any) -> Any:
        given["position_ids"] = torch.arange(given["input_ids"].shape[1])[None]
        return plain(**given)

    def without_positions(*, input_ids: torch.Tensor, use_cache: bool) -> Any:
        raise AssertionError("never reached")

    for forward in (leaky, without_positions):
        model.forward = forward
        assert not causal.packs(model, ids(40, 25))


def test_padded_examples_have_the_same_loss(
    base: Path, seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    changes = {"epochs": 1, "eval_every": 100}
    train_causal.run(config(base, seed, tmp_path / "packed", **changes), quiet)
    monkeypatch.setattr(causal, "packs", lambda *_: False)
    train_causal.run(config(base, seed, tmp_path / "padded", **changes), said.append)
    assert any("padded instead" in line for line in said)
    assert losses(tmp_path / "padded") == pytest.approx(losses(tmp_path / "packed"), rel=1e-4)
    card = RefinerCard.read(tmp_path / "padded")
    assert card.notes["packed"] is False


# ---------------------------------------------------------------------------- stopping and going on


def interrupt_at(step: int) -> Callable[[str], None]:
    def say(told: str) -> None:
        if told.startswith(f"step {step}/"):
            raise KeyboardInterrupt

    return say


def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    base: Path, seed: Path, tmp_path: Path
) -> None:
    """Stopped in the middle of an epoch, after a state was saved and steps came after it."""
    one, two = tmp_path / "one", tmp_path / "two"
    changes = {"epochs": 3, "per_device_batch": 2}
    train_causal.run(config(base, seed, one, **changes), quiet)
    with pytest.raises(KeyboardInterrupt):
        train_causal.run(config(base, seed, two, **changes), interrupt_at(10))
    assert [row["step"] for row in log(two)][-1] == 10
    half = two / STATE / "checkpoint-999"  # what a kill leaves half written
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"x")
    said: list[str] = []
    with pytest.raises(SettingsChanged, match="lr"):
        train_causal.run(config(base, seed, two, **changes, lr=1e-3), quiet)
    train_causal.run(config(base, seed, two, **changes), said.append)
    assert any("going on after step 8" in line for line in said)
    assert log(two) == log(one) and len(losses(one)) == 15
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (two / name).read_bytes() == (one / name).read_bytes()


@pytest.mark.slow
def test_a_killed_run_goes_on(base: Path, seed: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    train_causal.run(config(base, seed, one, epochs=6), quiet)
    command = [sys.executable, "-m", "burnish", "train", "causal", "--data", str(seed)]
    command += ["--base", str(base), "-o", str(two), "--name", "small", "--epochs", "6"]
    for key, value in QUICK.items():
        if key not in ("epochs", "bf16"):
            command += [f"--{key.replace('_', '-')}", str(value)]
    command.append("--no-bf16")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (two / causal.LOG_FILE).is_file() or len(losses(two)) < 10:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(losses(two)) < 30
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert log(two) == log(one)
    assert (two / "model.safetensors").read_bytes() == (one / "model.safetensors").read_bytes()


def scripted(values: Sequence[float]) -> Callable[..., DevScore]:
    """A measure that gives these F1 in turn, and the last one ever after."""
    left = list(values)

    def score(*_: Any) -> DevScore:
        f1 = left.pop(0) if len(left) > 1 else left[0]
        hits = round(1_000 * f1)
        return DevScore(Counts(tp=hits, fp=1_000 - hits, fn=1_000 - hits), 1, 0)

    return score


def test_the_best_f1_is_kept_and_ends_the_run(
    base: Path, seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(causal, "score", scripted([0.2, 0.5, 0.4, 0.5, 0.9]))
    settings = config(base, seed, out, epochs=5, patience=2, eval_every=2)
    # Stopped after the last state, before the result was written: that is all that is left to do.
    export = causal._export
    monkeypatch.setattr(causal, "_export", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_causal.run(settings, quiet)
    assert [row["step"] for row in log(out)][-1] == 8
    monkeypatch.setattr(causal, "_export", export)
    state = out / STATE / "checkpoint-4" / "model.safetensors"
    best = state.read_bytes()
    card = train_causal.run(settings, quiet)
    assert card is not None
    assert (card.metrics["best_step"], card.metrics["steps"]) == (4, 8)
    assert [row["dev_f1"] for row in log(out) if "dev_f1" in row] == [0.2, 0.5, 0.4, 0.5]
    assert losses(out)[-1] < losses(out)[3]  # by loss, it would have gone on
    assert (out / "model.safetensors").read_bytes() == best


def interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_the_same_files_under_other_names_are_the_same_run(
    base: Path, seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causal, "score", scripted([0.5]))
    out = tmp_path / "out"
    train_causal.run(config(base, seed, out, epochs=1, batch=40), quiet)
    copies = {path: shutil.copytree(path, tmp_path / path.name) for path in (base, seed)}
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    again = config(Path(".", base.name), Path(seed.name), out, epochs=1, batch=40)
    train_causal.run(again, said.append)
    assert said == [f"{out} is trained already"]
    spelt = replace(again.recipe, dialect="prox-chunk")
    (out / STATE).mkdir()  # as of a run that was killed at its very end
    train_causal.run(replace(again, recipe=spelt), said.append)
    assert said == [f"{out} is trained already"] * 2 and not (out / STATE).exists()
    with (copies[seed] / "chunks_dev.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(SettingsChanged, match="dev_files"):
        train_causal.run(again, quiet)
    (copies[base] / "config.json").write_text((base / "config.json").read_text() + "\n")
    with pytest.raises(SettingsChanged, match="base_files"):
        train_causal.run(again, quiet)


# --------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(("batch", "step"), [(8, "at step 2"), (40, "by step 1")])
def test_a_training_that_diverges_leaves_no_refiner(
    base: Path, seed: Path, tmp_path: Path, batch: int, step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By its numbers, and where it ends before they could tell by the weights."""
    monkeypatch.setattr(causal, "score", scripted([0.5]))
    out = tmp_path / "out"
    settings = config(base, seed, out, epochs=1, batch=batch, lr=1e30, min_lr=0, eval_every=100)
    with pytest.raises(RefinerError, match=rf"diverged {step}.* smaller --lr \(it is 1e\+30\)"):
        train_causal.run(settings, quiet)
    assert not (out / "card.json").exists() and not list(out.glob("*.safetensors"))
    if batch == 8:
        assert not list((out / STATE).glob("checkpoint-*"))
        assert log(out)[-1]["grad_norm"] is None


@pytest.mark.parametrize("most", [100_000, 600_000])  # bytes: the model's file, the optimiser's
def test_what_can_not_be_written_is_told(
    base: Path, seed: Path, tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causal, "score", scripted([0.5]))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    settings = config(base, seed, tmp_path / "out", epochs=1, batch=40)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
        with pytest.raises(OutputError, match=r"can not be written .*is the disk full\?"):
            train_causal.run(settings, quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert train_causal.run(settings, quiet) is not None


def test_two_processes_do_not_train_into_one_folder(
    base: Path, seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causal, "score", scripted([0.5]))
    settings = config(base, seed, tmp_path / "out", epochs=1, batch=40)
    (tmp_path / "out" / STATE).mkdir(parents=True)
    other = take_lock(tmp_path / "out" / STATE / "lock")
    with pytest.raises(
        OutputError, match=r"another process trains into .*out; wait for it or stop"
    ):
        train_causal.run(settings, quiet)
    other.release()
    assert train_causal.run(settings, quiet) is not None


def test_a_folder_named_twice_is_refused(base: Path, seed: Path, tmp_path: Path) -> None:
    settings = config(base, seed, tmp_path / "out")
    with pytest.raises(UsageError, match=r"train\.jsonl is named twice for train"):
        train_causal.run(replace(settings, data=(seed, seed)), quiet)


def test_sharding_without_torchrun_is_refused(base: Path, seed: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--fsdp shards over the GPUs of torchrun"):
        train_causal.run(config(base, seed, tmp_path / "out", fsdp=True), quiet)


# ------------------------------------------------------------------------------------ other ways


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*")
def test_adapters_are_merged(seed: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="the extra [lora] is not installed")
    base = make_base(tmp_path / "base", "qwen3")
    changes = {"lora": 4, "dialect": "ultrax", "gradient_checkpointing": True}
    train_causal.run(config(base, seed, tmp_path / "out", **changes), quiet)
    assert losses(tmp_path / "out")[-1] < losses(tmp_path / "out")[0]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "model.safetensors" in names and not any("adapter" in name for name in names)
    before, _ = causal._load(base)
    after, _ = causal._load(tmp_path / "out")
    assert {n for n, _ in before.named_parameters()} == {n for n, _ in after.named_parameters()}
    pipeline = load_pipeline(str(tmp_path / "out"), engine=FLOAT)
    assert pipeline.stages[0].run([made_pages(1)[0].text])


@pytest.mark.slow
def test_bfloat16_and_checkpointed_gradients(base: Path, seed: Path, tmp_path: Path) -> None:
    plain, other = tmp_path / "plain", tmp_path / "other"
    train_causal.run(config(base, seed, plain, epochs=1), quiet)
    changes = {"epochs": 1, "bf16": True, "gradient_checkpointing": True}
    train_causal.run(config(base, seed, other, **changes), quiet)
    assert losses(other) == pytest.approx(losses(plain), rel=0.02)
    assert losses(other) != losses(plain)


@pytest.mark.slow
def test_two_processes_train_like_one(base: Path, seed: Path, tmp_path: Path) -> None:
    """With gloo on one CPU; several GPUs could not be tried."""
    one, two = tmp_path / "one", tmp_path / "two"
    train_causal.run(config(base, seed, one, epochs=1, eval_every=5), quiet)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", "29611", "-m", "burnish", "train", "causal", "--data", str(seed)]
    command += ["--base", str(base), "-o", str(two), "--name", "small", "--no-bf16"]
    for key, value in {**QUICK, "epochs": 1, "eval_every": 5}.items():
        if key != "bf16":
            command += [f"--{key.replace('_', '-')}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)
    assert RefinerCard.read(two).metrics == RefinerCard.read(one).metrics


@pytest.mark.slow
def test_an_export_for_openvino_is_a_refiner(llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino_genai", reason="the extra [openvino] is not installed")
    (llama / "card.json").write_bytes((llama / "prox-chunk.json").read_bytes())
    try:
        command = ["export", "openvino", str(llama), "-o", str(tmp_path / "out")]
        assert CliRunner().invoke(cli, command, catch_exceptions=False).exit_code == 0
    finally:
        (llama / "card.json").unlink()
    pipeline = load_pipeline(str(tmp_path / "out"), engine=EngineChoice("openvino"))
    page = made_pages(1)[0]
    trace, _ = pipeline.stages[0].run([page.text])[0]
    removed = {n for first, last in trace.removed_lines for n in range(first, last + 1)}
    assert removed == page.noise
    with pytest.raises(BurnishError, match="exists already"):
        CliRunner().invoke(cli, command, catch_exceptions=False)


# ---------------------------------------------------------------------------------- bad inputs


def test_data_that_can_not_be_used_is_named(base: Path, seed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    clean = tmp_path / "clean.jsonl"
    write(clean, [{"lines": [{"text": "A sentence.", "label": 0}]}])
    kept = tmp_path / "kept.jsonl"
    write(kept, [{"text": "A sentence.", "keep": 1}])
    recipe = Recipe(base=str(base), **QUICK)
    documents = Recipe(base=str(base), **{**QUICK, "stage": "document"})
    train = (seed / "chunks_train.jsonl",)
    for given, told in (
        (Config(output=out, recipe=recipe), "no train rows with lines"),
        (Config(output=out, recipe=recipe, train=train), "no dev rows"),
        (Config(output=out, recipe=recipe, train=(kept,)), "no train rows with lines.*kept.jsonl"),
        (Config(output=out, recipe=recipe, train=train, dev=(clean,)), "no line of the dev"),
        (
            Config(output=out, recipe=documents, data=(seed,), limit=1),
            "documents to keep and documents to drop",
        ),
        (Config(output=out, recipe=recipe, data=(tmp_path,)), "holds no labelled documents"),
    ):
        with pytest.raises(InputError, match=told):
            train_causal.run(given, quiet)
    unknown = tmp_path / "unknown.jsonl"
    write(unknown, [{"lines": [{"text": "A sentence.", "label": -1}]}])
    settings = Config(output=out, recipe=recipe, train=(unknown,), dev=(seed / "chunks_dev.jsonl",))
    with pytest.raises(InputError, match="no example to train on"):
        train_causal.run(settings, quiet)


def test_a_window_out_of_a_page_of_dev_is_not_learnt(
    base: Path, seed: Path, tmp_path: Path
) -> None:
    page = made_pages(1)[0]
    window = tmp_path / "window.jsonl"
    lines = [{"text": line, "label": 0} for line in page.text.split("\n")[1:]]
    write(window, [{"lines": lines, "first_line": 1}])
    write(tmp_path / "dev.jsonl", [window_row(page)])
    recipe = Recipe(base=str(base), **QUICK)
    said: list[str] = []
    settings = Config(
        output=tmp_path / "out", recipe=recipe, train=(window,), dev=(tmp_path / "dev.jsonl",)
    )
    with pytest.raises(InputError, match="no example to train on"):
        train_causal.run(settings, said.append)
    assert "  left out, it is among the dev files, whole or in part: 1" in said


def test_a_base_that_can_not_be_used_is_named(base: Path, seed: Path, tmp_path: Path) -> None:
    with pytest.raises(RefinerError, match="there is no folder"):
        train_causal.run(config(tmp_path / "nowhere", seed, tmp_path / "out"), quiet)
    with pytest.raises(RefinerError, match="do not fit into the model's context"):
        train_causal.run(config(base, seed, tmp_path / "out", window=1_000), quiet)
    with pytest.raises(RefinerError, match="needs the tokens"):
        train_causal.run(config(base, seed, tmp_path / "out", template="qwen3"), quiet)
    with pytest.raises(UsageError, match="--stage"):
        train_causal.run(config(base, seed, tmp_path / "out", stage=""), quiet)


def test_a_template_that_fits_is_found(base: Path, tmp_path: Path) -> None:
    from burnish.refiners.checkpoint import Checkpoint
    from burnish.workflows.train_causal import fitting_template

    assert fitting_template(Checkpoint(base)) == "llama2"
    qwen3 = make_base(tmp_path / "qwen3", "qwen3")
    assert fitting_template(Checkpoint(qwen3)) == "qwen3"
    settings = json.loads((qwen3 / "config.json").read_text())
    (qwen3 / "config.json").write_text(json.dumps({**settings, "model_type": "mistral"}))
    assert fitting_template(Checkpoint(qwen3)) == "own"
    (qwen3 / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    assert fitting_template(Checkpoint(qwen3)) == "plain"
