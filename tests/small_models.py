"""Small language models that write real programs, made from nothing in a minute.

    python tests/small_models.py FOLDER [llama|qwen3]

A model of one to two million parameters, with a tokenizer trained on the same pages, is fine-tuned
on our own documents until it writes their programs in every dialect that its family speaks. It is a
folder like any other checkpoint: config.json, tokenizer.json, model.safetensors.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from small_pages import DIALECTS, PAGES, TEMPLATES, Page, gold, made_pages, write_card
from small_pages import write_tokenizer as write_tokenizer

from burnish.dialects import get_dialect
from burnish.program.lines import Chunk
from burnish.refiners.checkpoint import Checkpoint


def make_model(folder: Path, family: str, *, hidden: int = 128, layers: int = 3) -> list[Page]:
    """Writes the checkpoint of a "llama" or "qwen3" model; returns the pages that it knows."""
    torch.manual_seed(0)
    pages = made_pages(PAGES)
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, family, pages)
    model = _model(family, hidden, layers, Checkpoint(folder).tokens.size, folder)
    _train(model, folder, family, pages)
    model.save_pretrained(folder)
    return pages


def make_base(folder: Path, family: str, *, hidden: int = 64, layers: int = 2) -> Path:
    """Writes a model that has learnt nothing, to be trained."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, family, made_pages(PAGES))
    size = Checkpoint(folder).tokens.size
    _model(family, hidden, layers, size, folder).save_pretrained(folder)
    return folder


# ---------------------------------------------------------------------------------- the model


def _model(family: str, hidden: int, layers: int, vocabulary: int, folder: Path) -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    kind, config = {
        "llama": (LlamaForCausalLM, LlamaConfig),
        "qwen3": (Qwen3ForCausalLM, Qwen3Config),
    }[family]
    heads = max(hidden // 32, 2)
    settings = config(
        vocab_size=-(-vocabulary // 64) * 64,
        hidden_size=hidden,
        intermediate_size=hidden * 2,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=32,
        max_position_embeddings=2_048,
        tie_word_embeddings=True,
        bos_token_id=1 if family == "llama" else None,
        eos_token_id=Checkpoint(folder).end_tokens[0],
    )
    return kind(settings)


def _examples(folder: Path, family: str, pages: Sequence[Page]) -> list[tuple[list[int], int]]:
    """Prompt and program of every page in every dialect; the ids, and where the program begins."""
    checkpoint = Checkpoint(folder)
    tokens = checkpoint.tokens
    found = []
    for name in DIALECTS[family]:
        dialect = get_dialect(name)
        template = checkpoint.template(
            TEMPLATES[family], dialect.render(Chunk([""], 0, (0, 0))).system
        )
        for page in pages:
            chunk = Chunk.whole(page.text)
            prompt = template.encode(tokens, dialect.render(chunk).user)
            answer = dialect.format(gold(page, name), chunk)
            ids = tokens.exactly(answer)  # begins with a blank where the tokenizer sets one
            found.append(([*prompt, *ids, checkpoint.end_tokens[0]], len(prompt)))
    return found


def _train(model: torch.nn.Module, folder: Path, family: str, pages: Sequence[Page]) -> None:
    """Trains on the programs alone until the model writes each of them."""
    examples = _examples(folder, family, pages)
    chance = random.Random(0)
    rate = 2e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    model.train()
    right = 0  # batches in a row without a mistake
    for step in range(1_500):
        batch = chance.sample(examples, 16)
        ids, labels = _batch(batch)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 30, 0.1 + 0.9 * max(0.0, 1 - step / 600))
        out = model(input_ids=ids)
        logits, wanted = out.logits[:, :-1], labels[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        right = right + 1 if _all_right(logits, wanted) and loss.item() < 0.02 else 0
        if right >= 6 and _knows(model, examples):
            break
    model.eval()


def _batch(examples: Sequence[tuple[list[int], int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels [example, place]; what is not part of a program has the label -100."""
    width = max(len(row) for row, _ in examples)
    ids = torch.zeros((len(examples), width), dtype=torch.long)
    labels = torch.full((len(examples), width), -100)
    for n, (row, start) in enumerate(examples):
        ids[n, : len(row)] = torch.tensor(row)
        labels[n, start : len(row)] = torch.tensor(row[start:])
    return ids, labels


def _all_right(logits: torch.Tensor, wanted: torch.Tensor) -> bool:
    return bool(((logits.argmax(-1) == wanted) | (wanted == -100)).all())


@torch.inference_mode()
def _knows(model: torch.nn.Module, examples: Sequence[tuple[list[int], int]]) -> bool:
    """Whether greedy decoding would write every program."""
    ids, labels = _batch(examples)
    return _all_right(model(input_ids=ids).logits[:, :-1], labels[:, 1:])


if __name__ == "__main__":
    target, family_name = Path(sys.argv[1]), (sys.argv[2:] or ["llama"])[0]
    make_model(target, family_name)
    for dialect_name in DIALECTS[family_name]:
        print(write_card(target, family_name, dialect_name))
