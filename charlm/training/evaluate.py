"""A network's loss on a part of the corpus, with units."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.store import IdsFile
from charlm.scoring.metrics import Sums, Tally
from charlm.scoring.score import Network, score_sequences, score_stream, split_lines
from charlm.scoring.spelling import spelling_nats

Ids = NDArray[Any]

CHECK_TOKENS = 2**15  # tokens of a quick check
CHECK_PIECES = 16


def check_pieces(ids: Ids, eos_id: int, line_by_line: bool) -> list[Ids]:
    """The tokens of a quick check, spread over a part (ids after its leading `<eos>`); all of it when it is small."""
    piece = CHECK_TOKENS // CHECK_PIECES
    if len(ids) <= CHECK_TOKENS:
        pieces = [ids]
    else:
        starts = np.linspace(0, len(ids) - piece, CHECK_PIECES).astype(np.int64)
        pieces = [ids[start : start + piece] for start in starts.tolist()]
    return [line for part in pieces for line in split_lines(part, eos_id)] if line_by_line else pieces


def mean_nats(network: Network, sequences: list[Ids], eos_id: int) -> float:
    """Nats per token over sequences that are each scored from the initial state."""
    scores = score_sequences(network, sequences, eos_id)
    return -sum(float(one.sum()) for one in scores) / sum(len(one) for one in scores)


def tally_streamed(network: Network, part: IdsFile, eos_id: int, unk_id: int | None) -> Tally:
    """A part as one running text, the state carried over its lines."""
    sums = Sums()
    for ids, logprobs in score_stream(network, [part.ids[1:]], eos_id):
        sums.add(logprobs, ids, unk_id)
    return _tally(sums, part)


def tally_cold(network: Network, part: IdsFile, eos_id: int, unk_id: int | None) -> Tally:
    """A part line by line, each line from the initial state."""
    sums, lines = Sums(), split_lines(part.ids[1:], eos_id)
    for ids, logprobs in zip(lines, score_sequences(network, lines, eos_id), strict=True):
        sums.add(logprobs, ids, unk_id)
    return _tally(sums, part)


def _tally(sums: Sums, part: IdsFile) -> Tally:
    spelling = spelling_nats(part.header.unknown_bytes)
    return Tally(
        total_nats=-sums.logprob_nats + spelling,
        tokens=part.num_tokens,
        characters=part.header.num_characters,
        bytes=part.header.num_bytes,
        unknown=part.header.num_unknown,
        unknown_nats=sums.unknown_nats(part.header.num_unknown) + spelling,
    )
