"""Subword tokenizer: a sentencepiece model, either trained here so that nothing is lost or made by another tool."""

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
from charlm.system.records import read_record
from charlm.text.encoded import Encoded, Ids, OpenEnd, Token
from charlm.text.interface import (
    EOS,
    MODEL_FILE,
    TOKENIZER_FILE,
    UNK,
    Decoder,
    Joins,
    Tokenizer,
    ends_before_lowercasing,
    to_json,
)
from charlm.text.long_lines import Place, at_a_space, nowhere
from charlm.text.octets import NUM_BYTES
from charlm.text.subword_checking import check_model
from charlm.text.subword_places import piece_ends
from charlm.text.subword_training import train_model
from charlm.text.vocabulary import MAX_SYMBOL_LENGTH

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

SPACE = "▁"  # U+2581: how pieces write a space. Where a text has it, it is spelled in bytes.
MAX_MODEL = 1 << 26  # bytes
BATCH = 1 << 20  # characters encoded at a time
MIN_THREADED = 1_000  # parts for which starting threads pays off
MAX_WHOLE_LINE = 1 << 15  # characters; a longer line is encoded word by word
MAX_WORD_LENGTH = 1 << 15  # characters; a longer word is cut
MAX_OPEN = 8  # tokens at the end of a prompt that can change if it is continued
WORD_START = re.compile(r"(?<=[^ ])(?= )")
PROBES = (  # a model that gives these back gives every text back
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

Part = tuple[str, tuple[int, ...]]  # a text that the model encodes as a whole, and the ids that follow it


@dataclasses.dataclass(frozen=True)
class SubwordRecord:
    """The fields of `tokenizer.json` for subwords; their symbols are in the model."""

    lowercase: bool


@final
class SubwordTokenizer(Tokenizer):
    """Each line is encoded on its own, so that the model never sees a line end; `<eos>` stands between two lines.

    The ids are those of the model. A model without an end of sentence gets one after its last id.
    """

    unit = "subword"
    needs_lines = True
    characters_per_token = 10 / 3

    def __init__(self, model: bytes, lowercase: bool = False) -> None:
        """Raises ValueError if `model` is not the content of a working sentencepiece model."""
        self.model = model
        self.lowercase = lowercase
        check_model(model)
        self._processor = _processor(model)
        size = self._processor.vocab_size()
        self._symbols: list[str] = [self._processor.id_to_piece(id) for id in range(size)]
        has_eos = self._processor.eos_id() >= 0
        self.vocab_size = size if has_eos else size + 1
        self.eos_id = self._processor.eos_id() if has_eos else size
        self.unk_id: int = self._processor.unk_id()
        self.adds_space = self._processor.encode("a", out_type=str)[0].startswith(SPACE)
        bytes_of_space = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE.encode()]
        self._spelled_space = () if self.adds_space or self.unk_id in bytes_of_space else tuple(bytes_of_space)
        if max(map(len, self.texts)) > MAX_SYMBOL_LENGTH:
            raise ValueError("a piece is too long")
        self._keeps_text = all(self.decode(self._encode(text)) == text for text in PROBES)
        self.lossless = self._keeps_text and not lowercase

    def __reduce__(self) -> tuple[type[Self], tuple[bytes, bool]]:
        return type(self), (self.model, self.lowercase)  # all else follows from these

    @classmethod
    def build(cls, settings: TextSettings, chunks: Iterable[str], notes: list[str]) -> Self:
        texts = (chunk.lower() for chunk in chunks) if settings.lowercase else chunks
        return cls(train_model(texts, settings.subword_model, settings.vocab_size, notes), settings.lowercase)

    @classmethod
    def load(cls, fields: Mapping[str, Any], symbols: Any, model: Path) -> Self:
        record = read_record(SubwordRecord, fields)
        try:
            content = read_file(model, MAX_MODEL)
        except OSError as error:
            raise ValueError(f"{model.name}: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{model.name} {error}") from error
        return cls(content, record.lowercase)

    def files(self) -> dict[str, bytes]:
        return {TOKENIZER_FILE: to_json(self.unit, vars(SubwordRecord(self.lowercase))), MODEL_FILE: self.model}

    @cached_property
    def goes_by_words(self) -> bool:
        """Whether words can be encoded separately, since no piece continues from a word into the next space."""
        crosses = any(SPACE in symbol.lstrip(SPACE) for symbol in self._symbols)
        return bool(self._spelled_space) and self._keeps_text and not crosses

    @property
    def place_to_cut(self) -> Place:
        return at_a_space if self.goes_by_words else nowhere

    def normalise(self, text: str) -> str:
        text = self._in_case(text)
        return text if self._keeps_text else self._as_kept(text, self._encode(text))

    def encode_detailed(self, text: str) -> Encoded:
        text = self._in_case(text)
        ids = self._encode(text)
        unknown = tuple(self._unknown(text)) if (ids == self.unk_id).any() else ()
        kept = text if self._keeps_text else self._as_kept(text, ids)
        return Encoded(ids, unknown, len(kept), len(kept.encode()))

    def _in_case(self, text: str) -> str:
        return text.lower() if self.lowercase else text

    def _encode(self, text: str) -> Ids:
        return np.concatenate([self._encode_parts(batch) for batch in _batches(self._parts(text))])

    def _encode_parts(self, parts: list[Part]) -> Ids:
        texts = list(dict.fromkeys(part for part, _ in parts))  # each different one once: words are often repeated
        threads = cores() if len(texts) > MIN_THREADED else 1
        encoded = dict(zip(texts, self._processor.encode(texts, num_threads=threads), strict=True))
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
        by_words = len(line) > MAX_WHOLE_LINE and self.goes_by_words
        *texts, last = line.split(SPACE)
        for text, ids in chain(((text, self._spelled_space) for text in texts), ((last, following),)):
            yield from _words(text, ids) if by_words else ((text, ids),)

    def _unknown(self, text: str) -> Iterator[str]:
        """What the text has in place of each unknown piece."""
        for line in text.split("\n"):
            for id, piece in self._pieces(line):
                if id == self.unk_id:
                    yield piece.replace(SPACE, " ")

    def _pieces(self, text: str) -> Iterator[tuple[int, str]]:
        """The id and the text of each piece, where an unknown one has the text that it stands for."""
        return zip(self._processor.encode(text), self._processor.encode(text, out_type=str), strict=True)

    def _as_kept(self, text: str, ids: Ids) -> str:
        """The text as the model normalises it, with its unknown symbols."""
        unknown = self._unknown(text)
        decoder = self.decoder()
        kept = []
        for id in ids.tolist():
            decoded = decoder.feed(id)
            kept.append(decoded.removesuffix(UNK) + next(unknown) if id == self.unk_id else decoded)
        return "".join(kept) + decoder.finish()

    def tokens(self, text: str) -> list[Token]:
        tokens = list(self._tokens_in_case(self._in_case(text)))
        if not self.lowercase:
            return tokens
        ends = ends_before_lowercasing(text, [token.end for token in tokens])
        return [dataclasses.replace(token, end=end) for token, end in zip(tokens, ends, strict=True)]

    def _tokens_in_case(self, text: str) -> Iterator[Token]:
        start = 0
        for part, following in self._parts(text):
            ends = piece_ends(self._processor.encode(part, out_type="serialized_proto"), part)
            for (id, piece), end in zip(self._pieces(part), ends, strict=True):
                yield Token(id, start + end, piece.replace(SPACE, " ") if id == self.unk_id else None)
            start += len(part) + bool(following)
            yield from (Token(id, start) for id in following)

    def open_end(self, text: str) -> OpenEnd:
        """The last word can change, with the space before it; of a very long word, its last MAX_OPEN tokens."""
        text = self._in_case(text)
        tokens = list(self._tokens_in_case(text))
        line_start = text.rfind("\n") + 1
        word_starts = [line_start + found.start() for found in WORD_START.finditer(text[line_start:])]
        certain_end = tokens[-MAX_OPEN - 1].end if len(tokens) > MAX_OPEN else 0
        start = max([line_start, certain_end, *word_starts[-1:]])
        ids = np.array([token.id for token in tokens], np.uint32)
        num_certain = sum(token.end <= start for token in tokens)
        rest = " " + text[start:] if self.adds_space and start == line_start else text[start:]
        spelled = b"".join(self._bytes_by_id[id] for id in ids[num_certain:].tolist())
        if start == len(text) or spelled != rest.encode():
            return OpenEnd(ids)
        return OpenEnd(ids[:num_certain], rest.encode(), len(text) - start)

    def texts_after(self, id: int) -> Sequence[bytes]:
        return self._bytes_by_id

    @cached_property
    def _bytes_by_id(self) -> list[bytes]:
        return [text if isinstance(text, bytes) else text.encode() for text in self.texts]

    @cached_property
    def texts(self) -> list[str | bytes]:
        """What each id stands for: a text, a single byte of one, or nothing for the model's control symbols."""
        texts = [self._text(id) for id in range(len(self._symbols))]
        return [*texts, "\n"][: self.vocab_size]

    @property
    def can_spell_anything(self) -> bool:  # type: ignore[override]
        """Whether the model has a token for each byte."""
        return len({text for text in self.texts if isinstance(text, bytes)}) == NUM_BYTES

    def written(self) -> Iterator[tuple[str, Joins]]:
        for id, text in enumerate(self.texts):
            if id not in (self.eos_id, self.unk_id) and isinstance(text, str):
                yield text, (True, True)
                if self.adds_space:  # no space at the start of a line
                    yield text.removeprefix(" "), (True, True)

    def _text(self, id: int) -> str | bytes:
        if id == self.unk_id:
            return UNK
        if self._processor.is_control(id):
            return "\n" if id == self.eos_id else ""
        symbol = self._symbols[id]
        return bytes([int(symbol[1:-1], 16)]) if self._processor.is_byte(id) else symbol.replace(SPACE, " ")

    def symbol(self, id: int) -> str:
        if id in (self.eos_id, self.unk_id):
            return EOS if id == self.eos_id else UNK
        return self._symbols[id]

    def decoder(self) -> Decoder:
        return SubwordDecoder(self)


@final
class SubwordDecoder(Decoder):
    """Returns each piece as it comes, and a character that is spelled in bytes with its last byte."""

    def __init__(self, tokenizer: SubwordTokenizer) -> None:
        self._texts = tokenizer.texts
        self._eos_id = tokenizer.eos_id
        self._adds_space = tokenizer.adds_space
        self._at_line_start = True
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, id: int) -> str:
        text = self._texts[id]
        if isinstance(text, bytes):
            self._at_line_start = False
            return self._decoder.decode(text)
        if self._adds_space and self._at_line_start:
            text = text.removeprefix(" ")
        self._at_line_start = id == self._eos_id
        return self.finish() + text

    def finish(self) -> str:
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


def _processor(model: bytes) -> "SentencePieceProcessor":
    from sentencepiece import SentencePieceProcessor

    if not model:
        raise ValueError("the sentencepiece model is empty")  # sentencepiece would accept it and fail later
    try:
        processor = SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise ValueError("not a sentencepiece model") from error
    if processor.vocab_size() < 2 or not processor.encode("a"):
        raise ValueError("a sentencepiece model that encodes nothing")
    return processor


def _batches(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """The parts in groups of about BATCH characters."""
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
    """The words of a text, each with the spaces before it, a very long one in several parts.

    So the ids do not depend on where a line is cut between words. If sentencepiece got the whole line, the rounding of
    its 32-bit sums would decide between equally good pieces.
    """
    start = 0
    for end in chain((place.start() for place in WORD_START.finditer(text)), (len(text),)):
        for part_start in range(start, end, MAX_WORD_LENGTH):
            yield text[part_start : min(part_start + MAX_WORD_LENGTH, end)], ()
        start = end
    yield "", following
