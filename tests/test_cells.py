"""Each cell's one equation: torch, NumPy and torch.nn agree with a loop written gate by gate."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from charlm.cells import CELLS
from charlm.cells.cell import Sizes
from charlm.engine.numpy_ops import NumpyOps
from charlm.model.kernels import Kernel, kernel_for, unroll
from charlm.model.operations import TorchOps
from charlm.settings import ModelSettings
from tests.cases import gradients_are_right, with_each_number

T, B, I, H, P, RANK = 7, 3, 5, 6, 4, 2  # noqa: E741
SIZES = Sizes(input_size=I, hidden_size=H, proj_size=P, mogrifier_rounds=3, mogrifier_rank=RANK)
# The order of the gates in the stacked weights: files of trained models rely on it.
GATES = {
    "rnn_tanh": ("h",),
    "rnn_relu": ("h",),
    "indrnn": ("h",),
    "gru_simple": ("candidate", "u"),
    "gru_reset_before": ("r", "u", "candidate"),
    "gru": ("r", "z", "n"),
    "lstm": ("i", "f", "g", "o"),
    "lstm_peephole": ("i", "f", "g", "o"),
    "lstm_peephole_previous": ("i", "f", "g", "o"),
    "lstm_coupled": ("f", "g", "o"),
    "lstm_mogrifier": ("i", "f", "g", "o"),
    "lstm_layernorm": ("i", "f", "g", "o"),
    "lstm_projected": ("i", "f", "g", "o"),
    "mingru": ("z", "candidate"),
    "minlstm": ("f", "i", "candidate"),
}
every_cell = pytest.mark.parametrize("cell", list(CELLS))

Array = Any
State = tuple[Any, ...]
Weights = dict[str, Any]


def random_weights(cell: str, seed: int = 1, dtype: torch.dtype = torch.float64, sizes: Sizes = SIZES) -> Weights:
    """The weights of one layer, by name."""
    generator = torch.Generator().manual_seed(seed)
    declared = CELLS[cell].weights(sizes)
    return {name: 0.6 * torch.randn(weight.size, generator=generator).to(dtype) for name, weight in declared.items()}


def random_inputs(
    cell: str, seed: int = 2, dtype: torch.dtype = torch.float64, sizes: Sizes = SIZES, steps: int = T
) -> tuple[Tensor, State]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)

    x = draw(steps, B, sizes.input_size)
    return x, tuple(draw(B, size) for size in CELLS[cell].state_sizes(sizes).values())


def arrays(weights: Weights) -> Weights:
    return {name: weight.detach().numpy() for name, weight in weights.items()}


def assert_same(found: tuple[Any, Any], expected: tuple[Any, Any], tolerance: float) -> None:
    """Outputs and all parts of the state agree."""
    for part, other in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
        np.testing.assert_allclose(np.asarray(part), np.asarray(other), rtol=0, atol=tolerance)


def run_cell(cell: str, x: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
    """The cell over all time steps, in the fastest way on a processor."""
    return kernel_for(cell, "cpu", H)(CELLS[cell], x, state, weights)


# The naive twin: from the equations as they are published, not from `charlm/cells`


def logistic(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


class Gates:
    """A layer's stacked weights, cut into each gate's own by name."""

    def __init__(self, cell: str, weights: Weights) -> None:
        self.names, self.weights = GATES[cell], weights

    def cut(self, name: str, gate: str) -> Array:
        row = self.names.index(gate) * H
        return self.weights[name][row : row + H]

    def bias(self, gate: str) -> Array:
        return sum(self.cut(name, gate) for name in ("bias", "bias_ih", "bias_hh") if name in self.weights)

    def of(self, gate: str, h: Array, x: Array) -> Array:
        """W [h, x] + b"""
        matrix = np.concatenate([self.cut("weight_hh", gate), self.cut("weight_ih", gate)], axis=1)
        return np.concatenate([h, x], axis=1) @ matrix.T + self.bias(gate)

    def of_input(self, gate: str, x: Array) -> Array:
        """W x + b"""
        return x @ self.cut("weight_ih", gate).T + self.bias(gate)


def rnn_tanh(w: Gates, x: Array, h: Array) -> State:
    return (np.tanh(w.of("h", h, x)),)


def rnn_relu(w: Gates, x: Array, h: Array) -> State:
    return (np.maximum(0, w.of("h", h, x)),)


def indrnn(w: Gates, x: Array, h: Array) -> State:
    return (np.maximum(0, w.of_input("h", x) + w.weights["recurrent"] * h),)


def gru_simple(w: Gates, x: Array, c: Array) -> State:
    candidate = np.tanh(w.of("candidate", c, x))
    u = logistic(w.of("u", c, x))
    return (u * candidate + (1 - u) * c,)


def gru_reset_before(w: Gates, x: Array, c: Array) -> State:
    r = logistic(w.of("r", c, x))
    u = logistic(w.of("u", c, x))
    matrix = np.concatenate([w.weights["weight_reset"], w.cut("weight_ih", "candidate")], axis=1)
    candidate = np.tanh(np.concatenate([r * c, x], axis=1) @ matrix.T + w.bias("candidate"))
    return (u * candidate + (1 - u) * c,)


def gru(w: Gates, x: Array, h: Array) -> State:
    r = logistic(w.of("r", h, x))
    z = logistic(w.of("z", h, x))
    of_x = x @ w.cut("weight_ih", "n").T + w.cut("bias_ih", "n")
    of_h = h @ w.cut("weight_hh", "n").T + w.cut("bias_hh", "n")
    n = np.tanh(of_x + r * of_h)
    return ((1 - z) * n + z * h,)


def lstm(w: Gates, x: Array, h: Array, c: Array) -> State:
    i = logistic(w.of("i", h, x))
    f = logistic(w.of("f", h, x))
    o = logistic(w.of("o", h, x))
    c = f * c + i * np.tanh(w.of("g", h, x))
    return o * np.tanh(c), c


def lstm_peephole(w: Gates, x: Array, h: Array, c: Array) -> State:
    i = logistic(w.of("i", h, x) + c @ np.diag(w.weights["peephole_i"]))
    f = logistic(w.of("f", h, x) + c @ np.diag(w.weights["peephole_f"]))
    new_c = f * c + i * np.tanh(w.of("g", h, x))
    o = logistic(w.of("o", h, x) + new_c @ np.diag(w.weights["peephole_o"]))
    return o * np.tanh(new_c), new_c


def lstm_peephole_previous(w: Gates, x: Array, h: Array, c: Array) -> State:
    i, f, o = (logistic(w.of(gate, h, x) + c @ np.diag(w.weights[f"peephole_{gate}"])) for gate in "ifo")
    new_c = f * c + i * np.tanh(w.of("g", h, x))
    return o * np.tanh(new_c), new_c


def lstm_coupled(w: Gates, x: Array, h: Array, c: Array) -> State:
    f = logistic(w.of("f", h, x))
    o = logistic(w.of("o", h, x))
    c = f * c + (1 - f) * np.tanh(w.of("g", h, x))
    return o * np.tanh(c), c


def lstm_mogrifier(w: Gates, x: Array, h: Array, c: Array) -> State:
    q1, r2, q3 = (w.weights[f"mogrifier_left_{k}"] @ w.weights[f"mogrifier_right_{k}"] for k in (1, 2, 3))
    x = 2 * logistic(h @ q1.T) * x
    h = 2 * logistic(x @ r2.T) * h
    x = 2 * logistic(h @ q3.T) * x
    return lstm(w, x, h, c)


def lstm_layernorm(w: Gates, x: Array, h: Array, c: Array) -> State:
    def normal(a: Array, among: Array) -> Array:
        """a, by the mean and variance of all that it stands among."""
        mean, variance = among.mean(axis=1)[:, None], among.var(axis=1)[:, None]
        return (a - mean) / np.sqrt(variance + 1e-5)

    def product(name: str, gate: str, y: Array) -> Array:
        all_gates = np.concatenate([y @ w.cut(f"weight_{name}", other).T for other in "ifgo"], axis=1)
        return w.cut(f"gain_{name}", gate) * normal(y @ w.cut(f"weight_{name}", gate).T, all_gates)

    i, f, g, o = (product("ih", gate, x) + product("hh", gate, h) + w.bias(gate) for gate in "ifgo")
    c = logistic(f) * c + logistic(i) * np.tanh(g)
    return logistic(o) * np.tanh(w.weights["gain_c"] * normal(c, c) + w.weights["bias_c"]), c


def lstm_projected(w: Gates, x: Array, h: Array, c: Array) -> State:
    shown, c = lstm(w, x, h, c)
    return shown @ w.weights["weight_hr"].T, c


def mingru(w: Gates, x: Array, h: Array) -> State:
    z = logistic(w.of_input("z", x))
    return ((1 - z) * h + z * w.of_input("candidate", x),)


def minlstm(w: Gates, x: Array, h: Array) -> State:
    f = logistic(w.of_input("f", x))
    i = logistic(w.of_input("i", x))
    return (f / (f + i) * h + i / (f + i) * w.of_input("candidate", x),)


NAIVE: dict[str, Callable[..., State]] = {
    "rnn_tanh": rnn_tanh,
    "rnn_relu": rnn_relu,
    "indrnn": indrnn,
    "gru_simple": gru_simple,
    "gru_reset_before": gru_reset_before,
    "gru": gru,
    "lstm": lstm,
    "lstm_peephole": lstm_peephole,
    "lstm_peephole_previous": lstm_peephole_previous,
    "lstm_coupled": lstm_coupled,
    "lstm_mogrifier": lstm_mogrifier,
    "lstm_layernorm": lstm_layernorm,
    "lstm_projected": lstm_projected,
    "mingru": mingru,
    "minlstm": minlstm,
}


def run_gate_by_gate(cell: str, x: Tensor, state: State, weights: Weights) -> tuple[Array, State]:
    gates, outputs = Gates(cell, arrays(weights)), []
    state = tuple(part.numpy() for part in state)
    for x_t in x.numpy():
        state = NAIVE[cell](gates, x_t, *state)
        outputs.append(state[0])
    return np.stack(outputs), state


@every_cell
def test_the_numpy_step_is_the_equation_gate_by_gate(cell: str) -> None:
    weights, (x, state) = random_weights(cell), random_inputs(cell)
    projected = CELLS[cell].project(x.numpy(), arrays(weights), NumpyOps)
    new, outputs = tuple(part.numpy() for part in state), []
    for t in range(T):
        new = CELLS[cell].step(tuple(part[t] for part in projected), new, arrays(weights), NumpyOps)
        outputs.append(new[0])
    assert_same((np.stack(outputs), new), run_gate_by_gate(cell, x, state, weights), 1e-9)


@every_cell
def test_the_unrolled_equation_is_the_equation_gate_by_gate(cell: str) -> None:
    weights, (x, state) = random_weights(cell), random_inputs(cell)
    expected = run_gate_by_gate(cell, x, state, weights)
    assert_same(unroll(CELLS[cell], x, state, weights), expected, 1e-9)


@every_cell
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
@torch.no_grad()
def test_the_kernel_is_the_equation_gate_by_gate(cell: str, dtype: torch.dtype, tolerance: float) -> None:
    weights, (x, state) = random_weights(cell, dtype=dtype), random_inputs(cell, dtype=dtype)
    output, new = run_cell(cell, x, state, weights)
    assert {part.dtype for part in (output, *new)} == {dtype}
    assert_same((output, new), run_gate_by_gate(cell, x, state, weights), tolerance)


@every_cell
@torch.no_grad()
def test_the_output_is_the_states_first_part(cell: str) -> None:
    output, new = run_cell(cell, *random_inputs(cell), random_weights(cell))
    assert torch.equal(output[-1], new[0])
    assert output.shape == (T, B, CELLS[cell].output_size(SIZES))
    assert [part.shape for part in new] == [(B, size) for size in CELLS[cell].state_sizes(SIZES).values()]


TORCH_NN: dict[str, Callable[[], nn.RNNBase]] = {
    "rnn_tanh": lambda: nn.RNN(I, H, nonlinearity="tanh"),
    "rnn_relu": lambda: nn.RNN(I, H, nonlinearity="relu"),
    "gru": lambda: nn.GRU(I, H),
    "lstm": lambda: nn.LSTM(I, H),
    "lstm_projected": lambda: nn.LSTM(I, H, proj_size=P),
}


@pytest.mark.parametrize("cell", list(TORCH_NN))
@torch.no_grad()
def test_a_layer_equals_torch_nn_with_the_same_weights(cell: str) -> None:
    weights, (x, state) = random_weights(cell), random_inputs(cell)
    module = TORCH_NN[cell]().double()
    module.load_state_dict({f"{name}_l0": weight for name, weight in weights.items()})
    hx = tuple(part.unsqueeze(0) for part in state)
    output, new = module(x, hx if len(hx) > 1 else hx[0])
    parts = new if len(hx) > 1 else (new,)
    assert_same(run_cell(cell, x, state, weights), (output, tuple(part.squeeze(0) for part in parts)), 1e-9)


# Gradients


@with_each_number
@every_cell
@pytest.mark.parametrize("run", ["unrolled", "kernel"])
def test_the_equations_gradient_is_right_for_input_state_and_all_weights(
    cell: str, run: str, each_number: bool
) -> None:
    weights, (x, state) = random_weights(cell), random_inputs(cell, steps=3)
    kernel: Kernel = unroll if run == "unrolled" else kernel_for(cell, "cpu", H)

    def outputs(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(weights, rest[len(state) :], strict=True))
        output, new = kernel(CELLS[cell], x, rest[: len(state)], given)
        return output, *new

    leaves = [leaf.clone().requires_grad_() for leaf in (x, *state, *weights.values())]
    assert gradients_are_right(outputs, leaves, each_number)


@every_cell
def test_every_weight_is_used(cell: str) -> None:
    weights = {name: weight.requires_grad_() for name, weight in random_weights(cell).items()}
    output, _ = run_cell(cell, *random_inputs(cell), weights)
    (output * torch.randn(output.shape, generator=torch.Generator().manual_seed(3))).sum().backward()
    unused = [name for name, weight in weights.items() if weight.grad is None or not weight.grad.any()]
    assert unused == []


# What the equations have in common


def blocks(cell: str, weights: Weights, name: str) -> dict[str, Tensor]:
    """A stacked weight's part for each gate."""
    return dict(zip(GATES[cell], weights[name].split(H), strict=False))


def as_lstm(weights: Weights) -> Weights:
    """The weights that torch's LSTM shares with its relatives, under its names."""
    return {
        "weight_ih": weights["weight_ih"],
        "weight_hh": weights["weight_hh"],
        "bias_ih": weights["bias"],
        "bias_hh": torch.zeros_like(weights["bias"]),
    }


def assert_cells_agree(first: str, first_weights: Weights, second: str, second_weights: Weights) -> None:
    """Two cells with the same kind of state, on the same input, from the same state."""
    x, state = random_inputs(second)
    assert_same(run_cell(first, x, state, first_weights), run_cell(second, x, state, second_weights), 1e-9)


@pytest.mark.parametrize("cell", ["lstm_peephole", "lstm_peephole_previous"])
def test_closed_peepholes_leave_an_lstm(cell: str) -> None:
    weights = random_weights(cell)
    for name in ("peephole_i", "peephole_f", "peephole_o"):
        weights[name] = torch.zeros(H, dtype=torch.float64)
    assert_cells_agree(cell, weights, "lstm", as_lstm(weights))


def test_the_two_kinds_of_peepholes_differ_in_the_output_gate_alone() -> None:
    weights = random_weights("lstm_peephole")
    weights["peephole_o"] = torch.zeros(H, dtype=torch.float64)
    assert_cells_agree("lstm_peephole", weights, "lstm_peephole_previous", weights)


def test_a_coupled_lstm_is_an_lstm_whose_input_gate_mirrors_the_forget_gate() -> None:
    weights = random_weights("lstm_coupled")
    mirrored = {name: torch.cat([-stacked[:H], stacked]) for name, stacked in weights.items()}
    assert_cells_agree("lstm_coupled", weights, "lstm", as_lstm(mirrored))


@pytest.mark.parametrize("side", ["left", "right"])
def test_rounds_whose_matrices_are_zero_leave_an_lstm(side: str) -> None:
    weights = random_weights("lstm_mogrifier")
    for name in weights:
        if name.startswith(f"mogrifier_{side}"):
            weights[name] = torch.zeros_like(weights[name])
    assert_cells_agree("lstm_mogrifier", weights, "lstm", as_lstm(weights))


def test_no_rounds_leave_an_lstm() -> None:
    weights = random_weights("lstm_mogrifier", sizes=dataclasses.replace(SIZES, mogrifier_rounds=0))
    assert_cells_agree("lstm_mogrifier", weights, "lstm", as_lstm(weights))


def test_a_projection_by_the_identity_leaves_an_lstm() -> None:
    weights = random_weights("lstm")
    projected = {**weights, "weight_hr": torch.eye(H, dtype=torch.float64)}
    assert_cells_agree("lstm_projected", projected, "lstm", weights)


def test_a_layernorm_sees_no_shift_common_to_all_gates() -> None:
    weights = random_weights("lstm_layernorm")
    shifted = dict(weights)
    for name in ("weight_ih", "weight_hh"):
        shifted[name] = weights[name] + torch.arange(weights[name].shape[1])
    assert_cells_agree("lstm_layernorm", weights, "lstm_layernorm", shifted)


def test_a_reset_gate_held_open_leaves_the_simple_gru() -> None:
    weights = random_weights("gru_reset_before")
    weights["bias"][:H] = 1e3  # of r
    input_parts, biases = (blocks("gru_reset_before", weights, name) for name in ("weight_ih", "bias"))
    update = blocks("gru_reset_before", weights, "weight_hh")["u"]
    simple = {
        "weight_ih": torch.cat([input_parts["candidate"], input_parts["u"]]),
        "weight_hh": torch.cat([weights["weight_reset"], update]),
        "bias": torch.cat([biases["candidate"], biases["u"]]),
    }
    assert_cells_agree("gru_reset_before", weights, "gru_simple", simple)


def torch_gru(reset_before: Weights, recurrent: Tensor) -> Weights:
    """The weights of `gru` for those of `gru_reset_before`: z = 1 - u = s(-a) where u = s(a)."""
    signs = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64).repeat_interleave(H)
    return {
        "weight_ih": signs.unsqueeze(1) * reset_before["weight_ih"],
        "weight_hh": signs.unsqueeze(1) * torch.cat([reset_before["weight_hh"], recurrent]),
        "bias_ih": signs * reset_before["bias"],
        "bias_hh": torch.zeros_like(signs),
    }


def test_with_an_open_reset_gate_both_grus_are_one_whose_update_gates_point_opposite_ways() -> None:
    weights = random_weights("gru_reset_before")
    weights["bias"][:H] = 1e3  # of r
    assert_cells_agree("gru_reset_before", weights, "gru", torch_gru(weights, weights["weight_reset"]))


def test_with_a_diagonal_matrix_it_is_the_same_where_the_reset_gate_acts() -> None:
    weights = random_weights("gru_reset_before")
    weights["weight_reset"] = weights["weight_reset"].diagonal().diag()
    assert_cells_agree("gru_reset_before", weights, "gru", torch_gru(weights, weights["weight_reset"]))


def test_with_a_full_matrix_it_is_not_the_same_where_the_reset_gate_acts() -> None:
    weights, (x, state) = random_weights("gru_reset_before"), random_inputs("gru")
    before, _ = run_cell("gru_reset_before", x, state, weights)
    after, _ = run_cell("gru", x, state, torch_gru(weights, weights["weight_reset"]))
    assert not torch.allclose(before, after, atol=1e-3)


def test_an_indrnn_is_a_relu_rnn_with_a_diagonal_matrix() -> None:
    weights = random_weights("indrnn")
    full = {
        "weight_ih": weights["weight_ih"],
        "weight_hh": weights["recurrent"].diag(),
        "bias_ih": weights["bias"],
        "bias_hh": torch.zeros_like(weights["bias"]),
    }
    assert_cells_agree("indrnn", weights, "rnn_relu", full)


def test_a_minlstm_whose_gates_mirror_each_other_is_a_mingru() -> None:
    weights = random_weights("mingru")
    mirrored = {name: torch.cat([-stacked[:H], stacked]) for name, stacked in weights.items()}
    assert_cells_agree("minlstm", mirrored, "mingru", weights)


# Gates far from zero


@pytest.mark.parametrize(
    ("forget", "write", "kept"),
    [(200, 200, 0.5), (-200, -200, 0.5), (200, -200, 1.0), (-200, 200, 0.0), (-200, -201, np.e / (1 + np.e))],
)
def test_minlstm_shares_out_the_whole_for_gates_however_far_from_zero(forget: float, write: float, kept: float) -> None:
    bias = torch.tensor([forget, write, 1.0]).repeat_interleave(H)  # a candidate of 1, so that `new` is its share
    weights = {"weight_ih": torch.zeros(3 * H, I), "bias": bias}
    inputs = {name: weight.numpy() for name, weight in weights.items()}
    x = torch.zeros(B, I)
    in_torch = [part.numpy() for part in CELLS["minlstm"].project(x, weights, TorchOps)]
    in_numpy = CELLS["minlstm"].project(x.numpy(), inputs, NumpyOps)
    for keep, new in (in_torch, in_numpy):
        assert keep.dtype == new.dtype == np.float32
        np.testing.assert_allclose(keep, kept, rtol=0, atol=1e-5)
        np.testing.assert_allclose(keep + new, 1.0, rtol=0, atol=1e-6)


@every_cell
@pytest.mark.parametrize("size", [1.0, -1.0])
def test_preactivations_of_200_leave_values_and_gradients_finite(cell: str, size: float) -> None:
    weights, (x, state) = random_weights(cell, dtype=torch.float32), random_inputs(cell, dtype=torch.float32)
    for name, weight in weights.items():
        if name.startswith("bias"):
            weight.fill_(200 * size)
        weight.requires_grad_()
    output, _ = run_cell(cell, x, state, weights)
    output.sum().backward()
    assert output.isfinite().all()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in weights.values())
    projected = CELLS[cell].project(x.numpy(), arrays(weights), NumpyOps)
    new = CELLS[cell].step(
        tuple(part[0] for part in projected), tuple(part.numpy() for part in state), arrays(weights), NumpyOps
    )
    assert all(np.isfinite(part).all() for part in new)


# What a cell says of itself


@every_cell
def test_gates_stand_in_the_order_of_the_files(cell: str) -> None:
    assert CELLS[cell].gates == GATES[cell]
    assert CELLS[cell].weights(SIZES)["weight_ih"].size == (len(GATES[cell]) * H, I)


@every_cell
def test_the_states_parts_are_named_as_in_the_files(cell: str) -> None:
    names = {"lstm": ("h", "c"), "gru_simple": ("c",), "gru_reset_before": ("c",)}
    expected = names["lstm"] if cell.startswith("lstm") else names.get(cell, ("h",))
    sizes = {name: P if (cell, name) == ("lstm_projected", "h") else H for name in expected}
    assert list(CELLS[cell].state_sizes(SIZES).items()) == list(sizes.items())


@every_cell
def test_every_cell_says_its_equation_and_its_source(cell: str) -> None:
    assert CELLS[cell].equation
    assert all(line.strip() for line in CELLS[cell].equation)
    assert CELLS[cell].source.strip()


@every_cell
def test_a_cells_own_settings_are_settings_of_the_model(cell: str) -> None:
    assert set(CELLS[cell].settings) <= {setting.name for setting in dataclasses.fields(ModelSettings)}


@every_cell
def test_a_cells_own_settings_are_the_sizes_that_its_weights_follow_from(cell: str) -> None:
    for name in ("proj_size", "mogrifier_rounds", "mogrifier_rank"):
        other = dataclasses.replace(SIZES, **{name: getattr(SIZES, name) + 1})
        changes = CELLS[cell].weights(other) != CELLS[cell].weights(SIZES)
        assert changes == (name in CELLS[cell].settings)


@every_cell
def test_bounds_are_of_weights_that_the_cell_has(cell: str) -> None:
    assert CELLS[cell].bounds.keys() <= CELLS[cell].weights(SIZES).keys()
