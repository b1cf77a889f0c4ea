"""The counts beside a language model: which n-grams are counted, how they are mixed with the network, what is kept.

They are counted when the training has ended. The gate is fitted on the validation part; figures of that part are
honest all the same, because those of each half are by a gate that is fitted on the other half.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from charlm.corpus.prepare import PreparedCorpus
from charlm.errors import ResourceError, RunError, UsageError
from charlm.ngram.counting import Text
from charlm.ngram.estimation import build
from charlm.ngram.gate import Evidence, Gate, fitted, fitted_by_halves, logprobs_by_halves
from charlm.ngram.predictor import NgramPredictor
from charlm.ngram.storage import Origin, write_trie
from charlm.ngram.trie import Trie
from charlm.runs.config import read_config
from charlm.runs.directory import BEST, NGRAMS, RunDirectory
from charlm.runs.lock import writing
from charlm.runs.weights import Weights
from charlm.scoring.metrics import Tally
from charlm.settings import PredictorName, TrainingSettings, ngram_order
from charlm.system.files import remove
from charlm.training.defaults import is_character
from charlm.training.evaluation import Scored, check_pieces, mean_nats

ORDERS = {True: (9, 6), False: (5, 3)}  # tried on a text of characters, or of longer tokens; the first one is likelier
CHOSEN_BY_TOKENS = 2**16  # of the validation part, for the choice of the order
FILE_BYTES = 8  # of an n-gram model's file, for each byte of text
SECONDS_PER_TOKEN = 2e-6  # to count a text and choose: typical, for one order
MIN_GAIN = 0.002  # share of the network's nats, for which counts are kept

Measured = Mapping[str, Scored | None]
"""The parts of a text by their names in `PredictorTallies`."""


@dataclass(frozen=True)
class PredictorTallies:
    """What one predictor gives to the parts of a text; for their names see TrainResult."""

    valid_streamed: Tally | None
    valid_cold: Tally | None
    test: Tally | None


@dataclass(frozen=True)
class Mixing:
    """The gate of a mixture, fitted on the validation part, and for each half of this part that of the other half."""

    gate: Gate
    of_halves: tuple[Gate, Gate]
    gain: float
    """The share of the network's nats that the mixture saves."""

    @classmethod
    def fitted(cls, evidence: Evidence, order: int) -> "Mixing":
        halves = fitted_by_halves(evidence, order)
        nats = -float(np.sum(evidence.network))
        saved = nats + float(np.sum(logprobs_by_halves(halves, evidence)))
        return cls(fitted(evidence, order), halves, saved / nats if nats else 0.0)


def seconds_of(training: TrainingSettings, corpus: PreparedCorpus) -> float:
    """About how long it takes to count the n-grams that are asked for; 0 for none."""
    return len(_orders(training, corpus)) * SECONDS_PER_TOKEN * corpus.train.num_tokens


def counted(training: TrainingSettings, corpus: PreparedCorpus, seconds: float) -> NgramPredictor | None:
    """The n-gram model of a run's text, the best of those that are tried.

    Fewer orders are tried where there are only so many `seconds`, and none without a validation part. None, too, where
    there is no room to count in.
    """
    orders = _orders(training, corpus)
    while orders and len(orders) * SECONDS_PER_TOKEN * corpus.train.num_tokens > seconds:
        orders = orders[:-1]
    if not orders:
        return None
    try:
        models = [NgramPredictor(_built(training, corpus, order)) for order in orders]
    except (ResourceError, MemoryError):  # the network has been trained, and is worth its figures
        return None
    return models[0] if len(models) == 1 else min(models, key=lambda model: _nats(model, training, corpus))


def tallies_of(scored: Measured, mixing: Mixing | None, unk_id: int | None) -> dict[PredictorName, PredictorTallies]:
    """The tallies by each predictor that there is: the network, and with counts the n-gram model and the mixture."""
    if mixing is None:
        return {"network": _tallies(scored, {name: part.scores for name, part in _existing(scored).items()}, unk_id)}
    evidence = {name: Evidence(*part.scores.T) for name, part in _existing(scored).items()}
    mixed = {
        name: mixing.gate.logprobs(each) if name == "test" else logprobs_by_halves(mixing.of_halves, each)
        for name, each in evidence.items()
    }
    return {
        "mixture": _tallies(scored, mixed, unk_id),
        "network": _tallies(scored, {name: each.network for name, each in evidence.items()}, unk_id),
        "ngram": _tallies(scored, {name: each.ngram for name, each in evidence.items()}, unk_id),
    }


@dataclass(frozen=True)
class Kept:
    """What became of an n-gram model: whether the run has it now, or why it could not be written."""

    is_there: bool = False
    unsaved: ResourceError | None = None


def keep(run: RunDirectory, training: TrainingSettings, trie: Trie | None, gate: Gate | None, best: Weights) -> Kept:
    """Put an n-gram model beside a run's best weights, or take the old one out.

    Nothing is done if another process trains the run now, or has trained it or put another one there meanwhile.
    """
    run_id = read_config(run).run_id
    try:
        with suppress(UsageError, RunError), writing(run.path):
            now = RunDirectory(run.path)
            if read_config(now).run_id != run_id or now.load(BEST).step != best.step:
                return Kept()
            if trie is None:
                remove(run.path / NGRAMS)
                return Kept()
            write_trie(run.path / NGRAMS, trie, Origin(training.mode, run_id, best.step), gate)
            return Kept(is_there=True)
    except ResourceError as error:
        return Kept(unsaved=error)
    return Kept()


def _orders(training: TrainingSettings, corpus: PreparedCorpus) -> tuple[int, ...]:
    """The orders to try, the likeliest first."""
    order = ngram_order(training.ngram)
    if corpus.valid is None or order == 0:
        return ()
    return ORDERS[is_character(corpus.tokenizer.unit)] if order is None else (order,)


def _built(training: TrainingSettings, corpus: PreparedCorpus, order: int) -> Trie:
    text = Text(
        corpus.train.ids,
        corpus.tokenizer.vocab_size,
        corpus.tokenizer.eos_id,
        order,
        training.mode,
        corpus.division.item,
    )
    return build(text, FILE_BYTES * corpus.train.header.num_bytes)


def _nats(model: NgramPredictor, training: TrainingSettings, corpus: PreparedCorpus) -> float:
    """Nats per token of the validation part, or of pieces spread over it."""
    assert corpus.valid is not None
    eos_id, by_line = corpus.tokenizer.eos_id, training.mode == "sentence"
    pieces = check_pieces(corpus.valid.ids[1:], eos_id, by_line, CHOSEN_BY_TOKENS, corpus.division.item)
    return mean_nats(model, pieces, eos_id)


def _existing(scored: Measured) -> dict[str, Scored]:
    return {name: part for name, part in scored.items() if part is not None}


def _tallies(scored: Measured, logprobs: Mapping[str, "np.ndarray"], unk_id: int | None) -> PredictorTallies:
    return PredictorTallies(
        **{name: part and part.tally(logprobs[name], unk_id) for name, part in scored.items()}  # type: ignore[arg-type]
    )
