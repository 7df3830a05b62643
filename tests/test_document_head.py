"""The packaged document head on texts written for these tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import burnish.refiners.document_head as module
from burnish.refiners.document_head import (
    HEAD_CHARS,
    TAIL_CHARS,
    DocumentHead,
    keep_evidence,
    shape_features,
    text_words,
)
from burnish.refiners.features import features

LESSON = """How plants make sugar

Photosynthesis is the process by which green plants turn light into chemical energy. It takes \
place in the chloroplasts, which contain a pigment called chlorophyll.

The process has two stages. In the first, water molecules are split by the energy of light; oxygen \
is released and the energy is stored in small molecules. In the second stage, the plant uses this \
stored energy to build sugar from carbon dioxide.

For example, a leaf kept in the dark for two days contains no starch. If one half of the leaf is \
then exposed to sunlight, iodine will stain only that half blue, because starch forms only where \
light was available. The experiment shows that light is necessary for the reaction.

Exercise: explain why a plant grows more slowly when the air contains less carbon dioxide.
"""

LOGIN = """Home
Sign in
Register
Forgot your password?
Remember me
Cart (0)
SALE!!! Up to 70% off
Buy now
Add to wishlist
Follow us on Facebook
Subscribe to our newsletter
Terms of use | Privacy policy | Contact
Copyright 2014 MegaShop. All rights reserved.
Home
Sign in
"""


@pytest.fixture(scope="module")
def head() -> DocumentHead:
    return DocumentHead.load(Path(module.__file__).parent / "weights")


def judge(head: DocumentHead, text: str, noise: float = 0.1) -> tuple[float, float, float]:
    found = features(text)
    return head.predict(text, found, np.full(len(found), noise, np.float32))


def test_a_lesson_beats_a_login_page(head: DocumentHead) -> None:
    lesson, login = judge(head, LESSON, 0.02), judge(head, LOGIN, 0.95)
    assert lesson[0] > login[0] + 1
    assert lesson[1] > login[1] + 1
    assert lesson[2] > 0.5 > login[2]


def test_words_alone_tell_them_apart(head: DocumentHead) -> None:
    lesson, login = judge(head, LESSON, 0.3), judge(head, LOGIN, 0.3)
    assert lesson[0] > login[0] + 0.5


def test_noisy_lines_lower_the_format_score(head: DocumentHead) -> None:
    assert judge(head, LESSON, 0.02)[1] > judge(head, LESSON, 0.95)[1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        " \n\t\n",
        "a",
        "\ud800 lone \udfff",
        "\x00\x01",
        "東京は日本の首都である。",
        "🎉" * 50,
        "\U0010ffff",
        "word " * 200_000,
        "x\n" * 50_000,
        "y" * (HEAD_CHARS + TAIL_CHARS + 1),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_scores_stay_in_range(head: DocumentHead, text: str) -> None:
    edu, form, keep = judge(head, text)
    assert 0 <= edu <= 5
    assert 0 <= form <= 5
    assert 0 <= keep <= 1


def test_empty_documents_are_not_kept(head: DocumentHead) -> None:
    assert judge(head, "")[2] < 0.5


def test_the_same_text_gives_the_same_scores(head: DocumentHead) -> None:
    first = judge(head, LESSON)
    judge(head, LOGIN)
    assert judge(head, LESSON) == first


def test_saving_and_loading_changes_nothing(head: DocumentHead, tmp_path: Path) -> None:
    head.save(tmp_path)
    assert judge(DocumentHead.load(tmp_path), LESSON) == judge(head, LESSON)


def test_weights_of_other_features_are_refused(
    tmp_path: Path, head: DocumentHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    head.save(tmp_path)
    monkeypatch.setattr(module, "FEATURE_VERSION", 10_000)
    with pytest.raises(ValueError, match="train it again"):
        DocumentHead.load(tmp_path)


def stems(text: str) -> set[int]:
    return set(text_words(text, np.zeros(text.count("\n") + 1))[0].tolist())


def test_words_are_counted_by_stem_whatever_their_case() -> None:
    once, counts = text_words("Multiply", [0.0])
    thrice, more = text_words("multiply MULTIPLE multiplication", [0.0])
    assert once.tolist() == thrice.tolist()
    assert counts.tolist() == pytest.approx([np.log(2)])
    assert more.tolist() == pytest.approx([np.log(4)])


def test_words_come_from_both_ends_of_a_long_text() -> None:
    filler = "a " * HEAD_CHARS
    assert stems("first") | stems("last") <= stems(f"first {filler} last")
    assert not stems("middle") & stems(f"{filler} middle {filler}")


def test_words_of_noisy_lines_do_not_count() -> None:
    found = text_words("menu\ncontent\nfooter", [0.9, 0.1, 0.9])[0]
    assert set(found.tolist()) == stems("content")
    assert not len(text_words("menu\nfooter", [0.9, 0.9])[0])


def test_noise_stays_with_its_line_in_a_long_text() -> None:
    text = "menu\ncontent\n" + "a\n" * HEAD_CHARS + "lesson\nfooter"
    noise = np.zeros(text.count("\n") + 1)
    noise[[0, -1]] = 0.9
    found = set(text_words(text, noise)[0].tolist())
    assert found == stems("content") | stems("a") | stems("lesson")


def test_blank_lines_do_not_change_the_shape_means() -> None:
    plain, spaced = features("one line\nanother line"), features("one line\n\nanother line")
    first = shape_features(plain, np.zeros(2))
    second = shape_features(spaced, np.zeros(3))
    assert first.shape == second.shape
    characters = 0
    assert first[characters] == pytest.approx(second[characters])


def test_evidence_for_keeping_grows_with_each_score() -> None:
    base = keep_evidence(2.0, 3.0, 0.2)
    assert keep_evidence(2.5, 3.0, 0.2) > base
    assert keep_evidence(2.0, 4.0, 0.2) > base
    assert keep_evidence(2.0, 3.0, 0.4) > base
