"""One token a word: split by Unicode with nothing lost, or at white space for text that is tokenized already."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Self, final

import numpy as np

from charlm.config import Punctuation, Split, TextSettings
from charlm.text.interface import TOKENIZER_FILE, UNK, Decoder, Encoded, Ids, Tokenizer, flag_field, to_json
from charlm.text.joining import chunks_of, has_word, spell, unjoin, words_of
from charlm.text.vocabulary import EOS_ID, UNK_ID, Vocabulary

DEFAULT_VOCAB_SIZE = 10_000
LONGEST_TYPE = 200  # characters; what is longer is not kept as a type
SEGMENT = 1 << 16  # characters a time: the lists of their words stay in the processor's cache
MAX_REMEMBERED = 1_000_000  # chunks whose symbols are remembered, while counting and while encoding
LONGEST_REMEMBERED = 100  # characters
MAX_COUNTED = 10_000_000  # types counted exactly; of more, the rarest are forgotten
MARKER = "␣"  # how the symbol between two spaces is shown
# Where a text can be cut so that its parts have the symbols of the whole: after a line end, or at a single space.
CUT = re.compile(r"\n|(?<=[^ \n]) (?=[^ \n])")

Pieces = Callable[[str], list[str]]
Spell = Callable[[str], Iterable[str]]


@final
class WordTokenizer(Tokenizer):
    unit = "word"
    eos_id = EOS_ID
    unk_id = UNK_ID
    needs_lines = True

    def __init__(
        self,
        vocabulary: Vocabulary,
        split: Split = "unicode",
        punctuation: Punctuation = "keep",
        lowercase: bool = False,
    ) -> None:
        self.vocabulary = vocabulary
        self.split = split
        self.punctuation = punctuation
        self.lowercase = lowercase
        self.vocab_size = len(vocabulary)
        self.lossless = split == "unicode" and punctuation == "keep" and not lowercase
        self._ids = {**vocabulary.ids, "\n": EOS_ID}
        self._remembered = _Remembered(SPELL[split, punctuation], self._ids)
        texts = ["\n", "", *vocabulary.symbols[2:]]
        self._lengths = np.array([len(text) for text in texts])  # characters
        self._sizes = np.array([_num_bytes(text) for text in texts])  # bytes

    @classmethod
    def build(cls, settings: TextSettings, chunks: Iterable[str], notes: list[str]) -> Self:
        texts = (chunk.lower() for chunk in chunks) if settings.lowercase else chunks
        counts = _count_symbols(texts, PIECES[settings.split], SPELL[settings.split, settings.punctuation], notes)
        vocabulary = Vocabulary.of_counts(counts, settings.vocab_size or DEFAULT_VOCAB_SIZE, settings.min_count)
        return cls(vocabulary, settings.split, settings.punctuation, settings.lowercase)

    @classmethod
    def load(cls, fields: Mapping[str, Any], folder: Path) -> Self:
        split, punctuation = fields["split"], fields["punctuation"]
        if (split, punctuation) not in SPELL:
            raise ValueError(f"no such way to split: {split!r}, {punctuation!r}")
        return cls(Vocabulary.of_json(fields["symbols"]), split, punctuation, flag_field(fields, "lowercase"))

    def normalise(self, text: str) -> str:
        text = text.lower() if self.lowercase else text
        if self.split == "unicode" and self.punctuation == "keep":
            return text
        spelled, pieces = SPELL[self.split, self.punctuation], PIECES[self.split]
        lines = text.split("\n")
        return "\n".join(" ".join(chain.from_iterable(map(spelled, pieces(line)))) for line in lines)

    def encode_detailed(self, text: str) -> Encoded:
        text = text.lower() if self.lowercase else text
        segments = [self._encode_segment(segment) for segment in _segments(text)]
        ids = segments[0][0] if len(segments) == 1 else np.concatenate([ids for ids, _ in segments])
        unknown = tuple(chain.from_iterable(unknown for _, unknown in segments))
        if self.split == "unicode" and self.punctuation == "keep":
            return Encoded(ids, unknown, len(text), _num_bytes(text))
        spaces = _neighbours(ids)
        literal = (int(np.count_nonzero(ids == UNK_ID)) - len(unknown)) * len(UNK)
        characters = int(self._lengths[ids].sum()) + sum(map(len, unknown))
        size = int(self._sizes[ids].sum()) + _num_bytes("".join(unknown))
        return Encoded(ids, unknown, characters + literal + spaces, size + literal + spaces)

    def _encode_segment(self, segment: str) -> tuple[Ids, list[str]]:
        """The ids, and what the text has where they are `<unk>`."""
        pieces = PIECES[self.split](segment)
        if self.split == "whitespace" and self.punctuation == "keep":  # one token each: no look at their inside
            ids = np.fromiter(map(self._ids.get, pieces, repeat(UNK_ID)), np.uint32, len(pieces))
            words = [pieces[at] for at in np.flatnonzero(ids == UNK_ID).tolist()]
            return ids, [word for word in words if word != UNK]
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.clear()
        ids = np.fromiter(chain.from_iterable(map(self._remembered.__getitem__, pieces)), np.uint32)
        return ids, list(self._remembered.unknown_in(pieces)) if (ids == UNK_ID).any() else []

    def decoder(self) -> Decoder:
        return WordDecoder(self.vocabulary, joins=self.split == "unicode")

    def symbol(self, id: int) -> str:
        return self.vocabulary.symbols[id] or MARKER

    def files(self) -> dict[str, bytes]:
        fields = {
            "split": self.split,
            "punctuation": self.punctuation,
            "lowercase": self.lowercase,
            "symbols": list(self.vocabulary.symbols),
        }
        return {TOKENIZER_FILE: to_json(self.unit, fields)}


@final
class WordDecoder(Decoder):
    """One space between two symbols of a line, unless one of them joins the other."""

    def __init__(self, vocabulary: Vocabulary, joins: bool) -> None:
        self._symbols = vocabulary.symbols
        self._joins = joins
        self._joined = True  # at a line's start there is nothing to keep apart from

    def feed(self, id: int) -> str:
        if id == EOS_ID:
            self._joined = True
            return "\n"
        symbol = self._symbols[id]
        text, left, right = unjoin(symbol) if self._joins and id != UNK_ID else (symbol, False, False)
        space = "" if self._joined or left else " "
        self._joined = right
        return space + text


class _Remembered(dict[str, Iterable[int]]):
    """The ids of each chunk, worked out once; and what is unknown of it."""

    def __init__(self, spelled: Spell, ids: Mapping[str, int]) -> None:
        self._spelled, self._ids = spelled, ids
        self._unknown: dict[str, tuple[str, ...]] = {}

    def __missing__(self, chunk: str) -> Iterable[int]:
        ids = map(self._ids.get, self._spelled(chunk), repeat(UNK_ID))
        if len(chunk) > LONGEST_REMEMBERED:
            return ids  # as they come: there may be millions
        self[chunk] = remembered = tuple(ids)
        if UNK_ID in remembered:
            self._unknown[chunk] = tuple(self._unknown_of(chunk))
        return remembered

    def clear(self) -> None:
        super().clear()
        self._unknown.clear()

    def unknown_in(self, chunks: list[str]) -> Iterator[str]:
        """The unknown symbols of chunks whose ids have just been asked for."""
        for chunk in chunks:
            if chunk in self._unknown:
                yield from self._unknown[chunk]
            elif len(chunk) > LONGEST_REMEMBERED:
                yield from self._unknown_of(chunk)

    def _unknown_of(self, chunk: str) -> Iterator[str]:
        return (symbol for symbol in self._spelled(chunk) if symbol not in self._ids and symbol != UNK)


def _words_at_white_space(text: str) -> list[str]:
    """The words of all lines, with "\\n" for each end of line."""
    words = []
    for line in text.split("\n"):
        words += line.split()
        words.append("\n")
    words.pop()
    return words


PIECES: dict[Split, Pieces] = {"unicode": chunks_of, "whitespace": _words_at_white_space}


def _spell(chunk: str) -> Iterable[str]:
    return spell(chunk) if chunk != "\n" else (chunk,)


def _spell_words(chunk: str) -> Iterable[str]:
    return words_of(chunk) if chunk != "\n" else (chunk,)


def _as_it_stands(word: str) -> Iterable[str]:
    return (word,)


def _if_it_is_a_word(word: str) -> Iterable[str]:
    return (word,) if word == "\n" or has_word(word) else ()


SPELL: dict[tuple[Split, Punctuation], Spell] = {
    ("unicode", "keep"): _spell,
    ("unicode", "drop"): _spell_words,
    ("whitespace", "keep"): _as_it_stands,
    ("whitespace", "drop"): _if_it_is_a_word,
}


def _segments(text: str) -> Iterator[str]:
    """The text in parts that can be encoded on their own; a space at which it is cut belongs to neither."""
    start = 0
    while cut := CUT.search(text, start + SEGMENT):
        yield text[start : cut.end() if cut[0] == "\n" else cut.start()]
        start = cut.end()
    yield text[start:]


def _count_symbols(texts: Iterable[str], pieces_of: Pieces, spelled: Spell, notes: list[str]) -> Counter[str]:
    """How often each symbol occurs, line ends left out."""
    pieces: Counter[str] = Counter()
    symbols: Counter[str] = Counter()
    for text in texts:
        for segment in _segments(text):
            pieces.update(pieces_of(segment))
        if len(pieces) > MAX_REMEMBERED:
            _spell_counts(pieces, spelled, symbols)
            if len(symbols) > MAX_COUNTED:
                symbols = _forget_rarest(symbols, notes)
    _spell_counts(pieces, spelled, symbols)
    del symbols["\n"]
    return symbols


def _spell_counts(pieces: Counter[str], spelled: Spell, symbols: Counter[str]) -> None:
    """Move the counts of pieces to the symbols that they are made of."""
    for piece, count in pieces.items():
        for symbol in spelled(piece):
            if len(symbol) <= LONGEST_TYPE:
                symbols[symbol] += count
    pieces.clear()


def _forget_rarest(symbols: Counter[str], notes: list[str]) -> Counter[str]:
    """Half of the types, the most frequent ones."""
    notes.append(f"more than {MAX_COUNTED:,} types: the counts of rare ones are approximate")
    return Counter(dict(symbols.most_common(MAX_COUNTED // 2)))


def _neighbours(ids: Ids) -> int:
    """How often two tokens stand side by side in a line."""
    words = ids != EOS_ID
    return int(np.count_nonzero(words[1:] & words[:-1]))


def _num_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
