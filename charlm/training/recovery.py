"""When training diverges: steps without a finite gradient are skipped, a few in a row lead back to the last good state.

There it goes on with half the learning rate; when that has not helped a few times, training ends with an error.
"""

from charlm.errors import DivergedError

MAX_SKIPPED = 5  # steps in a row
MAX_ROLLBACKS = 3  # in a training


def diverged(step: int, learning_rate: float, rollbacks: int) -> DivergedError:
    """The error that ends a training; `learning_rate` is the one that the run was given."""
    tried = f", after {rollbacks} times back with half the learning rate" if rollbacks else ""
    return DivergedError(
        f"training diverged: the loss, a gradient or a weight is not finite{tried}",
        f"step {step:,}; what was saved before is whole",
        f"train again with a smaller --learning-rate (it was {learning_rate:g}), a smaller --clip-norm, "
        "or --precision float32",
    )
