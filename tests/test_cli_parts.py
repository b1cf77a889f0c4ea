"""What is kept for validation, as a person meets it: in training, in a prepared folder, as texts for other programs."""

import json
from pathlib import Path

import pytest

from charlm.corpus.parts import taken_lines
from tests.conftest import english
from tests.test_cli import QUICK, Charlm, charlm, records

__all__ = ["charlm"]  # a fixture
UNITS = ["char", "byte", "word", "subword"]
LOUD = tuple(option for option in QUICK if option != "-q")


@pytest.fixture
def text(charlm: Charlm) -> str:
    """The text of corpus.txt; its last line is unfinished."""
    text = "".join(f"{n} {line}\n" for n, line in enumerate(english(300).split("\n"))) + "the end"
    Path("corpus.txt").write_text(text)
    return text


def facts(run: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(Path("runs", run, "config.json").read_text())["corpus"]
    return found


def size(unit: str) -> tuple[str, ...]:
    return ("--unit", unit, *(("--vocab-size", "300") if unit == "subword" else ()))


@pytest.mark.parametrize("unit", UNITS)
def test_lines_from_all_over_a_text_are_measured_one_by_one(charlm: Charlm, text: str, unit: str) -> None:
    outcome = charlm("train", "corpus.txt", "--mode", "sentence", *size(unit), *LOUD)
    assert outcome.code == 0, outcome.err
    assert "of 302 lines, taken at random" in outcome.err
    assert "validation, cold" in outcome.out
    assert "streamed" not in outcome.out
    assert facts("corpus")["split"] == "lines"
    last = records(charlm("info", "corpus", "--json"))[-1]["measured"]
    assert last["valid_nats_per_char"] == last["valid_cold_nats_per_char"] > 0


def test_a_text_of_its_own_is_measured_both_ways(charlm: Charlm, text: str) -> None:
    Path("valid.txt").write_text(english(30, seed=2))
    outcome = charlm("train", "corpus.txt", "--mode", "sentence", "--valid", "valid.txt", *LOUD)
    assert "validation, cold" in outcome.out
    assert "validation, streamed" in outcome.out
    assert facts("corpus")["split"] == "given"


def test_the_seed_does_not_change_what_is_kept(charlm: Charlm, text: str) -> None:
    for seed in ("1", "2"):
        assert charlm("train", "corpus.txt", "--mode", "sentence", "--run", seed, "--seed", seed, *QUICK).code == 0
    ids = [Path("runs", seed, "corpus", "valid.ids").read_bytes() for seed in ("1", "2")]
    assert ids[0] == ids[1]


def test_such_a_run_goes_on_with_its_text_and_is_begun_from(charlm: Charlm, text: str) -> None:
    assert charlm("train", "corpus.txt", "--mode", "sentence", *QUICK).code == 0
    ids = Path("runs/corpus/corpus/valid.ids").read_bytes()
    more = charlm("train", "corpus.txt", "--resume", "--mode", "sentence", "--steps", "30", "--json")
    assert (more.code, records(more)[-1]["steps"]) == (0, 30), more.err
    assert charlm("verify", "corpus").code == 0
    new = charlm("train", "corpus.txt", "--init-from", "corpus", "--run", "new", "--mode", "sentence", "--steps", "3")
    assert new.code == 0, new.err
    assert Path("runs/new/corpus/valid.ids").read_bytes() == ids
    Path("corpus.txt").write_text(text + "\n")
    assert charlm("train", "corpus.txt", "--resume", "--run", "corpus").code == 2


@pytest.mark.parametrize("mode", ["stream", "sentence"])
def test_a_prepared_folder_is_trained_in_its_mode_and_no_other(charlm: Charlm, text: str, mode: str) -> None:
    assert charlm("tokenize", "corpus.txt", "--mode", mode, "-o", "tokens").code == 0
    assert charlm("train", "corpus.txt", "--mode", mode, *QUICK).code == 0
    for given in ((), ("--mode", mode)):
        assert charlm("train", "tokens", *given, "--force", "--run", "tokens", *QUICK).code == 0
        for part in ("train", "valid"):
            own, of_text = (Path("runs", run, "corpus", f"{part}.ids").read_bytes() for run in ("tokens", "corpus"))
            assert own == of_text
        assert facts("tokens")["split"] == facts("corpus")["split"]
        assert json.loads(Path("runs/tokens/config.json").read_text())["training"]["mode"] == mode
    other = {"stream": "sentence", "sentence": "stream"}[mode]
    refused = charlm("train", "tokens", "--mode", other, "--run", "other", *QUICK)
    assert (refused.code, f"--mode {mode}" in refused.err) == (2, True)
    assert not Path("runs/other").exists()


def test_without_a_mode_a_folder_is_for_streams(charlm: Charlm, text: str) -> None:
    assert charlm("tokenize", "corpus.txt", "-o", "tokens").code == 0
    assert charlm("train", "tokens", "--mode", "sentence", *QUICK).code == 2


def test_an_older_folder_is_trained_in_both_modes(charlm: Charlm, text: str) -> None:
    assert charlm("tokenize", "corpus.txt", "-o", "tokens").code == 0
    manifest = json.loads(Path("tokens/MANIFEST.json").read_text())
    del manifest["division"]
    Path("tokens/MANIFEST.json").write_text(json.dumps(manifest))
    for mode in ("stream", "sentence"):
        outcome = charlm("train", "tokens", "--mode", mode, "--run", mode, *LOUD)
        assert (outcome.code, "validation, streamed" in outcome.out) == (0, True)
        assert facts(mode)["split"] == "end"


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("mode", ["stream", "sentence"])
def test_the_parts_are_written_as_texts(charlm: Charlm, text: str, unit: str, mode: str) -> None:
    outcome = charlm("tokenize", "corpus.txt", "--mode", mode, *size(unit), "--write-parts", "parts", "--json")
    assert outcome.code == 0, outcome.err
    train, valid = (Path("parts", f"{part}.txt").read_bytes() for part in ("train", "valid"))
    (summary,) = records(outcome)
    assert summary["characters"] == len(train.decode())
    if mode == "stream":
        assert train + valid == text.encode()
    else:
        lines = text.encode().splitlines(keepends=True)
        taken = taken_lines(0, len(lines), 0.1).tolist()
        assert valid == b"".join(line for line, chosen in zip(lines, taken, strict=True) if chosen)
        assert sorted((train + b"\n" + valid).split(b"\n")) == sorted((text.encode() + b"\n").split(b"\n"))
    alone = records(charlm("tokenize", "parts/train.txt", "--valid", "parts/valid.txt", *size(unit), "--json"))[0]
    assert {**alone, "split": ""} == {**summary, "split": ""}


def test_the_parts_of_a_text_in_another_encoding_are_in_utf_8(charlm: Charlm) -> None:
    Path("odd.txt").write_bytes("Größe\n".encode("utf-16") + "Höhe ö\n".encode("utf-16")[2:] * 30)
    options = ("--encoding", "utf-16", "--mode", "sentence", "--write-parts", "parts", "-o", "tokens")
    assert charlm("tokenize", "odd.txt", *options).code == 0
    parts = [Path("parts", f"{part}.txt").read_text(encoding="utf-8") for part in ("train", "valid")]
    assert sorted("".join(parts).split("\n")) == sorted(["Größe", *["Höhe ö"] * 30, ""])


def test_parts_do_not_take_the_place_of_something_else(charlm: Charlm, text: str) -> None:
    Path("parts").mkdir()
    Path("parts/valid.txt").write_text("mine")
    assert charlm("tokenize", "corpus.txt", "--write-parts", "parts", "-o", "tokens").code == 2
    assert charlm("tokenize", "corpus.txt", "--write-parts", "same", "-o", "./same").code == 2
    assert charlm("tokenize", "missing.txt", "--write-parts", "new").code == 3
    assert charlm("tokenize", "corpus.txt", "--write-parts", "new", "-o", "/proc/none").code == 6
    assert charlm("tokenize", "corpus.txt", "--write-parts", "/proc/none", "-o", "tokens").code == 6
    assert not any(map(Path.exists, (Path("tokens"), Path("same"), Path("new"))))
    assert Path("parts/valid.txt").read_text() == "mine"
    forced = ("--write-parts", "parts", "--force", "--valid-fraction", "0")
    assert charlm("tokenize", "corpus.txt", *forced).code == 0
    assert [path.name for path in Path("parts").iterdir()] == ["train.txt"], "of a division that has no such part"


def test_a_mode_that_does_not_exist(charlm: Charlm, text: str) -> None:
    assert charlm("tokenize", "corpus.txt", "--mode", "verse").code == 2
    Path("run.toml").write_text('mode = "sentence"\n')
    assert records(charlm("tokenize", "corpus.txt", "--config", "run.toml", "--json"))[0]["split"] == "lines"
