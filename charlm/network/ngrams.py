"""The n-grams of a text beside a classifier's network: each speaks for or against each label.

How loudly it speaks is its log count ratio, as naive Bayes has it, times a weight that is trained (Wang & Manning 2012,
NBSVM). The n-grams, runs of 1 to `order` symbols, share a fixed number of rows by hashing (Weinberger et al. 2009), so
no list of them is kept.

Shapes: T time, B batch, L labels, K rows.
"""

from collections.abc import Iterator

from charlm.cells.cell import Array, NewWeight, Ops, Weights

RATIOS, WEIGHTS = "ngrams.ratios", "ngrams.weights"
SCALE = 3.0
"""Times the weights. An optimizer that moves all weights alike then moves these by as much as they need."""
BASE = -0x61C8864680B583EB  # odd, and its bits look random: 2^64 over the golden ratio, as a signed number
MIXER = -0x4B47D0C5A0B9A6D3  # odd as well


def new_weights(num_rows: int, num_labels: int) -> dict[str, NewWeight]:
    """The ratios, which are counted before training and stay as they are, and the weights."""
    return {name: NewWeight((num_rows, num_labels), "zero") for name in (RATIOS, WEIGHTS)}


def logits(ids: Array, lengths: Array, weights: Weights, order: int, ops: Ops) -> Array:
    """What the n-grams of texts, ids (T, B) of these lengths (B,), say of each label (B, L): sum over n-grams / root of
    their number.
    """
    ratios, trained = weights[RATIOS], weights[WEIGHTS]
    total, count = ops.zeros((1,), trained), lengths - lengths
    for rows, counts in rows_of_ngrams(ids, lengths, order, len(trained)):
        spoken = ops.embed(rows, ratios) * ops.embed(rows, trained)
        total, count = total + ops.sum_over_time(spoken, counts), count + counts.clip(min=0)
    return SCALE * total / (count[:, None] + ops.zeros((1,), trained)) ** 0.5  # torch has no root of a whole number


def rows_of_ngrams(ids: Array, lengths: Array, order: int, num_rows: int) -> Iterator[tuple[Array, Array]]:
    """For each n up to `order`: the row of the n-gram that begins at each place (T - n + 1, B), and how many there are
    (B,). Where a text has fewer than n symbols, that is below 1.

    `num_rows` is a power of 2.
    """
    hashed = ids + 1
    for n in range(1, min(order, len(ids)) + 1):
        if n > 1:
            hashed = hashed[:-1] * BASE + (ids[n - 1 :] + 1)
        yield (hashed * MIXER >> 32) & (num_rows - 1), lengths - (n - 1)
