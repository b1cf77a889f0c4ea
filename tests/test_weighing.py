"""What training weighs: each token alike, and the start of each line as often as the text has it."""

import dataclasses
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import charlm
from charlm.corpus.prepare import PreparedCorpus
from charlm.corpus.windows import IGNORED, Window
from charlm.training.gradients import add_gradients
from charlm.training.objective import Batch
from tests.cases import slow
from tests.conftest import TINY
from tests.test_recovery import letters, objective_on

__all__ = ["letters"]  # a fixture


def rows(lengths: list[int], width: int, seed: int) -> Window:
    """Rows of random tokens, padded; all begin from the initial state."""
    tokens = np.random.default_rng(seed).integers(1, 9, (len(lengths), width + 1))
    inside = np.arange(width) < np.array(lengths)[:, None]
    return Window(tokens[:, :-1], np.where(inside, tokens[:, 1:], IGNORED), np.ones(len(lengths), np.bool_))


def together(first: Window, second: Window) -> Window:
    width = max(first.inputs.shape[1], second.inputs.shape[1])

    def padded(array: np.ndarray, fill: int) -> np.ndarray:
        return np.pad(array, ((0, 0), (0, width - array.shape[1])), constant_values=fill)

    return Window(
        np.concatenate([padded(first.inputs, 0), padded(second.inputs, 0)]),
        np.concatenate([padded(first.targets, IGNORED), padded(second.targets, IGNORED)]),
        np.concatenate([first.reset, second.reset]),
    )


def gradients_of(letters: PreparedCorpus, *batches: Batch) -> list[torch.Tensor]:
    """The gradients of these batches, added up, in float64 and without dropout."""
    objective = objective_on(letters, {"cell": "gru", "num_layers": 2, "hidden_size": 6, "initial_state": "learned"})
    parameters = list(objective.network.double().parameters())
    generators = {name: torch.Generator() for name in objective.generators}
    for batch in batches:
        add_gradients(objective, batch, None, generators, "float32", 1, fault=lambda name, number: number)
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def batch_of(window: Window) -> Batch:
    others = (window.beside,) if window.beside else ()
    return Batch(window, others, window.num_tokens, window.num_seen)


def test_a_token_has_the_same_weight_whatever_stands_beside_it(letters: PreparedCorpus) -> None:
    few, many = rows([3], 3, 1), rows([40, 37, 12], 40, 2)
    apart = gradients_of(letters, batch_of(few), batch_of(many))
    side_by_side = gradients_of(letters, batch_of(together(many, few)))
    torch.testing.assert_close(side_by_side, apart, rtol=1e-9, atol=1e-12)
    beside = dataclasses.replace(many, beside=few)
    assert beside.num_tokens == 3 + 40 + 37 + 12
    torch.testing.assert_close(gradients_of(letters, batch_of(beside)), apart, rtol=1e-9, atol=1e-12)


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


@pytest.mark.parametrize(
    ("mode", "short", "share"),
    [("stream", "no", 0.1), ("sentence", "", 0.2), slow("stream", "", 0.2), slow("sentence", "no", 0.1)],
)
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
