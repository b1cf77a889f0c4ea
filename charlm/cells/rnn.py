"""Simple recurrent networks: the new state is a nonlinear function of one weighted sum."""

from charlm.cells.cell import (
    Cell,
    NewWeight,
    Ops,
    Projected,
    Sizes,
    State,
    Weights,
    project_input,
    project_input_with_both_biases,
    state_of_hidden_size,
    torch_weights,
)


def step_rnn_tanh(projected: Projected, state: State, weights: Weights, ops: Ops) -> State:
    (x,), (h,) = projected, state
    h = ops.tanh(x + ops.linear(h, weights["weight_hh"]))
    return (h,)


def step_rnn_relu(projected: Projected, state: State, weights: Weights, ops: Ops) -> State:
    (x,), (h,) = projected, state
    h = ops.relu(x + ops.linear(h, weights["weight_hh"]))
    return (h,)


def step_indrnn(projected: Projected, state: State, weights: Weights, ops: Ops) -> State:
    """Each unit sees only itself of the state: u is a vector, which training keeps between -1 and 1.

    The paper's bound for windows of a known length is slightly above 1. Here the state is carried through texts of any
    length, and a unit with |u| > 1 would grow exponentially.
    """
    (x,), (h,) = projected, state
    h = ops.relu(x + weights["recurrent"] * h)
    return (h,)


def indrnn_weights(sizes: Sizes) -> dict[str, NewWeight]:
    return {
        "weight_ih": NewWeight((sizes.hidden_size, sizes.input_size), "glorot"),
        "recurrent": NewWeight((sizes.hidden_size,), "uniform"),
        "bias": NewWeight((sizes.hidden_size,), "zero"),
    }


RNN_TANH = Cell(
    project_input_with_both_biases,
    step_rnn_tanh,
    torch_weights(1),
    state_of_hidden_size("h"),
    gates=("h",),
    equation=("h' = tanh(W [h, x] + b)",),
    source="Elman 1990, Finding structure in time",
)

RNN_RELU = Cell(
    project_input_with_both_biases,
    step_rnn_relu,
    torch_weights(1),
    state_of_hidden_size("h"),
    gates=("h",),
    equation=("h' = max(0, W [h, x] + b)",),
    source="Le, Jaitly & Hinton 2015, arXiv 1504.00941",
)

INDRNN = Cell(
    project_input,
    step_indrnn,
    indrnn_weights,
    state_of_hidden_size("h"),
    gates=("h",),
    equation=("h' = max(0, W x + u * h + b), -1 <= u <= 1",),
    source="Li et al. 2018, arXiv 1803.04831",
    bounds={"recurrent": 1.0},
)
