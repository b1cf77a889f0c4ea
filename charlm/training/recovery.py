"""When training diverges: limits on skipped steps and rollbacks, and the error at the end.

A step without a finite loss and gradient is skipped. After MAX_SKIPPED in a row training goes back to the newest saved
state and continues with half the learning rate; after MAX_ROLLBACKS of these it ends with an error.
"""

from charlm.errors import DivergedError

MAX_SKIPPED = 5  # steps in a row
MAX_ROLLBACKS = 3  # per training


def diverged(step: int, learning_rate: float, rollbacks: int) -> DivergedError:
    """The error that ends a diverged training; `learning_rate` is the run's setting."""
    tried = f", after {rollbacks} times back with half the learning rate" if rollbacks else ""
    return DivergedError(
        f"training diverged: the loss, a gradient or a weight is not finite{tried}",
        f"step {step:,}; everything saved before is intact",
        f"train again with a smaller --learning-rate (it was {learning_rate:g}), a smaller --clip-norm, "
        "or --precision float32",
    )
