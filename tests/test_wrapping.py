"""A text that comes bit by bit is wrapped at words."""

from hypothesis import given
from hypothesis import strategies as st

from charlm.cli.wrapping import WrappedText


@given(st.lists(st.text("ab東 \n", max_size=7), max_size=20), st.integers(4, 20))
def test_wrapped_text_is_the_text_with_line_ends_in_place_of_spaces(pieces: list[str], width: int) -> None:
    written: list[str] = []
    wrapped = WrappedText(written.append, lambda: width)
    for piece in pieces:
        wrapped.write(piece)
    wrapped.finish()
    text, lines = "".join(pieces), "".join(written).split("\n")
    assert "".join("".join(written).split()) == "".join(text.split())
    assert all(sum(2 if c == "東" else 1 for c in line) <= width for line in lines)
    words = text.split()
    if all(sum(2 if c == "東" else 1 for c in word) <= width for word in words):
        assert [word for line in lines for word in line.split()] == words
