"""Each cell's one equation: torch, NumPy, the kernels and torch.nn agree with a loop written gate by gate."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from charlm.cells import CELLS, Shape, num_params, weight_shapes
from charlm.corpus.windows import IGNORED
from charlm.engine import stepper
from charlm.engine.stepper import NumpyOps, Stepper
from charlm.model.dropout import variational_dropout
from charlm.model.language_model import LanguageModelNetwork, reset_state
from charlm.model.recurrent import RecurrentLayer
from charlm.probability import log_softmax

T, B, I, H = 7, 3, 5, 4  # noqa: E741
GATES = {"rnn_tanh": "h", "rnn_relu": "h", "gru": "rzn", "lstm": "ifgo"}
every_cell = pytest.mark.parametrize("cell", list(CELLS))

Weights = dict[str, Any]


def shape_of(cell: str, **changes: Any) -> Shape:
    small = Shape(
        cell=cell,
        num_layers=1,
        hidden_size=6,
        embedding_size=5,
        tie_embeddings=False,
        dropout=0.0,
        initial_state="zero",
        vocab_size=11,
    )
    return dataclasses.replace(small, **changes)


VARIANTS: dict[str, Weights] = {
    "one layer": {},
    "two layers, learned start": {"num_layers": 2, "initial_state": "learned"},
    "three layers, tied": {"num_layers": 3, "tie_embeddings": True, "embedding_size": 6},
    "two layers, tied by a projection, learned start": {
        "num_layers": 2,
        "tie_embeddings": True,
        "initial_state": "learned",
    },
}
every_variant = pytest.mark.parametrize("variant", list(VARIANTS))


def random_layer(cell: str, seed: int = 1, dtype: torch.dtype = torch.float64) -> RecurrentLayer:
    return fill(RecurrentLayer(cell, I, H, learned_initial_state=False), seed, dtype)


def random_network(shape: Shape, seed: int = 1, dtype: torch.dtype = torch.float64) -> LanguageModelNetwork:
    return fill(LanguageModelNetwork(shape), seed, dtype)


def fill(module: Any, seed: int, dtype: torch.dtype) -> Any:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.6, generator=generator)
    return module.to(dtype)


def random_inputs(cell: str, seed: int = 2, dtype: torch.dtype = torch.float64) -> tuple[Tensor, tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(T, B, I, generator=generator, dtype=torch.float64).to(dtype)
    state = (torch.randn(B, H, generator=generator, dtype=torch.float64).to(dtype) for _ in CELLS[cell].state_parts)
    return x, tuple(state)


def arrays(module: nn.Module) -> Weights:
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def random_ids(*size: int, seed: int = 3, vocab_size: int = 11) -> Any:
    return np.random.default_rng(seed).integers(0, vocab_size, size)


# The naive twin


def logistic(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def step_gate_by_gate(cell: str, x: Any, state: tuple[Any, ...], weights: Weights) -> tuple[Any, tuple[Any, ...]]:
    """One step from each gate's own matrices: x (B, I), each part of the state (B, H)."""

    def block(name: str, gate: str) -> Any:
        row = GATES[cell].index(gate) * H
        return weights[name][row : row + H]

    def of_input(gate: str) -> Any:
        return x @ block("weight_ih", gate).T + block("bias_ih", gate)

    def of_state(gate: str) -> Any:
        return state[0] @ block("weight_hh", gate).T + block("bias_hh", gate)

    def both(gate: str) -> Any:
        return of_input(gate) + of_state(gate)

    if cell == "lstm":
        c = logistic(both("f")) * state[1] + logistic(both("i")) * np.tanh(both("g"))
        h = logistic(both("o")) * np.tanh(c)
        return h, (h, c)
    if cell == "gru":
        r, z = logistic(both("r")), logistic(both("z"))
        n = np.tanh(of_input("n") + r * of_state("n"))
        h = (1 - z) * n + z * state[0]
    else:
        h = {"rnn_tanh": np.tanh, "rnn_relu": lambda a: np.maximum(a, 0)}[cell](both("h"))
    return h, (h,)


def run_gate_by_gate(cell: str, x: Any, state: tuple[Any, ...], weights: Weights) -> tuple[Any, tuple[Any, ...]]:
    outputs = []
    for x_t in x:
        output, state = step_gate_by_gate(cell, x_t, state, weights)
        outputs.append(output)
    return np.stack(outputs), state


def assert_same(one: tuple[Any, Any], other: tuple[Any, Any], tolerance: float) -> None:
    """Outputs and all parts of the state agree."""
    for a, b in zip((one[0], *one[1]), (other[0], *other[1]), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=tolerance)


@every_cell
def test_the_numpy_step_is_the_equation_gate_by_gate(cell: str) -> None:
    weights = arrays(random_layer(cell))
    x, state = random_inputs(cell)
    projected = CELLS[cell].project(x.numpy(), weights, NumpyOps)
    new, outputs = tuple(part.numpy() for part in state), []
    for t in range(T):
        output, new = CELLS[cell].step(projected[t], new, weights, NumpyOps)
        outputs.append(output)
    expected = run_gate_by_gate(cell, x.numpy(), tuple(part.numpy() for part in state), weights)
    assert_same((np.stack(outputs), new), expected, 1e-9)


@every_cell
@torch.no_grad()
def test_the_kernel_is_the_equation_gate_by_gate(cell: str) -> None:
    layer = random_layer(cell, dtype=torch.float32)
    x, state = random_inputs(cell, dtype=torch.float32)
    expected = run_gate_by_gate(cell, x.numpy(), tuple(part.numpy() for part in state), arrays(layer))
    assert_same(layer(x, state), expected, 1e-5)


@every_cell
@torch.no_grad()
def test_the_kernel_equals_the_unrolled_equation(cell: str) -> None:
    layer = random_layer(cell)
    assert_same(layer(*random_inputs(cell)), layer.unrolled(*random_inputs(cell)), 1e-9)


@every_cell
def test_the_kernels_gradient_equals_that_of_the_unrolled_equation(cell: str) -> None:
    gradients = []
    for run in ("forward", "unrolled"):
        layer, (x, state) = random_layer(cell), random_inputs(cell)
        leaves = [x, *state, *layer.parameters()]
        output, new = getattr(layer, run)(*(x.requires_grad_(), tuple(part.requires_grad_() for part in state)))
        total = (output * torch.arange(H)).sum() + sum((part**2).sum() for part in new)
        gradients.append(torch.autograd.grad(total, leaves))
    for kernel, unrolled in zip(*gradients, strict=True):
        torch.testing.assert_close(kernel, unrolled, rtol=0, atol=1e-9)


@every_cell
@torch.no_grad()
def test_a_layer_equals_torch_nn_with_the_same_weights(cell: str) -> None:
    layer, (x, state) = random_layer(cell), random_inputs(cell)
    kinds: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU}
    module = kinds[cell](I, H) if cell in kinds else nn.RNN(I, H, nonlinearity=cell.removeprefix("rnn_"))
    module.double().load_state_dict({f"{name}_l0": value for name, value in layer.state_dict().items()})
    hx = tuple(part.unsqueeze(0) for part in state)
    output, new = module(x, hx if cell == "lstm" else hx[0])
    parts = new if cell == "lstm" else (new,)
    assert_same(layer(x, state), (output, tuple(part.squeeze(0) for part in parts)), 1e-9)


class Unrolled(nn.Module):
    def __init__(self, layer: RecurrentLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> Any:
        return self.layer.unrolled(x, state)


@every_cell
def test_the_equations_gradient_is_right_for_input_state_and_all_weights(cell: str) -> None:
    module, (x, state) = Unrolled(random_layer(cell)), random_inputs(cell)
    names, values = zip(*((name, value.detach()) for name, value in module.named_parameters()), strict=True)

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        weights = dict(zip(names, rest[len(state) :], strict=True))
        output, new = functional_call(module, weights, (x, rest[: len(state)]))
        return output, *new

    leaves = [one[:3].contiguous() if one is x else one for one in (x, *state, *values)]
    assert torch.autograd.gradcheck(run, [leaf.clone().requires_grad_() for leaf in leaves])


# The network and its twin without torch


@every_cell
@every_variant
@pytest.mark.parametrize("table", [0, 1024], ids=["no table", "table"])
@torch.no_grad()
def test_the_stepper_equals_the_network(cell: str, variant: str, table: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepper, "LARGEST_TABLE", table)
    network = random_network(shape_of(cell, **VARIANTS[variant]))
    engine = Stepper(network.shape, arrays(network))
    ids = random_ids(B, T)
    expected, last = network(torch.from_numpy(ids), network.initial_state(B))
    state, logits = engine.initial_state(B), []
    for t in range(T):
        step, state = engine.step(ids[:, t], state)
        logits.append(step)
    assert_same((np.stack(logits, axis=1), sum(state, ())), (expected, sum(last, ())), 1e-9)


@every_cell
@every_variant
def test_the_steppers_logprobs_are_those_of_its_steps(cell: str, variant: str) -> None:
    network = random_network(shape_of(cell, **VARIANTS[variant]))
    engine = Stepper(network.shape, arrays(network))
    inputs, targets = random_ids(B, T), random_ids(B, T, seed=4)
    logprobs, _ = engine.logprobs(inputs, targets, engine.initial_state(B))
    with torch.no_grad():
        logits, _ = network(torch.from_numpy(inputs), network.initial_state(B))
    expected = logits.log_softmax(-1).gather(2, torch.from_numpy(targets).unsqueeze(2)).squeeze(2)
    np.testing.assert_allclose(logprobs, expected, rtol=0, atol=1e-9)


@every_cell
@every_variant
@torch.no_grad()
def test_chunks_with_carried_state_equal_the_whole(cell: str, variant: str) -> None:
    network = random_network(shape_of(cell, **VARIANTS[variant]))
    ids = torch.from_numpy(random_ids(B, T))
    whole, end = network(ids, network.initial_state(B))
    state, pieces = network.initial_state(B), []
    for chunk in ids.split([3, 1, 3], dim=1):
        logits, state = network(chunk, state)
        pieces.append(logits)
    assert_same((torch.cat(pieces, dim=1), sum(state, ())), (whole, sum(end, ())), 1e-9)


@every_cell
@every_variant
@torch.no_grad()
def test_a_batch_equals_its_sequences_one_by_one(cell: str, variant: str) -> None:
    network = random_network(shape_of(cell, **VARIANTS[variant]))
    ids = torch.from_numpy(random_ids(B, T))
    batched, _ = network(ids, network.initial_state(B))
    singles = [network(row.unsqueeze(0), network.initial_state(1))[0] for row in ids]
    torch.testing.assert_close(batched, torch.cat(singles), rtol=0, atol=1e-9)


@every_cell
@torch.no_grad()
def test_padding_behind_a_sequence_changes_nothing_before_it(cell: str) -> None:
    network = random_network(shape_of(cell, num_layers=2))
    ids = torch.from_numpy(random_ids(B, T))
    padded = torch.cat([ids, torch.zeros(B, 4, dtype=torch.int64)], dim=1)
    unpadded = network(ids, network.initial_state(B))[0]
    torch.testing.assert_close(network(padded, network.initial_state(B))[0][:, :T], unpadded, rtol=0, atol=1e-9)


@every_cell
@torch.no_grad()
def test_ignored_targets_count_nothing(cell: str) -> None:
    network = random_network(shape_of(cell))
    inputs, targets = (torch.from_numpy(random_ids(B, T, seed=seed)) for seed in (3, 4))
    targets[1, 4:] = IGNORED
    total, _ = network.total_nats(inputs, targets, network.initial_state(B))
    logprobs = network(inputs, network.initial_state(B))[0].log_softmax(-1).tolist()
    kept = [(b, t) for b in range(B) for t in range(T) if targets[b, t] != IGNORED]
    assert float(total) == pytest.approx(-sum(logprobs[b][t][targets[b, t]] for b, t in kept), abs=1e-4)


@every_cell
def test_a_reset_sequence_begins_anew_and_no_gradient_reaches_the_old_state(cell: str) -> None:
    network = random_network(shape_of(cell, initial_state="learned"))
    _, old = network(torch.from_numpy(random_ids(B, T)), network.initial_state(B))
    start, reset = network.initial_state(B), torch.tensor([True, False, True])
    for new, before, fresh in zip(*(sum(one, ()) for one in (reset_state(old, start, reset), old, start)), strict=True):
        assert torch.equal(new[reset], fresh[reset])
        assert torch.equal(new[~reset], before[~reset])
        assert torch.autograd.grad(new.sum(), before, retain_graph=True, allow_unused=True) == (None,)


@every_cell
def test_the_learned_initial_state_is_learned(cell: str) -> None:
    network = random_network(shape_of(cell, num_layers=2, initial_state="learned"))
    ids = torch.from_numpy(random_ids(B, T))
    network.total_nats(ids, ids, network.initial_state(B))[0].backward()  # type: ignore[no-untyped-call]
    learned = [value for name, value in network.named_parameters() if "initial_" in name]
    assert len(learned) == 2 * len(CELLS[cell].state_parts)
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in learned)


# Weights


@every_cell
@every_variant
def test_the_declared_shapes_are_those_of_the_network(cell: str, variant: str) -> None:
    shape = shape_of(cell, **VARIANTS[variant])
    network = LanguageModelNetwork(shape)
    assert weight_shapes(shape) == {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert num_params(shape) == sum(parameter.numel() for parameter in network.parameters())


@every_cell
def test_recurrent_matrices_start_orthogonal_and_the_forget_gate_open(cell: str) -> None:
    network = LanguageModelNetwork(shape_of(cell, num_layers=2))
    network.initialise(torch.Generator().manual_seed(5))
    for layer in network.layers:
        for block in layer.weight_hh.detach().chunk(len(GATES[cell])):
            torch.testing.assert_close(block @ block.T, torch.eye(6), rtol=0, atol=1e-5)
        biases = (layer.bias_ih + layer.bias_hh).detach().chunk(len(GATES[cell]))
        for gate, bias in zip(GATES[cell], biases, strict=True):
            assert torch.equal(bias, torch.full((6,), 1.0 if gate == "f" else 0.0))


@every_variant
def test_starting_weights_follow_from_the_generator_alone(variant: str) -> None:
    first, again, other = (LanguageModelNetwork(shape_of("gru", **VARIANTS[variant])) for _ in range(3))
    for network, seed in ((first, 5), (again, 5), (other, 6)):
        network.initialise(torch.Generator().manual_seed(seed))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.embedding.weight, other.embedding.weight)


# Dropout


def test_dropout_uses_one_mask_for_all_time_steps_and_keeps_the_mean() -> None:
    dropped = variational_dropout(torch.ones(5, 40, 500), 0.3, torch.Generator().manual_seed(1))
    assert all(torch.equal(dropped[0], one) for one in dropped)
    assert torch.allclose(dropped[dropped > 0], torch.tensor(1 / 0.7))
    assert float(dropped[0].mean()) == pytest.approx(1.0, abs=0.02)
    assert not torch.equal(dropped[0, 0], dropped[0, 1])


def test_without_a_generator_or_a_rate_nothing_is_dropped() -> None:
    x = torch.randn(5, 4, 3)
    assert torch.equal(variational_dropout(x, 0.5, None), x)
    assert torch.equal(variational_dropout(x, 0.0, torch.Generator()), x)


@torch.no_grad()
def test_a_networks_dropout_follows_from_its_generator() -> None:
    network = random_network(shape_of("lstm", num_layers=2, dropout=0.4))
    ids = torch.from_numpy(random_ids(T, B))

    def hidden(generator: torch.Generator | None) -> Tensor:
        return network.hidden(ids, network.initial_state(B), generator)[0]

    first, again, other = (hidden(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(hidden(None), hidden(None))
    assert bool((hidden(None) != 0).all())


def test_log_softmax_is_normalised_and_does_not_overflow() -> None:
    logits = np.array([[1e4, 1e4 - 1, -1e4], [0.5, -2.0, 3.0]], np.float32)
    logprobs = log_softmax(logits)
    assert logprobs.dtype == np.float64
    np.testing.assert_allclose(np.exp(logprobs).sum(axis=-1), 1.0, atol=1e-12)
    np.testing.assert_allclose(logprobs[0, :2], [-np.log1p(np.exp(-1)), -1 - np.log1p(np.exp(-1))], atol=1e-9)
