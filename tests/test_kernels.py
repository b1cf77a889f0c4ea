"""Ways to run a layer over time: each computes what the plain unrolled equation does, values and gradients."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from charlm.cells import CELLS
from charlm.cells.cell import Sizes
from charlm.model import kernels, operations
from charlm.model.initialisation import draw_weights
from charlm.model.kernels import Kernel, LinearRecurrence, kernel_for, run_linear, unroll, unroll_gathered
from charlm.model.network import TorchNetwork
from charlm.model.operations import GatheredWeight, GatheringOps, TorchOps
from charlm.network import body
from charlm.network.architecture import Architecture
from tests.test_cells import SIZES, B, H, I, T, every_cell, random_inputs, random_weights

LARGE = Sizes(input_size=20, hidden_size=256, proj_size=250, mogrifier_rounds=2, mogrifier_rank=30)
MANY_STEPS = 13  # enough for packing a matrix
every_dtype = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-4)], ids=["float64", "float32"]
)


def packs(dtype: torch.dtype) -> bool:
    return operations._can_pack(dtype, torch.Size((64, 64)))


needs_packing = pytest.mark.skipif(not packs(torch.float32), reason="this torch has no packed products")
SMALL = operations.SMALL


@pytest.fixture(autouse=True)
def _every_matrix_is_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrices of these tests are small."""
    monkeypatch.setattr(operations, "SMALL", 1)


def ways(cell: str) -> dict[str, Kernel]:
    """All that may run a cell, here or on a GPU."""
    named = {
        "on a processor": kernel_for(cell, "cpu", H),
        "on a GPU": kernel_for(cell, "cuda", H),
        "gathered": unroll_gathered,
    }
    return {
        name: kernel for name, kernel in named.items() if name != "on a GPU" or kernel is not named["on a processor"]
    }


every_way = pytest.mark.parametrize(("cell", "way"), [(cell, way) for cell in CELLS for way in ways(cell)])

Loss = Callable[[Tensor, tuple[Tensor, ...]], Tensor]
Weights = dict[str, Tensor]


def architecture_of(cell: str, sizes: Sizes = SIZES, num_layers: int = 1) -> Architecture:
    """A network whose lowest layer has these sizes."""
    return Architecture(
        cell=cell,
        num_layers=num_layers,
        hidden_size=sizes.hidden_size,
        embedding_size=sizes.input_size,
        tie_embeddings=False,
        initial_state="zero",
        vocab_size=2,
        proj_size=sizes.proj_size,
        mogrifier_rounds=sizes.mogrifier_rounds,
        mogrifier_rank=sizes.mogrifier_rank,
    )


def trainable(cell: str, dtype: torch.dtype = torch.float64) -> Weights:
    """The weights of one layer, each with a gradient to come."""
    return {name: weight.requires_grad_() for name, weight in random_weights(cell, dtype=dtype).items()}


def started(cell: str, sizes: Sizes, seed: int) -> Weights:
    """Weights as they are when training starts."""
    drawn = draw_weights(architecture_of(cell, sizes), torch.Generator().manual_seed(seed))
    (weights,) = body.weights_by_layer(drawn, 1)
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def take_gradients(weights: Weights) -> Weights:
    """The gradients that the weights have, which they lose."""
    gradients = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
    for weight in weights.values():
        weight.grad = None
    return gradients


def loss_of_everything(output: Tensor, new: tuple[Tensor, ...]) -> Tensor:
    return (output * torch.arange(output.shape[-1])).sum() + sum((part**2).sum() for part in new)


def gradients(cell: str, kernel: Kernel, loss: Loss, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """The gradients of a loss by input, state and weights; zero for those that it does not depend on."""
    weights = trainable(cell, dtype)
    x, state = random_inputs(cell, dtype=dtype)
    leaves = {"x": x, **{f"state {number}": part for number, part in enumerate(state)}, **weights}
    for leaf in leaves.values():
        leaf.requires_grad_()
    total = loss(*kernel(CELLS[cell], x, state, weights))
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Absolutely in float64, relative to the largest number of each in float32."""
    for name, tensor in expected.items():
        scale = 1.0 if tensor.dtype == torch.float64 else float(tensor.abs().max())
        assert float((found[name] - tensor).abs().max()) <= tolerance * scale, name


def assert_all_close(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float) -> None:
    for tensor, other in zip(found, expected, strict=True):
        torch.testing.assert_close(tensor, other, rtol=0, atol=tolerance)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@every_way
@torch.no_grad()
def test_every_kernel_equals_the_unrolled_equation(cell: str, way: str) -> None:
    x, state = random_inputs(cell)
    output, new = ways(cell)[way](CELLS[cell], x, state, random_weights(cell))
    expected, last = unroll(CELLS[cell], x, state, random_weights(cell))
    assert_all_close((output, *new), (expected, *last), 1e-9)


@every_way
@every_dtype
def test_every_kernels_gradient_equals_that_of_the_unrolled_equation(
    cell: str, way: str, dtype: torch.dtype, tolerance: float
) -> None:
    found = gradients(cell, ways(cell)[way], loss_of_everything, dtype)
    assert {gradient.dtype for gradient in found.values()} == {dtype}
    assert_close(found, gradients(cell, unroll, loss_of_everything, dtype), tolerance)


@every_way
@pytest.mark.parametrize("step", [0, 2])
def test_every_kernels_gradient_is_right_where_one_early_step_alone_is_used(cell: str, way: str, step: int) -> None:
    def early(output: Tensor, _: Any) -> Tensor:
        return output[step].pow(2).sum()

    assert_close(gradients(cell, ways(cell)[way], early), gradients(cell, unroll, early), 1e-9)


@every_way
def test_every_kernels_gradient_is_right_where_the_last_state_alone_is_used(cell: str, way: str) -> None:
    def late(_: Any, new: tuple[Tensor, ...]) -> Tensor:
        return new[-1].pow(2).sum()

    assert_close(gradients(cell, ways(cell)[way], late), gradients(cell, unroll, late), 1e-9)


@every_way
def test_a_second_pass_back_over_the_same_graph_gives_the_same_gradient(cell: str, way: str) -> None:
    weights, (x, state) = trainable(cell), random_inputs(cell)
    total = loss_of_everything(*ways(cell)[way](CELLS[cell], x, state, weights))
    torch.autograd.backward(total, retain_graph=True)
    first = take_gradients(weights)
    torch.autograd.backward(total)
    second = take_gradients(weights)
    assert first.keys() == second.keys() == weights.keys()
    assert_close(second, first, 1e-9)


@every_way
def test_gradients_of_two_passes_add_up(cell: str, way: str) -> None:
    weights, (x, state) = trainable(cell), random_inputs(cell)
    found = []
    for passes in (1, 2):
        for _ in range(passes):
            torch.autograd.backward(loss_of_everything(*ways(cell)[way](CELLS[cell], x, state, weights)))
        found.append(take_gradients(weights))
    once, twice = found
    assert once.keys() == weights.keys()
    assert_close(twice, {name: 2 * gradient for name, gradient in once.items()}, 1e-9)


@every_way
@torch.no_grad()
def test_a_single_step_is_enough_for_every_kernel(cell: str, way: str) -> None:
    x, state = random_inputs(cell, steps=1)
    output, new = ways(cell)[way](CELLS[cell], x, state, random_weights(cell))
    expected, last = unroll(CELLS[cell], x, state, random_weights(cell))
    assert_all_close((output, *new), (expected, *last), 1e-9)


@every_cell
def test_each_layer_of_a_network_runs_the_kernel_for_its_cell(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(*names: Any) -> Kernel:
        seen.append(names)
        return unroll

    monkeypatch.setattr("charlm.model.network.kernel_for", record)
    network = TorchNetwork(architecture_of(cell, num_layers=2))
    network(torch.zeros(B, T, dtype=torch.int64), network.initial_state(B))
    assert seen == [(cell, "cpu", H)] * 2


# Gathered gradients


def matrix_and_inputs(rows: int, columns: int, steps: int, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(6)
    matrix = torch.randn(rows, columns, generator=generator) / columns**0.5
    inputs = [torch.randn(B, columns, generator=generator).to(dtype).requires_grad_() for _ in range(steps)]
    return matrix.to(dtype).requires_grad_(), inputs


@every_dtype
@pytest.mark.parametrize("used", [range(T), [1], [0, 4, 5]], ids=["all steps", "one step", "some steps"])
def test_a_gathered_gradient_equals_the_plain_one(dtype: torch.dtype, tolerance: float, used: Any) -> None:
    matrix, inputs = matrix_and_inputs(H, I, T, dtype)
    gathered = GatheredWeight(matrix, T, B)
    found, expected = (
        torch.autograd.grad(sum((outputs[t] ** 3).sum() for t in used), [matrix, *(inputs[t] for t in used)])
        for outputs in (
            [GatheringOps.linear(x, gathered) for x in inputs],
            [TorchOps.linear(x, matrix) for x in inputs],
        )
    )
    for gradient, other in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=tolerance, atol=tolerance)


def test_a_gathered_product_takes_a_bias() -> None:
    matrix, (x,) = matrix_and_inputs(H, I, 1, torch.float64)
    bias = torch.arange(float(H), dtype=torch.float64)
    product = GatheringOps.linear(x, GatheredWeight(matrix, 1, B), bias)
    torch.testing.assert_close(product, TorchOps.linear(x, matrix, bias), rtol=0, atol=1e-12)


def test_a_pass_back_to_the_input_alone_leaves_the_weights_next_gradient_right() -> None:
    matrix, inputs = matrix_and_inputs(H, I, T, torch.float64)
    gathered = GatheredWeight(matrix, T, B)
    total = sum((GatheringOps.linear(x, gathered) ** 2).sum() for x in inputs)
    assert isinstance(total, Tensor)
    expected = torch.autograd.grad(total, matrix, retain_graph=True)[0]
    torch.autograd.grad(total, inputs, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(total, matrix)[0], expected, rtol=0, atol=1e-12)


@every_cell
def test_frozen_weights_get_no_gradient_and_the_input_gets_the_same(cell: str) -> None:
    found = []
    for frozen in (True, False):
        weights, (x, state) = trainable(cell), random_inputs(cell)
        for weight in weights.values():
            weight.requires_grad_(not frozen)
        output, _ = unroll_gathered(CELLS[cell], x.requires_grad_(), state, weights)
        torch.autograd.backward(output.pow(2).sum())
        assert all((weight.grad is None) == frozen for weight in weights.values())
        found.append(x.grad)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-12)


# Packed matrices


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the matrices packed so far."""
    shapes: list[tuple[int, ...]] = []
    pack = operations._packed_multiplication

    def record(matrix: Tensor) -> Callable[[Tensor], Tensor]:
        shapes.append(tuple(matrix.shape))
        return pack(matrix)

    monkeypatch.setattr(operations, "_packed_multiplication", record)
    return shapes


@needs_packing
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)], ids=str)
def test_a_packed_product_is_the_product(dtype: torch.dtype, tolerance: float, packed: list[tuple[int, ...]]) -> None:
    if not packs(dtype):
        pytest.skip(f"this machine packs no {dtype}")
    matrix, inputs = matrix_and_inputs(270, 260, 1, torch.float32)
    x, wide = inputs[0].detach().to(dtype), matrix.detach().to(dtype)
    product = operations._multiplication(wide, MANY_STEPS)(x)
    back = operations._multiplication(wide.T, MANY_STEPS)(product)
    assert {(270, 260), (260, 270)} <= set(packed)
    assert product.dtype == back.dtype == dtype
    assert relative_error(product.float(), x.float() @ wide.float().T) < tolerance
    assert relative_error(back.float(), product.float() @ wide.float()) < tolerance


@needs_packing
@pytest.mark.parametrize(
    ("size", "steps", "worthwhile"), [(256, 12, True), (256, 11, False), (255, 12, False)], ids=str
)
def test_a_matrix_is_packed_where_it_is_large_and_often_used(
    size: int, steps: int, worthwhile: bool, packed: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "SMALL", SMALL)
    operations._multiplication(torch.zeros(256, size), steps)
    assert ((256, size) in packed) == worthwhile


@pytest.mark.parametrize(("rows", "dtype"), [(256, torch.bfloat16), (255, torch.float32)], ids=str)
def test_autocast_narrows_a_large_matrix_and_leaves_a_small_one(
    rows: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "SMALL", SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        assert operations.shared_by_steps(torch.zeros(rows, 256), T, B).matrix.dtype == dtype


@every_dtype
def test_a_low_rank_products_gradients_are_those_of_two_products(dtype: torch.dtype, tolerance: float) -> None:
    right, inputs = matrix_and_inputs(2, I, T, dtype)
    left, _ = matrix_and_inputs(H, 2, 1, dtype)
    gathered = [GatheredWeight(matrix, T, B) for matrix in (right, left)]
    found, expected = (
        torch.autograd.grad(sum((output**3).sum() for output in outputs), [right, left, *inputs])
        for outputs in (
            [GatheringOps.low_rank(x, *gathered) for x in inputs],
            [x @ (left @ right).T for x in inputs],
        )
    )
    for gradient, other in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=tolerance, atol=tolerance)


def test_nothing_is_kept_for_a_gradient_that_nobody_wants() -> None:
    with torch.no_grad():
        assert GatheredWeight(torch.zeros(H, I), T, B).deferred is None


@pytest.mark.parametrize("can_pack", [True, False], ids=["packed", "packing unavailable"])
@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru_reset_before", "lstm_projected"])
def test_a_large_layers_values_and_gradients_are_those_of_the_unrolled_equation(
    cell: str, bfloat16: bool, can_pack: bool, packed: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_pack:
        monkeypatch.setattr(operations, "_can_pack", lambda dtype, size: False)
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    weights = started(cell, LARGE, seed=7)
    x, state = random_inputs(cell, dtype=torch.float32, sizes=LARGE, steps=MANY_STEPS)
    sizes = [weight.shape for weight in weights.values() if weight.numel() >= 2**16]
    tried = [operations._can_pack(dtype, size) for size in (*sizes, *(size[::-1] for size in sizes))]
    possible = can_pack and any(tried)
    packed.clear()
    found = []
    for kernel in (unroll_gathered, unroll):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16 and kernel is unroll_gathered):
            output, _ = kernel(CELLS[cell], x, state, weights)
        torch.autograd.backward(output.pow(2).sum())
        found.append({"output": output.detach(), **take_gradients(weights)})
    large = [shape for shape in packed if shape[0] * shape[1] >= 2**16]
    assert bool(large) == possible
    for name, expected in found[1].items():
        assert found[0][name].dtype == torch.float32
        assert relative_error(found[0][name], expected) < (0.05 if bfloat16 else 1e-4), name


def test_packing_is_called_impossible_where_torch_lacks_it_or_gets_it_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(matrix: Tensor) -> Callable[[Tensor], Tensor]:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_reorder_linear_weight'")

    for multiplication, possible in (
        (lacking, False),
        (lambda matrix: lambda x: 2 * (x @ matrix.T), False),
        (lambda matrix: lambda x: x @ matrix.T, True),
    ):
        monkeypatch.setattr(operations, "_packed_multiplication", multiplication)
        assert operations._can_pack.__wrapped__(torch.float32, torch.Size((5, 8))) == possible
    assert not operations._can_pack.__wrapped__(torch.float64, torch.Size((5, 8)))


# Autocast


@every_way
@pytest.mark.parametrize("narrow", [False, True], ids=["small matrices stay wide", "all matrices narrow"])
def test_in_bfloat16_values_and_gradients_are_near_those_of_float32(
    cell: str, way: str, narrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "SMALL", 1 if narrow else SMALL)
    monkeypatch.setattr(operations, "MIN_PACKED_PRODUCTS", 1 if narrow else MANY_STEPS)
    weights = started(cell, SIZES, seed=8)
    x, state = random_inputs(cell, dtype=torch.float32)
    found = []
    for bfloat16 in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            output, _ = ways(cell)[way](CELLS[cell], x, state, weights)
        torch.autograd.backward(output.float().pow(2).sum())
        grads = take_gradients(weights)
        assert grads.keys() == weights.keys()
        assert {gradient.dtype for gradient in grads.values()} == {torch.float32}
        found.append({"output": output.detach().float(), **grads})
    for name, expected in found[1].items():
        assert relative_error(found[0][name], expected) < 0.04, name


@every_cell
@pytest.mark.parametrize("narrow", [False, True], ids=["small matrices stay wide", "all matrices narrow"])
@torch.no_grad()
def test_in_bfloat16_products_alone_are_narrow(cell: str, narrow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not narrow:
        monkeypatch.setattr(operations, "SMALL", SMALL)
    weights, (x, state) = random_weights(cell, dtype=torch.float32), random_inputs(cell, dtype=torch.float32)
    for kernel in (unroll, unroll_gathered, *([run_linear] if cell in ("mingru", "minlstm") else [])):
        with torch.autocast("cpu", torch.bfloat16):
            projected = CELLS[cell].project(x, weights, TorchOps)
            output, new = kernel(CELLS[cell], x, state, weights)
        assert {part.dtype for part in (*projected, output, *new)} == {torch.float32}


@every_way
@torch.no_grad()
def test_in_bfloat16_a_layers_state_can_be_carried_on(cell: str, way: str) -> None:
    weights, (x, state) = random_weights(cell, dtype=torch.float32), random_inputs(cell, dtype=torch.float32)
    kernel = ways(cell)[way]
    with torch.autocast("cpu", torch.bfloat16):
        whole, end = kernel(CELLS[cell], x, state, weights)
        _, middle = kernel(CELLS[cell], x[:3], state, weights)
        rest, last = kernel(CELLS[cell], x[3:], middle, weights)
    for found, expected in zip((rest, *last), (whole[3:], *end), strict=True):
        assert relative_error(found.float(), expected.float()) < 0.04


# Memory


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def interrupted(output: Tensor, x: Tensor) -> None:
    def interrupt(_: Tensor) -> None:
        raise KeyboardInterrupt

    x.register_hook(interrupt)  # type: ignore[no-untyped-call]
    with pytest.raises(KeyboardInterrupt):
        torch.autograd.backward(output.sum())


def twice(output: Tensor, x: Tensor) -> None:
    torch.autograd.backward(output.sum(), retain_graph=True)
    torch.autograd.backward(output.sum())


WHOLE: dict[str, Callable[[Tensor, Tensor], object]] = {
    "none": lambda output, x: None,
    "one": lambda output, x: torch.autograd.backward(output.sum()),
    "two": twice,
}
PARTIAL: dict[str, Callable[[Tensor, Tensor], object]] = {
    "to the input alone": lambda output, x: torch.autograd.grad(output.sum(), x),
    "with frozen weights": lambda output, x: torch.autograd.backward(output.sum()),
    "interrupted": interrupted,
}


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("backward", [*WHOLE, *PARTIAL])
@pytest.mark.parametrize("cell", ["gru_reset_before", "lstm_mogrifier", "lstm_projected"])
def test_a_gathered_pass_lives_no_longer_than_its_output(
    cell: str, backward: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered: list[weakref.ref[Any]] = []

    def record(weight: Tensor, num_steps: int, batch_size: int) -> Any:
        shared = operations.shared_by_steps(weight, num_steps, batch_size)
        gathered.append(weakref.ref(shared))
        return shared

    monkeypatch.setattr(kernels, "shared_by_steps", record)
    weights, (x, state) = trainable(cell), random_inputs(cell)
    for weight in weights.values():
        weight.requires_grad_(backward != "with frozen weights")
    output, new = unroll_gathered(CELLS[cell], x.requires_grad_(), state, weights)
    {**WHOLE, **PARTIAL}[backward](output, x)
    gathered.append(weakref.ref(output))
    del output, new
    assert [reference() for reference in gathered] == [None] * len(gathered)


@pytest.mark.usefixtures("no_collector")
def test_a_linear_recurrence_lives_no_longer_than_its_output() -> None:
    weights, (x, state) = trainable("mingru"), random_inputs("mingru")
    output, new = run_linear(CELLS["mingru"], x, state, weights)
    torch.autograd.backward(output.sum())
    alive = weakref.ref(output)
    del output, new
    assert alive() is None


# The linear recurrence


def linear_inputs(steps: int) -> list[Tensor]:
    """keep and new (T, B, H), and the state before (B, H)."""
    generator = torch.Generator().manual_seed(9)
    sizes = ((steps, B, H), (steps, B, H), (B, H))
    return [torch.randn(size, generator=generator, dtype=torch.float64).requires_grad_() for size in sizes]


def plain_loop(keep: Tensor, new: Tensor, h: Tensor) -> Tensor:
    outputs = []
    for t in range(len(keep)):
        h = keep[t] * h + new[t]
        outputs.append(h)
    return torch.stack(outputs)


@pytest.mark.parametrize("steps", [1, 2, T])
@pytest.mark.parametrize("loss", ["all alike", "one step", "weighted"])
def test_the_linear_recurrence_is_the_plain_loop(steps: int, loss: str) -> None:
    values, grads = [], []
    for run in (LinearRecurrence.apply, plain_loop):
        leaves = linear_inputs(steps)
        output = run(*leaves)
        totals = {
            "all alike": output.sum(),
            "one step": output[steps // 2].sum(),
            "weighted": (output.transpose(0, 2) ** 2).sum(),
        }
        values.append(output.detach())
        grads.append(torch.autograd.grad(totals[loss], leaves))
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=1e-12)
    assert_all_close(*grads, 1e-12)


@pytest.mark.parametrize("steps", [1, 2, T])
def test_the_linear_recurrences_gradient_is_right(steps: int) -> None:
    assert torch.autograd.gradcheck(LinearRecurrence.apply, linear_inputs(steps))


def test_the_linear_recurrence_changes_neither_its_inputs_nor_the_gradient_given_to_it() -> None:
    leaves = linear_inputs(T)
    before = [leaf.detach().clone() for leaf in leaves]
    output = LinearRecurrence.apply(*leaves)  # type: ignore[no-untyped-call]
    given = torch.ones_like(output)
    torch.autograd.backward(output, given)
    assert torch.equal(given, torch.ones_like(output))
    assert all(torch.equal(leaf.detach(), old) for leaf, old in zip(leaves, before, strict=True))
