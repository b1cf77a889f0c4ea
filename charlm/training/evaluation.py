"""Measure a network on a part of the corpus: quick checks during training, and the final figures."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.store import IdsFile
from charlm.scoring.metrics import Sums, Tally
from charlm.scoring.predictor import Predictor
from charlm.scoring.score import SEGMENTS, WARM_UP, score_sequences, score_stream, split_items
from charlm.scoring.spelling import spelling_nats
from charlm.settings import Item
from charlm.text.items import ends_of_items

Ids = NDArray[Any]

CHECK_TOKENS = 2**15  # tokens of a quick check
CHECK_PIECES = 16


def check_pieces(
    ids: Ids, eos_id: int, line_by_line: bool, tokens: int = CHECK_TOKENS, item: Item = "line"
) -> list[Ids]:
    """The sequences of a quick check: pieces spread evenly over a part, or all of it when it is small.

    `ids` are the part without its leading `<eos>`. With `line_by_line` the pieces are split into lines, or into other
    items.
    """
    size = ceil(tokens / CHECK_PIECES)
    if len(ids) <= max(tokens, size * CHECK_PIECES):
        pieces = [ids]
    else:
        starts = np.linspace(0, len(ids) - size, CHECK_PIECES).astype(np.int64)
        pieces = [ids[start : start + size] for start in starts.tolist()]
    return [line for piece in pieces for line in split_items(piece, eos_id, item)] if line_by_line else pieces


def mean_nats(predictor: Predictor, sequences: list[Ids], eos_id: int) -> float:
    """Nats per token over all sequences, each scored from the initial state."""
    scores = score_sequences(predictor, sequences, eos_id)
    return -sum(float(logprobs.sum()) for logprobs in scores) / sum(map(len, scores))


@dataclass(frozen=True)
class Scored:
    """The tokens of a part that were scored (N,), and what the predictor's `logprobs` said of each: (N,) or (N, K)."""

    part: IdsFile
    ids: Ids
    scores: NDArray[np.float64]

    def tally(self, logprobs: NDArray[np.float64], unk_id: int | None) -> Tally:
        """The tally of the whole part, given log p of each token (N,); an estimate, if only a share was scored."""
        sums = Sums()
        sums.add(logprobs, self.ids, unk_id)
        spelling = spelling_nats(self.part.header.unknown_bytes)
        scale = self.part.num_tokens / sums.tokens if sums.tokens else 1.0
        return Tally(
            total_nats=-sums.logprob_nats * scale + spelling,
            tokens=self.part.num_tokens,
            characters=self.part.header.num_characters,
            bytes=self.part.header.num_bytes,
            unknown=self.part.header.num_unknown,
            unknown_nats=sums.unknown_nats(self.part.header.num_unknown) + spelling,
        )


def score_streamed(predictor: Predictor, part: IdsFile, eos_id: int, share: float = 1.0) -> Scored:
    """Score a part as one continuous text, the state carried over from line to line.

    With a `share` below 1 only that share is scored, in pieces spread evenly over the part.
    """
    ids = part.ids[1:]
    scored = score_stream(predictor, [ids], eos_id) if share >= 1 else score_pieces(predictor, ids, eos_id, share)
    return _scored(part, list(scored))


def score_cold(predictor: Predictor, part: IdsFile, eos_id: int, share: float = 1.0, item: Item = "line") -> Scored:
    """Score a part line by line, or by other items, each of them from the initial state.

    With a `share` below 1 only about that share is scored, in lines spread evenly over the part.
    """
    lines = spread_lines(part.ids[1:], eos_id, share, item)
    return _scored(part, list(zip(lines, score_sequences(predictor, lines, eos_id), strict=True)))


def _scored(part: IdsFile, pieces: list[tuple[Ids, NDArray[np.float64]]]) -> Scored:
    ids, scores = zip(*pieces or [(part.ids[:0], np.empty(0))], strict=True)
    return Scored(part, np.concatenate(ids), np.concatenate(scores))


def score_pieces(
    predictor: Predictor, ids: Ids, eos_id: int, share: float
) -> Iterator[tuple[Ids, NDArray[np.float64]]]:
    """Score a share of a continuous text: ids and log p in nats of each of SEGMENTS pieces spread evenly over it.

    Each piece starts with a state that was warmed up on the tokens before it. Warming up counts towards the share, and
    takes at most half of it. If the predictor cannot run in segments, the share is the beginning of the text.
    """
    if not predictor.can_run_in_segments:
        yield from score_stream(predictor, [ids[: max(1, int(share * len(ids)))]], eos_id)
        return
    size = max(2, int(share * len(ids)) // SEGMENTS)
    warm = min(WARM_UP, size // 2)
    size = min(size - warm, ceil(len(ids) / SEGMENTS))
    starts = np.unique(np.linspace(0, max(0, len(ids) - size), SEGMENTS).astype(np.int64)).tolist()
    num_warm = [min(start, warm) for start in starts]
    pieces = [ids[start - skipped : start + size] for start, skipped in zip(starts, num_warm, strict=True)]
    for piece, skipped, logprobs in zip(pieces, num_warm, score_sequences(predictor, pieces, eos_id), strict=True):
        yield piece[skipped:], logprobs[skipped:]


def spread_lines(ids: Ids, eos_id: int, share: float, item: Item = "line") -> list[Ids]:
    """All items of a part, or every n-th of them with about a `share` of its tokens; too long ones are cut."""
    if share >= 1:
        return split_items(ids, eos_id, item)
    max_tokens = max(1, int(share * len(ids)))
    ends = np.append(ends_of_items(ids[:-1], eos_id, item) + 1, len(ids))
    starts, step = np.append(0, ends[:-1]), ceil(len(ids) / max_tokens)
    return [ids[start:end][:max_tokens] for start, end in zip(starts[::step], ends[::step], strict=True)]
