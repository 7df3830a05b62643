"""Refines documents with the packaged refiner and shows what became of each.

python examples/refine_in_python.py
"""

from __future__ import annotations

import json
from pathlib import Path

import burnish

pages = Path(__file__).with_name("pages.jsonl").read_text(encoding="utf-8").splitlines()

for record in burnish.refine(json.loads(page) for page in pages):
    removed = f"{len(record.removed_lines)} of {record.document.text.count(chr(10)) + 1} lines"
    scores = ", ".join(f"{name} {value:.2f}" for name, value in record.scores.items())
    print(f"{record.id:<8} {record.status:<8} {removed:<16} {scores}  {record.reason}")
