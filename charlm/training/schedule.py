"""The learning rate over time."""

MAX_DEFAULT_WARMUP_STEPS = 50  # steps


def default_warmup(total_steps: int) -> int:
    """A tenth of a short training, so that its learning rate falls too."""
    return min(MAX_DEFAULT_WARMUP_STEPS, total_steps // 10)


def learning_rate_factor(step: int, total_steps: int, warmup_steps: int) -> float:
    """Linear from 0 to 1 in the warm-up, then linear to 0 at `total_steps`. The first step is step 0.

    Straight decay to zero: Bergsma et al. 2025, arXiv 2502.15938.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))
