"""A text of paragraphs in its canonical form: each paragraph is followed by exactly one empty line.

So blank lines at the start of the text are left out, and of several between two paragraphs one is left. A line is also
blank if it only has spaces, tabs, or the CR of a CRLF.
"""

import re
from collections.abc import Iterator

from charlm.corpus.sources import number_of, temporary_copy
from charlm.corpus.text_file import TextFile
from charlm.text.items import BLANKS, MORE_THAN_A_BLANK_LINE, PARAGRAPH_END

END = PARAGRAPH_END.encode()
_NOT_CANONICAL = re.compile(MORE_THAN_A_BLANK_LINE.encode())
_WHITE_SPACE = f"{BLANKS}\n".encode()


def bring_into_paragraphs(text: TextFile) -> None:
    """Replace an open text by a copy in canonical form; a note says where that is another text than before.

    Raises ResourceError when there is no space for the copy, and TextError when the text has changed.
    """
    form = CanonicalForm()
    text.replace(temporary_copy(form.of(text.blocks())))
    text.count()
    if form.num_joined:
        places = number_of(form.num_joined, "place")
        text.notes.append(f"{text.name}: in {places} with more than an empty line, one is read, and counted")


class CanonicalForm:
    """Brings a text into its canonical form."""

    def __init__(self) -> None:
        self.num_joined = 0
        """Where several blank lines, or one with something in it, became an empty line."""

    def of(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The text in blocks, of which none but the last ends with a line end."""
        held, is_start = END, True  # as if a paragraph ended before the text
        for block in blocks:
            text = held + block
            white_space = len(text.rstrip(_WHITE_SPACE))
            place = text.find(b"\n", white_space)  # what is blank from there on may go on in the next block
            whole, held = (text[:place], text[place:]) if place >= 0 else (text, b"")
            canonical, num_joined = _NOT_CANONICAL.subn(END, whole)
            self.num_joined += num_joined
            if canonical:
                yield canonical.removeprefix(END) if is_start else canonical
                is_start = False
        if not is_start:
            yield END
