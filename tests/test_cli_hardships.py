"""What goes wrong around a command, and what must not be lost then."""

import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlm as package
from charlm.engine.predictor import StepPredictor
from charlm.errors import DivergedError
from charlm.network.architecture import Architecture
from charlm.runs.directory import RunDirectory
from charlm.runs.lock import writing
from charlm.sampling.generate import Ending, TextInProgress, generate, prime
from charlm.sampling.strategies import Strategy, choose
from charlm.text.interface import SymbolDecoder
from tests.test_cli import QUICK, Charlm, charlm, process, records, trained

__all__ = ["charlm", "trained"]  # fixtures


SMALL = ("--hidden-size", "8", "--save-every", "5", "--threads", "1", "--patience", "0")


def test_a_reader_that_goes_away_does_not_end_a_training(charlm: Charlm) -> None:
    training = process("train", "corpus.txt", "--steps", "30", "--hidden-size", "8", "--eval-every", "5", "--json")
    assert training.stdout is not None
    training.stdout.readline()
    training.stdout.close()
    assert training.stderr is not None
    training.stderr.read()
    training.stderr.close()
    assert training.wait(timeout=60) == 0
    assert RunDirectory(Path("runs/corpus")).load("last").step == 30


def test_a_signal_while_preparing_leaves_nothing(charlm: Charlm) -> None:
    with open("long.txt", "w") as file:
        file.writelines(f"line {number} of a long text\n" for number in range(600_000))
    training = process("train", "long.txt", "--unit", "word")
    deadline = time.monotonic() + 60
    while not Path("runs").exists() and training.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    training.send_signal(signal.SIGTERM)
    training.communicate(timeout=60)
    assert training.returncode == 128 + signal.SIGTERM
    assert not Path("runs").exists()


def hang_up_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each step the process gets the signal of a terminal that is closed."""
    monkeypatch.setattr("charlm.training.trainer.clip", lambda *_: signal.raise_signal(signal.SIGHUP) or 1.0)


def test_a_signal_that_was_ignored_from_the_start_stays_ignored(
    charlm: Charlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang_up_in_training(monkeypatch)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    try:
        assert charlm("train", "corpus.txt", "--steps", "9", *SMALL).code == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert RunDirectory(Path("runs/corpus")).load("last").step == 9


def test_a_place_taken_meanwhile_is_left_alone(charlm: Charlm, monkeypatch: pytest.MonkeyPatch) -> None:
    from charlm.lifecycle import creation

    write_run = creation.write_run

    def slow(*arguments: Any) -> list[str]:
        Path("runs/x").mkdir(parents=True)
        Path("runs/x/precious").touch()
        return write_run(*arguments)

    monkeypatch.setattr(creation, "write_run", slow)
    assert charlm("train", "corpus.txt", "--run", "x", *QUICK).code == 2
    assert os.listdir("runs/x") == ["precious"]


def test_a_refused_command_leaves_the_folders_of_others(charlm: Charlm) -> None:
    Path("mine").mkdir()
    assert charlm("train", "missing.txt", "--run", "mine/x").code == 3
    assert charlm("train", "missing.txt", "--run", "new/folder/x").code == 3
    assert sorted(os.listdir()) == ["corpus.txt", "mine"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("train", "tokens", "--unit", "byte"), "--unit"),
        (("train", "tokens", "--test", "corpus.txt"), "--test"),
        (("train", "tokens", "--valid-fraction", "0.2"), "--valid-fraction"),
        (("train", "corpus.txt", "--tokenizer", "tokens", "--vocab-size", "77"), "--vocab-size"),
        (("train", "--resume", "--run", "corpus", "--hidden-size", "10"), "--hidden-size"),
        (("score", "--stream", "corpus.txt", "--no-eos"), "--no-eos"),
        (("score", "--file", "corpus.txt", "--per-token"), "--per-token"),
    ],
)
def test_options_that_would_do_nothing_are_refused(trained: Charlm, arguments: tuple[str, ...], named: str) -> None:
    assert trained("tokenize", "corpus.txt", "-o", "tokens", "-q").code == 0
    outcome = trained(*arguments)
    assert (outcome.code, named in outcome.err) == (2, True)


def test_a_tokenizer_that_loses_something_says_so(charlm: Charlm) -> None:
    lossy = ("--unit", "word", "--split", "whitespace")
    assert charlm("tokenize", "corpus.txt", *lossy, "-o", "tokens", "-q").code == 0
    outcome = charlm("train", "corpus.txt", "--tokenizer", "tokens", *QUICK[:-1])
    assert (outcome.code, "not lossless" in outcome.err) == (0, True)


def test_a_run_that_ended_by_patience_goes_on(charlm: Charlm) -> None:
    stubborn = ("--learning-rate", "0.9", "--patience", "1", "--eval-every", "1", "--hidden-size", "8", "--json", "-q")
    first = records(charlm("train", "corpus.txt", "--steps", "60", *stubborn))[-1]
    assert int(str(first["steps"])) < 60
    again = records(charlm("train", "corpus.txt", "--resume", "--steps", "80", "--patience", "0", "--json", "-q"))[-1]
    assert again["steps"] == 80


def test_resume_takes_the_same_settings_again(charlm: Charlm) -> None:
    Path("run.toml").write_text(
        'hidden_size = 8\nlearning_rate = 1e-3\nunit = "char"\nvalid_fraction = 0.2\nsteps = 5\n'
    )
    assert charlm("train", "corpus.txt", "--config", "run.toml", "-q").code == 0
    again = charlm("train", "corpus.txt", "--resume", "--config", "run.toml", "--steps", "7", "--json", "-q")
    assert records(again)[-1]["steps"] == 7


def test_more_threads_do_not_change_the_length(charlm: Charlm) -> None:
    assert charlm("train", "corpus.txt", *QUICK).code == 0
    again = charlm("train", "corpus.txt", "--resume", "--threads", "1", "--json", "-q")
    assert records(again)[-1]["steps"] == 6


def test_a_damaged_run_does_not_stand_in_the_way_of_another(trained: Charlm) -> None:
    assert trained("train", "corpus.txt", *QUICK).code == 0
    Path("runs/corpus-2/config.json").write_text("{}")
    assert trained("train", "corpus.txt", "--resume", "--steps", "8", "-q").code == 0
    assert trained("info").code == 0


def test_a_lost_validation_part_is_noticed(trained: Charlm) -> None:
    Path("runs/corpus/corpus/valid.ids").unlink()
    outcome = trained("train", "--resume", "--run", "corpus", "--steps", "8")
    assert (outcome.code, "valid.ids" in outcome.err) == (4, True)


def test_a_run_before_its_first_saved_state_says_so(trained: Charlm) -> None:
    Path("runs/corpus/best.safetensors").unlink()
    outcome = trained("score", "x", "--run", "corpus")
    assert (outcome.code, "best.safetensors is missing" in outcome.err) == (4, True)
    for kind in ("last", "previous"):
        Path(f"runs/corpus/{kind}.safetensors").unlink(missing_ok=True)
    outcome = trained("score", "x", "--run", "corpus")
    assert (outcome.code, "has not saved anything yet" in outcome.err) == (4, True)


def test_out_of_memory_has_its_exit_code(trained: Charlm, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr("charlm.api.LanguageModel.score", full)
    outcome = trained("score", "x")
    assert (outcome.code, "out of memory" in outcome.err) == (6, True)


def test_a_file_name_that_is_no_text(charlm: Charlm) -> None:
    os.rename("corpus.txt", b"b\xffd.txt")
    assert charlm("train", os.fsdecode(b"b\xffd.txt"), *QUICK).code == 0
    assert charlm("score", "the cat", "--json").code == 0


def test_json_is_json_whatever_stdout_can_spell(trained: Charlm) -> None:
    scoring = process("score", "café Ω 😀", "--json", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    out, _ = scoring.communicate(timeout=60)
    assert json.loads(out)["text"] == "café Ω 😀"


def test_ctrl_c_ends_a_training_from_python_too(charlm: Charlm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.training.trainer.clip", lambda *_: signal.raise_signal(signal.SIGINT) or 1.0)
    with pytest.raises(KeyboardInterrupt):
        package.train("corpus.txt", steps=50, hidden_size=8, threads=1)
    assert RunDirectory(Path("runs/corpus")).load("last").step == 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_logits_that_are_not_finite_are_no_choice(wrong: float, temperature: float) -> None:
    with pytest.raises(DivergedError):
        choose(np.array([[0.0, wrong, 1.0]]), Strategy(temperature=temperature), [()], np.array([0.5]))


def test_a_state_that_grows_without_bound_ends_with_an_error_and_no_warning() -> None:
    architecture = Architecture("rnn_relu", 1, 4, 3, False, "zero", 5)
    weights = {name: np.ones(weight.size, np.float32) for name, weight in architecture.weights().items()}
    predictor = StepPredictor(architecture, {**weights, "layers.0.weight_hh": np.full((4, 4), 1e30, np.float32)})
    decoder, rng = SymbolDecoder(tuple("\n?abc")), np.random.default_rng(1)
    text = TextInProgress(0, rng, decoder, Ending(), eos_id=0)
    with pytest.raises(DivergedError):
        list(generate(predictor, [prime(predictor, np.array([0]))], [text], Strategy()))


def test_unknown_tokens_show_what_they_are_and_what_their_spelling_costs(trained: Charlm) -> None:
    (record,) = records(trained("score", "Ω the", "--per-token", "--json"))
    tokens = record["per_token"]
    assert isinstance(tokens, list)
    assert (tokens[0]["symbol"], tokens[0]["unknown"]) == ("<unk>", "Ω")
    total = sum(token["logprob_nats"] - token.get("spelling_nats", 0.0) for token in tokens)
    assert total == pytest.approx(record["logprob_nats"])


def test_where_nothing_is_known_there_is_no_perplexity_without_unknown(trained: Charlm) -> None:
    (record,) = records(trained("score", "ΩΩ", "--no-eos", "--json"))
    assert record["perplexity_without_unknown"] is None


def test_score_reads_other_encodings(trained: Charlm) -> None:
    Path("latin.txt").write_bytes("the café\n".encode("latin-1"))
    assert trained("score", "--file", "latin.txt").code == 3
    first, _ = records(trained("score", "--file", "latin.txt", "--encoding", "latin-1", "--json"))
    assert first["text"] == "the café"


def test_a_dash_alone_is_standard_input(trained: Charlm, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("corpus.txt", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert len(records(trained("score", "-", "--json"))) == 121


def test_what_was_measured_is_kept(trained: Charlm) -> None:
    (record,) = records(trained("info", "corpus", "--json"))
    measured = record["measured"]
    assert isinstance(measured, dict)
    assert measured["valid_nats_per_char"] > 0


def test_without_a_validation_part_the_training_text_is_measured(charlm: Charlm) -> None:
    outcome = charlm("train", "corpus.txt", "--valid-fraction", "0", *QUICK)
    assert (outcome.code, "no validation part" in outcome.out) == (0, True)


@pytest.mark.parametrize("there", ["empty", "nothing", "run"])
def test_a_run_may_be_a_link_and_stays_one(charlm: Charlm, there: str) -> None:
    Path("elsewhere").mkdir()
    Path("runs").mkdir()
    if there == "empty":
        Path("elsewhere/x").mkdir()
    if there == "run":
        assert charlm("train", "corpus.txt", "--run", "elsewhere/x", *QUICK).code == 0
    Path("runs/x").symlink_to(Path("elsewhere/x").absolute())
    assert charlm("train", "corpus.txt", "--run", "x", "--force", *QUICK).code == 0
    assert charlm("train", "--resume", "--run", "x", "--steps", "8", "-q").code == 0
    assert charlm("score", "the cat", "--run", "x").code == 0
    assert charlm("verify", "x").code == 0
    assert Path("runs/x").is_symlink()
    assert not Path("elsewhere/x").is_symlink()
    assert os.listdir("elsewhere") == ["x"]


def test_links_within_a_run_are_refused(trained: Charlm) -> None:
    for name in ("best.safetensors", "config.json", "tokenizer.json", "MANIFEST.json"):
        path = Path("runs/corpus", name)
        path.rename("outside")
        path.symlink_to(Path("outside").absolute())
        outcome = trained("score", "the cat", "--run", "corpus")
        assert (outcome.code, name in outcome.err, "link" in outcome.err) == (4, True, True), outcome.err
        path.unlink()
        Path("outside").rename(path)
    Path("runs/corpus/corpus").rename("outside")
    Path("runs/corpus/corpus").symlink_to(Path("outside").absolute())
    assert trained("train", "--resume", "--run", "corpus", "--steps", "9").code == 4


def test_drafts_of_the_dead_go_and_those_of_the_living_and_the_new_stay(charlm: Charlm) -> None:
    dead, alive, new = (Path(f"runs/.corpus.{number}.draft") for number in range(3))
    for draft in (dead, alive, new):
        draft.mkdir(parents=True)
        (draft / "half").touch()
    with writing(alive):
        for draft in (dead, alive):
            os.utime(draft, (time.time() - 61, time.time() - 61))
        assert charlm("train", "corpus.txt", *QUICK).code == 0
    assert not dead.exists()
    assert (alive / "half").exists()
    assert os.listdir(new) == ["half"]


def test_the_result_is_told_although_another_holds_the_run_by_then(
    charlm: Charlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    from charlm.lifecycle import results

    def held(outcome: results.Outcome, result: results.TrainResult) -> results.TrainResult:
        with writing(outcome.run.path):
            return logged(outcome, result)

    logged = results.logged
    monkeypatch.setattr(results, "logged", held)
    last = records(charlm("train", "corpus.txt", "--json", *QUICK))[-1]
    assert last["steps"] == 6
    assert last["valid_nats_per_char"]
    (record,) = records(charlm("info", "corpus", "--json"))
    assert record["measured"] is None


def test_info_does_not_mind_a_file_that_vanishes(trained: Charlm, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, entries = Path("runs/corpus/.last.safetensors.ab_9xyz0.charlm"), Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: iter([gone, *entries(path)]))
    for arguments in (("info",), ("info", "corpus")):
        assert trained(*arguments).code == 0


@pytest.mark.slow
def test_trainings_that_start_at_once_are_runs_of_their_own(charlm: Charlm) -> None:
    Path("here").mkdir()
    trainings = [process("train", "../corpus.txt", *QUICK, cwd="here") for _ in range(6)]
    ends = [training.communicate(timeout=120)[1].decode() for training in trainings]
    assert [training.returncode for training in trainings] == [0] * 6, ends
    assert sorted(os.listdir("here/runs")) == ["corpus", *(f"corpus-{n}" for n in range(2, 7))]
    os.chdir("here")
    assert all(charlm("verify", name).code == 0 for name in os.listdir("runs"))


def test_a_training_that_is_stopped_says_how_to_go_on_even_with_an_odd_name(
    charlm: Charlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang_up_in_training(monkeypatch)
    outcome = charlm("train", "corpus.txt", "--run", "my run", "--steps", "5000", *SMALL)
    assert outcome.code == 128 + signal.SIGHUP
    command = shlex.split(outcome.err.rsplit("continue with: charlm ", 1)[1])
    assert command == ["train", "--resume", "--run", "runs/my run"]
