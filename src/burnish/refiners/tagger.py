"""The packaged refiner's network: one pass over a document, a probability of noise for each line.

A document is always computed alone, so its result does not depend on what came before or stands
beside it. A document of more than `WINDOW_LINES` lines is read in overlapping windows of lines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from burnish.refiners.features import FEATURE_VERSION, Features, features

WEIGHTS = Path(__file__).parent / "weights"
LINES_FILE = "lines.onnx"
CARD_FILE = "card.json"

WINDOW_LINES = 4096
MARGIN_LINES = 64
"""Lines that a window sees on either side of those it answers for; more than the network's reach."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the network thinks of one document.

    Attributes:
        noise: probability that each line is noise, `[lines]`; a line for every line feed and one more.
        summary: the document as the network sees it, `[context]`; mean over windows.
        edu: educational value, 0 to 5; NaN without a document head.
        format: quality of the extraction, 0 to 5; NaN without a document head.
        keep: probability that the document is worth keeping; NaN without a document head.
    """

    noise: NDArray[np.float32]
    summary: NDArray[np.float32]
    edu: float = float("nan")
    format: float = float("nan")
    keep: float = float("nan")


class DocumentHead(Protocol):
    """Judges a whole document: returns `(edu, format, keep)`."""

    def __call__(
        self, text: str, found: Features, noise: NDArray[np.float32], summary: NDArray[np.float32]
    ) -> tuple[float, float, float]: ...


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Opens a graph for one core; the same input gives the same bits."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )


class Tagger:
    """A line tagger read from a folder.

    >>> tagger = Tagger.load()
    >>> tagger.predict("Home\\nA text.\\n").noise.shape
    (3,)
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        card: Mapping[str, Any],
        head: DocumentHead | None = None,
    ) -> None:
        if card["features"] != FEATURE_VERSION:
            raise ValueError(
                f"The weights need features of version {card['features']}; "
                f"this package computes version {FEATURE_VERSION}."
            )
        self.card = card
        self.head = head
        self._session = session
        self._shift = np.uint32(32 - (int(card["vocabulary"]).bit_length() - 1))

    @classmethod
    def load(cls, folder: str | Path | None = None, head: DocumentHead | None = None) -> Tagger:
        """Reads network and card from a folder, by default the packaged one."""
        root = WEIGHTS if folder is None else Path(folder)
        card = json.loads((root / CARD_FILE).read_text("utf-8"))
        return cls(open_session(root / LINES_FILE), card, head)

    @property
    def threshold(self) -> float:
        """Probability of noise from which a line is removed, as chosen on the dev files."""
        return float(self.card["thresholds"]["line"])

    def predict(self, text: str) -> Prediction:
        """Reads a document; deterministic, and the same whatever else is predicted."""
        found = features(text)
        noise, summary = self._lines(found)
        if self.head is None:
            return Prediction(noise, summary)
        edu, form, keep = self.head(text, found, noise, summary)
        return Prediction(noise, summary, edu, form, keep)

    def _lines(self, found: Features) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        total = len(found)
        if total <= WINDOW_LINES:
            return self._window(found, 0, total, 0, len(found.tokens))
        at = np.concatenate(([0], np.cumsum(found.counts)))
        noise = np.empty(total, np.float32)
        summaries = []
        for start in range(0, total, WINDOW_LINES - 2 * MARGIN_LINES):
            stop = min(start + WINDOW_LINES - 2 * MARGIN_LINES, total)
            first, last = max(start - MARGIN_LINES, 0), min(stop + MARGIN_LINES, total)
            part, summary = self._window(found, first, last, int(at[first]), int(at[last]))
            noise[start:stop] = part[start - first : stop - first]
            summaries.append(summary)
        return noise, np.mean(summaries, axis=0, dtype=np.float32)

    def _window(
        self, found: Features, first: int, last: int, token_first: int, token_last: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        tokens = found.tokens[token_first:token_last] >> self._shift
        lines = found.lines[first:last] >> self._shift
        noise, summary = self._session.run(
            ["noise", "summary"],
            {
                "tokens": tokens.view(np.int32),
                "owners": np.repeat(np.arange(last - first), found.counts[first:last]),
                "lines": lines.view(np.int32),
                "surface": found.surface[first:last],
                "weights": found.weights[first:last],
            },
        )
        return noise, summary[0]
