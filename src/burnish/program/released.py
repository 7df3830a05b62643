"""What the published executors do differently from ours, as named options.

Ours is order-free, keeps to the chunk and leaves blanks alone. These are for comparing with the
published systems; they lose what `docs/language.md` says ours keeps, but not the way back: the
outcome's edit makes the input again.

- `prox` (GAIR-NLP/ProX, commit b3fcbb2, `utils/chunk_utils.py`): replaces strings one after the
  other over the whole document, then removes lines by their numbers, then looks at the bounds.
- `ultrax` (openbmb/UltraX, commit cb0c2fa, `post_process_and_execute.py`): runs of line feeds
  become one, and those at both ends go.
- `rescraper` (cxcscmu/ReScraper, commit 6379e37, `lib/editops.py`): blanks inside a line become
  one space, and empty lines go; so they do in a page that is kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from burnish.program.alignment import shared_ends
from burnish.program.executor import Outcome, dropped, execute
from burnish.program.limits import NO_REMOVAL_LIMIT, Limits
from burnish.program.lines import split_lines
from burnish.program.operations import DropDocument, Program, RemoveLines, ReplaceText
from burnish.schema import Edit, Issue, Status

SYSTEMS = ("prox", "ultrax", "rescraper")

_LIMITS = Limits()
_UNHARMFUL = ("prose", "contradiction", "long-line")  # no bad operation for ProX
_FEW_WORDS = 10  # ProX empties a document that has no more left
_BAD_OPERATIONS = 2  # ProX ignores a program with so many


def execute_as(system: str, text: str, program: Program, issues: Sequence[Issue] = ()) -> Outcome:
    """Executes a program as the released code of that system (one of `SYSTEMS`) does.

    `issues` are those of the reading; ProX counts them. The growth of the text is bounded as in
    `execute`, where the systems have no bound.
    """
    if DropDocument() in program:
        return dropped(text, text.count("\n") + 1, "program", issues)
    if system == "prox":
        return _prox(text, program, issues)
    outcome = execute(text, program, limits=NO_REMOVAL_LIMIT)
    outcome = replace(outcome, issues=(*issues, *outcome.issues))
    if outcome.status is Status.REFUSED or (system == "ultrax" and not program):
        return outcome
    if system == "ultrax":
        refined = re.sub("\n\n+", "\n", outcome.text).strip("\n")
    else:
        lines = (" ".join(line.split()) for line in split_lines(outcome.text))
        refined = "\n".join(filter(None, lines))
    return _outcome(text, refined, program, outcome.issues)


def _prox(text: str, program: Program, issues: Sequence[Issue]) -> Outcome:
    refined = text
    for operation in program:
        if isinstance(operation, ReplaceText) and operation.old.strip(" "):
            old, new = operation.old, operation.new
            growth = len(refined) + refined.count(old) * (len(new) - len(old)) - len(text)
            if growth > _LIMITS.growth_allowed(len(text)):
                return Outcome(Status.REFUSED, text, issues=tuple(issues), reason="growth limit")
            refined = refined.replace(old, new)
    removals = tuple(operation for operation in program if isinstance(operation, RemoveLines))
    refined = execute(refined, removals, limits=NO_REMOVAL_LIMIT).text
    bad = sum(issue.code not in _UNHARMFUL for issue in issues)
    total, left = len(text.split()), len(refined.split())
    lost_most = 20 * left <= total and bad < _BAD_OPERATIONS  # 95 % or more
    if total and (lost_most or left <= _FEW_WORDS):
        return dropped(text, text.count("\n") + 1, "removal limit", issues)
    if bad >= _BAD_OPERATIONS:
        return Outcome(Status.REFUSED, text, issues=tuple(issues), reason="issue limit")
    return _outcome(text, refined, program, issues)


def _outcome(text: str, refined: str, program: Program, issues: Sequence[Issue]) -> Outcome:
    """The change as one edit: what stands between the common beginning and the common end."""
    if refined == text:
        return Outcome(Status.KEPT, text, issues=tuple(issues))
    if not refined:
        return dropped(text, text.count("\n") + 1, "program", issues)
    start, end = shared_ends(text, refined)
    edit = Edit(start, text[start : len(text) - end], refined[start : len(refined) - end])
    removals = tuple(operation for operation in program if isinstance(operation, RemoveLines))
    removed = execute(text, removals, limits=NO_REMOVAL_LIMIT).removed_lines
    return Outcome(Status.EDITED, refined, (edit,), tuple(issues), removed)
