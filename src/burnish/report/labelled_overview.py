"""What there is to look at in a folder of labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from burnish.io.labels import CHUNK, DOCUMENT, REJECTED, labelled_files
from burnish.report.labelled import Row, disagree, kinds_of, rows_of
from burnish.report.visible import visible


@dataclass
class _Tally:
    """What a file holds; the names of the counters are those of the rows' fields."""

    rows: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        self.rows += 1
        for name in ("lang", "variant", "status", "stage", "task", "reason"):
            # The reasons of documents are sentences.
            if row.get(name) and not (name == "reason" and "stage" not in row):
                self._count(name, str(row[name]))
        if row.get("keep") is not None:
            self._count("decision", "keep" if row["keep"] else "drop")
        if row.get("lines"):
            for kind in kinds_of(row):
                self._count("kind", kind)
        if disagree(row):
            self._count("annotators", "disagree")

    def _count(self, name: str, value: str) -> None:
        self.counts.setdefault(name, Counter())[value] += 1


def overview(folder: Path) -> Table:
    """What there is to look at: the rows of each file, counted by what can be asked for.

    Reads all files. Raises InputError as `find` does.
    """
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for file in labelled_files(folder):
        tally = _Tally()
        for found in rows_of(file):
            tally.add(found.row)
        what = {DOCUMENT: "documents", CHUNK: "windows", REJECTED: "rejected rows"}[file.kind]
        table.add_row(visible(file.path.name), f"{tally.rows:,}", what, "")
        for name, counter in tally.counts.items():
            common = [f"{value} {count:,}" for value, count in counter.most_common(12)]
            more = f", … {len(counter) - 12} more" if len(counter) > 12 else ""
            table.add_row("", "", name, visible(", ".join(common) + more))
    return table
