"""Defaults that depend on the text, the machine and the length of training, and never on the clock."""

import dataclasses
import math

from charlm.cells import CELLS
from charlm.cells.cell import Sizes
from charlm.network.architecture import KINDS, Architecture, cell_sizes
from charlm.settings import ModelSettings, TrainingSettings, Unit, seconds
from charlm.system.machine import Machine
from charlm.text.tokenizer import TOKENIZERS

DEFAULT_TIME = "5m"
MAX_PASSES = 80  # over the text, even if --time allows more
LEARNING_RATES = {"adamw": 0.006, "sgd": 1.0}
WORD_LEARNING_RATE = 0.004  # of AdamW, when tokens are words or subwords

# Largest number of tokens: (hidden size, embedding size). On a small text, a large network would overfit.
CHARACTER_SIZES = {60_000: (256, 64), 300_000: (384, 96), 2_000_000: (512, 128), math.inf: (640, 128)}
WORD_SIZES = {60_000: (128, 128), 300_000: (256, 256), 2_000_000: (512, 256), math.inf: (640, 256)}

# (Mode, whether tokens are characters): (tokens per window, sequences side by side). In sentence mode most lines fit
# into one window.
WINDOWS = {
    ("stream", True): (64, 32),
    ("stream", False): (35, 32),
    ("sentence", True): (256, 16),
    ("sentence", False): (64, 32),
}

# (Device, bfloat16): typical arithmetic per second of a processor thread or a GPU. Only dropout depends on it.
FLOPS = {("cpu", True): 9e10, ("cpu", False): 5e10, ("cuda", True): 2e13, ("cuda", False): 1e13, ("mps", False): 2e12}


def decide_architecture(
    model: ModelSettings, unit: Unit, num_symbols: int, num_tokens: int, machine: Machine
) -> Architecture:
    """The network with all sizes decided: those given, and for the others what suits `num_tokens` of training text.

    `num_symbols` is the tokenizer's number of symbols.
    """
    characters = is_character(unit)
    sizes = CHARACTER_SIZES if characters else WORD_SIZES
    hidden_size, embedding_size = next(size for max_tokens, size in sizes.items() if num_tokens <= max_tokens)
    if not machine.bfloat16 and num_tokens > 300_000:  # half the speed: a smaller network sees more text
        hidden_size = hidden_size * 3 // 4
    is_cloze = model.objective == "cloze"
    return Architecture(
        kind=KINDS[model.objective],
        direction="both" if is_cloze else model.direction,
        cell=model.cell,
        num_layers=model.num_layers or suitable_layers(model.cell),
        hidden_size=model.hidden_size or hidden_size,
        embedding_size=model.embedding_size or embedding_size,
        tie_embeddings=not characters if model.tie_embeddings is None else model.tie_embeddings,
        initial_state=model.initial_state,
        vocab_size=num_symbols + is_cloze,  # with <mask>
        residual=model.residual,
        head_layers=model.head_layers,
        head_size=(model.head_size or model.hidden_size or hidden_size) if model.head_layers else 0,
        **cell_sizes(model.cell, model.hidden_size or hidden_size, dataclasses.asdict(model)),
    )


def suitable_layers(cell: str) -> int:
    """The default number of layers: 1, or 3 for a cell without a recurrent matrix.

    The units of such a cell do not see each other's states; only a further layer combines them.
    """
    return 1 if "weight_hh" in CELLS[cell].weights(Sizes(1, 1)) else 3


def suitable_dropout(passes: float, characters: bool) -> float:
    """Default dropout: 0.1 per doubling of the passes over the text, one doubling less for characters; at most 0.5."""
    doublings = math.log2(max(1.0, passes)) - (1.0 if characters else 0.0)
    return round(min(0.5, max(0.0, 0.1 * doublings)), 2)


def expected_passes(
    architecture: Architecture, training: TrainingSettings, unit: Unit, num_tokens: int, machine: Machine
) -> float:
    """About how often the text will be read. For --time this is estimated from the typical speed of such a machine."""
    if training.epochs is not None:
        return training.epochs
    if training.steps is not None:
        length, streams = WINDOWS[training.mode, is_character(unit)]
        return training.steps * (training.bptt or length) * (training.batch_size or streams) / num_tokens
    threads = machine.threads if machine.device == "cpu" else 1
    networks = len(architecture.networks)  # which share the time
    num_looked_up = 0 if architecture.tie_embeddings else architecture.vocab_size * architecture.embedding_size
    flops_per_token = 6 * (architecture.num_params - networks * num_looked_up)
    tokens_per_second = FLOPS[machine.device, machine.bfloat16] * threads / flops_per_token
    return min(float(MAX_PASSES), seconds(training.time or DEFAULT_TIME) * tokens_per_second / num_tokens)


def decide_training(
    training: TrainingSettings, architecture: Architecture, unit: Unit, num_tokens: int, machine: Machine
) -> tuple[TrainingSettings, list[str]]:
    """The settings with every value decided, and notes on values that had to differ from what was asked for."""
    notes, characters = [], is_character(unit)
    length, streams = WINDOWS[training.mode, characters]
    bptt = training.bptt or length
    if bptt > num_tokens:
        bptt = num_tokens
        notes.append(f"the text has only {num_tokens:,} tokens: the window shrinks to {bptt}")
    batch_size = training.batch_size or max(1, min(streams, num_tokens // (4 * bptt)))
    if batch_size * bptt > num_tokens:
        batch_size = max(1, num_tokens // bptt)
        notes.append(f"the text has only {num_tokens:,} tokens: {batch_size} parallel streams")
    passes = expected_passes(architecture, training, unit, num_tokens, machine)
    rate = LEARNING_RATES[training.optimizer]
    if training.optimizer == "adamw" and not characters:
        rate = WORD_LEARNING_RATE
    decided = dataclasses.replace(
        training,
        bptt=bptt,
        batch_size=batch_size,
        dropout=suitable_dropout(passes, characters) if training.dropout is None else training.dropout,
        learning_rate=rate if training.learning_rate is None else training.learning_rate,
        clip_norm=None if training.clip_value is not None else training.clip_norm or 1.0,
        precision=training.precision or ("bfloat16" if machine.bfloat16 else "float32"),
        threads=machine.threads,
    )
    return decided, notes


def is_character(unit: Unit) -> bool:
    """Whether tokens of this unit are about as small as characters."""
    return TOKENIZERS[unit].characters_per_token < 2
