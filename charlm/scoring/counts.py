"""The counts beside a run's network: its n-gram model, and the gate that mixes the two."""

from dataclasses import dataclass

from charlm.errors import RunError, UsageError
from charlm.network.architecture import Architecture
from charlm.ngram.gate import Gate
from charlm.ngram.predictor import NgramPredictor
from charlm.ngram.storage import read_trie
from charlm.runs.config import RunConfig
from charlm.runs.directory import NGRAMS, RunDirectory
from charlm.scoring.mixture import Mixture
from charlm.scoring.predictor import MeasuringPredictor, Predictor
from charlm.settings import PredictorName

OLDER_GATE = "the n-grams were mixed with older weights, before the training went on"


@dataclass(frozen=True)
class Counts:
    """The n-gram model of a run, and its gate; without a gate it is used alone."""

    ngram: NgramPredictor
    gate: Gate | None

    def beside(self, network: MeasuringPredictor) -> Predictor:
        """What predicts with these counts and a network."""
        return self.ngram if self.gate is None else Mixture(network, self.ngram, self.gate)


def load_counts(
    run: RunDirectory, config: RunConfig, architecture: Architecture, predictor: PredictorName | None, step: int
) -> tuple[Counts | None, str | None]:
    """The counts that a predictor needs, by default those that the run has; None for the network alone.

    Also a note where the network answers alone, though the run's figures are those of a mixture. `step` is that of the
    network's weights: a gate that was fitted beside others is not used. Raises UsageError if the network reads backward
    and cannot have any counts, and RunError if they are missing or damaged.
    """
    if predictor == "network":
        return None, None
    if architecture.direction == "backward":
        if predictor is not None:
            what = f"--predictor {predictor}: n-grams are counted forward, and this model reads backward"
            raise UsageError(what, str(run.path), "leave it out")
        return None, None
    path = run.path / NGRAMS
    if not path.exists():
        if predictor is not None:
            to_do = "leave --predictor out, or count them: charlm train --resume --ngram auto"
            raise RunError("this run has no n-grams", str(run.path), to_do)
        return None, _about_removed(run)
    trie, described = read_trie(path, config.run_id)
    if trie.vocab_size != architecture.num_symbols or described.gate is None:
        raise RunError("damaged n-grams: they do not suit the network", str(path), "give --predictor network")
    if described.origin.step != step and predictor != "ngram":
        if predictor == "mixture":
            raise RunError(OLDER_GATE, str(path), "end the training: charlm train --resume")
        return None, f"{OLDER_GATE}: the network answers alone"
    return Counts(NgramPredictor(trie), None if predictor == "ngram" else described.gate), None


def _about_removed(run: RunDirectory) -> str | None:
    """A note if the run had counts when it was measured."""
    try:
        measured = run.log.newest("Measured")
    except RunError:  # only the figures are in the log, and they are not needed here
        return None
    if measured is None or measured.get("predictor") != "mixture":
        return None
    return f"{NGRAMS} is missing: the network answers alone, and not as well as charlm info says"
