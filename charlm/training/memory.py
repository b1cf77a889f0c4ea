"""How much memory and disk space a training needs, computed from its sizes before anything is allocated."""

from collections.abc import Callable

from charlm.errors import ResourceError
from charlm.model.kernels import kernel_for, unroll_gathered
from charlm.network.architecture import Architecture
from charlm.network.snapshot import AVERAGES, state_bytes
from charlm.network.weights import FLOAT32_BYTES
from charlm.settings import TrainingSettings
from charlm.system.machine import Machine
from charlm.system.memory import free_memory
from charlm.training.gradients import rows_of

TORCH_BYTES = 250 * 2**20  # torch itself, once imported
SYMBOLS_PER_WORD = 8  # of a sentence that a tagger reads as characters, too; with padding


def fixed_bytes(architecture: Architecture, training: TrainingSettings) -> int:
    """Memory in bytes for weights, gradients and the optimizer's averages."""
    return FLOAT32_BYTES * (2 + len(AVERAGES[training.optimizer])) * architecture.num_params


def window_bytes(architecture: Architecture, machine: Machine, num_tokens: int) -> int:
    """Memory in bytes that `num_tokens` tokens, computed at once, need until the backward pass.

    How many numbers are kept per unit was measured, as the peak of two steps of 2,048 tokens with 1,024 units.
    """
    gates = len(architecture.recurrent_cell.gates)
    is_unrolled = kernel_for(architecture.cell, machine.device, architecture.hidden_size) is unroll_gathered
    per_unit = 10 * gates + 12 if is_unrolled else 5 * gates + 10
    numbers = architecture.num_layers * per_unit * architecture.hidden_size
    numbers += architecture.num_kept
    own, symbols = FLOAT32_BYTES * num_tokens * numbers, SYMBOLS_PER_WORD * num_tokens
    return own + sum(window_bytes(part, machine, symbols) for part in architecture.parts.values())


def fitting_micro_batches(
    architecture: Architecture,
    training: TrainingSettings,
    machine: Machine,
    free_memory: Callable[[str], int | None] = free_memory,
) -> int:
    """In how many parts each batch must be computed: 1, unless memory is short.

    `free_memory` gives the free bytes on a device, or None if that is unknown. Where it is known, it is respected in
    advance, since the system may kill a process that takes more. Raises ResourceError if not even one sequence fits.
    """
    assert training.batch_size is not None
    assert training.bptt is not None
    free = free_memory(machine.device)
    parts, fixed = 1, fixed_bytes(architecture, training)
    while free is not None:
        rows = rows_of(training.batch_size, parts)
        needed = fixed + window_bytes(architecture, machine, (rows[0].stop - rows[0].start) * training.bptt)
        if needed <= free:
            break
        if len(rows) == training.batch_size:
            raise ResourceError(
                f"not enough memory: a model of {architecture.num_params:,} parameters takes about "
                f"{needed / 1e9:,.1f} GB",
                f"in training; {free / 1e9:,.1f} GB are free",
                "give a smaller --hidden-size, --num-layers, --vocab-size or --bptt",
            )
        parts *= 2
    return parts


def disk_bytes(architecture: Architecture, training: TrainingSettings) -> int:
    """Disk space in bytes for all weights files at their largest: best, last, previous, and one being written."""
    state = state_bytes(architecture, training.optimizer, training.batch_size or 1)
    return 3 * state + FLOAT32_BYTES * architecture.num_params
