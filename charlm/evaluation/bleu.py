"""BLEU and chrF of translations, by sacrebleu, which is an extra: `pip install 'charlm[eval]'`.

Both are on sacrebleu's scale from 0 to 100. Their intervals need sums that belong to single sentences: those of BLEU
are what sacrebleu tells of a sentence; those of chrF, which it keeps to itself, are counted here.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.evaluation.bootstrap import SEED, Figure, interval
from charlm.evaluation.matches import ratio

Array = NDArray[Any]
BLEU_ORDER, CHRF_ORDER = 4, 6  # lengths of the longest n-grams, of words and of characters: sacrebleu's defaults
CHRF_BETA = 2  # how many times as much recall counts as precision: the 2 of chrF2
SMOOTHING = "exp"  # sacrebleu's default


@dataclass(frozen=True)
class SignedFigure:
    """A figure, and sacrebleu's signature of how it was computed."""

    figure: Figure
    signature: str

    def as_json(self, key: str) -> dict[str, Any]:
        return {**self.figure.as_json(key), f"{key}_signature": self.signature}


def check_sacrebleu_is_there() -> None:
    """Raise UsageError if sacrebleu is not installed."""
    try:
        import sacrebleu  # noqa: F401 (only whether it is there)
    except ImportError as error:
        raise UsageError("BLEU and chrF need the package sacrebleu", to_do="pip install 'charlm[eval]'") from error


def bleu(references: Sequence[str], outputs: Sequence[str], is_split: bool, seed: int = SEED) -> SignedFigure:
    """BLEU of the outputs for N references.

    With `is_split` the words are what stands between white space (sacrebleu's tokenizer "none"), else those of its
    tokenizer "13a". Raises UsageError if sacrebleu is not installed.
    """
    check_sacrebleu_is_there()
    from sacrebleu.metrics import BLEU

    tokenizer = "none" if is_split else "13a"
    metric = BLEU(tokenize=tokenizer, smooth_method=SMOOTHING, max_ngram_order=BLEU_ORDER, force=True)
    ends = interval(bleu_statistics(references, outputs, tokenizer), bleu_of, seed=seed)
    return _signed(metric, references, outputs, ends)


def chrf(references: Sequence[str], outputs: Sequence[str], seed: int = SEED) -> SignedFigure:
    """chrF2 of the outputs for N references; white space does not count.

    Raises UsageError if sacrebleu is not installed.
    """
    check_sacrebleu_is_there()
    from sacrebleu.metrics import CHRF

    ends = interval(chrf_statistics(references, outputs), chrf_of, seed=seed)
    return _signed(CHRF(char_order=CHRF_ORDER, beta=CHRF_BETA), references, outputs, ends)


def _signed(metric: Any, references: Sequence[str], outputs: Sequence[str], ends: tuple[float, float]) -> SignedFigure:
    """sacrebleu's score of all sentences; the interval is widened by what rounding errors may have left out."""
    score = metric.corpus_score(outputs, [list(map(_not_empty, references))]).score
    low, high = min(ends[0], score), max(ends[1], score)
    return SignedFigure(Figure(score, low, high, len(references)), str(metric.get_signature()))


def _not_empty(reference: str) -> str:
    """A reference as sacrebleu takes it: it refuses an empty one, but a blank one counts as no words."""
    return reference or " "


# What an interval is made of: sums for each sentence, and from their totals to the score


def bleu_statistics(references: Sequence[str], outputs: Sequence[str], tokenizer: str) -> Array:
    """For each of N sentences (N, 10): right and all n-grams of each order, and the words of output and reference."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=tokenizer, max_ngram_order=BLEU_ORDER, effective_order=True, force=True)
    scores = [
        metric.sentence_score(output, [_not_empty(reference)])
        for reference, output in zip(references, outputs, strict=True)
    ]
    return np.array([(*score.counts, *score.totals, score.sys_len, score.ref_len) for score in scores])


def bleu_of(statistics: Array) -> Array:
    """BLEU (...) from the sums of `bleu_statistics` (..., 10)."""
    from sacrebleu.metrics import BLEU

    def of_one(sums: Array) -> float:
        right, total = sums[:BLEU_ORDER].tolist(), sums[BLEU_ORDER : 2 * BLEU_ORDER].tolist()
        lengths = map(int, sums[2 * BLEU_ORDER :])
        return float(BLEU.compute_bleu(right, total, *lengths, SMOOTHING, max_ngram_order=BLEU_ORDER).score)

    return np.apply_along_axis(of_one, -1, statistics)


def chrf_statistics(references: Sequence[str], outputs: Sequence[str]) -> Array:
    """For each of N sentences (N, 18): of each order the n-grams that match, those of the output and of the reference.

    As in sacrebleu, the n-grams of an output count only for orders that its reference has, too.
    """
    return np.array([list(_chrf_counts(*pair)) for pair in zip(references, outputs, strict=True)])


def chrf_of(statistics: Array) -> Array:
    """chrF (...) from the sums of `chrf_statistics` (..., 18).

    F of the mean precision and the mean recall over all orders that both sides have n-grams of (Popović 2015).
    """
    match, output, reference = np.moveaxis(statistics.reshape(*statistics.shape[:-1], CHRF_ORDER, 3), -1, 0)
    num_orders = ((output > 0) & (reference > 0)).sum(axis=-1)
    precision = ratio(ratio(match, output).sum(axis=-1), num_orders)
    recall = ratio(ratio(match, reference).sum(axis=-1), num_orders)
    weight = CHRF_BETA**2
    return 100 * ratio((1 + weight) * precision * recall, weight * precision + recall)


def _chrf_counts(reference: str, output: str) -> Iterator[int]:
    """The 18 numbers of one sentence."""
    reference, output = "".join(reference.split()), "".join(output.split())
    for order in range(1, CHRF_ORDER + 1):
        true, guessed = _ngrams(reference, order), _ngrams(output, order)
        yield from ((true & guessed).total(), guessed.total() if true else 0, true.total())


def _ngrams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))
