"""The most and the least surprising passages of a text, with the surprisal of each piece of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.store import IdsFile
from charlm.scoring.language_model import LanguageModel
from charlm.scoring.score import score_sequences, score_stream
from charlm.text.interface import Tokenizer
from charlm.training.evaluation import score_pieces, spread_lines

MAX_TOKENS = 1 << 16  # that are scored to find passages
MIN_CHARACTERS = 40  # of a passage; where no passage has so many, shorter ones are taken
ENOUGH_CHARACTERS = 100  # a line end ends a longer passage
FULL_CHARACTERS = 240  # a space ends a longer passage
MAX_CHARACTERS = 320

Scored = tuple[NDArray[Any], NDArray[np.float64]]
"""Ids and log p in nats of each of them."""


@dataclass(frozen=True)
class Piece:
    """A piece of text and its surprisal, -log p of all its tokens in nats."""

    text: str
    nats: float


@dataclass(frozen=True)
class Passage:
    """A passage in pieces, one for each token, or several tokens where only these make up a character."""

    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def num_characters(self) -> int:
        return sum(len(piece.text) for piece in self.pieces)

    @property
    def nats_per_char(self) -> float:
        return sum(piece.nats for piece in self.pieces) / max(1, self.num_characters)


def find_passages(lm: LanguageModel, part: IdsFile, by_line: bool) -> list[Passage]:
    """The passages of a part of a corpus, the least surprising first, and each text once.

    With `by_line` the lines, or other items, are scored one by one, each from the initial state. Else the part is
    scored as one running text with the state carried on. Passages are lines, several short lines together, or pieces of
    long lines. Of a part of more than MAX_TOKENS tokens about so many are scored, spread evenly over it.
    """
    is_backward = lm.direction == "backward"
    part = replace(part, is_backward=is_backward, item=lm.item)
    scored = _scored_lines(lm, part) if by_line else _scored_stream(lm, part)
    if is_backward:  # in the order of the text again
        scored = ((ids[::-1], logprobs[::-1]) for ids, logprobs in scored)
    found = (passage for ids, logprobs in scored for passage in _cut(_pieces(lm.tokenizer, ids, logprobs)))
    passages = list({passage.text: passage for passage in found}.values())
    readable = [passage for passage in passages if passage.num_characters >= MIN_CHARACTERS]
    return sorted(readable or passages, key=lambda passage: passage.nats_per_char)


def extremes(passages: Sequence[Passage], count: int) -> tuple[list[Passage], list[Passage]]:
    """The `count` most surprising passages and the `count` least surprising ones, of a sorted list; none is in both."""
    half = len(passages) // 2
    return list(reversed(passages[half:]))[:count], list(passages[:half])[:count]


def _scored_lines(lm: LanguageModel, part: IdsFile) -> Iterator[Scored]:
    share = min(1.0, MAX_TOKENS / max(1, part.num_tokens))
    lines = spread_lines(part.ids[1:], lm.tokenizer.eos_id, share, lm.item)
    yield from zip(lines, score_sequences(lm.batch_predictor, lines, lm.tokenizer.eos_id), strict=True)


def _scored_stream(lm: LanguageModel, part: IdsFile) -> Iterator[Scored]:
    ids, eos_id = part.ids[1:], lm.tokenizer.eos_id
    if len(ids) <= MAX_TOKENS:
        return score_stream(lm.batch_predictor, [ids], eos_id)
    return score_pieces(lm.batch_predictor, ids, eos_id, MAX_TOKENS / len(ids))


def _cut(pieces: Iterable[Piece]) -> Iterator[Passage]:
    """Cut a scored text into passages, where possible at line ends or spaces."""
    passage: list[Piece] = []
    length = 0
    for piece in pieces:
        if passage and _is_cut(passage[-1].text, piece.text, length):
            yield Passage(tuple(passage))
            passage, length = [], 0
        passage.append(piece)
        length += len(piece.text)
    if passage:
        yield Passage(tuple(passage))


def _is_cut(before: str, after: str, length: int) -> bool:
    """Whether a passage of this length ends between two pieces; empty lines stay with what comes before them."""
    is_line_end = before.endswith("\n") and after != "\n"
    is_word_end = before[-1:].isspace() or (after[:1].isspace() and after.strip() != "")
    is_enough = length >= ENOUGH_CHARACTERS if is_line_end else length >= FULL_CHARACTERS and is_word_end
    return is_enough or length >= MAX_CHARACTERS


def _pieces(tokenizer: Tokenizer, ids: NDArray[Any], logprobs: NDArray[np.float64]) -> Iterator[Piece]:
    """The text of tokens with their surprisal; a token whose text is not certain yet is joined with the next one."""
    decoder, nats = tokenizer.decoder(), 0.0
    for id, logprob in zip(ids.tolist(), logprobs.tolist(), strict=True):
        nats -= logprob
        if text := decoder.feed(id):
            yield Piece(text, nats)
            nats = 0.0
    if text := decoder.finish():
        yield Piece(text, nats)
