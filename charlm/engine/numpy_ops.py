"""The operations of a network's equations in NumPy."""

from collections.abc import Sequence

import numpy as np

from charlm.cells.cell import Array


class NumpyOps:
    """The operations of `charlm.cells.cell.Ops`, which describes them, in NumPy."""

    @staticmethod
    def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
        product = x @ weight.T
        return product if bias is None else product + bias

    @staticmethod
    def low_rank(x: Array, right: Array, left: Array) -> Array:
        return x @ right.T @ left.T

    @staticmethod
    def sigmoid(x: Array) -> Array:
        return 0.5 * np.tanh(0.5 * x) + 0.5  # the logistic function, without overflow

    @staticmethod
    def tanh(x: Array) -> Array:
        return np.tanh(x)

    @staticmethod
    def relu(x: Array) -> Array:
        return np.maximum(x, 0)

    @staticmethod
    def softplus(x: Array) -> Array:
        return np.logaddexp(0, x)

    @staticmethod
    def embed(ids: Array, weight: Array) -> Array:
        return weight[ids]

    @staticmethod
    def zeros(size: tuple[int, ...], like: Array) -> Array:
        return np.zeros(size, like.dtype)

    @staticmethod
    def standardise(x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)

    @staticmethod
    def reverse(x: Array, lengths: Array) -> Array:
        time = np.arange(len(x))[:, None]
        return x[np.where(time < lengths, lengths - 1 - time, time), np.arange(x.shape[1])]

    @staticmethod
    def side_by_side(x: Array, y: Array) -> Array:
        return np.concatenate([x, y], axis=-1)

    @staticmethod
    def split(x: Array, parts: int) -> tuple[Array, ...]:
        size = x.shape[-1] // parts
        return tuple(x[..., start : start + size] for start in range(0, parts * size, size))

    @staticmethod
    def at(x: Array, times: Array) -> Array:
        return x[times, np.arange(x.shape[1])]

    @staticmethod
    def max_over_time(x: Array, lengths: Array) -> Array:
        return np.where(_is_inside(x, lengths), x, -np.inf).max(axis=0)

    @staticmethod
    def mean_over_time(x: Array, lengths: Array) -> Array:
        return NumpyOps.sum_over_time(x, lengths) / lengths[:, None].astype(x.dtype)

    @staticmethod
    def sum_over_time(x: Array, lengths: Array) -> Array:
        return np.where(_is_inside(x, lengths), x, 0).sum(axis=0)

    @staticmethod
    def logsumexp(x: Array, axis: int) -> Array:
        largest = x.max(axis=axis, keepdims=True)
        return np.log(np.exp(x - largest).sum(axis=axis)) + largest.squeeze(axis)

    @staticmethod
    def largest(x: Array, axis: int) -> Array:
        return x.max(axis=axis)

    @staticmethod
    def stack(parts: Sequence[Array]) -> Array:
        return np.stack(parts)

    @staticmethod
    def where(condition: Array, x: Array, y: Array) -> Array:
        return np.where(condition, x, y)

    @staticmethod
    def dot_scores(queries: Array, keys: Array) -> Array:
        return _by_time(_by_sequence(queries) @ keys.transpose(1, 2, 0))

    @staticmethod
    def additive_scores(queries: Array, keys: Array, vector: Array) -> Array:
        return np.tanh(queries[:, :, None] + _by_sequence(keys)) @ vector

    @staticmethod
    def softmax_within(scores: Array, lengths: Array) -> Array:
        is_inside = np.arange(scores.shape[-1]) < lengths[:, None]
        scores = np.where(is_inside, scores, -np.inf)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return shares / shares.sum(axis=-1, keepdims=True)

    @staticmethod
    def weighted_sums(shares: Array, values: Array) -> Array:
        return _by_time(_by_sequence(shares) @ _by_sequence(values))


def _by_sequence(x: Array) -> Array:
    """(T, B, ...) -> (B, T, ...)"""
    return x.swapaxes(0, 1)


_by_time = _by_sequence  # it undoes itself


def _is_inside(x: Array, lengths: Array) -> Array:
    """Whether a row of x (T, B, D) belongs to its sequence and not to the padding -> (T, B, 1)."""
    return (np.arange(len(x))[:, None] < lengths)[..., None]
