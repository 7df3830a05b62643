"""Language models with random weights and clear decisions, in the shapes that exports know."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers

from burnish.refiners.engines.base import Request

SENTENCES = [
    "The tide table hangs beside the harbour office.",
    "Home | About us | Contact",
    "Read more: seven ways to mend a bicycle chain",
    "keep_chunk()",
    "remove_lines(line_start=1, line_end=20)",
]
GRAMMAR = """root ::= "keep_chunk()" | call ("\\n" call)*
call ::= "remove_lines(line_start=" line ", line_end=" line ")"
line ::= [0-9] | [1-9] [0-9] | "1" [0-9] [0-9] | "2" [0-9] [0-9]
"""
CALL = r"remove_lines\(line_start=\d{1,3}, line_end=\d{1,3}\)"
PROGRAM = re.compile(rf"keep_chunk\(\)|{CALL}(\n{CALL})*")
END = 1
CONTEXT = 256
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 50000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("Llama", "float32", {}),
    "llama3": ("Llama", "float16", {"rope_parameters": LLAMA3_ROPE, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2", "bfloat16", {}),
    "qwen3": ("Qwen3", "float32", {"head_dim": 32}),
}
"""Of each model: its class, how it is stored, and what its configuration has of its own."""


def write_tokenizer(folder: Path, sentencepiece: bool) -> int:
    """Writes a tokenizer like those of Qwen3 or, with `sentencepiece`, of Llama 2; its size."""
    pre, decoders = tokenizers.pre_tokenizers, tokenizers.decoders
    specials = ["<s>", "</s>"]
    if sentencepiece:
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True))
        tokenizer.pre_tokenizer = pre.Metaspace(split=False)
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        first = [*specials, *(f"<0x{byte:02X}>" for byte in range(256))]
        alphabet = []
    else:
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        first, alphabet = specials, pre.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=440, special_tokens=first, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] in specials]
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(data)),
        bos_token="<s>",
        eos_token="</s>",
    )
    fast.save_pretrained(folder)
    return int(tokenizer.get_vocab_size())


def make(folder: Path, kind: str) -> Any:
    """Writes a checkpoint; its weights are large enough for clear decisions."""
    size = write_tokenizer(folder, kind == "llama")
    name, stored, more = KINDS[kind]
    config = getattr(transformers, f"{name}Config")(
        vocab_size=-(-size // 64) * 64,  # more than there are tokens, as usual
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=END,
        pad_token_id=END,
        **more,
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5) if parameter.dim() > 1 else parameter.normal_(1, 0.2)
    model.to(getattr(torch, stored)).save_pretrained(folder)
    return type(model).from_pretrained(folder, dtype=torch.float32).eval()


@dataclass
class Tiny:
    """A checkpoint, the same model in transformers, and an engine that is compared with it."""

    folder: Path
    model: Any
    engine: Any
    size: int  # of the vocabulary

    def prompts(self, number: int, seed: int = 0) -> list[list[int]]:
        chance = random.Random(seed)
        return [
            [chance.randrange(2, self.size) for _ in range(chance.randint(1, 90))]
            for _ in range(number)
        ]

    def log_softmax(self, ids: list[int]) -> Any:
        with torch.no_grad():
            return self.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)

    def check_generates(self) -> list[tuple[float, float]]:
        """That the engine writes what transformers writes; the margin of each answer as the engine
        tells it and as it is."""
        prompts = self.prompts(8)
        answers = self.engine.generate([Request(prompt, 24) for prompt in prompts])
        tokenizer = tokenizers.Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        margins = []
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = self.model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones((1, len(prompt))),
                max_new_tokens=24,
                do_sample=False,
            )[0].tolist()[len(prompt) :]
            values = self.log_softmax([*prompt, *ids])[len(prompt) - 1 : -1]
            best = values.topk(2).values
            ended = ids[-1] == END
            assert answer.finish == ("stop" if ended else "length")
            assert answer.tokens == len(ids) - ended
            assert answer.text == tokenizer.decode(ids)
            told = float(values[range(len(ids)), ids].sum())
            assert answer.log_probability == pytest.approx(told, abs=1e-3)
            margins.append((answer.margin, float((best[:, 0] - best[:, 1]).min())))
        return margins

    def check_scores(self, choices: Sequence[list[int]]) -> None:
        """That the engine gives each choice the log probability that transformers gives it, of one
        prompt alone as of several."""
        prompts = self.prompts(3, seed=1)
        found = self.engine.score(prompts, choices)
        for prompt, row in zip(prompts, found, strict=True):
            for choice, value in zip(choices, row, strict=True):
                values = self.log_softmax(prompt + choice)[len(prompt) - 1 : -1]
                wanted = float(values[range(len(choice)), choice].sum())
                assert value == pytest.approx(wanted, abs=1e-3)
        alone = self.engine.score([prompts[1]], choices)[0]
        assert found[1] == pytest.approx(alone, abs=self.engine.score_tolerance)
        assert alone == self.engine.score([prompts[1]], choices)[0]
        assert self.engine.score(prompts, []) == [[], [], []]
