"""The time limit and the result of a generator's training."""

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
from charlm.lifecycle.replacement import moved
from charlm.lifecycle.results import Outcome, Result, logged
from charlm.lifecycle.time_limit import Clock, TimeLimit
from charlm.runs.directory import CORPUS
from charlm.scoring.loading import load_best
from charlm.scoring.metrics import Sums, Tally
from charlm.scoring.spelling import spelling_nats
from charlm.settings import TrainingSettings
from charlm.training.generation import GenerationObjective
from charlm.training.likelihoods import labels_of

MAX_CLASSIFIED = 2**22  # tokens, each counted once for every label
CLASSIFIED_AT_ONCE = 2**13  # of these tokens
SEED = 1  # of the order in which texts are classified


@dataclass(frozen=True, kw_only=True)
class GenerationResult(Result):
    """How the training of a generator went, and how good its best weights are.

    `valid` and `test` are of texts given their labels, each text from the initial state; texts of labels that no
    training text has are left out. If `share_measured` is below 1, time was too short to measure all texts: the figures
    are then estimates. `valid_accuracy` is how often the likeliest label of a validation text, found by Bayes, is its
    own: of as many texts as there was time for, chosen at random; None if there was none.
    """

    valid: Tally | None
    test: Tally | None
    valid_accuracy: Figure | None
    share_measured: float

    @property
    def about_measuring(self) -> str:
        return f"{self.share_measured:.0%} of the texts were measured" if self.share_measured < 1 else ""

    def as_json(self) -> dict[str, object]:
        """The figures for scripts (`--json`) and the log."""
        figures: dict[str, object] = {"share_measured": self.share_measured}
        for name, part in {"valid": self.valid, "test": self.test}.items():
            figures[f"{name}_nats_per_token"] = part.nats_per_token if part else None
            figures[f"{name}_nats_per_char"] = part.nats_per_char if part else None
        if self.valid_accuracy:
            figures |= self.valid_accuracy.as_json("valid_accuracy")
        return {**super().as_json(), **figures}


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
    """Measure the best weights of a generator; `show` is called with the share that is done.

    With a time limit for the command, only as much is measured as there is time for. The result is also logged, unless
    another process holds the run's lock.
    """
    objective: GenerationObjective = outcome.objectives[""]
    progress, architecture = outcome.progress[""], objective.architecture
    best = load_best(outcome.run, architecture)
    objective.network.load_arrays(best.tensors)
    corpus = moved(objective.corpus, outcome.run.path / CORPUS)
    share = task_limit.share_within(objective, corpus, outcome.limit, outcome.clock)
    valid, test = (_tally(objective, part, share) if part else None for part in (corpus.valid, corpus.test))
    now = outcome.clock()
    until = now + outcome.limit.for_measuring(now) if outcome.limit else math.inf
    accuracy = _accuracy(objective, corpus, lambda: outcome.clock() < until, show) if corpus.valid else None
    result = GenerationResult(
        run=str(outcome.run.path),
        steps=progress.step,
        tokens_seen=progress.tokens_seen,
        training_seconds=progress.seconds,
        num_params=architecture.num_params,
        ended=outcome.finished.reason,
        best_step=best.step,
        valid=valid,
        test=test,
        valid_accuracy=accuracy,
        share_measured=share,
        unsaved=outcome.unsaved,
    )
    return logged(outcome, result)


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
