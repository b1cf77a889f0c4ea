"""What training weighs: each token alike, and the start of each line as often as the text has it."""

import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import charlm
from charlm.corpus.windows import IGNORED, Window
from charlm.model.network import TorchNetwork
from charlm.network.architecture import Architecture
from charlm.training.gradients import Gradients
from tests.conftest import TINY


def rows(lengths: list[int], width: int, seed: int) -> Window:
    """Rows of random tokens, padded; all begin from the initial state."""
    tokens = np.random.default_rng(seed).integers(1, 9, (len(lengths), width + 1))
    inside = np.arange(width) < np.array(lengths)[:, None]
    return Window(tokens[:, :-1], np.where(inside, tokens[:, 1:], IGNORED), np.ones(len(lengths), np.bool_))


def together(one: Window, other: Window) -> Window:
    width = max(one.inputs.shape[1], other.inputs.shape[1])

    def padded(array: np.ndarray, fill: int) -> np.ndarray:
        return np.pad(array, ((0, 0), (0, width - array.shape[1])), constant_values=fill)

    return Window(
        np.concatenate([padded(one.inputs, 0), padded(other.inputs, 0)]),
        np.concatenate([padded(one.targets, IGNORED), padded(other.targets, IGNORED)]),
        np.concatenate([one.reset, other.reset]),
    )


def gradients_of(*windows: Window) -> list[torch.Tensor]:
    """Of one update for each, added up, in float64 and without dropout."""
    shape = Architecture("gru", 2, 6, 5, tie_embeddings=False, dropout=0.0, initial_state="learned", vocab_size=9)
    network = TorchNetwork(shape)
    network.initialise(torch.Generator().manual_seed(1))
    network.double()
    gradients = Gradients(network, bfloat16=False, seed=1, tokens_per_window=50.0)
    for window in windows:
        gradients.of(window, None, 1)
    return [one.grad for one in network.parameters() if one.grad is not None]


def test_a_token_has_the_same_weight_whatever_stands_beside_it() -> None:
    few, many = rows([3], 3, 1), rows([40, 37, 12], 40, 2)
    apart = gradients_of(few, many)
    torch.testing.assert_close(gradients_of(together(many, few)), apart, rtol=1e-9, atol=1e-12)
    beside = Window(many.inputs, many.targets, many.reset, beside=few)
    assert beside.num_tokens == 3 + 40 + 37 + 12
    torch.testing.assert_close(gradients_of(beside), apart, rtol=1e-9, atol=1e-12)


def first_tokens(lines: list[str], mode: str, folder: Path, **settings: object) -> dict[str, tuple[float, float]]:
    """The share of lines that begin so in the part to train on, and the probability of it, from 5 % on."""
    text = folder / "lines.txt"
    text.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    run = charlm.train(text, run=str(folder / mode), mode=mode, valid_fraction=0.0, patience=0, **settings).run
    found = {token.text: math.exp(token.logprob_nats) for token in charlm.load(run).next_tokens("", 40)}
    shares = {first: n / len(lines) for first, n in Counter(line[:1] or "<eos>" for line in lines).items()}
    return {first: (share, found[first]) for first, share in shares.items() if share >= 0.05}


def uneven_lines(short: str, share: float, count: int) -> list[str]:
    rng = random.Random(4)
    letters = ("".join(rng.choices("abcdefgh", k=60)) for _ in range(count))
    return [short if rng.random() < share else f"yes{text}" for text in letters]


@pytest.mark.parametrize("mode", ["stream", "sentence"])
@pytest.mark.parametrize(("short", "share"), [("no", 0.1), ("", 0.2)])
def test_how_lines_begin_is_learned_whatever_their_length(mode: str, short: str, share: float, tmp_path: Path) -> None:
    settings = {**TINY, "batch_size": 16, "steps": 250, "dropout": 0.0}
    for found, probability in first_tokens(uneven_lines(short, share, 600), mode, tmp_path, **settings).values():
        assert probability == pytest.approx(found, rel=0.4)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["stream", "sentence"])
@pytest.mark.parametrize(("short", "share"), [("no", 0.1), ("", 0.2)])
def test_after_2000_steps_how_lines_begin_is_within_15_per_cent(
    mode: str, short: str, share: float, tmp_path: Path
) -> None:
    settings = {"hidden_size": 128, "embedding_size": 64, "num_layers": 1, "dropout": 0.1, "steps": 2000}
    for found, probability in first_tokens(uneven_lines(short, share, 3000), mode, tmp_path, **settings).values():
        assert probability == pytest.approx(found, rel=0.15)
