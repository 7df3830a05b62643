from burnish.program.lines import Chunk
from burnish.program.operations import RemoveLines
from burnish.refiners.rules import C4Lines


def test_c4_keeps_sentences_alone() -> None:
    text = "Home\nThis is a sentence.\nPlease enable javascript now.\nToo short.\n他说这是一句话。"
    (draft,) = C4Lines().write([Chunk.whole(text)])
    assert draft.program == (RemoveLines(0, 0), RemoveLines(2, 3))
