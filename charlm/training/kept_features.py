"""What character models that are not trained know of each word: computed once, and kept for all passes.

Reading a sentence as characters takes several times as long as all the rest of a tagger.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.batching import batches_by_length
from charlm.corpus.sentence_columns import SentenceColumns
from charlm.corpus.sentences import Sentences
from charlm.model.network import TorchNetwork
from charlm.model.tagger import read_characters, to_tensors

MAX_KEPT = 2**28  # numbers: 1 GB in float32
WORDS_AT_ONCE = 2**12  # with padding


@dataclass
class KeptFeatures:
    """The features of the words of a part, with the weights that the network has when they are first asked for.

    They are computed in the same batches each time, so that a resumed training has exactly the same ones.
    """

    network: TorchNetwork
    columns: SentenceColumns

    def given_to(self, sentences: Sentences, numbers: NDArray[np.int64]) -> Sentences:
        """These sentences, which have these numbers, with their features in place of their characters.

        Where the features of the whole part are too many to be kept, the sentences stay as they are.
        """
        if self._kept is None:
            return sentences
        places = self.columns.first_words(numbers) + np.arange(len(sentences.words))[:, None]
        features = self._kept[np.minimum(places, len(self._kept) - 1)]
        return replace(sentences, characters=None, features=features)

    @cached_property
    def _kept(self) -> NDArray[Any] | None:
        lengths = self.columns.lengths
        kept: NDArray[Any] | None = None
        for numbers in batches_by_length(lengths, WORDS_AT_ONCE):
            sentences = to_tensors(self.columns.sentences(numbers), self.network.device)
            found = read_characters(self.network, sentences).float().cpu().numpy()
            if kept is None:
                kept = np.empty((int(lengths.sum()), found.shape[2]), np.float32)
                if kept.size > MAX_KEPT:
                    return None
            for row, (first, length) in enumerate(
                zip(self.columns.first_words(numbers), lengths[numbers], strict=True)
            ):
                kept[first : first + length] = found[:length, row]
        return kept
