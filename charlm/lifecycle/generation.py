"""The time limit and the result of a generator's training."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.examples import Examples
from charlm.corpus.labelled import LabelledCorpus
from charlm.evaluation.bootstrap import Figure
from charlm.evaluation.bootstrap import share as share_of
from charlm.lifecycle import task_limit
from charlm.lifecycle.measuring import PartsResult, unlogged_parts
from charlm.lifecycle.results import Outcome, corpus_of, logged
from charlm.lifecycle.time_limit import Clock, TimeLimit
from charlm.scoring.metrics import Sums, Tally
from charlm.scoring.spelling import spelling_nats
from charlm.settings import TrainingSettings
from charlm.training.generation import GenerationObjective
from charlm.training.likelihoods import labels_of

MAX_CLASSIFIED = 2**22  # tokens, each counted once for every label
CLASSIFIED_AT_ONCE = 2**13  # of these tokens
SEED = 1  # of the order in which texts are classified


@dataclass(frozen=True, kw_only=True)
class GenerationResult(PartsResult[Tally]):
    """How the training of a generator went, and how good its best weights are.

    `valid` and `test` are of texts given their labels, each text from the initial state; texts of labels that no
    training text has are left out. `valid_accuracy` is how often the likeliest label of a validation text, found by
    Bayes, is its own: of as many texts as there was time for, chosen at random; None if there was none.
    """

    examples = "texts"
    valid_accuracy: Figure | None = None

    def as_json(self) -> dict[str, object]:
        accuracy = self.valid_accuracy.as_json("valid_accuracy") if self.valid_accuracy else {}
        return {**super().as_json(), **accuracy}

    def figures_as_json(self, part: str, figures: Tally | None) -> dict[str, object]:
        return {
            f"{part}_nats_per_token": figures.nats_per_token if figures else None,
            f"{part}_nats_per_char": figures.nats_per_char if figures else None,
        }


def limit_of(
    objective: GenerationObjective,
    corpus: LabelledCorpus,
    training: TrainingSettings,
    began: float,
    num_networks: int,
    clock: Clock,
) -> TimeLimit | None:
    """The time limit of a command that began at `began`; None if `--steps` or `--epochs` decides its length.

    The time in which the validation texts are classified is kept free, too.
    """
    to_classify = min(MAX_CLASSIFIED, objective.architecture.num_labels * task_limit.num_tokens(corpus.valid))
    return task_limit.limit_of(objective, corpus, training, began, num_networks, clock, to_classify)


def measure(outcome: Outcome, show: Callable[[float], None]) -> GenerationResult:
    """Measure the best weights of a generator, and how often Bayes finds the right label, as `measure_parts` does."""
    result = unlogged_parts(GenerationResult, _tally, outcome)
    now, corpus = outcome.clock(), corpus_of(outcome)
    until = now + outcome.limit.for_measuring(now) if outcome.limit else math.inf
    accuracy = None
    if corpus.valid:
        accuracy = _accuracy(outcome.objectives[""], corpus, lambda: outcome.clock() < until, show)
    return logged(outcome, dataclasses.replace(result, valid_accuracy=accuracy))


def _tally(objective: GenerationObjective, part: Examples, share: float) -> Tally | None:
    """The tally of a part from a share of its texts, scaled up; None if all its labels are new."""
    sums, header = Sums(), part.header
    for ids, logprobs in objective.likelihoods.of_part(part, share):
        sums.add(logprobs, ids, objective.corpus.tokenizer.unk_id)
    if not sums.tokens:
        return None
    spelling, scale = spelling_nats(header.unknown_bytes), header.num_tokens / sums.tokens
    return Tally(
        total_nats=-sums.logprob_nats * scale + spelling,
        tokens=header.num_tokens,
        characters=header.num_characters,
        unknown=header.num_unknown,
        unknown_nats=sums.unknown_nats(header.num_unknown) + spelling,
    )


def _accuracy(
    objective: GenerationObjective, corpus: LabelledCorpus, has_time: Callable[[], bool], show: Callable[[float], None]
) -> Figure | None:
    """How often the likeliest label of a validation text is its own; None if there is no time for any text."""
    assert corpus.valid is not None
    num_right = num_classified = 0
    groups = list(_groups(corpus.valid, objective.architecture.num_labels))
    for number, numbers in enumerate(groups, 1):
        if not has_time():
            break
        texts = objective.likelihoods.texts(corpus.valid, numbers)
        found = objective.likelihoods.by_label(texts) + corpus.vocabularies.log_priors()
        num_right += int((found.argmax(axis=1) == labels_of(corpus.valid)[numbers]).sum())
        num_classified += len(numbers)
        show(number / len(groups))
    return share_of(num_right, num_classified) if num_classified else None


def _groups(part: Examples, num_labels: int) -> Iterator[NDArray[np.int64]]:
    """The numbers of the texts to classify, in random order, in groups that are computed together."""
    order = np.random.default_rng(SEED).permutation(len(part))
    costs = np.cumsum(num_labels * (part["text"].lengths[order] + 1))
    order = order[: max(1, int((costs <= MAX_CLASSIFIED).sum()))]
    group = costs[: len(order)] // CLASSIFIED_AT_ONCE
    yield from np.split(order, np.flatnonzero(np.diff(group)) + 1)
