"""The log count ratios of n-grams, from one pass over the training texts, as naive Bayes has them.

Shapes: B batch, L labels, K rows of n-grams.
"""

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.batching import batches_of
from charlm.corpus.examples import Examples
from charlm.corpus.texts import TextColumn
from charlm.network.classifier import Classifier
from charlm.network.ngrams import rows_of_ngrams

COUNTED_TOKENS = 2**16  # read at once, with padding


def log_count_ratios(examples: Examples, eos_id: int, architecture: Classifier) -> NDArray[np.float32]:
    """log of how much likelier an n-gram is in texts with a label than in those without it (K, L).

    Counted are the texts that have the n-gram, and 1 more for each side. The ratios of an n-gram sum to 0 over the
    labels, unless a text can have several.
    """
    num_rows, num_labels = architecture.ngram_rows, architecture.num_labels
    column, labels = TextColumn(examples["text"], eos_id), examples["labels"]
    counts, texts = np.zeros((num_rows, num_labels)), np.zeros(num_labels)
    order = np.argsort(-column.lengths, kind="stable")
    in_row = np.zeros(num_rows)
    for numbers in batches_of(order, column.lengths, COUNTED_TOKENS, COUNTED_TOKENS):
        text_of, row = _distinct(column, numbers, architecture)
        in_row += np.bincount(row, minlength=num_rows)
        owners = [labels[int(number)] for number in numbers]
        for label in range(num_labels):
            has_label = np.array([label in own for own in owners])
            counts[:, label] += np.bincount(row[has_label[text_of]], minlength=num_rows)
            texts[label] += has_label.sum()
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
        pairs.append((np.arange(len(texts)) * architecture.ngram_rows + rows)[is_inside])
    found = np.unique(np.concatenate(pairs))
    return found // architecture.ngram_rows, found % architecture.ngram_rows
