"""The whole network: one equation, and whatever runs it; states, heads, residuals, dropout, sizes, starting weights."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from charlm.cells import CELLS
from charlm.corpus.prepare import PreparedCorpus, prepare
from charlm.corpus.windows import IGNORED, Window
from charlm.engine import predictor as engine
from charlm.engine.numpy_ops import NumpyOps
from charlm.engine.predictor import StepPredictor
from charlm.model.dropout import variational_dropout
from charlm.model.initialisation import draw_weights
from charlm.model.network import TorchNetwork
from charlm.network import body
from charlm.network.architecture import Architecture
from charlm.probability import log_softmax
from charlm.settings import CorpusSettings, TextSettings, TrainingSettings
from charlm.training.language_model import LanguageModelObjective
from tests.test_cells import RANK, SIZES, B, H, I, P, T, assert_same, every_cell, run_cell

VOCAB = 11
HEAD = 9


def architecture_of(cell: str, **changes: Any) -> Architecture:
    """A small network, its sizes all different unless `changes` says otherwise."""
    small = Architecture(
        cell=cell,
        num_layers=1,
        hidden_size=H,
        embedding_size=I,
        tie_embeddings=False,
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


def random_network(architecture: Architecture, seed: int = 1, dtype: torch.dtype = torch.float64) -> TorchNetwork:
    """A network none of whose weights are as they start: biases and a learned start are not zero."""
    network, generator = TorchNetwork(architecture), torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.6, generator=generator)
    return network.to(dtype)


def started_network(architecture: Architecture, seed: int = 5) -> TorchNetwork:
    network = TorchNetwork(architecture)
    network.initialise(torch.Generator().manual_seed(seed))
    return network


def random_ids(*size: int, seed: int = 3) -> Any:
    return np.random.default_rng(seed).integers(0, VOCAB, size)


def parts(state: Any) -> tuple[Any, ...]:
    """The parts of all layers' states, in a row."""
    return sum(state, ())


# One equation, and whatever runs it


def steps_of_the_equation(weights: Mapping[str, Any], architecture: Architecture, ids: Any) -> tuple[Any, Any]:
    """`body.step` on NumPy, token by token: ids (B, T) -> logits (B, T, V) and the parts of the last state."""
    state, logits = body.initial_state(architecture, weights, len(ids), NumpyOps), []
    for now in ids.T:
        step, state = body.step(now, state, weights, architecture, NumpyOps)
        logits.append(step)
    return np.stack(logits, axis=1), parts(state)


def steps_of(predictor: StepPredictor, ids: Any) -> tuple[Any, Any]:
    """What `steps_of_the_equation` gives, computed by a predictor."""
    state, logits = predictor.initial_state(len(ids)), []
    for now in ids.T:
        step, state = predictor.step(now, state)
        logits.append(step)
    return np.stack(logits, axis=1), parts(state)


def chunks_of(network: TorchNetwork, ids: Any, sizes: list[int]) -> tuple[Tensor, Any]:
    """What `steps_of_the_equation` gives, computed by torch in chunks of these sizes, with the state carried."""
    state, pieces = network.initial_state(len(ids)), []
    for chunk in torch.split(torch.as_tensor(ids), sizes, dim=1):
        logits, state = network(chunk, state)
        pieces.append(logits)
    return torch.cat(pieces, dim=1), parts(state)


every_network = pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"residual": residual, "head_layers": head_layers, "tie_embeddings": tied, "initial_state": start},
            id=f"{'residual' if residual else 'plain'}, {head_layers} in head, {'tied' if tied else 'untied'}, {start}",
        )
        for residual in (False, True)
        for head_layers in (0, 1, 2)
        for tied in (False, True)
        for start in ("zero", "learned")
    ],
)


@every_cell
@every_network
@pytest.mark.parametrize("num_layers", [1, 3])
@torch.no_grad()
def test_torch_and_numpy_compute_the_equation(cell: str, changes: dict[str, Any], num_layers: int) -> None:
    network = random_network(architecture_of(cell, num_layers=num_layers, **changes))
    weights, ids = network.arrays(), random_ids(B, T)
    expected = steps_of_the_equation(weights, network.architecture, ids)
    assert_same(chunks_of(network, ids, [3, 1, 3]), expected, 1e-9)
    assert_same(steps_of(StepPredictor(network.architecture, weights), ids), expected, 1e-9)


@every_cell
@every_variant
@pytest.mark.parametrize("table", [0, 1024], ids=["no table", "table"])
@torch.no_grad()
def test_whether_the_lowest_product_stands_in_a_table_makes_no_difference(
    cell: str, variant: str, table: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MAX_TABLE_TYPES", table)
    network = random_network(architecture_of(cell, **VARIANTS[variant]))
    weights, ids = network.arrays(), random_ids(B, T)
    expected = steps_of_the_equation(weights, network.architecture, ids)
    assert_same(steps_of(StepPredictor(network.architecture, weights), ids), expected, 1e-9)
    assert_same(chunks_of(network, ids, [T]), expected, 1e-9)


@every_cell
@torch.no_grad()
def test_numpy_equals_torch_in_float32(cell: str) -> None:
    network = random_network(architecture_of(cell, num_layers=2, head_layers=1, residual=True), dtype=torch.float32)
    ids = random_ids(B, 4 * T)
    expected, last = chunks_of(network, ids, [4 * T])
    logits, state = steps_of(StepPredictor(network.architecture, network.arrays()), ids)
    for found, other in zip((logits, *state), (expected, *last), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, other, rtol=0, atol=1e-4 * float(other.abs().max()))


@every_cell
@every_variant
def test_the_logprobs_of_a_predictor_are_those_of_the_equation(cell: str, variant: str) -> None:
    network = random_network(architecture_of(cell, **VARIANTS[variant]))
    predictor = StepPredictor(network.architecture, network.arrays())
    inputs, targets = random_ids(B, T), random_ids(B, T, seed=4)
    logprobs, _ = predictor.logprobs(inputs, targets, predictor.initial_state(B))
    logits, _ = steps_of_the_equation(network.arrays(), network.architecture, inputs)
    expected = np.take_along_axis(log_softmax(logits), targets[..., None], axis=2)[..., 0]
    np.testing.assert_allclose(logprobs, expected, rtol=0, atol=1e-9)


@every_cell
@every_variant
@torch.no_grad()
def test_chunks_with_carried_state_equal_the_whole(cell: str, variant: str) -> None:
    network = random_network(architecture_of(cell, **VARIANTS[variant]))
    ids = random_ids(B, T)
    assert_same(chunks_of(network, ids, [3, 1, 3]), chunks_of(network, ids, [T]), 1e-9)


@every_cell
@every_variant
@torch.no_grad()
def test_a_batch_equals_its_sequences_one_by_one(cell: str, variant: str) -> None:
    network = random_network(architecture_of(cell, **VARIANTS[variant]))
    ids = torch.from_numpy(random_ids(B, T))
    batched, _ = network(ids, network.initial_state(B))
    singles = [network(row.unsqueeze(0), network.initial_state(1))[0] for row in ids]
    torch.testing.assert_close(batched, torch.cat(singles), rtol=0, atol=1e-9)


@every_cell
@torch.no_grad()
def test_padding_behind_a_sequence_changes_nothing_before_it(cell: str) -> None:
    network = random_network(architecture_of(cell, num_layers=2))
    ids = torch.from_numpy(random_ids(B, T))
    padded = torch.cat([ids, torch.zeros(B, 4, dtype=torch.int64)], dim=1)
    unpadded = network(ids, network.initial_state(B))[0]
    torch.testing.assert_close(network(padded, network.initial_state(B))[0][:, :T], unpadded, rtol=0, atol=1e-9)


@every_cell
@torch.no_grad()
def test_ignored_targets_count_nothing(cell: str) -> None:
    network = random_network(architecture_of(cell))
    inputs, targets = (torch.from_numpy(random_ids(B, T, seed=seed)) for seed in (3, 4))
    targets[1, 4:] = IGNORED
    total, _ = network.total_nats(inputs, targets, network.initial_state(B))
    logprobs = network(inputs, network.initial_state(B))[0].log_softmax(-1).tolist()
    kept = [(b, t) for b in range(B) for t in range(T) if targets[b, t] != IGNORED]
    assert float(total) == pytest.approx(-sum(logprobs[b][t][targets[b, t]] for b, t in kept), abs=1e-4)


@every_cell
@every_variant
def test_every_weight_of_a_network_is_used(cell: str, variant: str) -> None:
    network = random_network(architecture_of(cell, **VARIANTS[variant]))
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
    network = random_network(architecture_of(cell, num_layers=2, residual=True, **sizes))
    ids = torch.from_numpy(random_ids(T, B))
    state = network.initial_state(B)
    embedded = network.weights["embedding.weight"][ids]
    layers = body.weights_by_layer(network.weights, 2)
    lower, _ = run_cell(cell, embedded, state[0], layers[0])
    if equal:
        lower = embedded + lower
    expected = lower + run_cell(cell, lower, state[1], layers[1])[0]
    torch.testing.assert_close(network.hidden(ids, state)[0], expected, rtol=0, atol=1e-12)


@every_cell
def test_a_residual_needs_no_weights(cell: str) -> None:
    with_it, without = (architecture_of(cell, num_layers=2, residual=residual) for residual in (True, False))
    assert with_it.weights() == without.weights()


@pytest.mark.parametrize("head_layers", [0, 1, 2])
@pytest.mark.parametrize(("tied", "embedding_size"), [(False, I), (True, I), (True, HEAD), (True, H)])
def test_the_head_is_feed_forward_layers_a_projection_where_needed_and_the_output(
    head_layers: int, tied: bool, embedding_size: int
) -> None:
    network = random_network(
        architecture_of("lstm", head_layers=head_layers, tie_embeddings=tied, embedding_size=embedding_size)
    )
    weights, hidden = network.arrays(), np.random.default_rng(1).normal(size=(B, H))
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


@pytest.fixture(scope="module")
def prepared(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedCorpus:
    folder = tmp_path_factory.mktemp("prepared") / "ids"
    return prepare(corpus, folder, TextSettings(), CorpusSettings())


@every_cell
def test_a_reset_sequence_begins_anew_and_no_gradient_reaches_the_old_state(
    cell: str, prepared: PreparedCorpus
) -> None:
    architecture = architecture_of(cell, vocab_size=prepared.tokenizer.vocab_size, initial_state="learned")
    objective = LanguageModelObjective(architecture, prepared, TrainingSettings(batch_size=B, bptt=T))
    network = objective.network
    network.load_arrays(random_network(architecture).arrays())
    inputs, targets = random_ids(B, T), random_ids(B, T, seed=4)
    window, generators = Window(inputs, targets, np.array([True, False, True])), {"dropout": torch.Generator()}
    _, _, old = objective.loss(window, None, generators)
    nats, num_targets, new = objective.loss(window, old, generators)
    assert num_targets == B * T
    assert set(torch.autograd.grad(nats, parts(old), retain_graph=True, allow_unused=True)) == {None}
    start = network.initial_state(B)
    carried = tuple(
        tuple(torch.stack([first[0], before[1], first[2]]) for first, before in zip(*layers, strict=True))
        for layers in zip(start, old, strict=True)
    )
    expected, end = network.total_nats(torch.from_numpy(inputs), torch.from_numpy(targets), carried)
    torch.testing.assert_close(nats, expected)
    torch.testing.assert_close(parts(new), parts(end))


@every_cell
def test_the_learned_initial_state_is_learned(cell: str) -> None:
    network = random_network(architecture_of(cell, num_layers=2, initial_state="learned"))
    ids = torch.from_numpy(random_ids(B, T))
    network.total_nats(ids, ids, network.initial_state(B))[0].backward()  # type: ignore[no-untyped-call]
    learned = [value for name, value in network.named_parameters() if "initial_" in name]
    assert len(learned) == 2 * len(CELLS[cell].state_sizes(SIZES))
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in learned)


@every_cell
@pytest.mark.parametrize("kind", ["zero", "learned", "random"])
@torch.no_grad()
def test_without_a_generator_the_start_is_zero_or_what_was_learned(cell: str, kind: str) -> None:
    network = random_network(architecture_of(cell, num_layers=2, initial_state=kind))
    architecture, weights = network.architecture, network.arrays()
    layers = list(architecture.layers())
    for start in (network.initial_state(B), StepPredictor(architecture, weights).initial_state(B)):
        for layer, (state, sizes) in enumerate(zip(start, layers, strict=True)):
            for part, (name, size) in zip(state, CELLS[cell].state_sizes(sizes).items(), strict=True):
                expected = weights[f"layers.{layer}.initial_{name}"] if kind == "learned" else np.zeros(size)
                np.testing.assert_array_equal(np.asarray(part), np.tile(expected, (B, 1)))


@every_cell
@torch.no_grad()
def test_a_random_start_is_drawn_from_the_generator_given(cell: str) -> None:
    network = random_network(architecture_of(cell, num_layers=2, initial_state="random"))
    first, again, other = (
        parts(network.initial_state(2000, torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)
    )
    for part, same, different in zip(first, again, other, strict=True):
        assert torch.equal(part, same)
        assert not torch.equal(part, different)
        assert float(part.std()) == pytest.approx(0.1, rel=0.05)
        assert float(part.mean()) == pytest.approx(0.0, abs=0.005)
        assert not torch.equal(part[0], part[1])
    assert len({float(part[0, 0]) for part in first}) == len(first)


@every_cell
@pytest.mark.parametrize("kind", ["zero", "learned"])
@torch.no_grad()
def test_other_starts_draw_nothing(cell: str, kind: str) -> None:
    network = random_network(architecture_of(cell, initial_state=kind))
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    drawn = parts(network.initial_state(B, generator))
    assert all(map(torch.equal, drawn, parts(network.initial_state(B))))
    assert torch.equal(generator.get_state(), before)


# Weights


def sizes_of(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@every_cell
@every_variant
def test_the_declared_weights_are_those_of_the_network(cell: str, variant: str) -> None:
    architecture = architecture_of(cell, **VARIANTS[variant])
    network, declared = TorchNetwork(architecture), architecture.weights()
    assert {name: weight.size for name, weight in declared.items()} == sizes_of(network.state_dict())
    assert sizes_of(network.arrays()) == sizes_of(network.weights) == sizes_of(network.state_dict())
    assert architecture.num_params == sum(parameter.numel() for parameter in network.parameters())


@every_cell
@every_variant
def test_a_network_starts_with_the_weights_that_its_architecture_draws(cell: str, variant: str) -> None:
    architecture = architecture_of(cell, **VARIANTS[variant])
    drawn = draw_weights(architecture, torch.Generator().manual_seed(5))
    found = started_network(architecture, seed=5).state_dict()
    assert list(drawn) == list(architecture.weights())
    assert drawn.keys() == found.keys()
    for name, weight in drawn.items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, found[name])


@every_variant
def test_arrays_are_a_copy_that_another_network_can_take_over(variant: str) -> None:
    architecture = architecture_of("lstm_projected", **VARIANTS[variant])
    network, other = started_network(architecture), TorchNetwork(architecture)
    taken = network.arrays()
    other.load_arrays(taken)
    assert all(map(torch.equal, network.parameters(), other.parameters()))
    for array in taken.values():
        array.fill(3.0)
    assert all(map(torch.equal, network.parameters(), other.parameters()))
    assert not any(bool((weight == 3.0).all()) for weight in network.parameters())


@every_cell
def test_weights_go_back_between_the_cells_bounds_and_no_others_change(cell: str) -> None:
    network = random_network(architecture_of(cell, num_layers=2, head_layers=1))
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
    network, gates = started_network(architecture_of(cell, num_layers=2)), CELLS[cell].gates
    for weights in body.weights_by_layer(network.weights, 2):
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
    network = started_network(architecture_of("lstm_projected", proj_size=proj_size))
    blocks = torch.split(network.weights["layers.0.weight_hh"], H)
    assert [block.shape for block in blocks] == [(H, proj_size)] * 4
    assert all(map(is_orthogonal, blocks))


@every_cell
def test_vectors_start_as_the_equation_without_them(cell: str) -> None:
    network = started_network(architecture_of(cell, num_layers=2, initial_state="learned"))
    for weights in body.weights_by_layer(network.weights, 2):
        for name, weight in weights.items():
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
    sizes = {"embedding_size": 31, "hidden_size": 23, "proj_size": 17, "mogrifier_rounds": 2, "mogrifier_rank": 13}
    network = started_network(architecture_of(cell, **sizes))
    blocks = torch.split(network.weights["layers.0.weight_ih"], 23)
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
    sizes = {"embedding_size": input_size, "hidden_size": 23, "mogrifier_rounds": 2, "mogrifier_rank": 13}
    network = started_network(architecture_of("lstm_mogrifier", **sizes))
    matrices = [weight for name, weight in network.weights.items() if name.startswith("layers.0.mogrifier")]
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
    network = started_network(architecture_of("lstm_projected", embedding_size=19, hidden_size=23, proj_size=proj_size))
    assert_glorot(network.weights["layers.0.weight_hr"])


@every_variant
def test_starting_weights_follow_from_the_generator_alone(variant: str) -> None:
    first, again, other = (started_network(architecture_of("gru", **VARIANTS[variant]), seed) for seed in (5, 5, 6))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.weights["embedding.weight"], other.weights["embedding.weight"])


@every_cell
@torch.no_grad()
def test_starting_weights_of_every_cell_follow_from_the_generator_alone(cell: str) -> None:
    first, again, other = (
        started_network(architecture_of(cell, num_layers=2, head_layers=2), seed) for seed in (5, 5, 6)
    )
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
    assert all(torch.equal(dropped[0], step) for step in dropped)
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
    architecture = architecture_of("lstm", num_layers=2, **variant)
    network = TorchNetwork(architecture, dropout=0.4)
    network.load_arrays(random_network(architecture, dtype=torch.float32).arrays())
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
