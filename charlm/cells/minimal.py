"""Minimal cells, whose gates see only the input: h' = keep * h + new, a recurrence that is linear in the state.

Everything except that line is computed for all time steps at once.
"""

from collections.abc import Callable

from charlm.cells.cell import (
    Array,
    Cell,
    NewWeight,
    Ops,
    Projected,
    Sizes,
    State,
    Weights,
    state_of_hidden_size,
)


def step_linear(projected: Projected, state: State, weights: Weights, ops: Ops) -> State:
    (keep, new), (h,) = projected, state
    h = keep * h + new
    return (h,)


def project_mingru(x: Array, weights: Weights, ops: Ops) -> Projected:
    """keep = 1 - z and new = z * candidate: z near 1 takes the candidate."""
    z, candidate = ops.split(ops.linear(x, weights["weight_ih"], weights["bias"]), 2)
    return ops.sigmoid(-z), ops.sigmoid(z) * candidate


def project_minlstm(x: Array, weights: Weights, ops: Ops) -> Projected:
    """keep = f / (f + i) and new = i / (f + i) * candidate, by way of log(f / i): small gates never give 0 / 0."""
    f, i, candidate = ops.split(ops.linear(x, weights["weight_ih"], weights["bias"]), 3)
    log_ratio = ops.softplus(-i) - ops.softplus(-f)
    return ops.sigmoid(log_ratio), ops.sigmoid(-log_ratio) * candidate


def input_weights(num_gates: int) -> Callable[[Sizes], dict[str, NewWeight]]:
    """W x + b of each gate: weight_ih (G*H, I), bias (G*H)."""

    def weights(sizes: Sizes) -> dict[str, NewWeight]:
        rows = num_gates * sizes.hidden_size
        return {
            "weight_ih": NewWeight((rows, sizes.input_size), "glorot_by_gate"),
            "bias": NewWeight((rows,), "forget_open"),
        }

    return weights


MINGRU = Cell(
    project_mingru,
    step_linear,
    input_weights(2),
    state_of_hidden_size("h"),
    gates=("z", "candidate"),
    equation=("z = s(Wz x + bz)", "h~ = Wh x + bh", "h' = (1 - z) * h + z * h~"),
    source="Feng et al. 2024, arXiv 2410.01201, in its plain form, without logarithms",
    activations=("", "z"),
)

MINLSTM = Cell(
    project_minlstm,
    step_linear,
    input_weights(3),
    state_of_hidden_size("h"),
    gates=("f", "i", "candidate"),
    equation=("f = s(Wf x + bf)", "i = s(Wi x + bi)", "h~ = Wh x + bh", "h' = f / (f + i) * h + i / (f + i) * h~"),
    source="Feng et al. 2024, arXiv 2410.01201, in its plain form, without logarithms",
    activations=("f", "i"),
)
