"""The packaged refiner's network: one pass over a document, a probability of noise for each line.

A document is always computed alone, so its result does not depend on what came before or stands
beside it. A document of more than `WINDOW_LINES` lines is read in overlapping windows of lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike, NDArray

from burnish.errors import RefinerError
from burnish.refiners.document_head import WEIGHTS_FILE as HEAD_FILE
from burnish.refiners.document_head import DocumentHead
from burnish.refiners.features import FEATURE_VERSION, Features, features

T = TypeVar("T")

WEIGHTS = Path(__file__).parent / "weights"
LINES_FILE = "lines.onnx"

THRESHOLD = 0.5
"""Probability of noise from which a line is best removed: training shifts the scores to this."""

SEGMENT_LINES = 1 << 16
"""A document of more lines is read in parts of so many, which bounds memory (0.6 KB a line)."""

WINDOW_LINES = 4096
MARGIN_LINES = 64
"""Lines that a window sees on either side of those it answers for: more than convolutions reach."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the network thinks of one document.

    Attributes:
        noise: how likely each line is noise, 0 to 1, shifted so that `THRESHOLD` is the best cut;
            `[lines]`, one more than there are line feeds.
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


class Judge(Protocol):
    """Judges a whole document by its text, features and lines' noise: edu, format, keep."""

    def predict(
        self, text: str, found: Features, noise: ArrayLike
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


def _read(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except Exception as error:  # each library has its own for a file that is missing or damaged
        raise RefinerError(f"can not load {path}: {error}") from error


def _segments(text: str) -> Iterator[str]:
    """The text in parts of at most `SEGMENT_LINES` lines, the LF between two parts left out."""
    if text.count("\n") < SEGMENT_LINES:
        yield text
        return
    lines = text.split("\n")
    for first in range(0, len(lines), SEGMENT_LINES):
        yield "\n".join(lines[first : first + SEGMENT_LINES])


class Tagger:
    """A line tagger read from a folder.

    >>> tagger = Tagger.load()
    >>> tagger.predict("Home\\nA text.\\n").noise.shape
    (3,)
    """

    def __init__(self, session: onnxruntime.InferenceSession, head: Judge | None = None) -> None:
        about = session.get_modelmeta().custom_metadata_map
        if int(about["features"]) != FEATURE_VERSION:
            raise ValueError(
                f"the line tagger was trained on features version {about['features']}, "
                f"this package has version {FEATURE_VERSION}: train it again"
            )
        self.head = head
        self._session = session
        self._shift = np.uint32(32 - (int(about["vocabulary"]).bit_length() - 1))

    @classmethod
    def load(cls, folder: str | Path | None = None, head: Judge | None = None) -> Self:
        """Reads the network of a folder, by default the packaged one.

        The document head of the folder is read too, if it has one and no other is given.

        Raises:
            RefinerError: a file is missing, damaged, or made for another version of the features.
        """
        root = WEIGHTS if folder is None else Path(folder)
        head_file, lines_file = root / HEAD_FILE, root / LINES_FILE
        if head is None and head_file.exists():
            head = _read(head_file, lambda: DocumentHead.load(root))
        return _read(lines_file, lambda: cls(open_session(lines_file), head))

    def predict(self, text: str) -> Prediction:
        """Reads a document; deterministic, and the same whatever else is predicted.

        Of a document of more than `SEGMENT_LINES` lines each part is read by itself, and the first
        one gives the scores.
        """
        parts = [self._predict(part) for part in _segments(text)]
        if len(parts) == 1:
            return parts[0]
        noise = np.concatenate([part.noise for part in parts])
        summary: NDArray[np.float32] = np.stack([part.summary for part in parts]).mean(axis=0)
        return replace(parts[0], noise=noise, summary=summary)

    def _predict(self, text: str) -> Prediction:
        found = features(text)
        noise, summary = self._lines(found)
        if self.head is None:
            return Prediction(noise, summary)
        edu, form, keep = self.head.predict(text, found, noise)
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
