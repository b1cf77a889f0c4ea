"""The gradients of one batch, computed as a whole or, where memory is short, a few sequences at a time."""

from collections.abc import Callable

import torch

from charlm.cells.cell import NetworkState
from charlm.training.objective import Batch, Examples, Generators, Objective


def add_gradients(
    objective: Objective,
    batch: Batch,
    carried: NetworkState | None,
    generators: Generators,
    precision: str | None,
    micro_batches: int,
    fault: Callable[[str, float], float],
) -> tuple[float, NetworkState | None]:
    """Add a batch's gradient to that of the parameters; its loss in nats per target, and the state to carry on.

    The batch is divided into `micro_batches` parts. The sum of their gradients is that of the whole, but for rounding
    and for what is drawn: dropout and random initial states. Raises what torch raises when it is out of memory;
    gradients are then in part there, and generators and `carried` as they were.
    """
    drawn = {name: generator.get_state() for name, generator in generators.items()}

    def add(examples: Examples, carried: NetworkState | None) -> tuple[float, NetworkState | None]:
        """Add the gradient of some examples; their nats in all, and the state after them."""
        total, states = 0.0, list[NetworkState | None]()
        if carried and len(carried[0][0]) != len(examples):
            carried = None
        for rows in rows_of(len(examples), micro_batches):
            part = examples.rows(rows)
            fault("rows", len(part))
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                nats, _, state = objective.loss(part, _rows(carried, rows), generators)
            (nats / objective.targets_per_batch).backward()  # type: ignore[no-untyped-call]
            total += float(nats.detach())
            states.append(_detached(state))
        return total, _joined(states)

    device = next(objective.network.parameters()).device.type
    try:
        nats, new_carried = add(batch.examples, carried)
        nats += sum(add(examples, None)[0] for examples in batch.others)
    except Exception:
        for name, generator in generators.items():
            generator.set_state(drawn[name])
        raise
    return nats / batch.num_targets, new_carried


def rows_of(batch_size: int, micro_batches: int) -> list[slice]:
    """The rows of each part of a batch."""
    size = -(-batch_size // micro_batches)
    return [slice(start, start + size) for start in range(0, batch_size, size)]


def _rows(state: NetworkState | None, rows: slice) -> NetworkState | None:
    return state and tuple(tuple(part[rows] for part in parts) for parts in state)


def _detached(state: NetworkState | None) -> NetworkState | None:
    return state and tuple(tuple(part.detach() for part in parts) for parts in state)


def _joined(states: list[NetworkState | None]) -> NetworkState | None:
    """The states of the parts of a batch as that of the batch."""
    if len(states) == 1 or states[0] is None:
        return states[0]
    return tuple(tuple(map(torch.cat, zip(*layers, strict=True))) for layers in zip(*states, strict=True))
