"""How good the outputs of a translator are: of one from words to their pronunciation as well as of one of sentences.

The symbols of a text are what stands between white space where the target was split there, else its characters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charlm.evaluation.bleu import SignedFigure, bleu, chrf
from charlm.evaluation.bootstrap import SEED, Figure, check_examples, figure, share, share_of
from charlm.evaluation.edit_distance import edit_distance


@dataclass(frozen=True)
class TranslationReport:
    """The figures of a translator.

    `accuracy` is the share of outputs that are exactly right, and `word_error_rate` the share of the others, as the
    shared tasks of SIGMORPHON count it. `symbol_error_rate` is the sum of the edit distances over the number of the
    references' symbols, which is its count; it is nan if there are none, and can be more than 1. BLEU and chrF are None
    if they were not asked for.
    """

    accuracy: Figure
    word_error_rate: Figure
    symbol_error_rate: Figure
    bleu: SignedFigure | None
    chrf: SignedFigure | None

    def as_json(self) -> dict[str, Any]:
        """The fields of a JSON object; see Figure.as_json."""
        fields = self.accuracy.as_json("accuracy")
        fields |= self.word_error_rate.as_json("word_error_rate")
        fields |= self.symbol_error_rate.as_json("symbol_error_rate")
        for key, signed in (("bleu", self.bleu), ("chrf", self.chrf)):
            fields |= signed.as_json(key) if signed else {}
        return fields


def evaluate_translation(
    references: Sequence[str], outputs: Sequence[str], is_split: bool, with_bleu: bool = True, seed: int = SEED
) -> TranslationReport:
    """The figures of N outputs.

    `is_split` says that symbols are what stands between white space. Raises TextError if there are no examples, and
    UsageError if sacrebleu is not installed; without `with_bleu` it is not needed.
    """
    check_examples(len(references))
    pairs = [
        (symbols(true, is_split), symbols(output, is_split)) for true, output in zip(references, outputs, strict=True)
    ]
    num_right = sum(true == output for true, output in pairs)
    statistics = np.array([(edit_distance(true, output), len(true)) for true, output in pairs])
    return TranslationReport(
        share(num_right, len(pairs), seed),
        share(len(pairs) - num_right, len(pairs), seed),
        figure(statistics, share_of, int(statistics[:, 1].sum()), seed=seed),
        bleu(references, outputs, is_split, seed) if with_bleu else None,
        chrf(references, outputs, seed) if with_bleu else None,
    )


def symbols(text: str, is_split: bool) -> list[str]:
    """The symbols of a text: what stands between white space, or its characters."""
    return text.split() if is_split else list(text)
