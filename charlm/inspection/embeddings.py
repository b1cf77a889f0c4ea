"""The embeddings of a network: which symbols have similar ones, and a map of the vocabulary.

Runs without torch. Shapes: V types, E the size of an embedding.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.inspection.chart import Chart
from charlm.inspection.inspected import Inspected
from charlm.text.visible import visible_type

Array = NDArray[np.floating]
MAX_MAPPED = 100  # types on the map: the most frequent ones
NUM_NEIGHBOURS = 10


@dataclass(frozen=True)
class Neighbours:
    """A symbol, and the symbols with the most similar embeddings, each with its cosine; the most similar first.

    `shown` are all of these symbols as tables show them.
    """

    symbol: str
    nearest: tuple[tuple[str, float], ...]
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Map:
    """The places of symbols on the plane on which their embeddings differ most.

    `share` is the share of all types' variance that lies in the plane. `shown` are the symbols as people read them, in
    the same order: how one joins its neighbours is said only where another one looks the same.
    """

    symbols: tuple[str, ...]
    shown: tuple[str, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]
    num_types: int
    share: float


def neighbours(run: Inspected, symbol: str, count: int = NUM_NEIGHBOURS) -> Neighbours:
    """The nearest neighbours of a symbol, by the cosine of the angle between the embeddings.

    The symbol is a text that is a single token, or a type as `charlm tokenize` shows it. Raises UsageError for another.
    """
    embeddings = np.asarray(run.weights["embedding.weight"], np.float64)
    id = _id_of(run, symbol)
    norms = np.linalg.norm(embeddings, axis=1)
    cosines = embeddings @ embeddings[id] / np.maximum(norms * norms[id], 1e-12)
    cosines[id] = -np.inf
    nearest = np.argsort(-cosines, kind="stable")[: min(count, len(cosines) - 1)].tolist()
    return Neighbours(
        run.tokenizer.symbol(id),
        tuple((run.tokenizer.symbol(other), float(cosines[other])) for other in nearest),
        tuple(visible_type(*run.tokenizer.plain(each)) for each in (id, *nearest)),
    )


def vocabulary_map(run: Inspected) -> Map:
    """The most frequent types on the first two principal components of all embeddings."""
    embeddings = np.asarray(run.weights["embedding.weight"], np.float64)
    places, share = principal_components(embeddings)
    shown = places[:MAX_MAPPED]
    symbols = tuple(run.tokenizer.symbol(id) for id in range(len(shown)))
    names = _names([run.tokenizer.plain(id) for id in range(len(shown))])
    return Map(symbols, names, tuple(shown[:, 0].tolist()), tuple(shown[:, 1].tolist()), len(embeddings), share)


def principal_components(vectors: Array) -> tuple[Array, float]:
    """Vectors (V, E) on the plane in which they vary most: coordinates (V, 2), and its share of the variance.

    The sign of each component is such that its largest coordinate by size is positive.
    """
    centred = vectors - vectors.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(vectors), 2))
    num_components = min(2, len(sizes))
    places[:, :num_components] = (left * sizes)[:, :num_components]
    largest = places[np.abs(places).argmax(axis=0), [0, 1]]
    variance = float((sizes**2).sum())
    return places * np.where(largest < 0, -1, 1), float((sizes[:2] ** 2).sum()) / variance if variance else 1.0


def chart(found: Map) -> Chart:
    """The map: one labelled point for each symbol."""
    of_all = "all" if len(found.symbols) == found.num_types else f"the {len(found.symbols)} most frequent of"
    return Chart(
        "The vocabulary by its embeddings",
        "first principal component",
        "second principal component",
        (),
        labels=tuple(zip(found.shown, found.x, found.y, strict=True)),
        notes=(
            f"{of_all} {found.num_types:,} types; the plane shows {found.share:.1%} of their variance",
            "the axes have different scales",
            "where labels would overlap, that of the most frequent type is shown",
        ),
    )


def _names(plain: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Symbols without joiners, each with what joiners it has where several are the same without them."""
    counts = Counter(text for text, _ in plain)
    return tuple(visible_type(text, joins if counts[text] > 1 else "") for text, joins in plain)


def _id_of(run: Inspected, symbol: str) -> int:
    shown = [id for id in range(run.tokenizer.vocab_size) if symbol in (run.tokenizer.symbol(id), *_plain(run, id))]
    ids = run.tokenizer.encode(symbol).tolist() if symbol else []
    if len(ids) == 1 and ids[0] != run.tokenizer.unk_id:
        return int(ids[0])
    if shown:
        return shown[0]
    raise UsageError(f"--symbol {symbol!r} is not in the vocabulary", str(run.path), "charlm tokenize shows what is")


def _plain(run: Inspected, id: int) -> tuple[str]:
    return (run.tokenizer.plain(id)[0],)
