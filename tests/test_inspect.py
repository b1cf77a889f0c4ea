"""What `charlm inspect` computes without torch: states and gates, units, embeddings, clipping and agreement."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import charlm
from benchmarks import agreement as benchmark
from charlm.api import inspect_embeddings
from charlm.cells import CELLS
from charlm.engine.predictor import StepPredictor
from charlm.errors import RunError, TextError, UsageError
from charlm.inspection import agreement, clipping, embeddings, states, units
from charlm.inspection.chart import Chart
from charlm.inspection.inspected import Inspected, inspect_run
from charlm.inspection.svg import to_svg
from charlm.inspection.terminal import to_text
from charlm.scoring.reading import Reading
from charlm.settings import CorpusSettings, TextSettings
from charlm.text.tokenizer import build_tokenizer
from tests.conftest import TINY
from tests.test_cells import Gates, arrays, every_cell, logistic, random_inputs, random_weights
from tests.test_gradients import TEXT, random_run, vocab_size
from tests.test_network import architecture_of, random_network

SIGMOID = ("i", "f", "o", "r", "z", "u")
ROOT = Path(__file__).parents[1]


# Gates


def gates_of(cell: str) -> tuple[dict[str, Any], Any, Any, Any, Gates]:
    """The gates of one step, with its input, the state before it and the state after it."""
    weights, (x, state) = random_weights(cell), random_inputs(cell)
    heard: list[Any] = []
    ops, old = states._listening(heard), tuple(part.numpy() for part in state)
    new = CELLS[cell].step(CELLS[cell].project(x.numpy()[0], arrays(weights), ops), old, arrays(weights), ops)
    return CELLS[cell].gate_values(heard), x.numpy()[0], old, new, Gates(cell, arrays(weights))


@every_cell
def test_gates_lie_where_a_logistic_function_or_a_tanh_puts_them(cell: str) -> None:
    for name, values in gates_of(cell)[0].items():
        assert (0 if name in SIGMOID else -1) <= values.min() <= values.max() <= 1
        assert values.min() < 0 or name in SIGMOID


@pytest.mark.parametrize("cell", [name for name in CELLS if name.startswith("lstm")])
def test_the_gates_of_an_lstm_give_its_memory(cell: str) -> None:
    gates, _, (_, c), (_, new_c), _ = gates_of(cell)
    i = gates.get("i", 1 - gates["f"])
    np.testing.assert_allclose(gates["f"] * c + i * gates["g"], new_c, atol=1e-12)


@pytest.mark.parametrize("cell", ["lstm", "lstm_peephole", "lstm_peephole_previous", "lstm_coupled", "lstm_mogrifier"])
def test_the_output_gate_shows_the_memory(cell: str) -> None:
    gates, _, _, (h, new_c), _ = gates_of(cell)
    np.testing.assert_allclose(gates["o"] * np.tanh(new_c), h, atol=1e-12)


def test_the_gates_of_grus_and_minimal_cells_give_their_state() -> None:
    gates, _, (h,), (new,), _ = gates_of("gru")
    np.testing.assert_allclose((1 - gates["z"]) * gates["n"] + gates["z"] * h, new, atol=1e-12)
    for cell in ("gru_simple", "gru_reset_before"):
        gates, _, (c,), (new,), _ = gates_of(cell)
        np.testing.assert_allclose(gates["u"] * gates["candidate"] + (1 - gates["u"]) * c, new, atol=1e-12)
    gates, x, (h,), (new,), w = gates_of("mingru")
    np.testing.assert_allclose((1 - gates["z"]) * h + gates["z"] * w.of_input("candidate", x), new, atol=1e-12)
    gates, x, (h,), (new,), w = gates_of("minlstm")
    np.testing.assert_allclose(gates["f"] * h + gates["i"] * w.of_input("candidate", x), new, atol=1e-12)


@pytest.mark.parametrize("cell", ["gru", "gru_reset_before"])
def test_the_reset_gate_is_the_one_of_the_equation(cell: str) -> None:
    gates, x, (h,), _, w = gates_of(cell)
    np.testing.assert_allclose(gates["r"], logistic(w.of("r", h, x)), atol=1e-12)


# States


@every_cell
def test_a_units_activation_is_that_of_the_predictors_state(cell: str) -> None:
    run = random_run(cell, num_layers=2, residual=True, initial_state="learned")
    predictor = StepPredictor(run.architecture, run.weights)
    ids = run.tokenizer.encode(TEXT).astype(np.int64)
    _, state = predictor.step(np.array([run.tokenizer.eos_id]), predictor.initial_state())
    expected: list[Any] = []
    for id in ids:
        _, state = predictor.step(np.array([id]), state)
        expected.append(state)
    parts = run.architecture.recurrent_cell.state_sizes(next(run.architecture.layers()))
    for layer, (place, part) in itertools.product((0, 1), enumerate(parts)):
        found = states.unit_values(run, ids, layer + 1, part)
        np.testing.assert_allclose(found, [state[layer][place][0] for state in expected], rtol=1e-9, atol=1e-12)
        if place == 0:
            np.testing.assert_array_equal(found, states.unit_values(run, ids, layer + 1, None))


def test_without_a_layer_it_is_the_uppermost() -> None:
    run = random_run("lstm", num_layers=3)
    ids = run.tokenizer.encode(TEXT).astype(np.int64)
    np.testing.assert_array_equal(states.unit_values(run, ids, None, "f"), states.unit_values(run, ids, 3, "f"))
    assert not np.array_equal(states.unit_values(run, ids, 1, "f"), states.unit_values(run, ids, 3, "f"))


def test_a_network_of_single_lines_begins_each_line_anew() -> None:
    run = random_run("gru", is_by_line=True)
    ids = run.tokenizer.encode("a bad cab\nbad\n").astype(np.int64)
    alone = states.unit_values(run, run.tokenizer.encode("bad\n").astype(np.int64), None, None)
    np.testing.assert_allclose(states.unit_values(run, ids, None, None)[-4:], alone)


def test_a_shaded_text_has_a_value_for_each_token_and_says_what_it_is() -> None:
    run = random_run("lstm", num_layers=2)
    read = run.tokens(TEXT)
    shaded = states.shade(run, TEXT, 1, 3, None)
    assert "".join(shaded.pieces) == TEXT
    np.testing.assert_array_equal(shaded.values, states.unit_values(run, read.ids, 1, None)[:, 2])
    assert (shaded.what, shaded.low, shaded.high) == ("layer 1, output h, unit 3", -1, 1)
    gate = states.shade(run, TEXT, None, None, "f")
    np.testing.assert_allclose(gate.values, states.unit_values(run, read.ids, 2, "f").mean(axis=1))
    assert (gate.what, gate.low) == ("layer 2, gate f, mean of 6 units", 0)
    assert states.shade(run, TEXT, None, 1, "c").what == "layer 2, state c, unit 1"


@pytest.mark.parametrize(
    ("layer", "neuron", "gate", "words"),
    [
        (3, 1, None, "there is no such layer"),
        (None, 7, None, "there is no such unit"),
        (None, None, "z", "a layer of lstm has h, c, f, g, i, o"),
        (None, None, None, "give --neuron N or --gate NAME"),
    ],
)
def test_what_the_network_lacks_is_refused(layer: int | None, neuron: int | None, gate: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        states.shade(random_run("lstm", num_layers=2), TEXT, layer, neuron, gate)


def test_a_run_that_reads_backward_is_refused(corpus: Path, tmp_path: Path) -> None:
    run = charlm.train(corpus, run=str(tmp_path / "backward"), direction="backward", **{**TINY, "steps": 3}).run
    with pytest.raises(RunError, match="this run reads backward"):
        inspect_run(run)


# Units

QUOTED = 'he said "yes" to me\n"no" and "so" she said (to him)\n' * 3
CATS = "the cats there by him are old\nthe cat there by them is old\nthe cats are here and the cat is not\n" * 3


def quote_reader() -> Inspected:
    """A GRU whose second unit is 1 inside quotation marks and -1 outside.

    Its update gate z keeps the state, except at quotation marks, where n is the opposite of the state, and at line
    ends, where the reset gate r cuts the state off and n is -1.
    """
    tokenizer = build_tokenizer(TextSettings(unit="char"), [QUOTED])
    size, hidden, unit = tokenizer.vocab_size, 3, 1
    (quote,), eos = tokenizer.encode('"').tolist(), tokenizer.eos_id
    architecture = architecture_of("gru", hidden_size=hidden, embedding_size=size, vocab_size=size)
    weights = random_network(architecture).arrays()
    weights["embedding.weight"] = np.eye(size)
    r, z, n = (gate * hidden + unit for gate in range(3))
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        weights[f"layers.0.{name}"][[r, z, n]] = 0
    weights["layers.0.bias_ih"][[r, z]] = 20
    weights["layers.0.weight_ih"][r, eos] = -40
    weights["layers.0.weight_ih"][z, [quote, eos]] = -40
    weights["layers.0.weight_ih"][n, eos] = -20
    weights["layers.0.weight_hh"][n, unit] = -20
    reading = Reading(CorpusSettings(line_ends="keep"), tokenizer)
    return Inspected(Path("quotes"), architecture, weights, tokenizer, reading, is_by_line=False)


def test_a_unit_that_was_made_to_follow_quotes_is_found_first() -> None:
    found = units.find_units(quote_reader(), QUOTED)
    assert (found[0].feature, found[0].unit) == ("inside quotes", 2)
    assert found[0].correlation == pytest.approx(1, abs=1e-6)
    assert found[0].num_tokens == len(QUOTED)
    assert [abs(each.correlation) for each in found if each.feature == "inside quotes"] == sorted(
        (abs(each.correlation) for each in found if each.feature == "inside quotes"), reverse=True
    )
    best = [next(each for each in found if each.feature == name) for name in dict.fromkeys(e.feature for e in found)]
    assert [abs(each.correlation) for each in best] == sorted((abs(e.correlation) for e in best), reverse=True)
    assert {each.feature for each in found} == {
        "inside quotes",
        "inside brackets",
        "place in the line",
        "start of a word",
    }


def test_the_number_of_units_and_the_gate_can_be_chosen() -> None:
    found = units.find_units(quote_reader(), QUOTED, gate="z", count=1)
    assert len(found) == 4
    assert all(1 <= each.unit <= 3 for each in found)


def test_features_say_what_they_say() -> None:
    assert units.inside_quotes('a "b" c\n"d\ne').tolist() == [0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0]
    assert units.inside_brackets("a(b[c])d)e").tolist() == [0, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    assert units.place_in_line("ab\nc").tolist() == [1, 2, 0, 1]
    assert units.word_starts("ab, c d2").tolist() == [1, 0, 0, 0, 1, 0, 1, 0]


def test_the_subjects_number_is_read_off_the_verb_where_there_is_only_one_answer() -> None:
    values = units.number_of_subject(CATS)
    lines = CATS.split("\n")
    first, second = values[: len(lines[0])], values[len(lines[0]) + 1 :][: len(lines[1])]
    assert np.isnan(first[: lines[0].index("there")]).all()
    assert set(first[lines[0].index("there") : lines[0].index("are")]) == {1}
    assert np.isnan(first[lines[0].index("are") :]).all()
    assert set(second[lines[1].index("there") : lines[1].index("is")]) == {0}
    assert np.isnan(units.number_of_subject(lines[2])).all()


def test_a_text_without_anything_to_follow_is_refused() -> None:
    with pytest.raises(TextError, match="a feature needs 20 tokens"):
        units.find_units(random_run("gru"), "a")


def test_correlation_is_pearsons_and_a_constant_unit_has_none() -> None:
    rng = np.random.default_rng(1)
    values, columns = rng.normal(size=31), rng.normal(size=(31, 4))
    expected = [np.corrcoef(values, column)[0, 1] for column in columns.T]
    np.testing.assert_allclose(units.correlate(values, columns), expected, atol=1e-12)
    assert units.correlate(values, np.ones((31, 1))).tolist() == [0]


# Embeddings


def test_a_plane_shows_the_distances_of_vectors_that_lie_in_one() -> None:
    rng = np.random.default_rng(2)
    flat = rng.normal(size=(9, 2)) @ np.linalg.qr(rng.normal(size=(6, 2)))[0].T + rng.normal(size=6)
    places, share = embeddings.principal_components(flat)
    assert share == pytest.approx(1)
    for one, other in itertools.combinations(range(9), 2):
        expected = np.linalg.norm(flat[one] - flat[other])
        assert np.linalg.norm(places[one] - places[other]) == pytest.approx(expected)


def test_the_share_of_the_plane_is_that_of_the_two_largest_eigenvalues() -> None:
    vectors = np.random.default_rng(3).normal(size=(11, 5))
    values = np.linalg.eigvalsh(np.cov(vectors.T))
    assert embeddings.principal_components(vectors)[1] == pytest.approx(values[-2:].sum() / values.sum())


@pytest.mark.parametrize("size", [(4, 1), (1, 3), (3, 2)])
def test_few_or_short_vectors_have_places_too(size: tuple[int, int]) -> None:
    places, share = embeddings.principal_components(np.random.default_rng(4).normal(size=size))
    assert places.shape == (size[0], 2)
    assert share == pytest.approx(1)


def test_the_nearest_neighbours_are_those_of_the_largest_cosines() -> None:
    run = random_run("gru")
    found = embeddings.neighbours(run, "a", 3)
    matrix = run.weights["embedding.weight"]
    ids = {run.tokenizer.symbol(id): id for id in range(run.tokenizer.vocab_size)}
    cosines = {
        symbol: float(matrix[id] @ matrix[ids["a"]] / np.linalg.norm(matrix[id]) / np.linalg.norm(matrix[ids["a"]]))
        for symbol, id in ids.items()
        if symbol != "a"
    }
    expected = sorted(cosines.items(), key=lambda each: -each[1])[:3]
    assert [symbol for symbol, _ in found.nearest] == [symbol for symbol, _ in expected]
    assert [cosine for _, cosine in found.nearest] == pytest.approx([cosine for _, cosine in expected])
    assert len(embeddings.neighbours(run, "<eos>").nearest) == run.tokenizer.vocab_size - 1


@pytest.mark.parametrize("symbol", ["", "x", "ab"])
def test_a_symbol_that_is_no_type_is_refused(symbol: str) -> None:
    with pytest.raises(UsageError, match="is not in the vocabulary"):
        embeddings.neighbours(random_run("gru"), symbol)


def test_the_map_labels_each_type_and_says_what_it_shows() -> None:
    run = random_run("gru")
    found = embeddings.vocabulary_map(run)
    assert found.num_types == vocab_size()
    labels = [label for label, _, _ in embeddings.chart(found).labels]
    assert labels[:2] == ["<eos>", "<unk>"]
    assert "' '" in labels
    assert "all" in embeddings.chart(found).notes[0]


def crowded(num_types: int = 60) -> Chart:
    """A map of so many words that they cannot all stand beside each other."""
    places = np.random.default_rng(5).normal(size=(num_types, 2))
    names = tuple(f"word{number:03}" for number in range(num_types))
    found = embeddings.Map(names, names, *(tuple(places[:, axis].tolist()) for axis in (0, 1)), num_types, 0.5)
    return embeddings.chart(found)


def test_no_label_of_a_map_covers_another_and_frequent_types_come_first() -> None:
    drawn = ElementTree.fromstring(to_svg(crowded()))
    labels = {each.text: each for each in drawn.iter() if str(each.text).startswith("word") and "x" in each.attrib}
    assert "word000" in labels
    assert 20 < len(labels) < 60
    width, height = 7 * 6, 12  # pixels: seven letters of 12 pixels
    for one, other in itertools.combinations(labels.values(), 2):
        across, down = (abs(float(one.attrib[name]) - float(other.attrib[name])) for name in ("x", "y"))
        assert across > width or down > height
    titles = {each.text for each in drawn.iter() if each.tag.endswith("title")}
    assert titles & {f"word{number:03}" for number in range(60)}
    assert not titles & set(labels)


def test_no_label_of_a_map_touches_another_on_a_terminal() -> None:
    words = [word.strip("│┤") for word in to_text(crowded(), 80, 24).plain.split()]
    assert sum(word.startswith("word") for word in words) > 20
    assert all(len(word) == 7 for word in words if "word" in word)


def test_a_map_and_neighbours_show_words_as_other_tables_do(trained: Callable[[str], Path]) -> None:
    (found,), vocabulary = inspect_embeddings(trained("word"), ["."])
    assert "\uffed" in "".join(vocabulary.symbols)
    assert "\uffed" not in "".join([*vocabulary.shown, *found.shown])
    assert found.shown[0] == ". (no space before)"
    assert "." in vocabulary.shown


# Clipping


def test_the_share_of_clipped_steps_is_counted_from_the_log(corpus: Path, tmp_path: Path) -> None:
    run = charlm.train(corpus, run=str(tmp_path / "run"), **TINY, steps=40, clip_norm=0.7).run
    logged = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text("utf-8").splitlines()]
    norms = [record["gradient_norm"] for record in logged if record["event"] == "StepDone"]
    (found,) = clipping.clipping([run])
    assert list(found.norms) == norms
    assert (found.clip_norm, found.largest) == (0.7, max(norms))
    assert found.share_clipped == sum(norm > 0.7 for norm in norms) / len(norms)
    chart = clipping.chart([found])
    assert chart.thresholds == (("clipped above", 0.7),)
    assert f"{found.share_clipped:.1%} of {len(norms)} logged steps" in chart.notes[0]


def test_a_threshold_that_is_never_reached_is_not_drawn_and_a_limit_of_components_is_no_threshold() -> None:
    free = clipping.Clipping("free", (1, 11), (2.0, 3.0), 1e6, None)
    by_value = clipping.Clipping("by value", (1, 11), (2.0, 4.0), None, 0.5, ("It diverged.",))
    assert clipping.chart([free]).thresholds == ()
    assert free.share_clipped == 0
    assert by_value.share_clipped is None
    assert by_value.median == 3
    assert "each component limited to 0.5" in clipping.describe(by_value)
    assert clipping.chart([by_value]).notes[1] == "It diverged."


def test_a_run_whose_log_has_no_steps_is_refused(trained: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in Path(trained("char")).iterdir():
        if path.is_file() and path.name != "metrics.jsonl":
            (copy / path.name).write_bytes(path.read_bytes())
    with pytest.raises(RunError, match="has no steps"):
        clipping.clipping([str(copy)])


# Agreement


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.tsv"
    rows = [('the "cat" sees it.', "the cat see it.", 0), ("a dog", "a dog", 3), ("she asks", "she ask", 3)]
    path.write_text("good\tbad\tdistance\n" + "".join(f"{g}\t{b}\t{d}\n" for g, b, d in rows), encoding="utf-8")
    return path


def test_agreement_counts_the_pairs_whose_good_sentence_is_likelier(trained: Any, pairs: Path) -> None:
    lm = charlm.load(trained("char"))
    read = agreement.read_pairs(pairs)
    assert [pair.good for pair in read] == ['the "cat" sees it.', "a dog", "she asks"]
    (found,) = agreement.measure_agreement([lm], read)
    right = [lm.score(pair.good).logprob_nats > lm.score(pair.bad).logprob_nats for pair in read]
    assert found.num_right == {0: right[0], 3: right[1] + right[2]}
    assert found.num_pairs == {0: 1, 3: 2}
    assert found.accuracy == sum(right) / 3
    assert not right[1]  # equally likely is not right


def test_the_benchmark_prints_the_same_numbers(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lm = charlm.load(trained("char"))
    benchmark.show_pairs(lm)
    (found,) = agreement.measure_agreement([lm], agreement.read_pairs(ROOT / "data" / "agreement-pairs.tsv"))
    printed = capsys.readouterr().out
    assert f"{sum(found.num_right.values())} of 1010 pairs, {found.accuracy:.2%}" in printed
    assert f"11: {found.accuracies[11]:.1%}" in printed


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"good\tbad\nx\ty\n", "no column 'distance'"),
        (b"good\tbad\tdistance\n", "no pairs"),
        (b"", "no column 'good'"),
        (b"good\tbad\tdistance\nx\ty\tfar\n", "its distance is no number"),
        (b"good\tbad\tdistance\nx\n", "lacks a sentence"),
        (b"\xff\xfe", "cannot read"),
    ],
)
def test_a_table_that_has_no_pairs_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content)
    with pytest.raises(TextError, match=words):
        agreement.read_pairs(path)
