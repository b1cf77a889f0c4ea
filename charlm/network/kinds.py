"""The architecture that goes with each kind of network, and how one is read from JSON."""

from charlm.network.architecture import Architecture
from charlm.network.classifier import Classifier
from charlm.network.generator import Generator
from charlm.network.tagger import Tagger
from charlm.network.translator import Translator
from charlm.system.records import read_record

ARCHITECTURES: dict[str, type[Architecture]] = {
    "classify": Classifier,
    "tag": Tagger,
    "translate": Translator,
    "generate": Generator,
}
"""The kinds whose architecture has more parts than a language model's."""


def read_architecture(value: object) -> Architecture:
    """An architecture from a JSON value. Raises ValueError for what is missing, out of range or unknown."""
    if isinstance(value, dict) and value.get("kind") == "language_model":  # as format 5 began
        value = {**value, "kind": "language-model"}
    kind = value.get("kind") if isinstance(value, dict) else None
    return read_record(ARCHITECTURES.get(str(kind), Architecture), value)
