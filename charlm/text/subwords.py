"""One token a subword: sentencepiece, trained so that nothing is lost, or somebody's `.model` as it is."""

import codecs
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np

from charlm.settings import TextSettings
from charlm.system.files import read_file
from charlm.system.machine import cores
from charlm.text.interface import (
    EOS,
    MODEL_FILE,
    TOKENIZER_FILE,
    UNK,
    Decoder,
    Encoded,
    Ids,
    OpenEnd,
    Token,
    Tokenizer,
    ends_before_lower,
    flag_field,
    to_json,
)
from charlm.text.long_lines import Place, at_a_space, nowhere
from charlm.text.subword_checking import check_model
from charlm.text.subword_places import piece_ends
from charlm.text.subword_training import train_model
from charlm.text.vocabulary import MAX_SYMBOL_LENGTH

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

SPACE = "▁"  # U+2581, how pieces write a space; in a text it is spelled in bytes
MAX_MODEL = 1 << 26  # bytes
BATCH = 1 << 20  # characters encoded at a time
FEW = 1_000  # parts that are not worth starting threads for
LONG = 1 << 15  # characters; the words of a longer line are encoded one by one
MAX_WORD_LENGTH = 1 << 15  # characters encoded as one; what is longer is cut
MAX_OPEN = 8  # tokens at a prompt's end that may get others
WORD_START = re.compile(r"(?<=[^ ])(?= )")
Part = tuple[str, tuple[int, ...]]  # what the model encodes at once, and the ids that follow it
PROBES = (
    "a",
    "a b",
    "a  b ",
    "  ",
    "\ta\r\x00",
    "ﬁ Å A\u030a \u00a0\u2028",
    "東 😀 \u0378",
    SPACE,
    "\u2585",
    "<unk> </s> <0x41>",
)


@final
class SubwordTokenizer(Tokenizer):
    """Lines are encoded on their own, `<eos>` between them, so that no model ever sees a line end.

    The ids are the model's; a model without an end of sentence gets one behind its last id.
    """

    unit = "subword"
    needs_lines = True

    def __init__(self, model: bytes, lowercase: bool = False) -> None:
        """Raises ValueError when this is no working sentencepiece model."""
        self.model = model
        self.lowercase = lowercase
        check_model(model)
        self._pieces = _processor(model)
        size = self._pieces.vocab_size()
        self._symbols: list[str] = [self._pieces.id_to_piece(id) for id in range(size)]  # all of them are texts
        has_eos = self._pieces.eos_id() >= 0
        self.vocab_size = size if has_eos else size + 1
        self.eos_id = self._pieces.eos_id() if has_eos else size
        self.unk_id: int = self._pieces.unk_id()
        self.adds_space = self._pieces.encode("a", out_type=str)[0].startswith(SPACE)
        bytes_of_space = [self._pieces.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE.encode()]
        self._spelled_space = () if self.adds_space or self.unk_id in bytes_of_space else tuple(bytes_of_space)
        if max(map(len, self.texts)) > MAX_SYMBOL_LENGTH:
            raise ValueError("a piece is too long")
        self._keeps_text = all(self.decode(self._encode(text)) == text for text in PROBES)
        self.lossless = self._keeps_text and not lowercase

    @classmethod
    def build(cls, settings: TextSettings, chunks: Iterable[str], notes: list[str]) -> Self:
        texts = (chunk.lower() for chunk in chunks) if settings.lowercase else chunks
        return cls(train_model(texts, settings.subword_model, settings.vocab_size, notes), settings.lowercase)

    @classmethod
    def load(cls, fields: Mapping[str, Any], folder: Path) -> Self:
        try:
            model = read_file(folder / MODEL_FILE, MAX_MODEL)
        except OSError as error:
            raise ValueError(f"{MODEL_FILE}: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{MODEL_FILE} {error}") from error
        return cls(model, flag_field(fields, "lowercase"))

    @cached_property
    def goes_by_words(self) -> bool:
        """Whether no piece goes on from a word into a space, so that words are encoded each on its own."""
        across = any(SPACE in self._pieces.id_to_piece(id).lstrip(SPACE) for id in range(self._pieces.vocab_size()))
        return bool(self._spelled_space) and self._keeps_text and not across

    @property
    def place_to_cut(self) -> Place:
        return at_a_space if self.goes_by_words else nowhere

    def normalise(self, text: str) -> str:
        text = text.lower() if self.lowercase else text
        return text if self._keeps_text else self._as_the_model_keeps_it(text, self._encode(text))

    def encode_detailed(self, text: str) -> Encoded:
        source = text.lower() if self.lowercase else text
        ids = self._encode(source)
        unknown = tuple(self._unknown(source)) if (ids == self.unk_id).any() else ()
        kept = source if self._keeps_text else self._as_the_model_keeps_it(source, ids)
        return Encoded(ids, unknown, len(kept), len(kept.encode()))

    def tokens(self, text: str) -> list[Token]:
        source = text.lower() if self.lowercase else text
        found = [token for batch in self._located_parts(source) for token in batch]
        if not self.lowercase:
            return found
        ends = ends_before_lower(text, [token.end for token in found])
        return [dataclasses.replace(token, end=end) for token, end in zip(found, ends, strict=True)]

    def _located_parts(self, text: str) -> Iterator[list[Token]]:
        """The tokens of each part of a text, and of what follows it."""
        start = 0
        for part, following in self._parts(text):
            pieces = zip(self._pieces.encode(part), self._pieces.encode(part, out_type=str), strict=True)
            unknown = [(id, piece.replace(SPACE, " ") if id == self.unk_id else None) for id, piece in pieces]
            ends = piece_ends(self._pieces.encode(part, out_type="serialized_proto"), part)
            yield [Token(id, start + end, text) for (id, text), end in zip(unknown, ends, strict=True)]
            start += len(part) + bool(following)
            yield [Token(id, start) for id in following]

    def open_end(self, text: str) -> OpenEnd:
        """The last word is open, with the space before it; of a very long one its last MAX_OPEN tokens."""
        source = text.lower() if self.lowercase else text
        tokens, line = self.tokens(source), source.rfind("\n") + 1
        start = max([line, *(line + place.start() for place in WORD_START.finditer(source[line:]))])
        certain = tokens[-MAX_OPEN - 1].end if len(tokens) > MAX_OPEN else 0
        start = max(start, certain)
        ids = np.array([token.id for token in tokens], np.uint32)
        count = sum(token.end <= start for token in tokens)
        rest = " " * (self.adds_space and start == line) + source[start:]
        spelled = b"".join(self._bytes_of_ids[id] for id in ids[count:].tolist())
        if start == len(source) or spelled != rest.encode():
            return OpenEnd(ids)
        return OpenEnd(ids[:count], rest.encode(), len(source) - start)

    def texts_after(self, id: int) -> Sequence[bytes]:
        return self._bytes_of_ids

    @cached_property
    def _bytes_of_ids(self) -> list[bytes]:
        return [text if isinstance(text, bytes) else text.encode() for text in self.texts]

    def _encode(self, text: str) -> Ids:
        return np.concatenate([self._encode_parts(batch) for batch in _batches(self._parts(text))])

    def _encode_parts(self, parts: list[Part]) -> Ids:
        texts = list(dict.fromkeys(part for part, _ in parts))  # words come again and again
        threads = cores() if len(texts) > FEW else 1
        encoded = dict(zip(texts, self._pieces.encode(texts, num_threads=threads), strict=True))
        pairs = ((encoded[part], following) for part, following in parts)
        return np.fromiter(chain.from_iterable(chain.from_iterable(pairs)), np.uint32)

    def _parts(self, text: str) -> Iterator[Part]:
        *lines, last = text.split("\n")
        for line in lines:
            yield from self._parts_of_line(line, (self.eos_id,))
        yield from self._parts_of_line(last, ())

    def _parts_of_line(self, line: str, following: tuple[int, ...]) -> Iterator[Part]:
        if not self._spelled_space:
            yield line, following
            return
        is_cut = len(line) > LONG and self.goes_by_words
        *before, last = line.split(SPACE)
        for between in before:
            yield from _words(between, self._spelled_space) if is_cut else ((between, self._spelled_space),)
        yield from _words(last, following) if is_cut else ((last, following),)

    def _unknown(self, text: str) -> Iterator[str]:
        """What the text has in place of each unknown piece."""
        for line in text.split("\n"):
            for id, piece in zip(self._pieces.encode(line), self._pieces.encode(line, out_type=str), strict=True):
                if id == self.unk_id:
                    yield piece.replace(SPACE, " ")

    def _as_the_model_keeps_it(self, text: str, ids: Ids) -> str:
        unknown = self._unknown(text)
        decoder = self.decoder()
        kept = []
        for id in ids.tolist():
            decoded = decoder.feed(id)
            kept.append(decoded.removesuffix(UNK) + next(unknown) if id == self.unk_id else decoded)
        return "".join(kept) + decoder.finish()

    def decoder(self) -> Decoder:
        return SubwordDecoder(self)

    @cached_property
    def texts(self) -> list[str | bytes]:
        """What each id stands for: a text, or a byte of one; nothing for the model's control symbols."""
        texts = [self._text(id) for id in range(len(self._symbols))]
        return [*texts, "\n"][: self.vocab_size]

    def _text(self, id: int) -> str | bytes:
        if id == self.unk_id:
            return UNK
        if self._pieces.is_control(id):
            return "\n" if id == self.eos_id else ""
        piece = self._symbols[id]
        return bytes([int(piece[1:-1], 16)]) if self._pieces.is_byte(id) else piece.replace(SPACE, " ")

    def symbol(self, id: int) -> str:
        if id in (self.eos_id, self.unk_id):
            return EOS if id == self.eos_id else UNK
        return self._symbols[id]

    def files(self) -> dict[str, bytes]:
        return {TOKENIZER_FILE: to_json(self.unit, {"lowercase": self.lowercase}), MODEL_FILE: self.model}


@final
class SubwordDecoder(Decoder):
    """Pieces as they come; a character spelled in bytes with its last byte."""

    def __init__(self, tokenizer: SubwordTokenizer) -> None:
        self._texts = tokenizer.texts
        self._eos_id = tokenizer.eos_id
        self._adds_space = tokenizer.adds_space
        self._at_start = True
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, id: int) -> str:
        text = self._texts[id]
        if isinstance(text, bytes):
            self._at_start = False
            return self._bytes.decode(text)
        if self._adds_space and self._at_start:
            text = text.removeprefix(" ")
        self._at_start = id == self._eos_id
        return self.finish() + text

    def finish(self) -> str:
        left = self._bytes.decode(b"", final=True)
        self._bytes.reset()
        return left


def _processor(model: bytes) -> "SentencePieceProcessor":
    from sentencepiece import SentencePieceProcessor

    if not model:
        raise ValueError("the sentencepiece model is empty")  # which sentencepiece would take, and fail later
    try:
        pieces = SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise ValueError("not a sentencepiece model") from error
    if pieces.vocab_size() < 2 or not pieces.encode("a"):
        raise ValueError("a sentencepiece model that encodes nothing")
    return pieces


def _batches(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Some BATCH characters at a time."""
    batch, length = [], 0
    for part in parts:
        batch.append(part)
        length += len(part[0]) + 1
        if length >= BATCH:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _words(text: str, following: tuple[int, ...]) -> Iterator[Part]:
    """The words of a text, each with the spaces before it, and in pieces if it is very long.

    So a line gives the same ids however it is cut before such words; sentencepiece, given a whole line, would choose
    among equally good pieces by how its sums of 32 bits are rounded.
    """
    start = 0
    for end in chain((place.start() for place in WORD_START.finditer(text)), (len(text),)):
        for first in range(start, end, MAX_WORD_LENGTH):
            yield text[first : min(first + MAX_WORD_LENGTH, end)], ()
        start = end
    yield "", following
