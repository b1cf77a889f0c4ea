"""The gradients of `charlm inspect --gradients`: against finite differences, and for networks whose decay is known."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlm.engine.numpy_ops import NumpyOps
from charlm.errors import TextError
from charlm.inspection import gradients
from charlm.inspection.gradients import GradientNorms, chart, exploding, gradient_norms, half_life
from charlm.inspection.inspected import Inspected
from charlm.network import body, head
from charlm.network.architecture import Architecture
from charlm.probability import log_softmax
from charlm.scoring.reading import Reading
from charlm.settings import CorpusSettings, TextSettings
from charlm.text.tokenizer import build_tokenizer
from tests.cases import few_cells
from tests.test_network import architecture_of, random_network

TEXT = "a bad cab\n"
DISTANCE = 2


def inspected(architecture: Architecture, weights: Any, is_by_line: bool = False, name: str = "run") -> Inspected:
    """A network as it is inspected, of characters; it has as many types as TEXT."""
    tokenizer = build_tokenizer(TextSettings(unit="char"), [TEXT])
    reading = Reading(CorpusSettings(line_ends="keep"), tokenizer)
    return Inspected(Path(name), architecture, weights, tokenizer, reading, is_by_line)


def vocab_size() -> int:
    return build_tokenizer(TextSettings(unit="char"), [TEXT]).vocab_size


def random_run(cell: str, is_by_line: bool = False, **changes: Any) -> Inspected:
    architecture = architecture_of(cell, vocab_size=vocab_size(), **changes)
    return inspected(architecture, random_network(architecture).arrays(), is_by_line)


def linear_run(factor: float, hidden_size: int = 5) -> Inspected:
    """A network that multiplies its state by `factor` in each step: its units stay positive, so ReLU is linear."""
    architecture = architecture_of(
        "rnn_relu", hidden_size=hidden_size, embedding_size=3, vocab_size=vocab_size(), head_size=0
    )
    weights = {name: np.abs(weight) for name, weight in random_network(architecture, seed=4).arrays().items()}
    weights["layers.0.weight_hh"] = factor * np.eye(hidden_size)
    return inspected(architecture, weights)


class Slow:
    """The same norms by central differences: each number of a state is moved, and the text read on from there."""

    def __init__(self, run: Inspected, inputs: list[int], target: int) -> None:
        self.run, self.inputs, self.target = run, inputs, target
        self.layers = body.weights_by_layer(run.weights, run.architecture.num_layers)

    def nats(self, layer: int, part: int, unit: int, time: int, change: float) -> float:
        """-log p of the target, when one number of the state after token `time` is changed."""
        state = body.initial_state(self.run.architecture, self.run.weights, 1, NumpyOps)
        hidden = np.empty(0)
        for t, id in enumerate(self.inputs):
            hidden, new = NumpyOps.embed(np.array([id]), self.run.weights["embedding.weight"]), []
            for number, weights in enumerate(self.layers):
                parts = body.step_layer(hidden, state[number], weights, self.run.architecture, NumpyOps)[1]
                if (t, number) == (time, layer):
                    parts = tuple(np.array(each) for each in parts)
                    parts[part][0, unit] += change
                is_added = self.run.architecture.residual and hidden.shape == parts[0].shape
                hidden = hidden + parts[0] if is_added else parts[0]
                new.append(parts)
            state = tuple(new)
        logits = head.logits(hidden, self.run.weights, NumpyOps)
        return -float(log_softmax(logits)[0, self.target])

    def norm(self, layer: int, distance: int, step: float = 1e-5) -> float:
        architecture = self.run.architecture
        sizes = architecture.recurrent_cell.state_sizes(list(architecture.layers())[layer])
        time = len(self.inputs) - 1 - distance
        slopes = [
            (self.nats(layer, part, unit, time, step) - self.nats(layer, part, unit, time, -step)) / (2 * step)
            for part, size in enumerate(sizes.values())
            for unit in range(size)
        ]
        return math.hypot(*slopes)


def slow_norms(run: Inspected, distance: int) -> list[list[float]]:
    """The mean norms of all layers and distances, over all places of TEXT that are far enough from its start."""
    read = [run.tokenizer.eos_id, *run.tokenizer.encode(TEXT).tolist()]
    places = [Slow(run, read[: t + 1], read[t + 1]) for t in range(distance, len(read) - 1)]
    return [
        [float(np.mean([place.norm(layer, k) for place in places])) for k in range(distance + 1)]
        for layer in range(run.architecture.num_layers)
    ]


@pytest.mark.parametrize("cell", few_cells())
def test_the_norms_are_those_of_finite_differences(cell: str) -> None:
    run = random_run(cell, num_layers=2, initial_state="learned")
    (found,) = gradient_norms([run], TEXT, DISTANCE)
    assert found.num_places == len(TEXT) - DISTANCE
    np.testing.assert_allclose(found.norms, slow_norms(run, DISTANCE), rtol=1e-4, atol=1e-8)


def test_residual_layers_and_a_deeper_head_are_followed_too() -> None:
    run = random_run("gru", num_layers=3, residual=True, embedding_size=6, head_layers=1)
    (found,) = gradient_norms([run], TEXT, DISTANCE)
    np.testing.assert_allclose(found.norms, slow_norms(run, DISTANCE), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_it_does_not_matter_how_many_places_are_computed_at_once(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    run = random_run("lstm")
    expected = gradient_norms([run], TEXT, DISTANCE)
    monkeypatch.setattr(gradients, "NUMBERS_AT_ONCE", rows * 12 * (DISTANCE + 1))
    np.testing.assert_allclose(gradient_norms([run], TEXT, DISTANCE)[0].norms, expected[0].norms, rtol=1e-9)


@pytest.mark.parametrize("factor", [0.9, 0.5])
def test_a_linear_network_has_the_half_life_of_its_factor(factor: float) -> None:
    (found,) = gradient_norms([linear_run(factor)], 4 * TEXT, 7)
    np.testing.assert_allclose(np.array(found.norms[0]) / found.norms[0][0], factor ** np.arange(8.0), rtol=1e-9)
    assert found.half_lives == [pytest.approx(math.log(2) / -math.log(factor))]
    assert found.shares_left == [pytest.approx(factor**7)]
    assert found.growing == [False]


def test_a_gradient_that_grows_is_marked_and_has_no_half_life() -> None:
    (found,) = gradient_norms([linear_run(1.25)], 4 * TEXT, 7)
    assert found.half_lives == [math.inf]
    assert found.growing == [True]
    assert [line.name for line in chart([found]).lines] == ["run", "run: explodes"]


def test_what_grows_and_what_does_not() -> None:
    assert exploding([1, 0.5, 0.25, 0.125]) == []
    assert exploding([0.1, 1, 0.9, 0.8]) == []  # the first step is the cell's way to the loss, not growth
    assert exploding([1, 0.5, 0.6, 0.7, 0.4]) == [2, 3]


def test_a_half_life_without_anything_to_fit() -> None:
    assert half_life([1.0, 0.0, 0.0, 0.0]) == 0
    assert math.isnan(half_life([1.0, 0.5]))
    assert half_life([1.0, 0.4, 0.2, 0.1]) == pytest.approx(1)


def test_lines_are_read_from_the_initial_state_by_a_network_that_was_trained_so() -> None:
    """Then a piece is a line: a place needs its distance within the line."""
    text = "a bad cab\nbad\n"
    run = random_run("rnn_tanh", is_by_line=True)
    (found,) = gradient_norms([run], text, 5)
    assert found.num_places == len(TEXT) - 5
    np.testing.assert_allclose(found.norms, gradient_norms([run], TEXT, 5)[0].norms)
    with pytest.raises(TextError, match="too short to look back 10 tokens: its longest piece has 10"):
        gradient_norms([run], text, 10)


def test_the_largest_distance_suits_the_text() -> None:
    run = random_run("rnn_tanh")
    assert len(gradient_norms([run], TEXT)[0].norms[0]) == 1 + len(TEXT) // 2
    assert len(gradient_norms([run], "a")[0].norms[0]) == 2
    with pytest.raises(TextError, match="the text is empty"):
        gradient_norms([run], "\n")


def test_a_long_text_is_measured_at_places_all_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "MAX_PLACES", 6)
    assert gradient_norms([random_run("gru")], 5 * TEXT, 3)[0].num_places == 6
    assert list(gradients._places([5, 2, 9], 3)) == [(0, 3), (0, 4), (2, 3), (2, 5), (2, 6), (2, 7)]
    monkeypatch.setattr(gradients, "MAX_TOKENS", 12)
    assert gradient_norms([random_run("gru")], 5 * TEXT, 8)[0].num_places == 4


def test_each_layer_of_each_run_has_its_line() -> None:
    one, two = GradientNorms("a", "gru", 9, ((1.0, 0.5),)), GradientNorms("b", "lstm", 9, ((1.0, 0.5), (1.0, 0.0)))
    drawn = chart([one, two])
    assert [line.name for line in drawn.lines] == ["a", "b, layer 1", "b, layer 2"]
    assert math.isnan(drawn.lines[2].y[1])
    assert drawn.is_log_y
