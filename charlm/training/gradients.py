"""Compute the gradients of one batch, all at once or, when memory is short, a few sequences at a time."""

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
    """Add a batch's gradients to those of the parameters. Returns its loss in nats per target and the new state.

    The batch is divided into `micro_batches` parts. The sum of their gradients equals that of the whole batch, except
    for rounding and random draws (dropout and initial states). When torch runs out of memory its error is raised; the
    gradients are then incomplete, and the generators and `carried` unchanged. `fault` is `trainer.Fault`, for tests.
    """
    before = {name: generator.get_state() for name, generator in generators.items()}

    def add(examples: Examples, carried: NetworkState | None) -> tuple[float, NetworkState | None]:
        """Add the gradients of some examples. Returns their total loss in nats and the state after them."""
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
            generator.set_state(before[name])
        raise
    return nats / batch.num_targets, new_carried


def rows_of(batch_size: int, micro_batches: int) -> list[slice]:
    """The rows of each part when a batch is divided into at most `micro_batches` parts."""
    size = -(-batch_size // micro_batches)
    return [slice(start, start + size) for start in range(0, batch_size, size)]


def _rows(state: NetworkState | None, rows: slice) -> NetworkState | None:
    return state and tuple(tuple(part[rows] for part in parts) for parts in state)


def _detached(state: NetworkState | None) -> NetworkState | None:
    return state and tuple(tuple(part.detach() for part in parts) for parts in state)


def _joined(states: list[NetworkState | None]) -> NetworkState | None:
    """The state of a batch from the states of its parts."""
    if len(states) == 1 or states[0] is None:
        return states[0]
    return tuple(tuple(map(torch.cat, zip(*layers, strict=True))) for layers in zip(*states, strict=True))
