"""A network's loss on a part of the corpus, with units."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.store import IdsFile
from charlm.scoring.metrics import Tally
from charlm.scoring.score import Network, score_sequence, score_sequences, split_lines, unknown_nats
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
    return _tally(score_sequence(network, part.ids[1:], eos_id), part, unk_id)


def tally_cold(network: Network, part: IdsFile, eos_id: int, unk_id: int | None) -> Tally:
    """A part line by line, each line from the initial state."""
    scores = score_sequences(network, split_lines(part.ids[1:], eos_id), eos_id)
    return _tally(np.concatenate(scores), part, unk_id)


def _tally(logprobs: NDArray[np.float64], part: IdsFile, unk_id: int | None) -> Tally:
    spelling = spelling_nats(part.header.unknown_bytes)
    return Tally(
        total_nats=-float(logprobs.sum()) + spelling,
        tokens=part.num_tokens,
        characters=part.header.num_characters,
        bytes=part.header.num_bytes,
        unknown=part.header.num_unknown,
        unknown_nats=unknown_nats(logprobs, part.ids[1:] == unk_id, part.header.num_unknown) + spelling,
    )
