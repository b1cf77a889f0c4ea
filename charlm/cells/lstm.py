"""Long short-term memory and its variants: a memory c that gates write, keep and show.

Gates stand in torch's order: i the input gate, f the forget gate, g the candidate, o the output gate.
"""

from charlm.cells.cell import (
    Array,
    Cell,
    NewWeight,
    Ops,
    Projected,
    Sizes,
    State,
    Weights,
    gate_weights,
    project_input,
    project_input_with_both_biases,
    state_of_hidden_size,
    torch_weights,
)

PEEPHOLES = ("peephole_i", "peephole_f", "peephole_o")


def step_lstm(projected: Projected, state: State, weights: Weights, ops: Ops) -> State:
    (x,), (h, c) = projected, state
    i, f, g, o = ops.split(x + ops.linear(h, weights["weight_hh"]), 4)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    h = ops.sigmoid(o) * ops.tanh(c)
    return h, c


def step_lstm_peephole(projected: Projected, state: State, weights: Weights, ops: Ops) -> State:
    """The gates see the memory through diagonal weights: the old one to write and forget, the new one to show."""
    (x,), (h, c) = projected, state
    i, f, g, o = ops.split(x + ops.linear(h, weights["weight_hh"]), 4)
    i, f = ops.sigmoid(i + weights["peephole_i"] * c), ops.sigmoid(f + weights["peephole_f"] * c)
    c = f * c + i * ops.tanh(g)
    o = ops.sigmoid(o + weights["peephole_o"] * c)
    h = o * ops.tanh(c)
    return h, c


def step_lstm_peephole_previous(projected: Projected, state: State, weights: Weights, ops: Ops) -> State:
    """All three gates see the old memory, the output gate too."""
    (x,), (h, c) = projected, state
    i, f, g, o = ops.split(x + ops.linear(h, weights["weight_hh"]), 4)
    i, f = ops.sigmoid(i + weights["peephole_i"] * c), ops.sigmoid(f + weights["peephole_f"] * c)
    o = ops.sigmoid(o + weights["peephole_o"] * c)
    c = f * c + i * ops.tanh(g)
    h = o * ops.tanh(c)
    return h, c


def peephole_weights(sizes: Sizes) -> dict[str, NewWeight]:
    return {**gate_weights(4)(sizes), **dict.fromkeys(PEEPHOLES, NewWeight((sizes.hidden_size,), "zero"))}


def step_lstm_coupled(projected: Projected, state: State, weights: Weights, ops: Ops) -> State:
    """What is forgotten makes room for what is written: the input gate is 1 - f."""
    (x,), (h, c) = projected, state
    f, g, o = ops.split(x + ops.linear(h, weights["weight_hh"]), 3)
    f = ops.sigmoid(f)
    c = f * c + (1 - f) * ops.tanh(g)
    h = ops.sigmoid(o) * ops.tanh(c)
    return h, c


def project_nothing(x: Array, weights: Weights, ops: Ops) -> Projected:
    """The input unchanged: the state gates it before its product with the weights, so `step` does all."""
    return (x,)


def step_lstm_mogrifier(projected: Projected, state: State, weights: Weights, ops: Ops) -> State:
    """Input and output gate each other in rounds before an LSTM's step; each gate's matrix is left @ right."""
    (x,), (h, c) = projected, state
    for number in range(1, _rounds(weights) + 1):
        seen = h if number % 2 else x
        right, left = weights[f"mogrifier_right_{number}"], weights[f"mogrifier_left_{number}"]
        gate = 2 * ops.sigmoid(ops.low_rank(seen, right, left))
        x, h = (gate * x, h) if number % 2 else (x, gate * h)
    return step_lstm((ops.linear(x, weights["weight_ih"], weights["bias"]),), (h, c), weights, ops)


def mogrifier_weights(sizes: Sizes) -> dict[str, NewWeight]:
    weights = gate_weights(4)(sizes)
    for number in range(1, sizes.mogrifier_rounds + 1):
        gated, seen = sizes.input_size, sizes.hidden_size
        if number % 2 == 0:
            gated, seen = seen, gated
        weights[f"mogrifier_left_{number}"] = NewWeight((gated, sizes.mogrifier_rank), "glorot")
        weights[f"mogrifier_right_{number}"] = NewWeight((sizes.mogrifier_rank, seen), "glorot")
    return weights


def _rounds(weights: Weights) -> int:
    return sum(name.startswith("mogrifier_left_") for name in weights)


def project_lstm_layernorm(x: Array, weights: Weights, ops: Ops) -> Projected:
    return (weights["gain_ih"] * ops.standardise(ops.linear(x, weights["weight_ih"])) + weights["bias"],)


def step_lstm_layernorm(projected: Projected, state: State, weights: Weights, ops: Ops) -> State:
    """Both products are normalised over all gates together, and the memory where it is shown.

    The two products' shifts and the gates' bias only ever appear as their sum, so there is one bias for the three.
    """
    (x,), (h, c) = projected, state
    recurrent = weights["gain_hh"] * ops.standardise(ops.linear(h, weights["weight_hh"]))
    i, f, g, o = ops.split(x + recurrent, 4)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    h = ops.sigmoid(o) * ops.tanh(weights["gain_c"] * ops.standardise(c) + weights["bias_c"])
    return h, c


def layernorm_weights(sizes: Sizes) -> dict[str, NewWeight]:
    rows = 4 * sizes.hidden_size
    return {
        **gate_weights(4)(sizes),
        "gain_ih": NewWeight((rows,), "one"),
        "gain_hh": NewWeight((rows,), "one"),
        "gain_c": NewWeight((sizes.hidden_size,), "one"),
        "bias_c": NewWeight((sizes.hidden_size,), "zero"),
    }


def step_lstm_projected(projected: Projected, state: State, weights: Weights, ops: Ops) -> State:
    """The output is a narrow product of what the memory shows: h has proj_size units, c hidden_size."""
    h, c = step_lstm(projected, state, weights, ops)
    return ops.linear(h, weights["weight_hr"]), c


def projected_weights(sizes: Sizes) -> dict[str, NewWeight]:
    return {
        **torch_weights(4)(sizes),
        "weight_hh": NewWeight((4 * sizes.hidden_size, sizes.proj_size), "orthogonal_by_gate"),
        "weight_hr": NewWeight((sizes.proj_size, sizes.hidden_size), "glorot"),
    }


def projected_state(sizes: Sizes) -> dict[str, int]:
    return {"h": sizes.proj_size, "c": sizes.hidden_size}


LSTM = Cell(
    project_input_with_both_biases,
    step_lstm,
    torch_weights(4),
    state_of_hidden_size("h", "c"),
    gates=("i", "f", "g", "o"),
    equation=("i, f, o = s(W [h, x] + b)", "g = tanh(Wg [h, x] + bg)", "c' = f * c + i * g", "h' = o * tanh(c')"),
    source="Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000",
    activations=("f", "i", "g", "o", ""),
)

LSTM_PEEPHOLE = Cell(
    project_input,
    step_lstm_peephole,
    peephole_weights,
    state_of_hidden_size("h", "c"),
    gates=("i", "f", "g", "o"),
    equation=(
        "i, f = s(W [h, x] + p * c + b)",
        "g = tanh(Wg [h, x] + bg)",
        "c' = f * c + i * g",
        "o = s(Wo [h, x] + po * c' + bo)",
        "h' = o * tanh(c')",
    ),
    source="Gers & Schmidhuber 2000, Recurrent nets that time and count",
    activations=("i", "f", "g", "o", ""),
)

LSTM_PEEPHOLE_PREVIOUS = Cell(
    project_input,
    step_lstm_peephole_previous,
    peephole_weights,
    state_of_hidden_size("h", "c"),
    gates=("i", "f", "g", "o"),
    equation=(
        "i, f, o = s(W [h, x] + p * c + b)",
        "g = tanh(Wg [h, x] + bg)",
        "c' = f * c + i * g",
        "h' = o * tanh(c')",
    ),
    source="the peepholes of Gers & Schmidhuber 2000, all from the previous memory, as courses write them",
    activations=("i", "f", "o", "g", ""),
)

LSTM_COUPLED = Cell(
    project_input,
    step_lstm_coupled,
    gate_weights(3),
    state_of_hidden_size("h", "c"),
    gates=("f", "g", "o"),
    equation=("f, o = s(W [h, x] + b)", "g = tanh(Wg [h, x] + bg)", "c' = f * c + (1 - f) * g", "h' = o * tanh(c')"),
    source="Greff et al. 2015, arXiv 1503.04069 (CIFG), without its peepholes",
    activations=("f", "g", "o", ""),
)

LSTM_MOGRIFIER = Cell(
    project_nothing,
    step_lstm_mogrifier,
    mogrifier_weights,
    state_of_hidden_size("h", "c"),
    gates=("i", "f", "g", "o"),
    equation=(
        "rounds 1, 3, ...: x <- 2 s(Q h) * x",
        "rounds 2, 4, ...: h <- 2 s(R x) * h, each Q and R of low rank",
        "then lstm on x, h and c",
    ),
    source="Melis, Kocisky & Blunsom 2020, arXiv 1909.01792",
    settings=("mogrifier_rounds", "mogrifier_rank"),
    activations=("f", "i", "g", "o", ""),
)

LSTM_LAYERNORM = Cell(
    project_lstm_layernorm,
    step_lstm_layernorm,
    layernorm_weights,
    state_of_hidden_size("h", "c"),
    gates=("i", "f", "g", "o"),
    equation=(
        "N(a) = (a - mean a) / sqrt(var a + 1e-5)",
        "a = q * N(W x) + r * N(U h) + b, over all gates at once",
        "i, f, o = s(a); g = tanh(a), each its block",
        "c' = f * c + i * g",
        "h' = o * tanh(w * N(c') + v)",
    ),
    source="Ba, Kiros & Hinton 2016, arXiv 1607.06450",
    activations=("f", "i", "g", "o", ""),
)

LSTM_PROJECTED = Cell(
    project_input_with_both_biases,
    step_lstm_projected,
    projected_weights,
    projected_state,
    gates=("i", "f", "g", "o"),
    equation=(
        "i, f, o = s(W [h, x] + b)",
        "g = tanh(Wg [h, x] + bg)",
        "c' = f * c + i * g",
        "h' = P (o * tanh(c'))",
    ),
    source="Sak, Senior & Beaufays 2014, arXiv 1402.1128",
    settings=("proj_size",),
    activations=("f", "i", "g", "o", ""),
)
