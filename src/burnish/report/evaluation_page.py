"""An evaluation as one HTML page: the numbers, and the worst documents of each kind to look at.

The page is one file without scripts or anything fetched; what web pages say is escaped. It reads
plain data: the JSON of an evaluation, and cases as `Case` describes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

State = Literal["kept", "removed", "lost", "left", "unscored-kept", "unscored-removed"]
"""A line of a case: rightly kept or removed; content that went; noise that stayed; and lines that
the gold does not judge."""

_LINES = 400  # of a case; longer pages are cut
_NEIGHBOURS = 2  # lines shown around a mistake


@dataclass(frozen=True, slots=True)
class Case:
    """One document among the worst of its kind.

    `facts` are shown beside its title; `lines` its text, with what became of each line.
    """

    title: str
    facts: Mapping[str, str]
    lines: Sequence[tuple[State, str]]


def page(
    title: str,
    evaluations: Sequence[Mapping[str, Any]],
    cases: Sequence[Mapping[str, Sequence[Case]]],
) -> str:
    """The whole page; for each evaluation its cases by kind of mistake, the worst first."""
    body = [f"<h1>{escape(title)}</h1>"]
    for evaluation, kinds in zip(evaluations, cases, strict=True):
        body += _evaluation(evaluation)
        for kind, worst in kinds.items():
            body.append(f"<h3>{escape(kind)}: the worst {len(worst)}</h3>")
            body += (_case(case) for case in worst)
    return _FRAME.replace("{title}", escape(title)).replace("{body}", "\n".join(body))


def _evaluation(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2>{escape(str(found['gold']))}</h2>"
    told = [str(found["refiner"]), str(found["kind"])]
    told += [f"{name} threshold {value:g}" for name, value in found["thresholds"].items()]
    yield f"<p>{escape(', '.join(told))}</p>"
    total = found["total"]
    yield _counts(total)
    yield _metrics(total["metrics"])
    if found.get("comparison"):
        yield f"<h3>Against {escape(found['comparison']['refiner'])}</h3>"
        if found["kind"] == "documents":
            yield f"<p>on the {found['comparison']['compared']:,} documents that neither failed</p>"
        yield _comparison(found["comparison"]["metrics"])
    if found.get("calibration"):
        for name, curve in found["calibration"].items():
            yield f"<h3>Calibration: {escape(name)}</h3>"
            yield _curve(curve)
    if found.get("agreement"):
        yield "<h3>Agreement of annotators</h3>"
        yield _agreement(found["agreement"])
    for key, groups in found.items():
        if key.startswith("by_") and len(groups) > 1:
            yield f"<h3>{escape(key.replace('_', ' ').capitalize())}</h3>"
            yield _groups(groups)


def _counts(total: Mapping[str, Any]) -> str:
    """What became of the pages, and precision and recall."""
    names = ("pages", "documents", "dropped", "failed", "refused")
    told = [f"{name} {total[name]:,}" for name in names if name in total]
    counts = total["removed_lines"] if "removed_lines" in total else total["keep"]
    told += [f"{name} {_number(counts[name])}" for name in ("precision", "recall")]
    return f"<p>{', '.join(told)}</p>"


def _agreement(pairs: Mapping[str, Any]) -> str:
    rows = [
        (
            pair,
            _number(found["removed_lines"]["f1"]),
            _number(found["removed_lines"]["kappa"]),
            _number(found["keep"]["kappa"]),
            _number(found["edu_pearson_r"]),
            _number(found["format_pearson_r"]),
        )
        for pair, found in pairs.items()
    ]
    return _table(("", "F1 lines", "kappa lines", "kappa keep", "r edu", "r format"), rows)


def _metrics(metrics: Mapping[str, Any]) -> str:
    rows = [
        (_name(name), _number(e["value"]), f"{_number(e['low'])} to {_number(e['high'])}")
        for name, e in metrics.items()
    ]
    return _table(("", "value", "95 % interval"), rows)


def _comparison(metrics: Mapping[str, Any]) -> str:
    rows = []
    for name, found in metrics.items():
        e = found["difference"]
        rows.append(
            (
                _name(name),
                _number(found["first"]),
                _number(found["second"]),
                _number(e["value"]),
                f"{_number(e['low'])} to {_number(e['high'])}",
                _number(found["p"]),
            )
        )
    return _table(("", "this", "other", "difference", "95 % interval", "p"), rows)


def _groups(groups: Mapping[str, Any]) -> str:
    names = list(next(iter(groups.values()))["metrics"])
    rows = [
        (name, f"{_count(part):,}", *(_number(part["metrics"][n]["value"]) for n in names))
        for name, part in groups.items()
    ]
    return _table(("", "count", *map(_name, names)), rows)


def _count(part: Mapping[str, Any]) -> int:
    return int(part.get("pages", part.get("documents", 0)))


def _curve(curve: Mapping[str, Any]) -> str:
    """The reliability diagram as SVG: mean probability against the share that was so."""
    points = [(b["mean"], b["share"], b["count"]) for b in curve["bins"] if b["count"]]
    largest = max((count for *_, count in points), default=1)
    dots = "".join(
        f'<circle cx="{200 * x:.1f}" cy="{200 - 200 * y:.1f}" '
        f'r="{2 + 8 * (count / largest) ** 0.5:.1f}"><title>{count:,}: said {x:.2f}, was {y:.2f}'
        "</title></circle>"
        for x, y, count in points
    )
    error = _number(curve["expected_calibration_error"])
    return (
        f'<figure><svg viewBox="-12 -12 224 224" width="260" height="260" role="img">'
        f'<rect width="200" height="200"/><line x1="0" y1="200" x2="200" y2="0"/>{dots}</svg>'
        f"<figcaption>expected calibration error {error}; across: said, up: was"
        "</figcaption></figure>"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<div class=wide><table><tr>{head}</tr>{body}</table></div>"


def _case(case: Case) -> str:
    facts = " · ".join(
        f"{escape(name)} <bdi>{escape(value)}</bdi>" for name, value in case.facts.items()
    )
    return (
        f"<details><summary><b><bdi>{escape(case.title)}</bdi></b> <span>{facts}</span></summary>"
        f"<ol start=0>{''.join(_lines(case.lines))}</ol></details>"
    )


def _lines(lines: Sequence[tuple[State, str]]) -> Iterator[str]:
    """The lines around mistakes; the others are folded to a count."""
    judged = any(state in ("kept", "removed", "lost", "left") for state, _ in lines)
    others = "lines as they should be" if judged else "more lines"
    near: set[int] = set()
    for n, (state, _) in enumerate(lines):
        if state in ("lost", "left"):
            near.update(range(n - _NEIGHBOURS, n + _NEIGHBOURS + 1))
    shown = sorted(n for n in near if 0 <= n < len(lines)) or list(range(min(len(lines), 40)))
    before = -1
    for n in shown[:_LINES]:
        if n > before + 1:
            yield f"<p class=gap>{n - before - 1} {others}</p>"
        state, text = lines[n]
        yield f'<li value="{n}" class="{state}">{escape(text) or "&nbsp;"}</li>'
        before = n
    if len(shown) > _LINES:
        yield f"<p class=gap>and {len(shown) - _LINES} more lines</p>"
    elif before + 1 < len(lines):
        yield f"<p class=gap>{len(lines) - before - 1} {others}</p>"


def _name(name: str) -> str:
    return name.replace("_", " ").replace(" f1", " F1").replace(" roc auc", " ROC AUC")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


_FRAME = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root { color-scheme: light dark; --line: #8884; --bad: #c0392b; --miss: #b9770e; --dim: #888; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
h3 { margin: 1.8rem 0 .4rem; font-size: 1.05rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: bottom; }
th { font-weight: 600; } th:first-child, td:first-child { text-align: left; }
details { border-bottom: 1px solid var(--line); padding: .3rem 0; }
summary { cursor: pointer; overflow-wrap: anywhere; } summary span { color: var(--dim); }
ol { padding-left: 3.5rem; overflow-wrap: anywhere; }
li::marker { color: var(--dim); font-size: .8em; }
li.removed, li.unscored-removed { color: var(--dim); text-decoration: line-through; }
li.lost { color: var(--bad); text-decoration: line-through; }
li.left { color: var(--miss); font-weight: 600; }
li.unscored-kept { font-style: italic; }
.gap { color: var(--dim); margin: .2rem 0; font-size: .85em; }
figure { margin: 0; } figcaption { color: var(--dim); font-size: .85em; }
svg rect { fill: none; stroke: var(--line); } svg line { stroke: var(--line); }
svg circle { fill: #2e86c1aa; }
</style>
<body>
{body}
<p class=gap>Red and struck out: content that was removed. Orange: noise that was left. Grey:
rightly removed. Italic: not judged by the gold.</p>
</body>
</html>
"""
