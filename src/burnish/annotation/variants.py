"""Which wording of a prompt suits a text: mathematics, code, other languages, or the web."""

from __future__ import annotations

import re
from typing import Literal, get_args

from burnish.annotation.languages import NO_LANGUAGE, UNKNOWN, language_of
from burnish.schema import Document

Variant = Literal["web", "math", "code", "multilingual"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)

VARIANT_CHARS = 20_000
"""How much of a text is searched for formulas and code."""

# Signs that stand in formulas alone. `\\item` also occurs in other texts; so do arrows and the sign
# of multiplication, as buttons, and mathematical letters, as decoration.
_FORMULA = re.compile(
    r"\\(?:[dt]?frac|sqrt|sum|int|prod|lim|math(?:bb|bf|cal|frak|rm|scr)|operatorname|displaystyle"
    r"|alpha|beta|gamma|delta|epsilon|theta|lambda|mu|pi|sigma|phi|omega"
    r"|left[(\[{|.\\]|right[)\]}|.\\]|cdot|cdots|ldots|times|infty|partial|nabla|subset|otimes"
    r"|leq?|geq?|neq?|to|in|equiv|approx|begin\{(?:equation|align|[a-z]*matrix|cases|array))"
    r"(?![a-z])|(?<!\$)\$\$(?!\$)|\\\(|\\\[|\$[^$\n]{0,40}(?:[_^]\{|\\[a-zA-Z]{2})[^$\n]{0,80}\$"
    r"|[∑∏∫∂∇∈∉⊂⊆\u222a∩∀∃≤≥≠≈√]"
)
FORMULAS_PER_1000 = 1.0
"""Signs of formulas in 1,000 characters that make a text mathematical. Of 19,522 web texts of our
corpus 53 have more and 6 have 0.35 to 1, so the bound itself matters little; in TeX 110 of 110
chapters and 18 of 20 papers are found."""
FEWEST_FORMULAS = 3
FORMULAS_WITH_COLUMN = 2
"""The same where the column `math` says so, as a count. The column alone is no proof: in our
corpus it is true for 189 pages, of which 27 show formulas: others are web shops whose HTML names
"math" somewhere."""

# A line of prose may end in ";" or hold brackets; a line of code has both, or a keyword with its
# punctuation, an assignment, a call, a tag, a prompt.
_CODE = re.compile(
    r"""\s*(?:
      (?:def|class|struct|enum|namespace|import|using|from|function|func|fn|public|private
        |protected|static|const|let|var|void|int|float|elif|try|except|catch|return|print|echo
        |SELECT|INSERT|UPDATE|CREATE|FROM|WHERE)\b.*[(){}=;:<>]\s*$
      |import\ [\w.]+;?$ | from\ [\w.]+\ import\b
      |\#(?:include|define|ifn?def|endif|pragma)\b | \#!
      |(?:if|for|while|switch|else)\b\s*[({].*[){};:]\s*$
      |.*(?:\w\(|[{}\[\]<>=$]|->).*;\s*$ | .*[)=>\w]\s*\{\s*$ | [)\]}{]+[;,)]*\s*$
      |</?[a-zA-Z][\w:.-]*(?:\s[^<>]*)?/?>(?:.*>)?\s*$
      |(?:\$|>>>|In\ \[\d+\]:)\s[a-z] | // | /\* | \*/ | <!--
      |[\w.\[\]"']+\s*(?::=|[+*/-]?=|==|=>)\s*\S
      |[a-zA-Z_][\w.]*\((?:|[^()]*["',=][^()]*)\);?\s*$
      |at\s[\w.$]+\(.*\)$
    )""",
    re.VERBOSE | re.ASCII,
)
CODE_LINE_CHARS = 300
"""A longer line is not taken for code: the search takes time that grows with its square."""
CODE_LINES = 0.2
FEWEST_CODE_LINES = 5
"""Share and number of lines that look like code, of those not blank, that make a text code. Of 72
questions about programming 44 are; the others show none or a few lines of it."""


def variant_of(document: Document) -> Variant:
    """Which wording of a prompt suits the text: mathematics, code, other languages, or the web.

    Mathematics comes first, since TeX looks like code, and code before languages, since its
    language is often mistaken. So a language is recognised only where a text is neither, and the
    column `lang` is missing; raises MissingExtra where that can not be done.
    """
    head = document.text[:VARIANT_CHARS]
    if _is_math(head, bool(document.columns.get("math"))):
        return "math"
    if _is_code(head):
        return "code"
    unmarked = ("en", UNKNOWN, NO_LANGUAGE)
    return "web" if language_of(document) in unmarked else "multilingual"


def _is_math(head: str, column: bool) -> bool:
    count = sum(1 for _ in _FORMULA.finditer(head))
    if column and count >= FORMULAS_WITH_COLUMN:
        return True
    return count >= max(FEWEST_FORMULAS, FORMULAS_PER_1000 * len(head) / 1000)


def _is_code(head: str) -> bool:
    lines = [line for line in head.split("\n") if line and not line.isspace()]
    count = sum(1 for line in lines if len(line) <= CODE_LINE_CHARS and _CODE.match(line))
    return count >= max(FEWEST_CODE_LINES, CODE_LINES * len(lines))
