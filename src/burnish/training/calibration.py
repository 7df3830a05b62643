"""What the scores of a tagger mean: probabilities fitted on the dev files, judged by cross-fitting.

    python -m burnish.training.calibration DATA [REFINER]

fits the card of a trained refiner (by default the packaged one) again and leaves its weights as
they are. The network's own training pages can not serve: it knows them too well. So each site's
lines are judged by a map that was fitted on the other sites, and the map that is kept is fitted on
all of them.

Of temperature, Platt and beta scaling, isotonic regression and isotonic regression over groups, the
last has the smallest error over all lines. It is also the one whose map a card can hold.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from burnish.metrics import expected_calibration_error
from burnish.refiners.tagger import WEIGHTS, Tagger
from burnish.spec import Calibration, RefinerCard
from burnish.training.material import SCORED, dev_pages
from burnish.training.pages import Page, read

GROUPS = 15
"""Groups of equally many lines, of which each gives a point of the map."""
FOLDS = 10
DIGITS = 4
SIMULATIONS = 1000

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Lines:
    """Scored lines that have a label: the network's score, whether it is noise, fold of its site,
    file; each `[lines]`. Blank lines are left out: what is around them decides about them."""

    scores: Doubles
    noise: Bools
    folds: NDArray[np.int64]
    files: NDArray[np.str_]


def fit(scores: Doubles, actual: Bools, groups: int = GROUPS) -> Calibration:
    """The map through the means of `groups` groups of equal size, made to ascend.

    Neighbours whose shares of positives do not ascend are joined (isotonic regression); the ends of
    the map are (0, 0) and (1, 1).
    """
    order = np.argsort(scores, kind="stable")
    joined: list[tuple[float, int, int]] = []  # sum of scores, positives, count
    for group in np.array_split(order, groups):
        if not len(group):
            continue
        block = float(scores[group].sum()), int(actual[group].sum()), len(group)
        while joined and joined[-1][1] * block[2] >= block[1] * joined[-1][2]:
            before = joined.pop()
            block = before[0] + block[0], before[1] + block[1], before[2] + block[2]
        joined.append(block)
    points = [(0.0, 0.0)]
    for total, positives, count in joined:
        x, y = round(total / count, DIGITS), round(positives / count, DIGITS)
        if points[-1][0] < x < 1 and points[-1][1] < y < 1:
            points.append((x, y))
    return Calibration((*points, (1.0, 1.0)))


def apply(calibration: Calibration, scores: Doubles) -> Doubles:
    found: Doubles = np.interp(scores, calibration.scores, calibration.probabilities)
    return found


def cross_fitted(lines: Lines) -> Doubles:
    """The probability of each line, by a map that saw no line of its site."""
    found = np.zeros(len(lines.scores))
    for fold in range(FOLDS):
        here = lines.folds == fold
        if here.any() and not here.all():
            found[here] = apply(fit(lines.scores[~here], lines.noise[~here]), lines.scores[here])
        elif here.any():  # one site only: nothing to fit on
            found[here] = lines.scores[here]
    return found


def fold_of(site: str) -> int:
    return zlib.crc32(site.encode()) % FOLDS


def dev_lines(dev: Mapping[str, Sequence[Page]], tagger: Tagger) -> Lines:
    """The labelled lines of the dev files as the tagger scores them."""
    parts = []
    for name, pages in dev.items():
        for page in pages:
            text = "\n".join(page.lines)
            labels = np.array(page.labels)
            solid = np.array([bool(line.strip()) for line in page.lines], bool)
            chosen = (labels >= 0) & solid
            scores = tagger.predict(text).noise[chosen].astype(np.float64)
            size, fold = len(scores), fold_of(page.site or text)
            parts.append((scores, labels[chosen] == 1, np.full(size, fold), np.full(size, name)))
    return Lines(*map(np.concatenate, zip(*parts, strict=True)))


def calibrate(
    dev: Mapping[str, Sequence[Page]], tagger: Tagger
) -> tuple[Calibration, dict[str, Any]]:
    """The map of line scores, and the expected calibration error before and after, by dev file and
    over all lines; `after` is cross-fitted, so no line is judged by a map that saw its site."""
    lines = dev_lines(dev, tagger)
    after = cross_fitted(lines)
    errors: dict[str, Any] = {}
    for name in (*dev, "all"):
        part = lines.files == name if name != "all" else np.ones(len(lines.files), bool)
        if not part.any():  # no line of the file has a label
            continue
        errors[name] = {
            "lines": int(part.sum()),
            "before": _error(lines.scores[part], lines.noise[part]),
            "after": _error(after[part], lines.noise[part]),
        }
    return fit(lines.scores, lines.noise), errors


def _error(probabilities: Doubles, actual: Bools) -> float:
    return round(expected_calibration_error(probabilities.tolist(), actual.tolist()), 4)


def document_error(probabilities: Doubles, actual: Bools, seed: int) -> dict[str, Any]:
    """The expected calibration error of so many documents, and the 5 % and 95 % points of what
    probabilities without any error would show on as many: drawn `SIMULATIONS` times."""
    generator = np.random.default_rng(seed)
    drawn = [
        _error(probabilities, generator.random(len(probabilities)) < probabilities)
        for _ in range(SIMULATIONS)
    ]
    low, high = np.quantile(drawn, (0.05, 0.95))
    return {
        "ece_keep": _error(probabilities, actual),
        "ece_keep_without_error": [round(float(low), 4), round(float(high), 4)],
    }


def update_card(data: Path, folder: Path = WEIGHTS) -> RefinerCard:
    """Fits the map of a refiner's line scores, measures its documents' on dev, writes its card."""
    card = RefinerCard.read(folder)
    tagger = Tagger.load(folder)
    calibration, errors = calibrate(dev_pages(data), tagger)
    metrics = {name: dict(found) for name, found in card.metrics.items()}
    metrics["lines"]["calibration"] = errors
    documents = read(data, SCORED["dev"])
    keep = np.array([tagger.predict(document["text"]).keep for document in documents])
    actual = np.array([document["keep"] == 1 for document in documents])
    dev = metrics["documents"].get("dev", {})
    metrics["documents"]["dev"] = {**dev, **document_error(keep, actual, 0)}
    card = replace(card, calibration={**card.calibration, "noise": calibration}, metrics=metrics)
    card.write(folder)
    return card


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fit the calibration of a trained tagger again.")
    parser.add_argument("data", type=Path, help="folder with boilerplate/ and seed/")
    parser.add_argument("refiner", type=Path, nargs="?", default=WEIGHTS, help="folder of the card")
    options = parser.parse_args(arguments)
    card = update_card(options.data, options.refiner)
    for name, found in card.metrics["lines"]["calibration"].items():
        print(
            f"{name:<8} {found['lines']:>8,} lines  {found['before']:.4f} -> {found['after']:.4f}"
        )
    dev = card.metrics["documents"]["dev"]
    low, high = dev["ece_keep_without_error"]
    print(f"documents of dev: {dev['ece_keep']:.4f}; without error {low:.4f} to {high:.4f}")


if __name__ == "__main__":
    main()
