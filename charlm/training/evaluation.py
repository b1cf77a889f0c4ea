"""A network's loss on a part of the corpus, with units."""

from collections.abc import Iterator
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.store import IdsFile
from charlm.scoring.metrics import Sums, Tally
from charlm.scoring.predictor import Predictor
from charlm.scoring.score import SEGMENTS, WARM_UP, score_sequences, score_stream, split_lines
from charlm.scoring.spelling import spelling_nats

Ids = NDArray[Any]

CHECK_TOKENS = 2**15  # tokens of a quick check
CHECK_PIECES = 16


def check_pieces(ids: Ids, eos_id: int, line_by_line: bool, tokens: int = CHECK_TOKENS) -> list[Ids]:
    """The tokens of a quick check, spread over a part (ids after its leading `<eos>`); all of it when it is small."""
    piece = -(-tokens // CHECK_PIECES)
    if len(ids) <= max(tokens, piece * CHECK_PIECES):
        pieces = [ids]
    else:
        starts = np.linspace(0, len(ids) - piece, CHECK_PIECES).astype(np.int64)
        pieces = [ids[start : start + piece] for start in starts.tolist()]
    return [line for part in pieces for line in split_lines(part, eos_id)] if line_by_line else pieces


def mean_nats(predictor: Predictor, sequences: list[Ids], eos_id: int) -> float:
    """Nats per token over sequences that are each scored from the initial state."""
    scores = score_sequences(predictor, sequences, eos_id)
    return -sum(float(one.sum()) for one in scores) / sum(len(one) for one in scores)


def tally_streamed(
    predictor: Predictor, part: IdsFile, eos_id: int, unk_id: int | None, share: float = 1.0
) -> tuple[Tally, int]:
    """A part as one running text, the state carried over its lines; how many tokens were scored.

    Of a share, the tally is an estimate for the whole, from pieces that are spread evenly over it.
    """
    ids, sums = part.ids[1:], Sums()
    scored = score_stream(predictor, [ids], eos_id) if share >= 1 else score_pieces(predictor, ids, eos_id, share)
    for one, logprobs in scored:
        sums.add(logprobs, one, unk_id)
    return _tally(sums, part), sums.tokens


def tally_cold(
    predictor: Predictor, part: IdsFile, eos_id: int, unk_id: int | None, share: float = 1.0
) -> tuple[Tally, int]:
    """A part line by line, each line from the initial state; of a share, every so many lines, likewise."""
    sums, lines = Sums(), spread_lines(part.ids[1:], eos_id, share)
    for ids, logprobs in zip(lines, score_sequences(predictor, lines, eos_id), strict=True):
        sums.add(logprobs, ids, unk_id)
    return _tally(sums, part), sums.tokens


def score_pieces(
    predictor: Predictor, ids: Ids, eos_id: int, share: float
) -> Iterator[tuple[Ids, NDArray[np.float64]]]:
    """A share of a stream: pieces of it, each scored with a state that was warmed up on the tokens before it.

    Warming up counts as a part of the share, and takes at most half of it.
    """
    size = max(2, int(share * len(ids)) // SEGMENTS)
    warm = min(WARM_UP, size // 2)
    size = min(size - warm, -(-len(ids) // SEGMENTS))
    starts = np.unique(np.linspace(0, max(0, len(ids) - size), SEGMENTS).astype(np.int64)).tolist()
    before = [start - max(0, start - warm) for start in starts]
    pieces = [ids[start - skipped : start + size] for start, skipped in zip(starts, before, strict=True)]
    for piece, skipped, logprobs in zip(pieces, before, score_sequences(predictor, pieces, eos_id), strict=True):
        yield piece[skipped:], logprobs[skipped:]


def spread_lines(ids: Ids, eos_id: int, share: float) -> list[Ids]:
    """All lines of a part; or every so many of them, those that are too long cut: about a share of its tokens."""
    if share >= 1:
        return split_lines(ids, eos_id)
    most = max(1, int(share * len(ids)))
    ends = np.append(np.flatnonzero(ids[:-1] == eos_id) + 1, len(ids))
    starts, step = np.append(0, ends[:-1]), ceil(len(ids) / most)
    return [ids[start:end][:most] for start, end in zip(starts[::step], ends[::step], strict=True)]


def _tally(sums: Sums, part: IdsFile) -> Tally:
    """What was scored, with all that is known of the part; where that was a share of it, an estimate for all of it."""
    spelling = spelling_nats(part.header.unknown_bytes)
    scale = part.num_tokens / sums.tokens if sums.tokens else 1.0
    return Tally(
        total_nats=-sums.logprob_nats * scale + spelling,
        tokens=part.num_tokens,
        characters=part.header.num_characters,
        bytes=part.header.num_bytes,
        unknown=part.header.num_unknown,
        unknown_nats=sums.unknown_nats(part.header.num_unknown) + spelling,
    )
