from burnish.report.diff import DiffLine, excerpt


def test_excerpt_shows_changes_between_their_neighbours() -> None:
    before = "Home\nNews\nTitle\n\nA text.\nShare\nMail\nPrint\nFeed"
    after = "Title\n\nA short text."
    assert excerpt(before, after) == [
        DiffLine("-", "Home"),
        DiffLine("-", "News"),
        DiffLine(" ", "Title"),
        DiffLine("-", "A text."),
        DiffLine("…", "3 more lines removed"),
        DiffLine("-", "Feed"),
        DiffLine("+", "A short text."),
    ]


def test_excerpt_is_cut() -> None:
    (line,) = excerpt("x" * 300, "", width=20)
    assert line.text == "x" * 19 + "…"
    assert len(excerpt("\n".join(f"{n}" for n in range(9)), "\n1\n3\n5\n7", lines=4)) == 4
    assert excerpt("same", "same") == [DiffLine(" ", "same")]
