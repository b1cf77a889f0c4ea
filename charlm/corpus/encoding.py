"""A part of a text as ids, in pieces, so that memory is bounded however long the text or its lines are."""

from collections.abc import Callable, Iterator

from charlm.corpus.numbered import NumberedText
from charlm.corpus.parts import Part
from charlm.text.encoded import Counted, Encoded
from charlm.text.interface import Tokenizer
from charlm.text.long_lines import Piece, with_cut_spaces, without_cut_spaces
from charlm.text.words import WordTokenizer

SUBWORD_BYTES = 1 << 22  # encoded at a time, by several threads


def encode_part(tokenizer: Tokenizer, part: Part, num_bytes: int | None = None) -> Iterator[Encoded]:
    """A part's ids, from about `num_bytes` of text at a time. Raises TextError when the text has changed."""
    return _joined(tokenizer, tokenizer.encode_bytes, _texts(tokenizer, part, num_bytes))


def count_part(tokenizer: Tokenizer, numbered: NumberedText | None, name: str, part: Part) -> Iterator[Counted]:
    """A part's ids and the counts that go with them; taken from `numbered`, without reading the text, where possible.

    Raises TextError when the text has changed.
    """
    if numbered is not None and isinstance(tokenizer, WordTokenizer):
        yield from numbered.encoded(name, tokenizer.vocabulary)
        part.text.check_unchanged()
        return
    num_bytes = SUBWORD_BYTES if tokenizer.unit == "subword" else None
    yield from _joined(tokenizer, tokenizer.encode_counted, _texts(tokenizer, part, num_bytes))


def _texts(tokenizer: Tokenizer, part: Part, num_bytes: int | None) -> Iterator[bytes]:
    """A part in pieces that the tokenizer can encode one by one."""
    if tokenizer.takes_any_bytes:
        return part.text.blocks(part.span, num_bytes)
    return part.text.texts(part.span, num_bytes, tokenizer.needs_lines, tokenizer.place_to_cut)


def _joined(tokenizer: Tokenizer, encode: Callable[[bytes], Piece], texts: Iterator[bytes]) -> Iterator[Piece]:
    """The ids of each text; where words are cut within a line, the space there is counted but not encoded."""
    if tokenizer.unit != "word":
        return map(encode, texts)
    return with_cut_spaces(map(encode, without_cut_spaces(texts)), tokenizer.eos_id)
