"""The log count ratios of n-grams, from one pass over the training texts, as naive Bayes has them.

Shapes: B batch, L labels, K rows of n-grams.
"""

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.batching import batches_by_length
from charlm.corpus.examples import Examples
from charlm.corpus.texts import TextColumn
from charlm.network.classifier import Classifier
from charlm.network.ngrams import rows_of_ngrams

COUNTED_TOKENS = 2**16  # read at once, with padding
NO_LABEL = -1  # in the place of a label that a text does not have


def log_count_ratios(examples: Examples, eos_id: int, architecture: Classifier) -> NDArray[np.float32]:
    """log of how much likelier an n-gram is in texts with a label than in those without it (K, L).

    Counted are the texts that have the n-gram, and 1 more for each side. The ratios of an n-gram sum to 0 over the
    labels, unless a text can have several.
    """
    num_rows, num_labels = architecture.ngram_rows, architecture.num_labels
    column, labels = TextColumn(examples["text"], eos_id), examples["labels"]
    counts, texts = np.zeros((num_rows, num_labels)), np.zeros(num_labels)
    in_row = np.zeros(num_rows)
    for numbers in batches_by_length(column.lengths, COUNTED_TOKENS):
        text_of, row = _distinct(column, numbers, architecture)
        in_row += np.bincount(row, minlength=num_rows)
        owners = [labels[int(number)].tolist() for number in numbers]
        for slot in range(max(map(len, owners))):  # one, unless a text can have several labels
            label_of = np.array([own[slot] if slot < len(own) else NO_LABEL for own in owners])
            has_label = label_of[text_of] != NO_LABEL
            cell = row[has_label] * num_labels + label_of[text_of][has_label]
            counts += np.bincount(cell, minlength=num_rows * num_labels).reshape(num_rows, num_labels)
            texts += np.bincount(label_of[label_of != NO_LABEL], minlength=num_labels)
    inside = (counts + 1) / (texts + 2)
    outside = (in_row[:, None] - counts + 1) / (len(examples) - texts + 2)
    ratios = np.log(inside) - np.log(outside)
    if not architecture.several_labels:
        ratios -= ratios.mean(axis=1, keepdims=True)
    return ratios.astype(np.float32)


def _distinct(
    column: TextColumn, numbers: NDArray[np.int64], architecture: Classifier
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the n-grams that each of some texts has, each once, and which of the texts it is, from 0."""
    texts = column.texts(numbers)
    pairs = []
    for rows, counts in rows_of_ngrams(texts.ids.T, texts.lengths, architecture.ngram_order, architecture.ngram_rows):
        is_inside = np.arange(len(rows))[:, None] < counts
        pairs.append((np.arange(len(texts), dtype=np.int64) * architecture.ngram_rows + rows)[is_inside])
    found = np.unique(np.concatenate(pairs))
    return found // architecture.ngram_rows, found % architecture.ngram_rows
