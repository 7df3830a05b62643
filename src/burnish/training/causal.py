"""Trains a causal language model with the transformers Trainer; saves it as a Hugging Face folder.

What the Trainer does: the loop, optimiser, schedule, devices, states to go on from. What is added:
the loss of the answers alone, several examples in one row that do not see each other, and the
choice of the best state by what the model writes on dev.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from safetensors import SafetensorError
from torch import Tensor

from burnish.errors import MissingExtra, OutputError, RefinerError
from burnish.refiners.checkpoint import TOKENIZER_FILES
from burnish.refiners.engines.base import Engine
from burnish.refiners.engines.transformers import TransformersEngine
from burnish.spec import StageSpec
from burnish.training.dev import DevScore, score
from burnish.training.examples import Example, Gold, Writer
from burnish.training.recipe import STATE, Recipe

LOG_FILE = "training.jsonl"

_IGNORED = -100  # the label of a token that is not learnt
_SAID_EVERY = 10  # steps
_TRIAL = 48  # tokens of each of two examples on which packing is tried


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained on, and what is needed to see how it does.

    `make_writer` gives the refiner that writes with an engine; `base` is the folder of the model,
    `end_tokens` the ids that end an answer.
    """

    base: Path
    end_tokens: tuple[int, ...]
    spec: StageSpec
    examples: Sequence[Example]
    dev: Sequence[Gold]
    make_writer: Callable[[Callable[[], Engine]], Writer]


@dataclass(frozen=True, slots=True)
class Trained:
    """The result: `score` on dev of the model as it was saved; `steps` made, `best_step` saved;
    `packed` whether examples shared rows; `parameters` of the model."""

    score: DevScore
    best_step: int
    steps: int
    packed: bool
    parameters: int
    dtype: str


def train(task: Task, recipe: Recipe, output: Path, say: Callable[[str], None]) -> Trained | None:
    """Trains and writes the model into `output`; goes on where an earlier run was stopped.

    In a run of several processes, only the first has a result. Raises RefinerError for a model that
    can not be loaded, does not fit or diverges, OutputError where nothing can be written,
    MissingExtra without what LoRA needs.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    state = output / STATE
    with _writing(output):
        state.mkdir(parents=True, exist_ok=True)
    arguments = _arguments(task, recipe, state)
    transformers.set_seed(recipe.seed)
    model, dtype = _load(task.base)
    packed = packs(model, task.examples)
    say(
        "examples are packed: each sees itself alone"
        if packed
        else "this kind of model would let packed examples see each other; they are padded instead"
    )
    parameters = sum(tensor.numel() for tensor in model.parameters())
    if recipe.lora is not None:
        model = _with_lora(model, recipe.lora)
    if recipe.gradient_checkpointing:
        _checkpoint_gradients(model)
    trainer = _Trainer(
        task=task,
        model=model,
        args=arguments,
        train_dataset=task.examples,
        eval_dataset=task.dev,  # measured by `evaluate`, not looped over
        data_collator=packed_rows if packed else padded_rows,
        callbacks=[_Log(output / LOG_FILE, recipe.lr, say)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    if recipe.patience is not None:
        trainer.add_callback(transformers.EarlyStoppingCallback(recipe.patience))
    last = _last_state(state)
    if last is None or not _stopped(last):
        try:
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
        except torch.OutOfMemoryError:
            raise RefinerError(
                "the model does not fit into the device's memory: set --per-device-batch lower, or "
                "--gradient-checkpointing"
            ) from None
        found = trainer.state
    else:
        found = transformers.TrainerState.load_from_json(str(last / _STATE_FILE))
    first = trainer.is_world_process_zero()
    del trainer, model
    if torch.distributed.is_initialized():  # a process that ends with its threads alive may abort
        torch.distributed.destroy_process_group()
    if not first:
        return None
    best = found.best_global_step
    assert best is not None
    _export(task, state / f"checkpoint-{best}", output, dtype, recipe)
    engine = TransformersEngine(output, task.end_tokens, device=_device())
    measured = score(task.dev, task.spec, task.make_writer(lambda: engine))
    return Trained(measured, best, found.global_step, packed, parameters, dtype)


def versions() -> dict[str, str]:
    """Of the libraries that decide what comes out."""
    return {"torch": torch.__version__, "transformers": transformers.__version__}


def computes_bf16() -> bool:
    """Whether the device computes in bfloat16."""
    return TransformersEngine.default_dtype(None) == "bfloat16"


def devices() -> int:
    """How many processes train together (torchrun says so)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _arguments(task: Task, recipe: Recipe, state: Path) -> transformers.TrainingArguments:
    size, rounds = recipe.micro_batch(devices())
    steps_an_epoch = -(-len(task.examples) // recipe.batch)
    every = recipe.eval_every or steps_an_epoch
    arguments = transformers.TrainingArguments(
        output_dir=str(state),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=rounds,
        learning_rate=recipe.lr,
        lr_scheduler_type="cosine_warmup_with_min_lr",  # its first step learns, its last has min_lr
        lr_scheduler_kwargs={"min_lr": recipe.min_lr},
        warmup_steps=recipe.warmup,
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch",
        bf16=computes_bf16() if recipe.bf16 is None else recipe.bf16,
        fsdp="full_shard auto_wrap" if recipe.fsdp else None,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,  # the best and the last
        metric_for_best_model="eval_f1",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        seed=recipe.seed,
        data_seed=recipe.seed,
        use_cpu=not torch.cuda.is_available(),
        ddp_timeout=7_200,  # seconds; dev is measured between two steps
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs are torchrun's affair
    return arguments


# --------------------------------------------------------------------------------------- the model


def _load(folder: Path) -> tuple[Any, str]:
    """The model in float32, and the type of numbers that it came in."""
    try:
        config: Any = transformers.AutoConfig.from_pretrained(folder)
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa"
        )
    except Exception as error:
        raise RefinerError(f"{folder} can not be loaded as a model: {error}") from None
    dtype = str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
    model.config.use_cache = False
    return model, dtype


def _with_lora(model: Any, rank: int) -> Any:
    try:
        import peft
    except ImportError:
        raise MissingExtra("--lora", "peft", "lora") from None
    settings = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return peft.get_peft_model(model, settings)


def _checkpoint_gradients(model: Any) -> None:
    """The library gave the method another name in version 5.24."""
    named = getattr(model, "activation_checkpointing_enable", None)
    (named or model.gradient_checkpointing_enable)({"use_reentrant": False})


def _export(task: Task, best: Path, output: Path, dtype: str, recipe: Recipe) -> None:
    """Writes the best state as an ordinary folder: weights in the base's type, configuration and
    tokenizer. Raises RefinerError for one that can not compute."""
    if recipe.lora is not None:
        import peft

        plain, _ = _load(task.base)
        model: Any = peft.PeftModel.from_pretrained(plain, str(best)).merge_and_unload()
    else:
        model, _ = _load(best)
    model.config.use_cache = True
    ends = list(task.end_tokens)
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=ends if len(ends) > 1 else ends[0],
        pad_token_id=model.config.pad_token_id,
        do_sample=False,
    )
    model.to(getattr(torch, dtype))
    # Products of larger weights are no numbers: the last step has no loss after it that would tell.
    if not all(weight.float().square().sum().isfinite() for weight in model.parameters()):
        raise _diverged(f"by step {best.name.partition('-')[2]}", recipe.lr)
    with _writing(output):
        model.save_pretrained(output)
        for name in TOKENIZER_FILES:
            if (task.base / name).is_file():
                shutil.copyfile(task.base / name, output / name)
        for path in output.glob("*.safetensors"):  # the library lets its owner alone read them
            path.chmod((output / "config.json").stat().st_mode & 0o777)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Raises OutputError for what can not be written, which each library says in its own way."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (OSError, SafetensorError, RuntimeError) as error:
        raise OutputError(
            f"{folder} can not be written ({error}); is the disk full? With room, the same command "
            "goes on from the last state"
        ) from None


def _diverged(when: str, lr: float) -> RefinerError:
    return RefinerError(
        f"the training diverged {when}. No refiner was written; take a smaller --lr (it is {lr:g}) "
        "and another folder"
    )


# ------------------------------------------------------------------------------------ rows of ids


def packed_rows(examples: Sequence[Example]) -> dict[str, Tensor]:
    """The examples behind each other in one row; positions begin anew with each, which is how the
    library knows that they do not see each other."""
    ids: list[int] = []
    places: list[int] = []
    labels: list[int] = []
    for example in examples:
        row, wanted = _row(example)
        ids += row
        labels += wanted
        places += range(len(row))
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([places]),
        "labels": torch.tensor([labels]),
    }


def padded_rows(examples: Sequence[Example]) -> dict[str, Tensor]:
    """A row for each example, filled up at its end to the longest."""
    rows = [_row(example) for example in examples]
    width = max(len(row) for row, _ in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    labels = torch.full((len(rows), width), _IGNORED)
    held = torch.zeros((len(rows), width), dtype=torch.long)
    for n, (row, wanted) in enumerate(rows):
        ids[n, : len(row)] = torch.tensor(row)
        labels[n, : len(row)] = torch.tensor(wanted)
        held[n, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": held, "labels": labels}


def _row(example: Example) -> tuple[list[int], list[int]]:
    """Ids, and for each whether it is learnt: the answer and its end are, the prompt is not."""
    prompt, answer = example.prompt, example.answer
    return [*prompt, *answer], [_IGNORED] * len(prompt) + list(answer)


@torch.no_grad()
def packs(model: Any, examples: Sequence[Example]) -> bool:
    """Whether examples in one row keep to themselves in this model, tried on two of them: another
    neighbour must change nothing at all, and no neighbour next to nothing."""
    first, second = (_row(example)[0][:_TRIAL] for example in (examples[0], examples[-1]))
    training = model.training
    model.eval()
    try:
        alone = _logits(model, [second])
        beside = _logits(model, [first, second])[len(first) :]
        other = _logits(model, [first[::-1], second])[len(first) :]
    except (TypeError, ValueError):  # a model without positions
        return False
    finally:
        model.train(training)
    near = 1e-3 * float(alone.abs().max())
    return torch.allclose(beside, other, rtol=0, atol=1e-3 * near) and torch.allclose(
        alone, beside, rtol=0, atol=near
    )


def _logits(model: Any, rows: Sequence[Sequence[int]]) -> Tensor:
    """Logits of rows in one, `[token, vocabulary]`."""
    packed = packed_rows([Example(tuple(row), ()) for row in rows])
    del packed["labels"]
    on_device = {name: tensor.to(model.device) for name, tensor in packed.items()}
    logits: Tensor = model(**on_device, use_cache=False).logits[0].float()
    return logits


# ------------------------------------------------------------------------------------ the Trainer


class _Trainer(transformers.Trainer):
    """The library's, with our loss and our measure."""

    def __init__(self, *, task: Task, **others: Any) -> None:
        super().__init__(**others)
        self._task = task
        self._writer: Writer | None = None
        self.model_accepts_loss_kwargs = True  # the loss is divided by the tokens of the whole step

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean cross entropy of the answers' tokens over the whole step; logits are computed where
        one is wanted, and nowhere else."""
        labels = inputs.pop("labels")
        columns = (labels != _IGNORED).any(0).nonzero().squeeze(1)
        out = model(**inputs, use_cache=False, logits_to_keep=columns - 1)
        wanted = labels[:, columns]
        loss = F.cross_entropy(
            out.logits.float().flatten(0, 1),
            wanted.flatten(),
            ignore_index=_IGNORED,
            reduction="sum",
        )
        if num_items_in_batch is None:
            num_items_in_batch = (wanted != _IGNORED).sum()
        else:  # gradients are averaged over the processes
            loss = loss * self.accelerator.num_processes
        loss = loss / num_items_in_batch
        return (loss, out) if return_outputs else loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Writes programs for dev with the model as it is, and compares them with the gold."""
        found = self._shared(self._measured())
        metrics = {
            "eval_f1": found.f1,
            "eval_precision": found.counts.precision,
            "eval_recall": found.counts.recall,
            "eval_failed": float(found.failed),
        }
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with _writing(Path(str(self.args.output_dir))):
            super()._save_checkpoint(model, trial)

    def _measured(self) -> DevScore:
        """The score on this process's share of dev."""
        task, here = self._task, self.accelerator
        if not self.is_fsdp_enabled:
            if self._writer is None:
                self._writer = self._writer_of(self.model)
            return self._score(
                self.model, self._writer, task.dev[here.process_index :: here.num_processes]
            )
        # Sharded: the first process gathers the weights, and writes alone.
        weights = here.get_state_dict(self.model)
        if not self.is_world_process_zero():
            return DevScore()
        model, _ = _load(task.base)
        model.load_state_dict(weights)
        model.to(here.device)
        return self._score(model, self._writer_of(model), task.dev)

    def _writer_of(self, model: Any) -> Writer:
        task = self._task
        dtype = "bfloat16" if self.args.bf16 else "float32"
        engine = TransformersEngine.around(model, task.base, task.end_tokens, dtype)
        return task.make_writer(lambda: engine)

    def _score(self, model: Any, writer: Writer, dev: Sequence[Gold]) -> DevScore:
        training = model.training
        model.eval()
        kind = self.accelerator.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=bool(self.args.bf16)):
            found = score(dev, self._task.spec, writer)
        model.train(training)
        return found

    def _shared(self, found: DevScore) -> DevScore:
        """The sum over all processes."""
        counts = found.counts
        own = [counts.tp, counts.fp, counts.fn, counts.tn, found.asked, found.failed]
        numbers = torch.tensor(own, device=self.accelerator.device)
        summed = self.accelerator.reduce(numbers, "sum").tolist()
        counts.tp, counts.fp, counts.fn, counts.tn, found.asked, found.failed = summed
        return found


class _Log(transformers.TrainerCallback):
    """Writes the log, a row a step and a row a measurement, and tells how it goes; ends a run whose
    numbers are none, before it is measured or saved."""

    def __init__(self, path: Path, lr: float, say: Callable[[str], None]) -> None:
        self._path = path
        self._lr = lr
        self._say = say

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begins the file with what the state holds: what came after it is done again."""
        if state.is_world_process_zero:
            rows = [row for row in map(_log_row, state.log_history) if row]
            with _writing(self._path.parent):
                self._path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
            done = f", going on after step {state.global_step}" if state.global_step else ""
            self._say(f"{state.max_steps} steps{done}")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        row = _log_row({**logs, "step": state.global_step})
        if row and state.is_world_process_zero:
            self._write(row, state.max_steps)
        numbers = {name: logs[name] for name in ("loss", "grad_norm") if name in logs}
        if not all(map(isfinite, numbers.values())):
            told = ", ".join(f"{name} {value:g}" for name, value in numbers.items())
            raise _diverged(f"at step {state.global_step} ({told})", self._lr)

    def _write(self, row: dict[str, Any], max_steps: int) -> None:
        with _writing(self._path.parent), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        told = " ".join(
            f"{key} {value:.4g}"
            for key, value in row.items()
            if key != "step" and value is not None
        )
        if "dev_f1" in row or row["step"] % _SAID_EVERY == 0 or row["step"] == 1:
            self._say(f"step {row['step']}/{max_steps}: {told}")


_NAMES = {
    "step": "step", "epoch": "epoch", "loss": "loss", "learning_rate": "lr",
    "grad_norm": "grad_norm", "eval_f1": "dev_f1", "eval_precision": "dev_precision",
    "eval_recall": "dev_recall", "eval_failed": "dev_failed",
}  # fmt: skip


def _log_row(logs: dict[str, Any]) -> dict[str, Any] | None:
    """A row of the log under our names; None for one that tells of the whole run."""
    if "loss" not in logs and "eval_f1" not in logs:
        return None
    row = {ours: logs[name] for name, ours in _NAMES.items() if name in logs}
    return {key: value if isfinite(value) else None for key, value in row.items()}


# --------------------------------------------------------------------------------------- states

_STATE_FILE = "trainer_state.json"  # written last


def _last_state(folder: Path) -> Path | None:
    """The newest state that is whole; what a kill left half written is removed."""
    found: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        if _read_state(path) is None:
            with suppress(OSError):
                shutil.rmtree(path)
        else:
            found.append((int(path.name.partition("-")[2]), path))
    return max(found)[1] if found else None


def _read_state(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((path / _STATE_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _stopped(path: Path) -> bool:
    """Whether training had come to its end when this state was saved."""
    state = _read_state(path) or {}
    control = state.get("stateful_callbacks", {}).get("TrainerControl", {}).get("args", {})
    return bool(control.get("should_training_stop"))
