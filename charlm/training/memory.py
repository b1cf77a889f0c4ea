"""What a training takes, in memory and on disk, counted from the network's shape before anything is allocated."""

from charlm.cells import CELLS
from charlm.errors import ResourceError
from charlm.model.kernels import kernel_for, unroll_gathered
from charlm.network.architecture import Shape, num_params
from charlm.settings import TrainingSettings
from charlm.system.machine import Machine
from charlm.system.memory import free_memory
from charlm.training.gradients import rows_of

FLOAT = 4  # bytes
AVERAGES = {"adamw": 2, "sgd": 0}  # numbers that the optimizer keeps for each weight
TORCH_BYTES = 250 * 2**20  # torch itself, once imported


def fixed_bytes(shape: Shape, training: TrainingSettings) -> int:
    """Weights, gradients and what the optimizer keeps."""
    return FLOAT * (2 + AVERAGES[training.optimizer]) * num_params(shape)


def window_bytes(shape: Shape, machine: Machine, tokens: int) -> int:
    """What so many tokens keep for the backward pass.

    How many numbers a unit keeps was measured: the peak of two steps of 2,048 tokens with 1,024 units.
    """
    gates = len(CELLS[shape.cell].gates)
    unrolled = kernel_for(shape.cell, machine.device, shape.hidden_size) is unroll_gathered
    per_unit = 10 * gates + 12 if unrolled else 5 * gates + 10
    numbers = shape.embedding_size + shape.num_layers * per_unit * shape.hidden_size + 3 * shape.vocab_size
    numbers += 2 * shape.head_layers * shape.head_size
    return FLOAT * tokens * numbers


def fitting_micro_batches(shape: Shape, training: TrainingSettings, machine: Machine) -> int:
    """In how many parts each batch has to be worked on: 1, unless memory is short. Raises ResourceError.

    Where the system says how much is free, it is not left to find out: it would end a process that takes too much.
    """
    assert training.batch_size is not None
    assert training.bptt is not None
    free = free_memory(machine.device)
    parts, fixed = 1, fixed_bytes(shape, training)
    while free is not None:
        rows = rows_of(training.batch_size, parts)
        needed = fixed + window_bytes(shape, machine, (rows[0].stop - rows[0].start) * training.bptt)
        if needed <= free:
            break
        if len(rows) == training.batch_size:
            raise ResourceError(
                f"not enough memory: a model of {num_params(shape):,} parameters takes about {needed / 1e9:,.1f} GB",
                f"in training; {free / 1e9:,.1f} GB are free",
                "give a smaller --hidden-size, --num-layers, --vocab-size or --bptt",
            )
        parts *= 2
    return parts


def disk_bytes(shape: Shape, training: TrainingSettings) -> int:
    """The files of weights when they are largest: best, last, previous, and the one that is being written."""
    state = FLOAT * (1 + AVERAGES[training.optimizer]) * num_params(shape)
    return 3 * state + FLOAT * num_params(shape)
