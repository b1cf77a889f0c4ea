"""The time limit of a training on examples: what is kept free for measuring the validation and test parts."""

from charlm.corpus.corpora import Corpus
from charlm.corpus.examples import Examples
from charlm.corpus.store import IdsFile
from charlm.lifecycle.time_limit import MAX_CHECKING, MAX_MEASURING, MIN_MEASURED, Clock, TimeLimit
from charlm.settings import TrainingSettings, seconds
from charlm.training.defaults import DEFAULT_TIME
from charlm.training.evaluation import CHECK_TOKENS
from charlm.training.example_objective import ExampleObjective


def limit_of(
    objective: ExampleObjective,
    corpus: Corpus,
    training: TrainingSettings,
    began: float,
    num_networks: int,
    clock: Clock,
    num_more: int = 0,
) -> TimeLimit | None:
    """The time limit of a command that began at `began`; None if `--steps` or `--epochs` decides its length.

    `num_more` tokens are measured besides those of the validation and test parts.
    """
    if training.steps is not None or training.epochs is not None:
        return None
    wanted, pace = seconds(training.time or DEFAULT_TIME), seconds_per_token(objective, clock)
    check_tokens = min(CHECK_TOKENS, max(MIN_MEASURED, int(MAX_CHECKING * wanted / pace)))
    measuring = pace * (num_tokens(corpus.valid) + num_tokens(corpus.test) + check_tokens + num_more)
    return TimeLimit(began, wanted, min(measuring, MAX_MEASURING * wanted), check_tokens)


def share_within(objective: ExampleObjective, corpus: Corpus, limit: TimeLimit | None, clock: Clock) -> float:
    """The share of the validation and test parts (0 to 1) that can be measured in the time that is left."""
    whole = num_tokens(corpus.valid) + num_tokens(corpus.test)
    if limit is None or not whole:
        return 1.0
    return min(1.0, limit.for_measuring(clock()) / (seconds_per_token(objective, clock) * whole))


def seconds_per_token(objective: ExampleObjective, clock: Clock) -> float:
    """The seconds that measuring takes per token, from a few examples of the training part."""
    began = clock()
    tokens = objective.try_measuring()
    return max(1e-9, clock() - began) / max(1, tokens)


def num_tokens(part: Examples | IdsFile | None) -> int:
    return part.num_tokens if part else 0
