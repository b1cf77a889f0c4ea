"""What charlm chooses where nothing was said: sizes by the corpus and the machine, never by the clock."""

import dataclasses

from charlm.cells import Shape
from charlm.config import ModelSettings, TrainingSettings, Unit
from charlm.device import Machine

SIZE_FIELDS = ("num_layers", "hidden_size", "embedding_size", "dropout")
MOST_PASSES = 40  # over the text, where --time would allow more


@dataclasses.dataclass(frozen=True)
class Size:
    """A model for texts of up to `tokens` tokens."""

    tokens: float
    hidden_size: int
    embedding_size: int
    dropout: float


# A small text is learned by heart by a large network; a large one wants all that the time allows.
CHARACTER_SIZES = (
    Size(60_000, 256, 64, 0.4),
    Size(300_000, 384, 96, 0.3),
    Size(2_000_000, 512, 128, 0.1),
    Size(float("inf"), 640, 128, 0.0),
)
WORD_SIZES = (
    Size(60_000, 128, 128, 0.5),
    Size(300_000, 256, 256, 0.5),
    Size(2_000_000, 512, 256, 0.4),
    Size(float("inf"), 640, 256, 0.1),
)

# Tokens of a window and how many windows at once, by mode and whether a token is a character. A line is whole in most.
WINDOWS = {
    ("stream", True): (64, 32),
    ("stream", False): (35, 32),
    ("sentence", True): (256, 16),
    ("sentence", False): (64, 32),
}


def decide_shape(model: ModelSettings, unit: Unit, vocab_size: int, num_tokens: int, machine: Machine) -> Shape:
    """The network's shape: what was asked for, and for the rest what suits `num_tokens` of training text."""
    characters = unit in ("char", "byte")
    size = next(one for one in (CHARACTER_SIZES if characters else WORD_SIZES) if num_tokens <= one.tokens)
    chosen = dataclasses.asdict(size) | {"num_layers": 1}
    if not machine.bfloat16 and num_tokens > 300_000:  # half the speed: a smaller network sees more text
        chosen["hidden_size"] = chosen["hidden_size"] * 3 // 4
    given = {name: getattr(model, name) for name in SIZE_FIELDS}
    sizes = {name: chosen[name] if value is None else value for name, value in given.items()}
    tie = model.tie_embeddings if model.tie_embeddings is not None else not characters
    return Shape(cell=model.cell, initial_state=model.initial_state, tie_embeddings=tie, vocab_size=vocab_size, **sizes)


def decide_training(
    training: TrainingSettings, unit: Unit, num_tokens: int, machine: Machine
) -> tuple[TrainingSettings, list[str]]:
    """Every number of the training decided, and notes on what had to differ from what was asked for."""
    notes = []
    length, streams = WINDOWS[training.mode, unit in ("char", "byte")]
    bptt = training.bptt or length
    if bptt > num_tokens:
        bptt = num_tokens
        notes.append(f"the text has only {num_tokens:,} tokens: the window shrinks to {bptt}")
    batch_size = training.batch_size or max(1, min(streams, num_tokens // (4 * bptt)))
    if batch_size * bptt > num_tokens:
        batch_size = max(1, num_tokens // bptt)
        notes.append(f"the text has only {num_tokens:,} tokens: {batch_size} parallel streams")
    default_rate = 0.006 if training.optimizer == "adamw" else 1.0
    decided = dataclasses.replace(
        training,
        bptt=bptt,
        batch_size=batch_size,
        learning_rate=default_rate if training.learning_rate is None else training.learning_rate,
        clip_norm=None if training.clip_value is not None else training.clip_norm or 1.0,
        precision=training.precision or ("bfloat16" if machine.bfloat16 else "float32"),
        threads=machine.threads,
    )
    return decided, notes
