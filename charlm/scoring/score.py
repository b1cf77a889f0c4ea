"""Compute the probability of a text. All scoring and validation goes through this module.

A sequence is scored from the initial state with `<eos>` as first input. Shapes: B batch, T time. A predictor whose
`logprobs` gives several numbers for each token, as a `Witness` does, is read in the same way.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.scoring.predictor import Ids, Predictor
from charlm.settings import Item
from charlm.text.items import ends_of_items

TIME_CHUNK = 512  # time steps scored in one call
BATCH_TOKENS = 2**14  # tokens scored in one call, with padding
BATCH_SEQUENCES = 128  # sequences scored in one call
PADDING = -1  # marks a target that is padding
MAX_WHOLE_TOKENS = BATCH_TOKENS  # a longer sequence is cut into segments; a batch has never more than one of those
SEGMENTS = 32
WARM_UP = 512  # tokens that a segment's state is warmed up on
BLOCK = 2**20  # tokens of a stream that are held in memory


def score_sequence(predictor: Predictor, ids: Ids, eos_id: int, before: Ids | None = None) -> NDArray[np.float64]:
    """log p in nats of each token of one sequence (T,), the state carried from the first to the last.

    A sequence of more than MAX_WHOLE_TOKENS tokens is cut into up to SEGMENTS segments of equal length that run side by
    side, each from a state that was warmed up on the WARM_UP tokens before it. Every token still has a proper
    conditional probability, and the sum stays within 1e-4 nats per token of the strictly sequential one, which is
    tested. If the predictor cannot run in segments, nothing is cut. With `before` (at most WARM_UP tokens), the
    sequence continues these tokens, which are read but not scored.
    """
    before = ids[:0] if before is None else before
    text = np.concatenate([before, ids])
    is_whole = len(ids) <= MAX_WHOLE_TOKENS or not predictor.can_run_in_segments
    segment = max(1, len(ids) if is_whole else -(-len(ids) // SEGMENTS))
    starts = range(len(before), len(text), segment)
    warmed = [text[max(0, start - WARM_UP) : start + segment] for start in starts]
    scores = score_padded(predictor, warmed, eos_id) if warmed else []
    new = [logprobs[min(start, WARM_UP) :] for logprobs, start in zip(scores, starts, strict=True)]
    return np.concatenate(new) if new else np.empty(0)


def score_stream(predictor: Predictor, pieces: Iterable[Ids], eos_id: int) -> Iterator[tuple[Ids, NDArray[np.float64]]]:
    """Score one sequence of any length that comes in pieces: ids and log p in nats of each, about BLOCK at a time.

    If the predictor can run in segments, each block is warmed up on the WARM_UP tokens before it.
    """
    if not predictor.can_run_in_segments:
        yield from _score_in_order(predictor, _blocks(pieces), eos_id)
        return
    before: Ids | None = None
    for ids in _blocks(pieces):
        yield ids, score_sequence(predictor, ids, eos_id, before)
        before = ids[-WARM_UP:]


def _score_in_order(
    predictor: Predictor, blocks: Iterable[Ids], eos_id: int
) -> Iterator[tuple[Ids, NDArray[np.float64]]]:
    """Score blocks of one sequence, with the exact state carried from block to block."""
    state, previous = predictor.initial_state(1), eos_id
    for ids in blocks:
        inputs, scores = np.concatenate([[previous], ids[:-1]]).astype(np.int64), []
        for start in range(0, len(ids), TIME_CHUNK):
            chunk = slice(start, start + TIME_CHUNK)
            logprobs, state = predictor.logprobs(inputs[None, chunk], ids[None, chunk].astype(np.int64), state)
            scores.append(logprobs[0])
        yield ids, np.concatenate(scores)
        previous = int(ids[-1])


def score_sequences(predictor: Predictor, sequences: Sequence[Ids], eos_id: int) -> list[NDArray[np.float64]]:
    """log p in nats of each token of each sequence, each from the initial state, in batches of similar length."""
    results: list[NDArray[np.float64]] = [np.empty(0)] * len(sequences)
    for batch in _batches([len(ids) for ids in sequences]):
        if len(sequences[batch[0]]) > MAX_WHOLE_TOKENS:
            results[batch[0]] = score_sequence(predictor, sequences[batch[0]], eos_id)
        else:
            for i, scores in zip(batch, score_padded(predictor, [sequences[i] for i in batch], eos_id), strict=True):
                results[i] = scores
    return results


def score_variants(predictor: Predictor, sequences: Sequence[Ids], eos_id: int) -> NDArray[np.float64]:
    """log p in nats of each of some sequences that begin alike (N,); what they all begin with is read only once."""
    shared = _shared_beginning(sequences)
    beginning = np.concatenate([[eos_id], sequences[0][:shared]]).astype(np.int64)
    total, state = 0.0, predictor.initial_state(1)
    for start in range(0, shared, TIME_CHUNK):
        inputs, targets = beginning[start : start + TIME_CHUNK], beginning[start + 1 : start + 1 + TIME_CHUNK]
        logprobs, state = predictor.logprobs(inputs[None, : len(targets)], targets[None], state)
        total += float(logprobs.sum())
    results, ends = np.full(len(sequences), total), [ids[shared:] for ids in sequences]
    for batch in _batches([len(ids) for ids in ends]):
        started = predictor.select(state, [0] * len(batch))
        scores = score_padded(predictor, [ends[n] for n in batch], int(beginning[-1]), started)
        results[batch] += [logprobs.sum() for logprobs in scores]
    return results


def _shared_beginning(sequences: Sequence[Ids]) -> int:
    """The number of tokens with which all of these sequences begin."""
    first, shortest = sequences[0], min(map(len, sequences))
    differs = np.zeros(shortest, bool)
    for ids in sequences[1:]:
        differs |= ids[:shortest] != first[:shortest]
    return int(np.argmax(differs)) if differs.any() else shortest


def split_items(ids: Ids, eos_id: int, item: Item = "line") -> list[Ids]:
    """Cut ids after each end of an item, of a line after each `<eos>`. The last item may have no end."""
    ends = ends_of_items(ids, eos_id, item) + 1
    return [line for line in np.split(ids, ends) if len(line)]


def _blocks(pieces: Iterable[Ids]) -> Iterator[Ids]:
    """Collect the ids of all pieces into blocks of at least BLOCK tokens, except for the last one."""
    pending: list[Ids] = []
    for piece in pieces:
        for start in range(0, len(piece), BLOCK):
            pending.append(piece[start : start + BLOCK])
            if sum(map(len, pending)) >= BLOCK:
                yield np.concatenate(pending)
                pending = []
    if pending:
        yield np.concatenate(pending)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices in groups of similar length, longest first; each group has at most BATCH_TOKENS tokens with padding.

    Sequences of length 0 are left out.
    """
    batch: list[int] = []
    for i in sorted((i for i, length in enumerate(lengths) if length), key=lambda i: -lengths[i]):
        if batch and (len(batch) == BATCH_SEQUENCES or lengths[batch[0]] * (len(batch) + 1) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def score_padded(
    predictor: Predictor, sequences: Sequence[Ids], first_input: int, state: Any = None
) -> list[NDArray[np.float64]]:
    """Score sequences as one padded batch, TIME_CHUNK steps at a time, from `state` or from the initial state."""
    lengths = [len(ids) for ids in sequences]
    if max(lengths) == 0:
        return [np.empty(0) for _ in sequences]
    targets = np.full((len(sequences), max(lengths)), PADDING, np.int64)
    for row, ids in zip(targets, sequences, strict=True):
        row[: len(ids)] = ids
    inputs = np.where(targets == PADDING, first_input, targets)
    inputs = np.concatenate([np.full((len(sequences), 1), first_input), inputs[:, :-1]], axis=1)
    scores, state = [], predictor.initial_state(len(sequences)) if state is None else state
    for start in range(0, targets.shape[1], TIME_CHUNK):
        chunk = slice(start, start + TIME_CHUNK)
        logprobs, state = predictor.logprobs(inputs[:, chunk], targets[:, chunk], state)
        scores.append(logprobs)
    whole = np.concatenate(scores, axis=1)
    return [row[:length] for row, length in zip(whole, lengths, strict=True)]
