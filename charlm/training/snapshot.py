"""All tensors that the next step depends on, by name, and the way back; what does not fit is refused, not tried."""

from collections.abc import Iterator

import torch
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.corpus.windows import Windows
from charlm.model.network import LanguageModelNetwork
from charlm.training.gradients import Gradients
from charlm.training.optimizer import Optimizer, optimizer_shapes, optimizer_tensors, restore_optimizer

Shapes = dict[str, tuple[int, ...]]
POSITION = "windows.pass_and_step"


def snapshot(
    network: LanguageModelNetwork,
    optimizer: Optimizer,
    windows: Windows,
    gradients: Gradients,
    state: NetworkState | None,
) -> dict[str, Tensor]:
    """Weights, the optimizer's averages, position, generators and the state carried over."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(optimizer).items()}
    tensors |= _of_position(windows, gradients, network)
    for layer, parts in enumerate(state or ()):
        tensors |= {f"state.{layer}.{n}": part.detach().float() for n, part in enumerate(parts)}
    return tensors


def restore(
    tensors: dict[str, Tensor],
    network: LanguageModelNetwork,
    optimizer: Optimizer,
    windows: Windows,
    gradients: Gradients,
) -> NetworkState | None:
    """Put a snapshot back; the state that it carried over. Raises ValueError for what is not one of this training."""
    _check(tensors, network, optimizer, _of_position(windows, gradients, network))
    network.load_state_dict(_under("network.", tensors))
    restore_optimizer(optimizer, _under("optimizer.", tensors))
    windows.restore({name: value.numpy() for name, value in _under("windows.", tensors).items()})
    try:
        gradients.dropout.set_state(tensors["dropout_generator"])
        if network.shape.initial_state == "random":
            gradients.initial_state.set_state(tensors["initial_state_generator"])
    except RuntimeError as error:
        raise ValueError("has a random generator that is none") from error
    parts = _under("state.", tensors)
    if not parts:
        return None
    device = network.head.bias.device
    layers = range(network.shape.num_layers)
    return tuple(tuple(parts[f"{layer}.{n}"].to(device) for n in range(_parts(network))) for layer in layers)


def at_start_of_pass(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A snapshot whose windows were laid in another way, put to the start of its pass; no state is carried there.

    Raises KeyError for one that says nothing of its pass.
    """
    kept = {name: value for name, value in tensors.items() if not name.startswith(("windows.", "state."))}
    return {**kept, POSITION: torch.stack([tensors[POSITION][0], torch.tensor(0)])}


def _of_position(windows: Windows, gradients: Gradients, network: LanguageModelNetwork) -> dict[str, Tensor]:
    """Where the training is: a snapshot always has these, and no others than these in their place."""
    tensors = {f"windows.{name}": torch.from_numpy(value) for name, value in windows.position().items()}
    tensors["dropout_generator"] = gradients.dropout.get_state()
    if network.shape.initial_state == "random":
        tensors["initial_state_generator"] = gradients.initial_state.get_state()
    return tensors


def _check(
    tensors: dict[str, Tensor], network: LanguageModelNetwork, optimizer: Optimizer, position: dict[str, Tensor]
) -> None:
    """Raise ValueError unless these are the tensors of such a training, in shape and type."""
    weights = {f"network.{name}": tuple(value.shape) for name, value in network.state_dict().items()}
    averages = {f"optimizer.{name}": shape for name, shape in optimizer_shapes(optimizer).items()}
    carried = dict(_state_shapes(tensors, network))
    for name, value in tensors.items():
        if name in position:
            fits = value.shape == position[name].shape and value.dtype == position[name].dtype
        else:
            shape = next((shapes[name] for shapes in (weights, averages, carried) if name in shapes), None)
            found = () if shape == () and value.numel() == 1 else tuple(value.shape)  # older charlm made numbers (1,)
            fits = found == shape and value.dtype == torch.float32
        if not fits:
            raise ValueError(f"has a tensor {name!r} of {value.dtype}, {list(value.shape)}, that does not belong to it")
    missing = set(weights) | set(position)
    missing |= _unless_none(averages, tensors) | _unless_none(carried, tensors)
    if missing := missing - tensors.keys():
        raise ValueError(f"lacks the tensor {min(missing)!r}")


def _unless_none(shapes: Shapes, tensors: dict[str, Tensor]) -> set[str]:
    """What must be there if any of it is: before the first step there are no averages, and no state to carry."""
    return set(shapes) if shapes.keys() & tensors.keys() else set()


def _state_shapes(tensors: dict[str, Tensor], network: LanguageModelNetwork) -> Iterator[tuple[str, tuple[int, ...]]]:
    first = tensors.get("state.0.0")
    batch_size = len(first) if first is not None and first.ndim else 0
    for layer, parts in enumerate(network.initial_state(1)):
        for n, part in enumerate(parts):
            yield f"state.{layer}.{n}", (batch_size, part.shape[1])


def _parts(network: LanguageModelNetwork) -> int:
    """How many parts a layer's state has."""
    return len(network.initial_state(1)[0])


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
