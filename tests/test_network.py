"""The whole network and its twin without torch: states, heads, residuals, dropout, shapes and starting weights."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from charlm.model.recurrent import RecurrentLayer
from torch import Tensor

from charlm.cells import CELLS
from charlm.cells.cell import Sizes
from charlm.corpus.windows import IGNORED
from charlm.engine import predictor as stepper
from charlm.engine.predictor import StepPredictor
from charlm.model.dropout import variational_dropout
from charlm.model.network import TorchNetwork, reset_state
from charlm.network.architecture import Architecture, num_params, weight_shapes
from charlm.probability import log_softmax
from tests.test_cells import RANK, SIZES, B, H, I, P, T, arrays, assert_same, every_cell, fill

VOCAB = 11
HEAD = 9


def shape_of(cell: str, **changes: Any) -> Architecture:
    small = Architecture(
        cell=cell,
        num_layers=1,
        hidden_size=H,
        embedding_size=I,
        tie_embeddings=False,
        dropout=0.0,
        initial_state="zero",
        vocab_size=VOCAB,
        head_size=HEAD,
        proj_size=P,
        mogrifier_rounds=3,
        mogrifier_rank=RANK,
    )
    return dataclasses.replace(small, **changes)


VARIANTS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "two layers, learned start": {"num_layers": 2, "initial_state": "learned"},
    "three layers, tied": {"num_layers": 3, "tie_embeddings": True, "embedding_size": H, "proj_size": H},
    "two layers, tied by a projection, learned start": {
        "num_layers": 2,
        "tie_embeddings": True,
        "initial_state": "learned",
    },
    "residual, all sizes equal, random start": {
        "num_layers": 3,
        "residual": True,
        "embedding_size": H,
        "proj_size": H,
        "initial_state": "random",
    },
    "residual, the embedding's size another, one feed-forward layer": {
        "num_layers": 2,
        "residual": True,
        "head_layers": 1,
    },
    "two feed-forward layers, tied by a projection": {"head_layers": 2, "tie_embeddings": True},
    "two feed-forward layers, tied": {"head_layers": 2, "tie_embeddings": True, "embedding_size": HEAD},
}
every_variant = pytest.mark.parametrize("variant", list(VARIANTS))


def random_network(shape: Architecture, seed: int = 1, dtype: torch.dtype = torch.float64) -> TorchNetwork:
    return fill(TorchNetwork(shape), seed, dtype)  # type: ignore[no-any-return]


def started_network(shape: Architecture, seed: int = 5) -> TorchNetwork:
    network = TorchNetwork(shape)
    network.initialise(torch.Generator().manual_seed(seed))
    return network


def random_ids(*size: int, seed: int = 3) -> Any:
    return np.random.default_rng(seed).integers(0, VOCAB, size)


def parts(state: Any) -> tuple[Any, ...]:
    """Of all layers' states, in a row."""
    return sum(state, ())


# The network and its twin without torch


def steps_of(engine: StepPredictor, ids: Any) -> tuple[Any, Any]:
    """Logits (B, T, V) and the last state."""
    state, logits = engine.initial_state(len(ids)), []
    for t in range(ids.shape[1]):
        step, state = engine.step(ids[:, t], state)
        logits.append(step)
    return np.stack(logits, axis=1), parts(state)


@every_cell
@every_variant
@pytest.mark.parametrize("table", [0, 1024], ids=["no table", "table"])
@torch.no_grad()
def test_the_stepper_equals_the_network(cell: str, variant: str, table: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepper, "MAX_TABLE_TYPES", table)
    network = random_network(shape_of(cell, **VARIANTS[variant]))
    ids = random_ids(B, T)
    expected, last = network(torch.from_numpy(ids), network.initial_state(B))
    assert_same(steps_of(StepPredictor(network.shape, arrays(network)), ids), (expected, parts(last)), 1e-9)


@every_cell
@torch.no_grad()
def test_the_stepper_equals_the_network_in_float32(cell: str) -> None:
    network = random_network(shape_of(cell, num_layers=2, head_layers=1, residual=True), dtype=torch.float32)
    ids = random_ids(B, 4 * T)
    expected, last = network(torch.from_numpy(ids), network.initial_state(B))
    logits, state = steps_of(StepPredictor(network.shape, arrays(network)), ids)
    for one, other in zip((logits, *state), (expected, *parts(last)), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * float(other.abs().max()))


@every_cell
@every_variant
def test_the_steppers_logprobs_are_those_of_its_steps(cell: str, variant: str) -> None:
    network = random_network(shape_of(cell, **VARIANTS[variant]))
    engine = StepPredictor(network.shape, arrays(network))
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
    for chunk in torch.split(ids, [3, 1, 3], dim=1):
        logits, state = network(chunk, state)
        pieces.append(logits)
    assert_same((torch.cat(pieces, dim=1), parts(state)), (whole, parts(end)), 1e-9)


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
@every_variant
def test_every_weight_of_a_network_is_used(cell: str, variant: str) -> None:
    network = random_network(shape_of(cell, **VARIANTS[variant]))
    ids = torch.from_numpy(random_ids(B, T))
    network.total_nats(ids, ids, network.initial_state(B))[0].backward()  # type: ignore[no-untyped-call]
    unused = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert unused == []


# Residuals and heads


@every_cell
@pytest.mark.parametrize("equal", [True, False], ids=["sizes equal", "sizes not equal"])
@torch.no_grad()
def test_a_residual_adds_a_layers_input_to_its_output_where_their_sizes_agree(cell: str, equal: bool) -> None:
    sizes = {"embedding_size": H, "proj_size": H} if equal else {}
    network = random_network(shape_of(cell, num_layers=2, residual=True, **sizes))
    ids = torch.from_numpy(random_ids(T, B))
    state = network.initial_state(B)
    embedded = network.embedding(ids)
    lower, _ = network.layers[0](embedded, state[0])
    if equal:
        lower = embedded + lower
    expected = lower + network.layers[1](lower, state[1])[0]
    torch.testing.assert_close(network.hidden(ids, state)[0], expected, rtol=0, atol=1e-12)


@every_cell
def test_a_residual_needs_no_weights(cell: str) -> None:
    with_it, without = (shape_of(cell, num_layers=2, residual=residual) for residual in (True, False))
    assert weight_shapes(with_it) == weight_shapes(without)


@pytest.mark.parametrize("head_layers", [0, 1, 2])
@pytest.mark.parametrize(("tied", "embedding_size"), [(False, I), (True, I), (True, HEAD), (True, H)])
def test_the_head_is_feed_forward_layers_a_projection_where_needed_and_the_output(
    head_layers: int, tied: bool, embedding_size: int
) -> None:
    network = random_network(
        shape_of("lstm", head_layers=head_layers, tie_embeddings=tied, embedding_size=embedding_size)
    )
    weights, hidden = arrays(network), np.random.default_rng(1).normal(size=(B, H))
    expected = hidden
    for layer in range(head_layers):
        matrix, bias = (weights[f"head.layers.{layer}.{name}"] for name in ("weight", "bias"))
        expected = np.maximum(0, expected @ matrix.T + bias)
    size = HEAD if head_layers else H
    assert ("head.projection" in weights) == (tied and embedding_size != size)
    if "head.projection" in weights:
        expected = expected @ weights["head.projection"].T
    output = weights["embedding.weight" if tied else "head.weight"]
    assert ("head.weight" in weights) == (not tied)
    logits = network.logits(torch.from_numpy(hidden)).detach()
    np.testing.assert_allclose(logits, expected @ output.T + weights["head.bias"], rtol=0, atol=1e-9)


# The state before the first token


@every_cell
def test_a_reset_sequence_begins_anew_and_no_gradient_reaches_the_old_state(cell: str) -> None:
    network = random_network(shape_of(cell, initial_state="learned"))
    _, old = network(torch.from_numpy(random_ids(B, T)), network.initial_state(B))
    start, reset = network.initial_state(B), torch.tensor([True, False, True])
    for new, before, fresh in zip(*map(parts, (reset_state(old, start, reset), old, start)), strict=True):
        assert torch.equal(new[reset], fresh[reset])
        assert torch.equal(new[~reset], before[~reset])
        assert torch.autograd.grad(new.sum(), before, retain_graph=True, allow_unused=True) == (None,)


@every_cell
def test_the_learned_initial_state_is_learned(cell: str) -> None:
    network = random_network(shape_of(cell, num_layers=2, initial_state="learned"))
    ids = torch.from_numpy(random_ids(B, T))
    network.total_nats(ids, ids, network.initial_state(B))[0].backward()  # type: ignore[no-untyped-call]
    learned = [value for name, value in network.named_parameters() if "initial_" in name]
    assert len(learned) == 2 * len(CELLS[cell].state_sizes(SIZES))
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in learned)


@every_cell
@pytest.mark.parametrize("kind", ["zero", "learned", "random"])
@torch.no_grad()
def test_without_a_generator_the_start_is_zero_or_what_was_learned(cell: str, kind: str) -> None:
    network = random_network(shape_of(cell, num_layers=2, initial_state=kind))
    weights = arrays(network)
    layers = list(network.shape.layers())
    for start in (network.initial_state(B), StepPredictor(network.shape, weights).initial_state(B)):
        for layer, (state, sizes) in enumerate(zip(start, layers, strict=True)):
            for part, (name, size) in zip(state, CELLS[cell].state_sizes(sizes).items(), strict=True):
                expected = weights[f"layers.{layer}.initial_{name}"] if kind == "learned" else np.zeros(size)
                np.testing.assert_array_equal(np.asarray(part), np.tile(expected, (B, 1)))


@every_cell
@torch.no_grad()
def test_a_random_start_is_drawn_from_the_generator_given(cell: str) -> None:
    network = random_network(shape_of(cell, num_layers=2, initial_state="random"))
    first, again, other = (
        parts(network.initial_state(2000, torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)
    )
    for one, same, different in zip(first, again, other, strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, different)
        assert float(one.std()) == pytest.approx(0.1, rel=0.05)
        assert float(one.mean()) == pytest.approx(0.0, abs=0.005)
        assert not torch.equal(one[0], one[1])
    assert len({float(part[0, 0]) for part in first}) == len(first)


@every_cell
@pytest.mark.parametrize("kind", ["zero", "learned"])
@torch.no_grad()
def test_other_starts_draw_nothing(cell: str, kind: str) -> None:
    network = random_network(shape_of(cell, initial_state=kind))
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    drawn = parts(network.initial_state(B, generator))
    assert all(map(torch.equal, drawn, parts(network.initial_state(B))))
    assert torch.equal(generator.get_state(), before)


# Weights


@every_cell
@every_variant
def test_the_declared_shapes_are_those_of_the_network(cell: str, variant: str) -> None:
    shape = shape_of(cell, **VARIANTS[variant])
    network = TorchNetwork(shape)
    assert weight_shapes(shape) == {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert num_params(shape) == sum(parameter.numel() for parameter in network.parameters())


@every_cell
def test_weights_go_back_between_the_cells_bounds_and_no_others_change(cell: str) -> None:
    network = random_network(shape_of(cell, num_layers=2, head_layers=1))
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(4)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    network.keep_bounds()
    for name, weight in network.named_parameters():
        if cell == "indrnn" and name.endswith(".recurrent"):
            assert before[name].abs().max() > 1
            assert torch.equal(weight, before[name].clamp(-1, 1))
        else:
            assert torch.equal(weight, before[name])


def is_orthogonal(block: Tensor) -> bool:
    """Rows or columns, whichever are fewer, are of length 1 and at right angles."""
    block = block.detach()
    product = block @ block.T if block.shape[0] <= block.shape[1] else block.T @ block
    return torch.allclose(product, torch.eye(len(product)), rtol=0, atol=1e-5)


@every_cell
def test_recurrent_matrices_start_orthogonal_and_the_forget_gate_open(cell: str) -> None:
    network, gates = started_network(shape_of(cell, num_layers=2)), CELLS[cell].gates
    for layer in network.layers:
        weights = dict(layer.named_parameters())
        recurrent = [weights[name] for name in ("weight_hh", "weight_reset") if name in weights]
        assert bool(recurrent) == (cell not in ("indrnn", "mingru", "minlstm"))
        blocks = [block for weight in recurrent for block in torch.split(weight, H)]
        assert len(blocks) == (len(gates) if recurrent else 0)
        assert all(map(is_orthogonal, blocks))
        biases = sum(weights[name].detach() for name in ("bias", "bias_ih", "bias_hh") if name in weights)
        assert isinstance(biases, Tensor)
        for gate, bias in zip(gates, torch.split(biases, H), strict=True):
            assert torch.equal(bias, torch.full((H,), 1.0 if gate == "f" else 0.0))


@pytest.mark.parametrize("proj_size", [P, H, 8])
def test_recurrent_matrices_of_a_projected_lstm_start_orthogonal_whatever_their_width(proj_size: int) -> None:
    layer = RecurrentLayer("lstm_projected", dataclasses.replace(SIZES, proj_size=proj_size))
    layer.initialise(torch.Generator().manual_seed(5))
    blocks = torch.split(layer.get_parameter("weight_hh"), H)
    assert [block.shape for block in blocks] == [(H, proj_size)] * 4
    assert all(map(is_orthogonal, blocks))


@every_cell
def test_vectors_start_as_the_equation_without_them(cell: str) -> None:
    for layer in started_network(shape_of(cell, num_layers=2, initial_state="learned")).layers:
        for name, weight in layer.named_parameters():
            if name.startswith("gain"):
                assert torch.equal(weight, torch.ones_like(weight))
            elif name.startswith(("peephole", "initial", "bias_c", "bias_hh")):
                assert torch.equal(weight, torch.zeros_like(weight))
            elif name == "recurrent":
                assert bool(((weight >= 0) & (weight <= 1)).all())
                assert len(set(weight.tolist())) == H
            else:
                assert weight.ndim == 2 or name in ("bias", "bias_ih")


def assert_glorot(block: Tensor) -> None:
    block, limit = block.detach(), (6 / sum(block.shape)) ** 0.5
    assert float(block.abs().max()) <= limit
    assert float(block.abs().max()) > 0.8 * limit
    assert float(block.std()) == pytest.approx(limit / 3**0.5, rel=0.2)


@every_cell
def test_input_matrices_start_uniform_by_their_gates_own_size(cell: str) -> None:
    sizes = Sizes(input_size=31, hidden_size=23, proj_size=17, mogrifier_rounds=2, mogrifier_rank=13)
    layer = RecurrentLayer(cell, sizes)
    layer.initialise(torch.Generator().manual_seed(5))
    blocks = torch.split(layer.get_parameter("weight_ih"), 23)
    assert len(blocks) == len(CELLS[cell].gates)
    for block in blocks:
        assert_glorot(block)


@pytest.mark.parametrize(
    "input_size",
    [
        pytest.param(19, id="narrow input"),
        pytest.param(31, id="wide input"),
    ],
)
def test_a_mogrifiers_matrices_start_uniform_by_their_own_size(input_size: int) -> None:
    layer = RecurrentLayer("lstm_mogrifier", Sizes(input_size, 23, mogrifier_rounds=2, mogrifier_rank=13))
    layer.initialise(torch.Generator().manual_seed(5))
    matrices = [weight for name, weight in layer.named_parameters() if name.startswith("mogrifier")]
    assert len(matrices) == 4
    for matrix in matrices:
        assert_glorot(matrix)


@pytest.mark.parametrize(
    "proj_size",
    [
        pytest.param(17, id="narrow output"),
        pytest.param(31, id="wide output"),
    ],
)
def test_a_projection_starts_uniform_by_its_own_size(proj_size: int) -> None:
    layer = RecurrentLayer("lstm_projected", Sizes(19, 23, proj_size=proj_size))
    layer.initialise(torch.Generator().manual_seed(5))
    assert_glorot(layer.get_parameter("weight_hr"))


@every_variant
def test_starting_weights_follow_from_the_generator_alone(variant: str) -> None:
    first, again, other = (started_network(shape_of("gru", **VARIANTS[variant]), seed) for seed in (5, 5, 6))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.embedding.weight, other.embedding.weight)


@every_cell
@torch.no_grad()
def test_starting_weights_of_every_cell_follow_from_the_generator_alone(cell: str) -> None:
    first, again, other = (started_network(shape_of(cell, num_layers=2, head_layers=2), seed) for seed in (5, 5, 6))
    for network in (first, again, other):
        assert all(weight.isfinite().all() for weight in network.parameters())
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        constant = bool((value == value.flatten()[0]).all())
        if value.ndim == 2:
            assert not constant
            assert not torch.equal(value, other.state_dict()[name])


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


@pytest.mark.parametrize("variant", [{}, {"residual": True, "head_layers": 1}], ids=["plain", "residual, wide head"])
@torch.no_grad()
def test_a_networks_dropout_follows_from_its_generator(variant: dict[str, Any]) -> None:
    network = random_network(shape_of("lstm", num_layers=2, dropout=0.4, **variant))
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
