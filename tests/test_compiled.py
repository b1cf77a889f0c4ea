"""The compiled LSTM against its slow twin, the equation in NumPy; and that charlm works without it."""

import functools
import importlib.util
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlm
from charlm.engine import compiled
from charlm.engine.compiled import CompiledPredictor, can_compile, has_bfloat16
from charlm.engine.numpy_ops import NumpyOps
from charlm.engine.predictor import StepPredictor
from charlm.errors import UsageError
from charlm.network import body
from charlm.network.architecture import Architecture
from charlm.scoring.loading import Trained, for_sentences
from charlm.scoring.predictor import DeferredPredictor, Predictor

ROOT = Path(__file__).parent.parent


def network(**changes: Any) -> Architecture:
    sizes: dict[str, Any] = {"num_layers": 2, "hidden_size": 45, "embedding_size": 33, "vocab_size": 70}
    rest: dict[str, Any] = {"tie_embeddings": False, "initial_state": "zero"}
    return Architecture(**{"cell": "lstm", **sizes, **rest, **changes})


NETWORKS = [
    network(),
    network(num_layers=1, hidden_size=1, embedding_size=1, vocab_size=2),
    network(num_layers=3, hidden_size=64, embedding_size=64, residual=True),
    network(tie_embeddings=True, head_layers=2, head_size=37),
    network(tie_embeddings=True, hidden_size=128, embedding_size=20),
    network(tie_embeddings=True, hidden_size=20, embedding_size=70),
    network(num_layers=1, head_layers=2, head_size=200),
    network(vocab_size=1500, initial_state="learned"),
    network(vocab_size=1025, embedding_size=45, residual=True, hidden_size=45),
]
built = pytest.mark.skipif(not can_compile(network()), reason="the compiled code was not built")
in_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="no compiled code, or a processor without bfloat16")
each_network = pytest.mark.parametrize("architecture", NETWORKS, ids=range(len(NETWORKS)))


def weights(architecture: Architecture) -> dict[str, Any]:
    rng, declared = np.random.default_rng(3), architecture.weights()
    return {name: rng.normal(0, 0.4, weight.size).astype(np.float32) for name, weight in declared.items()}


def exact_weights(architecture: Architecture) -> dict[str, Any]:
    """What `weights` gives, in float64."""
    return {name: array.astype(np.float64) for name, array in weights(architecture).items()}


def exactly(architecture: Architecture) -> StepPredictor:
    """A network in NumPy that computes in float64."""
    return StepPredictor(architecture, exact_weights(architecture))


def in_numpy(architecture: Architecture) -> StepPredictor:
    return StepPredictor(architecture, weights(architecture))


def in_c(architecture: Architecture, bfloat16: bool = False, threads: int = 1) -> CompiledPredictor:
    return CompiledPredictor(architecture, weights(architecture), bfloat16, threads)


def walk(predictor: Predictor, ids: Any) -> Any:
    """ids (T, B) -> logits (T, B, V)"""
    state, logits = predictor.initial_state(ids.shape[1]), []
    for now in ids:
        row, state = predictor.step(now, state)
        logits.append(row)
    return np.stack(logits)


@built
@each_network
@pytest.mark.parametrize("batch_size", [1, 2, 7, 21])
def test_every_batch_is_computed_as_in_numpy(architecture: Architecture, batch_size: int) -> None:
    ids = np.random.default_rng(batch_size).integers(0, architecture.vocab_size, (12, batch_size))
    expected, found = walk(exactly(architecture), ids), walk(in_c(architecture), ids)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@built
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("head_layers", [0, 1, 2])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("initial_state", ["zero", "learned"])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("vocab_size", [70, 1500])
def test_it_computes_the_equation(
    residual: bool, head_layers: int, tied: bool, initial_state: str, num_layers: int, vocab_size: int
) -> None:
    architecture = network(
        num_layers=num_layers,
        residual=residual,
        head_layers=head_layers,
        head_size=37,
        tie_embeddings=tied,
        initial_state=initial_state,
        vocab_size=vocab_size,
    )
    exact, predictor = exact_weights(architecture), in_c(architecture)
    expected_state, state = body.initial_state(architecture, exact, 3, NumpyOps), predictor.initial_state(3)
    for now in np.random.default_rng(6).integers(0, vocab_size, (9, 3)):
        expected, expected_state = body.step(now, expected_state, exact, architecture, NumpyOps)
        logits, state = predictor.step(now, state)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_allclose(state, [part for parts in expected_state for part in parts], rtol=0, atol=1e-5)


@in_bfloat16
@each_network
@pytest.mark.parametrize("batch_size", [1, 21])
def test_products_in_bfloat16_are_nearly_the_same(architecture: Architecture, batch_size: int) -> None:
    ids = np.random.default_rng(batch_size).integers(0, architecture.vocab_size, (12, batch_size))
    expected = walk(in_numpy(architecture), ids)
    difference = walk(in_c(architecture, bfloat16=True), ids) - expected
    assert 0 < np.abs(difference).max() < 0.03 * np.abs(expected).max()


@built
@each_network
def test_a_text_does_not_depend_on_its_company(architecture: Architecture) -> None:
    ids = np.random.default_rng(5).integers(0, architecture.vocab_size, (9, 13))
    for predictor in (
        in_c(architecture),
        in_c(architecture, bfloat16=has_bfloat16()),
    ):
        together = walk(predictor, ids)
        for text in range(13):
            np.testing.assert_array_equal(walk(predictor, ids[:, text : text + 1])[:, 0], together[:, text])


@built
@each_network
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 5, 35])
def test_scores_are_those_of_the_equation(architecture: Architecture, batch_size: int, threads: int) -> None:
    ids = np.random.default_rng(batch_size).integers(0, architecture.vocab_size, (2, batch_size, 11))
    exact = exactly(architecture)
    expected, _ = exact.logprobs(*ids, exact.initial_state(batch_size))
    predictor = in_c(architecture, threads=threads)
    found, state = predictor.logprobs(*ids, predictor.initial_state(batch_size))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    first, between = predictor.logprobs(*ids[:, :, :4], predictor.initial_state(batch_size))
    rest, after = predictor.logprobs(*ids[:, :, 4:], between)
    np.testing.assert_array_equal(np.concatenate([first, rest], axis=1), found)  # chunked equals whole
    np.testing.assert_array_equal(after, state)


@built
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("lengths", [[9, 7, 7, 3, 1], [2, 9, 1, 5, 5, 5, 3], [4]])
def test_padding_changes_nothing(lengths: list[int], threads: int) -> None:
    architecture, rng = network(), np.random.default_rng(4)
    predictor = in_c(architecture, threads=threads)
    inputs, targets = rng.integers(0, architecture.vocab_size, (2, len(lengths), max(lengths)))
    for row, length in zip(targets, lengths, strict=True):
        row[length:] = -1
    found, _ = predictor.logprobs(inputs, targets, predictor.initial_state(len(lengths)))
    for row, length in enumerate(lengths):
        alone = (ids[row : row + 1, :length] for ids in (inputs, targets))
        expected, _ = predictor.logprobs(*alone, predictor.initial_state(1))
        np.testing.assert_array_equal(found[row, :length], expected[0])


@built
def test_a_state_can_be_used_again_and_taken_apart() -> None:
    architecture, ids = network(), np.array([3, 4, 5])
    for predictor in (in_numpy(architecture), in_c(architecture)):
        state = predictor.step(ids, predictor.initial_state(3))[1]
        first, again = predictor.step(ids, state)[0], predictor.step(ids, state)[0]
        np.testing.assert_array_equal(first, again)
        turned, _ = predictor.step(ids[[2, 0, 2]], predictor.select(state, [2, 0, 2]))
        np.testing.assert_allclose(turned, first[[2, 0, 2]], rtol=1e-6)


@built
def test_gates_at_their_limits_are_numbers() -> None:
    architecture = network(num_layers=1)
    for factor in (1e3, 1e30):
        large = {name: factor * value for name, value in weights(architecture).items() if "head" not in name}
        silent = {"embedding.weight": np.zeros((70, 33), np.float32)}
        predictor = CompiledPredictor(architecture, {**weights(architecture), **large, **silent})
        logits = walk(predictor, np.zeros((5, 2), np.int64))
        assert np.isfinite(logits).all()


@built
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("bfloat16", [False, pytest.param(True, marks=in_bfloat16)])
def test_what_is_no_number_stays_none(wrong: float, bfloat16: bool) -> None:
    architecture, ids = network(), np.array([[3, 5]])
    for name in ("embedding.weight", "layers.0.weight_hh", "layers.1.bias_ih", "head.weight"):
        broken = {**weights(architecture), name: np.full_like(weights(architecture)[name], wrong)}
        with np.errstate(all="ignore"):
            predictor = CompiledPredictor(architecture, broken, bfloat16)
            state = predictor.step(ids[0], predictor.initial_state(2))[1]
            logits = predictor.step(ids[0], state)[0]
        if wrong is np.nan or name == "head.weight":
            assert not np.isfinite(logits).all()
            assert not np.isfinite(predictor.logprobs(ids.T, ids.T, state)[0]).all()


@built
@pytest.mark.parametrize("vocab_size", [70, 1500])
def test_what_does_not_fit_is_an_error(vocab_size: int) -> None:
    architecture = network(vocab_size=vocab_size)
    predictor = in_c(architecture)
    state, ids = predictor.initial_state(1), np.array([[1]])
    for wrong in (np.array([[vocab_size]]), np.array([[-vocab_size - 1]])):
        for step in (lambda ids: predictor.step(ids[0], state), lambda ids: predictor.logprobs(ids, ids, state)):
            with pytest.raises(IndexError):
                step(wrong)
    with pytest.raises(IndexError):
        predictor.logprobs(ids, ids + vocab_size, state)
    with pytest.raises(ValueError, match=r"head\.bias"):
        CompiledPredictor(architecture, {**weights(architecture), "head.bias": np.zeros(3, np.float32)})


@built
@pytest.mark.parametrize("vocab_size", [70, 1500])
def test_nothing_comes_of_nothing(vocab_size: int) -> None:
    architecture = network(vocab_size=vocab_size)
    predictor, none = in_c(architecture, threads=2), np.zeros((0, 4), np.int64)
    assert predictor.step(none[:, 0], predictor.initial_state(0))[0].shape == (0, vocab_size)
    for ids in (none, none.T):
        logprobs, state = predictor.logprobs(ids, ids, predictor.initial_state(len(ids)))
        assert logprobs.shape == ids.shape
        np.testing.assert_array_equal(state, predictor.initial_state(len(ids)))


@pytest.mark.parametrize("cell", ["gru", "lstm_peephole"])
def test_other_cells_run_in_numpy(cell: str) -> None:
    architecture = network(cell=cell)
    assert type(for_sentences(Trained(architecture, weights(architecture)))) is StepPredictor


@built
@pytest.mark.parametrize("cell", ["gru", "rnn_tanh"])
def test_the_weights_of_another_cell_are_refused(cell: str) -> None:
    architecture = network(cell=cell)
    with pytest.raises(ValueError, match=cell):
        CompiledPredictor(architecture, weights(architecture))


@built
def test_an_lstm_runs_compiled() -> None:
    architecture = network()
    assert type(for_sentences(Trained(architecture, weights(architecture)))) is CompiledPredictor


@pytest.fixture
def trained_run(trained: Callable[[str], Path]) -> Path:
    return trained("char")


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_library", lambda: None)


@pytest.mark.usefixtures("without_library")
def test_without_compiled_code_everything_works_but_bfloat16(trained_run: Path) -> None:
    plain = charlm.load(trained_run, predictor="network")
    assert isinstance(plain.predictor, DeferredPredictor)
    assert type(plain.predictor.built) is StepPredictor
    assert len(plain.sample(length=5, seed=1).ids) == 5
    with pytest.raises(UsageError, match="bfloat16"):
        charlm.load(trained_run, precision="bfloat16").sample(length=5)


@in_bfloat16
def test_samples_and_scores_in_bfloat16_are_nearly_those_in_float32(trained_run: Path) -> None:
    exact, fast = charlm.load(trained_run), charlm.load(trained_run, precision="bfloat16")
    lines = ["The old man likes it.", "she", ""]
    for text, expected in zip(lines, exact.score_lines(lines), strict=True):
        for other in (fast.score(text), *fast.score_lines([text])):
            assert other.logprob_nats == pytest.approx(expected.logprob_nats, rel=0.02)
    assert len(fast.sample(length=30, seed=2).ids) == 30


# Building


def build_script() -> Any:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    script = build_script()
    monkeypatch.setattr(script, "LSTM", script.Library(tmp_path / "lstm.so", script.LSTM.sources))
    return script


def test_without_a_compiler_nothing_is_built_and_nothing_left(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    build.LSTM.path.write_bytes(b"of an older build")
    for compiler in ("/nonexistent/cc", "false", "true"):  # the last one says that it did it
        monkeypatch.setenv("CC", compiler)
        assert len(build.compile_library(build.LSTM)) == 1
    monkeypatch.delenv("CC")
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    assert build.compile_library(build.LSTM) == []
    assert list(build.LSTM.path.parent.iterdir()) == []


@pytest.fixture(scope="session")
def library_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The library that a flag makes, compiled when it is first asked for."""
    folder = tmp_path_factory.mktemp("libraries")

    @functools.cache
    def make(flag: str) -> Path:
        script = build_script()
        script.FLAGS = (*script.FLAGS, *flag.split())
        library = script.Library(folder / f"lstm{flag}.so", script.LSTM.sources)
        assert script.compile_library(library) == []
        return Path(library.path)

    return make


@pytest.fixture
def other_library(library_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Use the library that a flag makes."""

    def use(flag: str) -> Any:
        monkeypatch.setattr(compiled, "LIBRARY", library_file(flag))
        library = compiled._library.__wrapped__()
        monkeypatch.setattr(compiled, "_library", lambda: library)
        return library

    return use


with_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@with_compiler
@each_network
@pytest.mark.parametrize("flag", ["", "-DCHARLM_MIDDLE", "-DCHARLM_NARROW"])
def test_every_width_of_vectors_computes_the_same(
    other_library: Callable[[str], Any], flag: str, architecture: Architecture
) -> None:
    other_library(flag)
    for batch_size in (1, 2, 19):
        ids = np.random.default_rng(batch_size).integers(0, architecture.vocab_size, (2, batch_size, 7))
        exact = exactly(architecture)
        expected, _ = exact.logprobs(*ids, exact.initial_state(batch_size))
        predictor = in_c(architecture)
        found, _ = predictor.logprobs(*ids, predictor.initial_state(batch_size))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        alone, _ = predictor.logprobs(*ids[:, -1:], predictor.initial_state(1))
        np.testing.assert_array_equal(alone[0], found[-1])


@with_compiler
@pytest.mark.slow
@pytest.mark.parametrize("flag", ["", "-DCHARLM_MIDDLE", "-DCHARLM_NARROW"])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_no_width_of_vectors_is_much_slower_than_numpy(
    other_library: Callable[[str], Any], flag: str, batch_size: int
) -> None:
    other_library(flag)
    architecture, ids = network(hidden_size=256), np.ones(batch_size, np.int64)
    predictors = [in_c(architecture), in_numpy(architecture)]
    states = [predictor.initial_state(batch_size) for predictor in predictors]
    seconds: list[list[float]] = [[], []]
    for _ in range(200):
        for predictor, state, taken in zip(predictors, states, seconds, strict=True):
            began = time.perf_counter()
            predictor.step(ids, state)
            taken.append(time.perf_counter() - began)
    assert np.median(seconds[0]) < 2 * np.median(seconds[1])


@with_compiler
def test_a_library_of_other_sources_is_left_alone(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "LIBRARY", build.LSTM.path)
    load = compiled._library.__wrapped__
    assert load() is None
    build.compile_library(build.LSTM)
    assert load() is not None
    monkeypatch.setattr(compiled, "SOURCES", ("lstm.c",))
    assert load() is None
    build.LSTM.path.unlink()  # it is in use: not to be written into
    build.LSTM.path.write_bytes(b"no library")
    assert load() is None
