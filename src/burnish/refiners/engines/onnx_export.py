"""Turns a Hugging Face checkpoint into a decoder in ONNX, with the model builder of ONNX Runtime
GenAI.

It knows Llama, Mistral, Qwen2, Qwen3, Phi, Gemma, SmolLM3, Granite, OLMo and others. The folder can
be run by that library too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from burnish.errors import MissingExtra, RefinerError, UsageError
from burnish.refiners.engines.exports import new_export

MODEL_FILE = "model.onnx"

PRECISIONS = {"int4": "int4", "int8": "int8", "float32": "fp32"}
"""How matrices may be stored, and the builder's word for it. Integers have a scale for each block
of a row; what they are multiplied with is rounded to 8 bits, block by block, too."""

_BUILDER = "onnxruntime_genai.models.builder"
_NEEDED = ("onnxruntime_genai", "onnx_ir", "onnx", "torch", "transformers")


def export(
    folder: Path, out: Path, *, weights: str = "int8", note: tuple[str, str] | None = None
) -> None:
    """Writes the ONNX files of a checkpoint into the folder `out`, which appears complete or not at
    all.

    Args:
        folder: holds config.json, *.safetensors and tokenizer.json.
        weights: one of `PRECISIONS`.
        note: name and text of one more file to write.

    Raises:
        MissingExtra: without the builder or what it needs.
        RefinerError: the builder can not read the checkpoint, or does not know its kind.
        UsageError: for other weights.
    """
    if weights not in PRECISIONS:
        raise UsageError(f"weights are {', '.join(PRECISIONS)}, not {weights!r}")
    for name in _NEEDED:
        if find_spec(name) is None:
            raise MissingExtra("the ONNX export", name.replace("_", "-"), "onnx-export")
    with new_export(folder, out, MODEL_FILE, note) as part:
        _build(folder, part, PRECISIONS[weights])


def _build(folder: Path, out: Path, precision: str) -> None:
    """Runs the builder in a process of its own: it prints, and keeps the weights in memory."""
    with tempfile.TemporaryDirectory(prefix="burnish-") as scratch:
        done = subprocess.run(
            [
                sys.executable, "-m", _BUILDER, "-i", str(folder), "-o", str(out),
                "-p", precision, "-e", "cpu", "-c", scratch,
                "--extra_options", "prune_lm_head=true",  # logits of the last token alone
            ],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )  # fmt: skip
    if done.returncode or not (out / MODEL_FILE).is_file():
        said = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise RefinerError(f"{folder} can not be turned into ONNX: {said[-1]}")
