"""How many tokens a teacher reads for a document: one call for all kinds of noise, or one for each.

    python benchmarks/teacher_tokens.py corpus/webpages_full.jsonl.zst [MORE ...]

Counts the prompts of one window of up to 6,000 characters a document, of 500 documents drawn at
random, in tokens of four UTF-8 bytes. "Cached" leaves out the system prompt, which is the same for
all documents of a variant and which servers with a prefix cache read once.
"""

from __future__ import annotations

import argparse
from collections import Counter

from burnish.annotation.bill import expected_tokens
from burnish.annotation.labels import Labeller
from burnish.annotation.policy import Policy
from burnish.annotation.sampling import draw, read_corpus
from burnish.annotation.votes import Annotator
from burnish.schema import Document

_ONE = (Annotator("teacher", 0, 0),)


def count(documents: tuple[Document, ...], stage: str, calls: str) -> Counter[str]:
    """Tokens of all prompts, and those of them that are no system prompt."""
    labeller = Labeller(Policy(stages=(stage,), calls=calls), _ONE, lambda who, question: None)
    found: Counter[str] = Counter()
    for document in documents:
        for _, question in labeller.label(document).missing:
            system, user = (
                expected_tokens(text) for text in (question.prompt.system, question.prompt.user)
            )
            found.update(questions=1, tokens=system + user, cached=user)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--documents", type=int, default=500)
    given = parser.parse_args()
    documents = draw(read_corpus(given.inputs), given.documents).documents
    print(f"{len(documents)} documents; tokens of prompts for each")
    print(f"{'':34}{'calls':>6}{'tokens':>8}{'ratio':>7}{'cached':>8}{'ratio':>7}")
    for stage, what in (("chunk", "lines"), ("document", "documents")):
        base = count(documents, stage, "separate")
        for calls in ("separate", "joint"):
            found = count(documents, stage, calls)
            print(
                f"{what}, {calls:<24}".ljust(34)
                + f"{found['questions'] / len(documents):6.1f}"
                + f"{found['tokens'] / len(documents):8.0f}{found['tokens'] / base['tokens']:7.2f}"
                + f"{found['cached'] / len(documents):8.0f}{found['cached'] / base['cached']:7.2f}"
            )


if __name__ == "__main__":
    main()
