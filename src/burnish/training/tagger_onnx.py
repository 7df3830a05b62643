"""Writes a trained `LineNet` as an ONNX graph for one document at a time.

The graph is spelt out by hand: it pools tokens by scattering, keeps the embedding table in eight
bits, and needs none of the padding and masks that training uses to put documents side by side.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from burnish.refiners.features import FEATURE_VERSION, LINE_COLUMNS, SURFACE, TOKEN_COLUMNS

if TYPE_CHECKING:
    from burnish.training.network import Context, LineNet, Scan
    from burnish.training.policy import Policy

OPSET = 18


class Graph:
    """Nodes and constants under construction; `node` returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._shared: dict[bytes, str] = {}

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        array = np.ascontiguousarray(value, dtype=dtype)
        key = str((array.dtype, array.shape)).encode() + array.tobytes()
        if key not in self._shared:
            self._shared[key] = f"c{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, self._shared[key]))
        return self._shared[key]

    def node(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        output = name or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def split(self, value: str, axis: int, sizes: list[int]) -> list[str]:
        names = [f"n{len(self.nodes)}_{k}" for k in range(len(sizes))]
        lengths = self.constant(sizes, np.int64)
        self.nodes.append(helper.make_node("Split", [value, lengths], names, axis=axis))
        return names

    def axes(self, *axes: int) -> str:
        return self.constant(axes, np.int64)

    def linear(self, value: str, layer: Any) -> str:
        weight = self.constant(layer.weight.detach().numpy().T)
        return self.node("Gemm", value, weight, self.constant(layer.bias.detach().numpy()))

    def norm(self, value: str, layer: Any) -> str:
        scale = self.constant(layer.weight.detach().numpy())
        bias = self.constant(layer.bias.detach().numpy())
        return self.node("LayerNormalization", value, scale, bias, axis=-1, epsilon=layer.eps)


def quantise(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds a table to int8 with one scale a column.

    Nothing is clipped: the largest values belong to the most telling tokens, and clipping one in
    ten thousand cost 0.004 of kept-word F1.
    """
    limit = np.maximum(np.abs(table).max(axis=0), 1e-6)
    scale = (limit / 127).astype(np.float32)
    return np.clip(np.rint(table / scale), -127, 127).astype(np.int8), scale


def _lookup(g: Graph, table: str, ids: str, columns: int) -> str:
    """Sum of the table's rows named by each row of `ids`, still in units of the scale.

    Column by column: adding whole matrices is faster than one reduction over a middle axis.
    """
    total = ""
    for column in g.split(ids, 1, [1] * columns):
        rows = g.node("Gather", table, g.node("Squeeze", column, g.axes(1)), axis=0)
        rows = g.node("Cast", rows, to=TensorProto.FLOAT)
        total = g.node("Add", total, rows) if total else rows
    return total


def _embed(g: Graph, net: LineNet) -> str:
    size = net.config.embedding
    joined = np.concatenate((net.table.detach().numpy(), net.scores.detach().numpy()), 1)
    values, scale = quantise(joined)
    table = g.constant(values, np.int8)
    factor = g.constant(scale)
    tokens = g.node("Mul", _lookup(g, table, "tokens", TOKEN_COLUMNS), factor)
    vector, score = g.split(tokens, 1, [size, 1])
    score = g.node("Clip", score, g.constant(np.float32(-6)), g.constant(np.float32(6)))
    weight = g.node("Exp", score)
    weighted = g.node("Concat", g.node("Mul", vector, weight), weight, axis=1)
    count = g.node("Shape", "surface", start=0, end=1)
    shape = g.node("Concat", count, g.constant([size + 1], np.int64), axis=0)
    zeros = g.node("Expand", g.constant(np.float32(0)), shape)
    owners = g.node("Unsqueeze", "owners", g.axes(1))
    pooled = g.node("ScatterND", zeros, owners, weighted, reduction="add")
    total, mass = g.split(pooled, 1, [size, 1])
    mean = g.node("Div", total, g.node("Max", mass, g.constant(np.float32(1e-9))))
    whole = g.node("Mul", _lookup(g, table, "lines", LINE_COLUMNS), factor)
    whole, _ = g.split(whole, 1, [size, 1])
    return g.node("Concat", mean, whole, "surface", axis=1)


def _context(g: Graph, h: str, block: Context) -> str:
    d = block.dilation
    y = g.norm(h, block.norm)
    padded = g.node("Pad", y, g.constant([d, 0, d, 0], np.int64), g.constant(np.float32(0)))
    far = np.iinfo(np.int64).max
    zero, step = g.axes(0), g.constant([1], np.int64)
    left = g.node("Slice", padded, zero, g.constant([-2 * d], np.int64), zero, step)
    right = g.node("Slice", padded, g.constant([2 * d], np.int64), g.axes(far), zero, step)
    near = g.node("Concat", left, y, right, axis=1)
    inner = g.node("Relu", g.linear(near, block.wide))
    return g.node("Add", h, g.linear(inner, block.out))


def _summary(g: Graph, net: LineNet, y: str) -> str:
    attention = g.linear(y, net.attention)
    attention = g.node("Clip", attention, g.constant(np.float32(-8)), g.constant(np.float32(8)))
    attention = g.node("Exp", attention)
    sums = g.node("MatMul", g.node("Transpose", attention, perm=[1, 0]), y)
    norm = g.node("Transpose", g.node("ReduceSum", attention, g.axes(0), keepdims=1), perm=[1, 0])
    flat = g.node("Reshape", g.node("Div", sums, norm), g.constant([1, -1], np.int64))
    return g.node("Relu", g.linear(flat, net.summary), name="summary")


def _opinion(g: Graph, early: str) -> str:
    """Content seen before and after each line, and the document's rate of noise `[lines, 4]`."""
    doubt = g.node("Sigmoid", early)
    amount = g.node("Log", g.node("Add", "weights", g.constant(np.float32(1))))
    amount = g.node("Unsqueeze", amount, g.axes(1))
    content = g.node("Mul", g.node("Sub", g.constant(np.float32(1)), doubt), amount)
    total = g.node("ReduceSum", content, g.axes(0), keepdims=1)
    running = g.node("CumSum", content, g.constant(np.int64(0), np.int64))
    before = g.node("Sub", running, g.node("Mul", content, g.constant(np.float32(0.5))))
    after = g.node("Sub", total, before)
    one, third = g.constant(np.float32(1)), g.constant(np.float32(0.3))
    share = g.node("Div", before, g.node("Add", total, one))
    rate = g.node("ReduceMean", doubt, g.axes(0), keepdims=1)
    rate = g.node("Expand", rate, g.node("Shape", before))
    parts = []
    for side in (before, after):
        safe = g.node("Relu", side)
        parts.append(g.node("Mul", g.node("Log", g.node("Add", safe, one)), third))
    return g.node("Concat", *parts, share, rate, axis=1)


def _scan(g: Graph, scan: Scan, y: str) -> str:
    weight = g.linear(y, scan.weight)
    weight = g.node("Clip", weight, g.constant(np.float32(-4)), g.constant(np.float32(4)))
    weight = g.node("Unsqueeze", g.node("Exp", weight), g.axes(2))
    width = scan.value.out_features // scan.heads
    shape = g.constant([-1, scan.heads, width], np.int64)
    value = g.node("Mul", g.node("Reshape", g.linear(y, scan.value), shape), weight)
    both = g.node("Concat", value, weight, axis=2)
    flat = g.constant([-1, scan.heads * width], np.int64)
    axis = g.constant(np.int64(0), np.int64)
    sides = []
    for reverse in (0, 1):
        total, mass = g.split(g.node("CumSum", both, axis, reverse=reverse), 2, [width, 1])
        mass = g.node("Max", mass, g.constant(np.float32(1e-6)))
        sides.append(g.node("Reshape", g.node("Div", total, mass), flat))
    return g.node("Concat", *sides, axis=1)


def _shift(g: Graph, net: LineNet, policy: Policy, summary: str) -> str:
    """What the logits are lowered by, so that one half is the best cut: `[lines, 1]`."""
    kinds = g.node("Softmax", g.linear(summary, net.kind), axis=1)
    cuts = g.constant(np.array([policy.short, policy.long]).T)
    short, long = g.split(g.node("MatMul", kinds, cuts), 1, [1, 1])
    amount = g.node("Log", g.node("Add", "weights", g.constant(np.float32(1))))
    steep = g.node("Sub", amount, g.constant(np.float32(policy.centre)))
    step = g.node("Sigmoid", g.node("Mul", steep, g.constant(np.float32(policy.steepness))))
    return g.node("Add", g.node("Mul", g.node("Unsqueeze", step, g.axes(1)), long), short)


def export(net: LineNet, path: Path, policy: Policy) -> None:
    """Writes the graph.

    Inputs, for a document of `lines` lines and `tokens` tokens: `tokens` int32
    `[tokens, TOKEN_COLUMNS]`, `owners` int64 `[tokens]` (the line of each token), `lines` int32
    `[lines, LINE_COLUMNS]`, `surface` float32 `[lines, SURFACE]`, `weights` float32 `[lines]`.
    Outputs: `noise` float32 `[lines]` (probability) and `summary` float32 `[1, context]`.
    """
    net = net.eval()
    g = Graph()
    hidden, context = net.config.hidden, net.config.context
    h = g.node("Relu", g.linear(_embed(g, net), net.enter))
    for block in net.halves[0]:
        h = _context(g, h, block)
    y = g.norm(h, net.early_norm)
    opinion = _opinion(g, g.linear(y, net.early))
    summary = _summary(g, net, y)
    # the summary is the same for every line: its share of `modulate` is computed once
    weight = net.modulate.weight.detach().numpy().T
    bias = g.constant(net.modulate.bias.detach().numpy())
    common = g.node("Gemm", summary, g.constant(weight[:context]), bias)
    opinion = g.node("Concat", opinion, _scan(g, net.scan, y), axis=1)
    both = g.node("Add", g.node("MatMul", opinion, g.constant(weight[context:])), common)
    scale, move = g.split(both, 1, [hidden, hidden])
    scaled = g.node("Mul", h, g.node("Add", scale, g.constant(np.float32(1))))
    h = g.node("Add", scaled, g.node("Relu", move))
    for block in net.halves[1]:
        h = _context(g, h, block)
    logits = g.linear(g.norm(h, net.final_norm), net.final)
    noise, _ = g.split(logits, 1, [1, 1])
    noise = g.node("Sub", noise, _shift(g, net, policy, summary))
    g.node("Sigmoid", g.node("Squeeze", noise, g.axes(1)), name="noise")
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        g.nodes,
        "line_tagger",
        [
            info("tokens", TensorProto.INT32, ["tokens", TOKEN_COLUMNS]),
            info("owners", TensorProto.INT64, ["tokens"]),
            info("lines", TensorProto.INT32, ["lines", LINE_COLUMNS]),
            info("surface", TensorProto.FLOAT, ["lines", SURFACE]),
            info("weights", TensorProto.FLOAT, ["lines"]),
        ],
        [
            info("noise", TensorProto.FLOAT, ["lines"]),
            info("summary", TensorProto.FLOAT, [1, context]),
        ],
        g.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    about = {"features": str(FEATURE_VERSION), "vocabulary": str(net.config.vocabulary)}
    helper.set_model_props(model, about)
    onnx.checker.check_model(model)
    onnx.save(model, path)
