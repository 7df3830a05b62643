"""Turns a Hugging Face checkpoint into the files that OpenVINO GenAI reads.

The graph is built from the configuration and the weights, operation by operation, in the shape that
OpenVINO recognises and fuses. It covers decoders in the manner of Llama: `MODEL_TYPES`. Other
models are exported with `optimum-cli export openvino`; the engine reads those folders too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from burnish.errors import MissingExtra, RefinerError
from burnish.refiners.engines.exports import new_export

try:
    import openvino as ov
    from openvino import opset13 as ops
    from openvino.op.util import Variable, VariableInfo
except ImportError as error:
    raise MissingExtra("the OpenVINO export", "openvino", "openvino") from error

MODEL_FILE = "openvino_model.xml"

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")

_LIKE_OPTIMUM = (
    "Export it with: optimum-cli export openvino --model {folder} --weight-format int8 OUT"
)


def export(
    folder: Path, out: Path, *, int8: bool = True, note: tuple[str, str] | None = None
) -> None:
    """Writes the OpenVINO files of a checkpoint into the folder `out`.

    `out` appears complete or not at all; it is left as it is if another process made it meanwhile.

    Args:
        folder: holds config.json, *.safetensors and tokenizer.json.
        int8: stores matrices as 8-bit integers, one scale for each row; else as they are.
        note: name and text of one more file to write.

    Raises:
        MissingExtra: without transformers or openvino-tokenizers, which convert the tokenizer.
        RefinerError: the checkpoint is damaged, or not of a kind that can be exported here.
    """
    config = _read_config(folder)
    with new_export(folder, out, MODEL_FILE, note) as part:
        with _Weights(folder) as weights:
            model = _Builder(config, weights, int8).model()
            ov.save_model(model, part / MODEL_FILE, compress_to_fp16=False)
            del model
        _save_tokenizer(folder, part)


# --------------------------------------------------------------------------------- configuration


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RefinerError(f"can not read {folder / 'config.json'}: {error}") from error
    kind = config.get("model_type")
    why = ""
    if kind not in MODEL_TYPES:
        why = f"a model of type {kind!r}; known are {', '.join(MODEL_TYPES)}"
    elif config.get("quantization_config"):
        why = "a checkpoint that is already quantized"
    elif config.get("hidden_act", "silu") != "silu":
        why = f"the activation {config['hidden_act']!r}"
    elif "sliding_attention" in config.get("layer_types", ()) or (
        config.get("sliding_window") and (kind == "mistral" or config.get("use_sliding_window"))
    ):
        why = "attention with a sliding window"
    if why:
        raise RefinerError(
            f"{folder}: burnish can not turn {why} into OpenVINO. "
            + _LIKE_OPTIMUM.format(folder=folder)
        )
    return config


def _frequencies(config: Mapping[str, Any], size: int, folder: Path) -> NDArray[np.float32]:
    """Angle by which each pair of a head's dimensions turns per position, `[size / 2]`.

    The kinds "default", "linear" and "llama3", as Hugging Face defines them.
    """
    rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    base = float(rope.get("rope_theta", config.get("rope_theta", 10000.0)))
    kind = rope.get("rope_type", rope.get("type", "default"))
    partial = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    found = 1.0 / base ** (np.arange(0, size, 2, dtype=np.float64) / size)
    if kind not in ("default", "linear", "llama3") or partial != 1.0:
        raise RefinerError(
            f"{folder}: burnish can not turn rotary positions of kind {kind!r} into OpenVINO. "
            + _LIKE_OPTIMUM.format(folder=folder)
        )
    if kind == "linear":
        found = found / rope["factor"]
    elif kind == "llama3":  # long waves are stretched, short ones kept, those between are mixed
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        turns = rope["original_max_position_embeddings"] * found / (2 * math.pi)
        kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
        found = kept * found + (1 - kept) * found / rope["factor"]
    return found.astype(np.float32)


# --------------------------------------------------------------------------------------- weights

_STORED: dict[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


class _Weights:
    """The tensors of a checkpoint, mapped from its safetensors files and read one at a time.

    A safetensors file is the length of its header (8 bytes, little-endian), the header (JSON: type,
    shape and byte range of each tensor) and the tensors.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tensors: dict[str, tuple[NDArray[np.uint8], dict[str, Any]]] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                data = np.memmap(path, mode="r")
                start = 8 + int(data[:8].view("<u8")[0])
                header = json.loads(bytes(data[8:start]))
            except (OSError, ValueError, IndexError) as error:
                raise RefinerError(f"can not read {path}: {error}") from error
            for name, about in header.items():
                if name != "__metadata__":
                    self._tensors[name] = (data[start:], about)
        if not self._tensors:
            raise RefinerError(f"{folder}: there is no .safetensors file")

    def __enter__(self) -> _Weights:
        return self

    def __exit__(self, *_: object) -> None:
        self._tensors.clear()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def stored(self, name: str) -> tuple[NDArray[Any], str]:
        """A tensor as it lies in the file, bfloat16 as uint16, and its type."""
        try:
            data, about = self._tensors[name]
            first, last = about["data_offsets"]
            array = data[first:last].view(_STORED[about["dtype"]]).reshape(about["shape"])
        except (KeyError, ValueError) as error:
            raise RefinerError(
                f"{self._folder}: the tensor {name} is missing, damaged or of an unknown type"
            ) from error
        return array, about["dtype"]

    def read(self, name: str) -> NDArray[np.float32]:
        """A tensor as float32."""
        array, kind = self.stored(name)
        if kind == "BF16":  # the upper half of a float32
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(np.float32)


def quantize(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A matrix `[rows, columns]` as integers from -127 to 127 and scales `[rows, 1]`."""
    scale = np.abs(matrix).max(axis=1, keepdims=True) / np.float32(127)
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    return np.rint(matrix / scale).astype(np.int8), scale


# ----------------------------------------------------------------------------------------- graph


class _Matrix:
    """A weight matrix `[out, in]` in the graph; whoever uses it reads it as float32."""

    def __init__(self, weights: _Weights, name: str, int8: bool) -> None:
        self._scale: Any = None
        if int8:
            integers, scale = quantize(weights.read(name))
            self._stored, self._scale = ops.constant(integers), ops.constant(scale)
        elif weights.stored(name)[1] == "BF16":
            array = weights.stored(name)[0]
            tensor = ov.Tensor(np.ascontiguousarray(array), list(array.shape), ov.Type.bf16)
            self._stored = ops.constant(tensor)
        else:
            self._stored = ops.constant(np.ascontiguousarray(weights.stored(name)[0]))
        self._whole: Any = None

    def _float(self, node: Any) -> Any:
        return node if node.get_element_type() == ov.Type.f32 else ops.convert(node, "f32")

    def times(self, x: Any) -> Any:
        """`x` `[batch, tokens, in]` to `[batch, tokens, out]`."""
        if self._whole is None:
            self._whole = self._float(self._stored)
            if self._scale is not None:
                self._whole = ops.multiply(self._whole, self._scale)
        return ops.matmul(x, self._whole, False, True)

    def rows(self, index: Any) -> Any:
        found = self._float(ops.gather(self._stored, index, _i64(0)))
        if self._scale is not None:
            found = ops.multiply(found, ops.gather(self._scale, index, _i64(0)))
        return found


def _i64(*values: int) -> Any:
    array = np.array(values[0] if len(values) == 1 else values, dtype=np.int64)
    return ops.constant(array)


def _list(*values: int) -> Any:
    return ops.constant(np.array(values, dtype=np.int64))


def _f32(value: float) -> Any:
    return ops.constant(np.array(value, dtype=np.float32))


def _input(name: str, *shape: int) -> Any:
    node = ops.parameter(list(shape), np.int64, name=name)
    node.output(0).get_tensor().set_names({name})
    return node


class _Builder:
    """Builds the graph of one checkpoint.

    Inputs: input_ids and position_ids `[batch, tokens]`, attention_mask `[batch, past + tokens]`,
    beam_idx `[batch]` (which row of the last batch each row goes on from). Output: logits
    `[batch, tokens, vocabulary]`. State: keys and values of each layer,
    `[batch, key-value heads, past, size]`.
    """

    def __init__(self, config: Mapping[str, Any], weights: _Weights, int8: bool) -> None:
        self._config = config
        self._weights = weights
        self._int8 = int8
        self._heads = int(config["num_attention_heads"])
        self._groups = int(config.get("num_key_value_heads") or self._heads)
        self._width = int(config["hidden_size"])
        self._size = int(config.get("head_dim") or self._width // self._heads)
        self._epsilon = float(config.get("rms_norm_eps", 1e-6))
        self._sinks: list[Any] = []

    def model(self) -> ov.Model:
        ids = _input("input_ids", -1, -1)
        mask = _input("attention_mask", -1, -1)
        positions = _input("position_ids", -1, -1)
        beam = ops.parameter([-1], np.int32, name="beam_idx")
        beam.output(0).get_tensor().set_names({"beam_idx"})
        self._beam = beam
        self._batch = ops.gather(ops.shape_of(ids, "i64"), _list(0), _i64(0))
        self._bias = self._attention_bias(ids, mask)
        self._cosine, self._sine = self._rotation(positions)

        tied = "lm_head.weight" not in self._weights
        embedding = _Matrix(self._weights, "model.embed_tokens.weight", self._int8)
        x = embedding.rows(ids)
        for layer in range(int(self._config["num_hidden_layers"])):
            name = f"model.layers.{layer}"
            x = ops.add(x, self._attention(name, layer, self._norm(f"{name}.input_layernorm", x)))
            x = ops.add(
                x, self._perceptron(name, self._norm(f"{name}.post_attention_layernorm", x))
            )
        x = self._norm("model.norm", x)
        head = embedding if tied else _Matrix(self._weights, "lm_head.weight", self._int8)
        logits = head.times(x)
        logits.output(0).get_tensor().set_names({"logits"})
        result = ops.result(logits, name="logits")
        return ov.Model([result], self._sinks, [ids, mask, positions, beam], "burnish")

    def _linear(self, name: str, x: Any) -> Any:
        y = _Matrix(self._weights, f"{name}.weight", self._int8).times(x)
        if f"{name}.bias" in self._weights:
            y = ops.add(y, ops.constant(self._weights.read(f"{name}.bias").reshape(1, 1, -1)))
        return y

    def _norm(self, name: str, x: Any) -> Any:
        mean = ops.reduce_mean(ops.power(x, _f32(2.0)), _list(-1), True)
        inverse = ops.divide(_f32(1.0), ops.sqrt(ops.add(mean, _f32(self._epsilon))))
        gain = ops.constant(self._weights.read(f"{name}.weight"))
        return ops.multiply(ops.multiply(x, inverse), gain)

    def _perceptron(self, name: str, x: Any) -> Any:
        gate = ops.swish(self._linear(f"{name}.mlp.gate_proj", x))
        up = self._linear(f"{name}.mlp.up_proj", x)
        return self._linear(f"{name}.mlp.down_proj", ops.multiply(gate, up))

    def _split(self, x: Any, heads: int, norm: str = "") -> Any:
        """`[batch, tokens, heads * size]` to `[batch, heads, tokens, size]`."""
        x = ops.reshape(x, _list(0, 0, heads, self._size), True)
        if norm and f"{norm}.weight" in self._weights:
            x = self._norm(norm, x)
        return ops.transpose(x, _list(0, 2, 1, 3))

    def _attention(self, name: str, layer: int, x: Any) -> Any:
        at = f"{name}.self_attn"
        query = self._split(self._linear(f"{at}.q_proj", x), self._heads, f"{at}.q_norm")
        key = self._split(self._linear(f"{at}.k_proj", x), self._groups, f"{at}.k_norm")
        value = self._split(self._linear(f"{at}.v_proj", x), self._groups)
        key = self._remember(f"past_key_values.{layer}.key", self._turn(key))
        value = self._remember(f"past_key_values.{layer}.value", value)
        scale = _f32(self._size**-0.5)
        mixed = ops.scaled_dot_product_attention(
            self._turn(query), self._repeat(key), self._repeat(value), self._bias, scale
        )
        joined = ops.transpose(mixed, _list(0, 2, 1, 3))
        joined = ops.reshape(joined, _list(0, 0, self._heads * self._size), True)
        return self._linear(f"{at}.o_proj", joined)

    def _remember(self, name: str, new: Any) -> Any:
        """Keys or values of all tokens so far; the state then holds them."""
        info = VariableInfo()
        info.variable_id = name
        info.data_type = ov.Type.f32
        info.data_shape = ov.PartialShape([-1, self._groups, -1, self._size])
        variable = Variable(info)
        shape = ops.concat([self._batch, _list(self._groups, 0, self._size)], 0)
        past = ops.read_value(ops.broadcast(_f32(0.0), shape), variable)
        both = ops.concat([ops.gather(past, self._beam, _i64(0)), new], 2)
        self._sinks.append(ops.assign(both, variable))
        return both

    def _repeat(self, x: Any) -> Any:
        """Each group's keys or values once for every head that shares them."""
        times = self._heads // self._groups
        if times == 1:
            return x
        apart = ops.unsqueeze(x, _i64(2))
        shape = _list(1, 1, times, 1, 1)
        spread = ops.broadcast(apart, shape, broadcast_spec="BIDIRECTIONAL")
        return ops.reshape(spread, _list(0, self._heads, -1, self._size), True)

    def _rotation(self, positions: Any) -> tuple[Any, Any]:
        """Cosine and sine of every position's angles, `[batch, 1, tokens, size]`."""
        found = _frequencies(self._config, self._size, self._weights._folder)
        where = ops.convert(ops.unsqueeze(positions, _i64(1)), "f32")
        angles = ops.matmul(ops.constant(found.reshape(1, -1, 1)), where, False, False)
        angles = ops.transpose(angles, _list(0, 2, 1))
        angles = ops.concat([angles, angles], -1)
        return ops.unsqueeze(ops.cos(angles), _i64(1)), ops.unsqueeze(ops.sin(angles), _i64(1))

    def _turn(self, x: Any) -> Any:
        half = self._size // 2
        first, second = ops.variadic_split(x, _i64(-1), _list(half, half)).outputs()
        other = ops.concat([ops.multiply(second, _f32(-1.0)), first], -1)
        return ops.add(ops.multiply(x, self._cosine), ops.multiply(other, self._sine))

    def _attention_bias(self, ids: Any, mask: Any) -> Any:
        """0 where a token may look, else the lowest number: `[batch, 1, tokens, past + tokens]`."""
        tokens = ops.gather(ops.shape_of(ids, "i64"), _i64(1), _i64(0))
        total = ops.gather(ops.shape_of(mask, "i64"), _i64(1), _i64(0))
        column = ops.range(_i64(0), total, _i64(1), "i64")
        row = ops.range(ops.subtract(total, tokens), total, _i64(1), "i64")
        before = ops.less_equal(column, ops.unsqueeze(row, _i64(1)))
        there = ops.unsqueeze(ops.convert(mask, "boolean"), _list(1, 2))
        low = _f32(float(np.finfo(np.float32).min))
        return ops.select(ops.logical_and(there, before), _f32(0.0), low)


# ------------------------------------------------------------------------------------- tokenizer


def _save_tokenizer(folder: Path, out: Path) -> None:
    try:
        from openvino_tokenizers import convert_tokenizer
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtra(
            "the OpenVINO export", "transformers and openvino-tokenizers", "openvino"
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        forth, back = convert_tokenizer(
            tokenizer, with_detokenizer=True, clean_up_tokenization_spaces=False
        )
    except Exception as error:  # either library has its own for a tokenizer it does not know
        raise RefinerError(f"{folder}: can not convert its tokenizer: {error}") from error
    ov.save_model(forth, out / "openvino_tokenizer.xml")
    ov.save_model(back, out / "openvino_detokenizer.xml")
