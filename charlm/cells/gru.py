"""Gated recurrent units. They differ in where the reset gate acts, and in what the update gate near 1 means.

- `gru_simple` and `gru_reset_before` are written as in the course on sequence models: the state is c, and an update
  gate u near 1 takes the *candidate*, as in Chung et al. 2014, arXiv 1412.3555.
- `gru` is written as torch and cuDNN compute it. Its update gate is that of Cho et al. 2014: z near 1 keeps the *old
  state*, so z = 1 - u.
- The reset gate of `gru_reset_before` acts on the state before the candidate's product, W (r * c), as in the course, in
  Chung et al. and in version 3 of Cho et al. The reset gate of `gru` acts on the product, r * (W h + b), as in version
  1 of Cho et al. Then the product needs a bias of its own, but all three gates share one product with the state.
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
    state_of_hidden_size,
    torch_weights,
)


def step_gru_simple(projected: Projected, state: State, weights: Weights, ops: Ops) -> State:
    """A step without a reset gate. u near 1 takes the candidate."""
    (x,), (c,) = projected, state
    candidate, u = ops.split(x + ops.linear(c, weights["weight_hh"]), 2)
    u = ops.sigmoid(u)
    c = u * ops.tanh(candidate) + (1 - u) * c
    return (c,)


def step_gru_reset_before(projected: Projected, state: State, weights: Weights, ops: Ops) -> State:
    """The reset gate r acts before the product with c. u near 1 takes the candidate."""
    (x,), (c,) = projected, state
    x_r, x_u, x_candidate = ops.split(x, 3)
    c_r, c_u = ops.split(ops.linear(c, weights["weight_hh"]), 2)
    r, u = ops.sigmoid(x_r + c_r), ops.sigmoid(x_u + c_u)
    candidate = ops.tanh(x_candidate + ops.linear(r * c, weights["weight_reset"]))
    c = u * candidate + (1 - u) * c
    return (c,)


def gru_reset_before_weights(sizes: Sizes) -> dict[str, NewWeight]:
    hidden = sizes.hidden_size
    return {
        **gate_weights(3)(sizes),
        "weight_hh": NewWeight((2 * hidden, hidden), "orthogonal_by_gate"),
        "weight_reset": NewWeight((hidden, hidden), "orthogonal_by_gate"),
    }


def project_gru(x: Array, weights: Weights, ops: Ops) -> Projected:
    return (ops.linear(x, weights["weight_ih"], weights["bias_ih"]),)


def step_gru(projected: Projected, state: State, weights: Weights, ops: Ops) -> State:
    """The reset gate r acts after the product with h, as torch and cuDNN compute it. z near 1 keeps the old state."""
    (x,), (h,) = projected, state
    x_r, x_z, x_n = ops.split(x, 3)
    h_r, h_z, h_n = ops.split(ops.linear(h, weights["weight_hh"], weights["bias_hh"]), 3)
    r, z = ops.sigmoid(x_r + h_r), ops.sigmoid(x_z + h_z)
    n = ops.tanh(x_n + r * h_n)
    h = n + z * (h - n)  # (1 - z) * n + z * h, with three operations instead of four
    return (h,)


GRU_SIMPLE = Cell(
    project_input,
    step_gru_simple,
    gate_weights(2),
    state_of_hidden_size("c"),
    gates=("candidate", "u"),
    equation=("c~ = tanh(Wc [c, x] + bc)", "u = s(Wu [c, x] + bu)", "c' = u * c~ + (1 - u) * c"),
    source="the GRU of Cho et al. 2014, arXiv 1406.1078, without its reset gate (their update gate is 1 - u)",
    activations=("u", "candidate"),
)

GRU_RESET_BEFORE = Cell(
    project_input,
    step_gru_reset_before,
    gru_reset_before_weights,
    state_of_hidden_size("c"),
    gates=("r", "u", "candidate"),
    equation=(
        "r = s(Wr [c, x] + br)",
        "u = s(Wu [c, x] + bu)",
        "c~ = tanh(Wc [r * c, x] + bc)",
        "c' = u * c~ + (1 - u) * c",
    ),
    source="Cho et al. 2014, arXiv 1406.1078v3 (their update gate is 1 - u)",
    activations=("r", "u", "candidate"),
)

GRU = Cell(
    project_gru,
    step_gru,
    torch_weights(3),
    state_of_hidden_size("h"),
    gates=("r", "z", "n"),
    equation=(
        "r = s(Wr [h, x] + br)",
        "z = s(Wz [h, x] + bz)",
        "n = tanh(Wn x + bn + r * (Un h + dn))",
        "h' = (1 - z) * n + z * h",
    ),
    source="Cho et al. 2014, arXiv 1406.1078v1, as cuDNN and torch.nn.GRU compute it",
    activations=("r", "z", "n"),
)
