"""The phrases of line ends in a trained refiner: its card says what it does, and what that costs.

    python -m burnish.training.line_ends DATA [REFINER]

copies the package's phrases into the folder of a refiner (by default the packaged one), measures
them on dev and writes its card. The network is left as it is: phrases are not learnt from pages.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from burnish.refiners.line_ends import FILE, LineEnds
from burnish.refiners.tagger import THRESHOLD, WEIGHTS, Tagger
from burnish.spec import RefinerCard
from burnish.training.material import dev_pages
from burnish.training.pages import Page

DIALECT = "refinex"
"""Says what such a refiner does: lines go, and strings that stand once in their line."""


def measure(
    dev: Mapping[str, Sequence[Page]], tagger: Tagger, ends: LineEnds
) -> dict[str, dict[str, Any]]:
    """For each dev file how often something is taken off a line that stays, and which share of the
    characters of content lines that stay goes by it (over-deletion, but for what is noise)."""
    found = {}
    for name, pages in dev.items():
        spans = content = taken = 0
        for page in pages:
            noise = tagger.predict("\n".join(page.lines)).noise
            for line, label, score in zip(page.lines, page.labels, noise.tolist(), strict=True):
                if score >= THRESHOLD:
                    continue
                cut = ends.spans(line)
                spans += len(cut)
                content += len(line) * (label == 0)
                taken += sum(end - start for start, end in cut) * (label == 0)
        found[name] = {"spans": spans, "content_taken": round(taken / max(content, 1), 6)}
    return found


def add(folder: Path) -> LineEnds:
    """Puts the package's phrases into a refiner's folder."""
    if folder.resolve() != WEIGHTS.resolve():
        shutil.copyfile(WEIGHTS / FILE, folder / FILE)
    return LineEnds.load(folder)


def update_card(data: Path, folder: Path = WEIGHTS) -> RefinerCard:
    """Adds the phrases to a trained refiner, measures them on dev and writes its card."""
    card = RefinerCard.read(folder)
    ends = add(folder)
    chunk = replace(card.stages["chunk"], dialect=DIALECT)
    found = measure(dev_pages(data), Tagger.load(folder), ends)
    metrics = {**card.metrics, "line_ends": found}
    card = replace(card, stages={**card.stages, "chunk": chunk}, metrics=metrics)
    card.write(folder)
    return card


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Add phrases of line ends to a trained tagger.")
    parser.add_argument("data", type=Path, help="folder with boilerplate/ and seed/")
    parser.add_argument("refiner", type=Path, nargs="?", default=WEIGHTS, help="folder of the card")
    options = parser.parse_args(arguments)
    for name, found in update_card(options.data, options.refiner).metrics["line_ends"].items():
        print(f"{name:<8} {found['spans']:>6} spans  {found['content_taken']:.3%} of content lines")


if __name__ == "__main__":
    main()
