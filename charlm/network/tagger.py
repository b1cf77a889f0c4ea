"""The network of a tagger: layers in both directions read the words of a sentence; each word gets a score for each tag.

What is known of a word: its embedding; the end states of a layer that reads its spelling in both directions (Ling et
al. 2015; Lample et al. 2016); and, with a pair of character models to begin from, the state of the forward one after
its last character and of the backward one before its first, both having read the sentence up to there (Akbik, Blythe &
Vollgraf 2018). A chain of transitions decides between the tags of a sentence (`crf.py`), or each is chosen by its word.
Shapes: T time in words, B batch, K tags, N different words, H the output size of one recurrence.
"""

from collections.abc import Callable
from dataclasses import dataclass

from charlm.cells.cell import Array, NewWeight, Ops, Weights
from charlm.corpus.sentences import Sentences, Spelled
from charlm.corpus.vocabularies import Vocabularies
from charlm.network import bidirectional, crf, encoder, head
from charlm.network.architecture import BACKWARD, Architecture
from charlm.network.bidirectional import Scan, Start, unchanged
from charlm.network.snapshot import under
from charlm.settings import OneDirection, TagDecoder

SPELLING, FEATURES = "spelling.", "features."  # what the names of the weights of these parts begin with
STACKS: dict[str, OneDirection] = {"": "forward", BACKWARD: "backward"}  # of the character models

ScanOf = Callable[[Architecture], Scan]
"""The way to compute the cell of a part of the network over all time steps."""


@dataclass(frozen=True)
class Speller(Architecture):
    """The layers that read the symbols of a word in both directions. They have no head."""

    kind: str = "speller"

    @property
    def is_bidirectional(self) -> bool:
        return True


@dataclass(frozen=True)
class Tagger(Architecture):
    """The architecture of a tagger. `embedding_size` is that of a word.

    Raises ValueError as `Architecture` does, for fewer than two tags, and for parts that a tagger cannot have.
    """

    kind: str = "tag"
    num_labels: int = 0
    decoder: TagDecoder = "crf"
    spelling: Speller | None = None
    features: Architecture | None = None
    """The pair of character models. Their weights are not trained further."""
    feature_size: int = 0
    """The size that the states of the character models are projected to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_labels < 2:
            raise ValueError("a tagger needs two tags")
        if self.direction != "both" or self.tie_embeddings:
            raise ValueError("a tagger reads in both directions, and its embeddings are not tied")
        if bool(self.features) != bool(self.feature_size) or (self.features and not self.features.is_pair):
            raise ValueError("features have a size, and are those of a pair of language models")

    @property
    def is_bidirectional(self) -> bool:
        return True

    @property
    def num_outputs(self) -> int:
        return self.num_labels

    @property
    def input_size(self) -> int:
        """The size of all that is known of a word."""
        spelled = self.spelling.output_size if self.spelling else 0
        return self.embedding_size + spelled + self.feature_size

    @property
    def parts(self) -> dict[str, Architecture]:
        parts = {SPELLING: self.spelling, FEATURES: self.features}
        return {prefix: part for prefix, part in parts.items() if part}

    def suits(self, vocabularies: Vocabularies) -> bool:
        """Whether it has the sizes that follow from these vocabularies."""
        sizes = vocabularies.tokenizer.vocab_size, len(vocabularies.labels)
        symbols = {vocabularies.second.vocab_size} if vocabularies.second else set()
        return sizes == (self.vocab_size, self.num_labels) and symbols == {
            part.vocab_size for part in self.parts.values()
        }

    def body_weights(self) -> dict[str, NewWeight]:
        weights = super().body_weights()
        if self.spelling:
            weights |= {SPELLING + name: weight for name, weight in self.spelling.body_weights().items()}
        if self.features:
            for prefix, network in self.features.networks.items():
                weights |= {FEATURES + prefix + name: weight for name, weight in network.body_weights().items()}
            weights["projection.weight"] = NewWeight((self.feature_size, 2 * self.features.output_size), "glorot")
        return weights

    def head_weights(self) -> dict[str, NewWeight]:
        size = self.num_labels + 1
        transitions = {"transitions": NewWeight((size, size), "zero")} if self.decoder == "crf" else {}
        return super().head_weights() | transitions


def emissions(
    sentences: Sentences,
    weights: Weights,
    architecture: Tagger,
    ops: Ops,
    scan_of: ScanOf,
    start: Start = unchanged,
    drop: Callable[[Array], Array] = lambda x: x,
) -> Array:
    """The score of each tag at each word (T, B, K). `start` and `drop` are for training: see `bidirectional.hidden`."""
    x = ops.embed(sentences.words, weights["embedding.weight"])
    if architecture.spelling and sentences.spelled:
        x = ops.side_by_side(x, _spelled(sentences.spelled, weights, architecture.spelling, ops, scan_of, start))
    if architecture.features:
        features = sentences.features
        if features is None:
            features = read_characters(sentences, weights, architecture, ops, scan_of)
        x = ops.side_by_side(x, ops.linear(features, weights["projection.weight"]))
    scan = scan_of(architecture)
    found = bidirectional.run(x, sentences.lengths, weights, architecture, ops, scan, start, drop)
    return head.logits(found, weights, ops)


def _spelled(
    spelled: Spelled, weights: Weights, architecture: Speller, ops: Ops, scan_of: ScanOf, start: Start
) -> Array:
    """What each word's spelling says of it: where both directions end (T, B, 2 H)."""
    own, scan = under(SPELLING, weights), scan_of(architecture)
    found = bidirectional.hidden(spelled.symbols, spelled.lengths, own, architecture, ops, scan, start)
    return ops.embed(spelled.numbers, encoder.ends(found, spelled.lengths, "both", ops))


def read_characters(sentences: Sentences, weights: Weights, architecture: Tagger, ops: Ops, scan_of: ScanOf) -> Array:
    """The features of sentences: the states of the character models at the ends of each word (T, B, 2 H of theirs)."""
    characters = sentences.characters
    assert architecture.features is not None
    assert characters is not None
    own, scan = under(FEATURES, weights), scan_of(architecture.features)
    found = encoder.hidden(characters.ids, characters.lengths, own, architecture.features, STACKS, ops, scan)
    forward, backward = ops.split(found, len(STACKS))
    return ops.side_by_side(ops.at(forward, characters.last), ops.at(backward, characters.first))


def exclusions(vocabularies: Vocabularies) -> list[list[float]]:
    """The `crf.exclusions` by which tags follow their scheme (K + 1, K + 1)."""
    return crf.exclusions(vocabularies.labels, vocabularies.tagging_scheme.may_follow)


def transitions(weights: Weights, exclusions: Array, architecture: Tagger) -> Array:
    """The scores of all transitions (K + 1, K + 1) of `crf.py`, where `exclusions` are 0 or `crf.EXCLUDED`.

    Without a chain to learn, tags are chosen by their words alone, but for what is excluded.
    """
    return weights["transitions"] + exclusions if architecture.decoder == "crf" else exclusions
