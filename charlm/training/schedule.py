"""The schedule of the learning rate."""

MAX_DEFAULT_WARMUP_STEPS = 50  # steps


def default_warmup(total_steps: int) -> int:
    """The default number of warm-up steps: MAX_DEFAULT_WARMUP_STEPS, but at most a tenth of all steps."""
    return min(MAX_DEFAULT_WARMUP_STEPS, total_steps // 10)


def learning_rate_factor(step: int, total_steps: int, warmup_steps: int) -> float:
    """The factor (0 to 1) on the learning rate at a step, counted from 0.

    It rises linearly to 1 during the warm-up, then falls linearly to 0 at `total_steps` (linear decay to zero:
    Bergsma et al. 2025, arXiv 2502.15938).
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))
