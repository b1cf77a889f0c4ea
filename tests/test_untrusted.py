"""A run from anybody: whatever its files hold, charlm says what is wrong, or does what they say; nothing else."""

import io
import json
import math
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlm
from charlm.api import inspect_embeddings, inspect_states
from charlm.cli.info import record_of
from charlm.errors import CharlmError, DivergedError, RunError
from charlm.lifecycle.verification import verify
from charlm.runs.directory import BEST, RunDirectory
from charlm.runs.weights import Weights
from charlm.scoring.loading import ENGINES
from charlm.settings import SubwordModel, TextSettings
from charlm.text.subword_checking import check_model
from charlm.text.subwords import SubwordTokenizer
from charlm.text.tokenizer import build_tokenizer, load_tokenizer
from charlm.training.events import StepDone
from tests import mutations
from tests.conftest import english
from tests.mutations import Forgery, Mutation, reseal
from tests.sessions import open_session

FEW, MANY = 40, 2000
MAX_SECONDS, MAX_MEMORY = 1.0, 300 << 20
FILES: dict[str, tuple[str, str, Mutation]] = {
    "config": ("char", "config.json", mutations.mutate_json),
    "characters": ("char", "tokenizer.json", mutations.mutate_json),
    "words": ("word", "tokenizer.json", mutations.mutate_json),
    "weights": ("char", "best.safetensors", mutations.mutate_weights),
    "state": ("char", "last.safetensors", mutations.mutate_weights),
    "ids": ("char", "corpus/train.ids", mutations.mutate_ids),
    "log": ("char", "metrics.jsonl", mutations.mutate_bytes),
}
each_file = pytest.mark.parametrize("what", list(FILES))


def use(run: Path) -> str:
    """What everybody does with a run: the kind of error it gives, or nothing."""
    verify(run)
    try:
        lm = charlm.load(run)
        lm.score("the sea\nis \x00 ￭, wide")
        lm.sample("a", length=8, seed=1)
        lm.next_tokens("a", 3)
        record_of(run, skip_damaged=False)
    except CharlmError as error:
        found = error
    else:
        return ""
    assert found.exit_code in (4, 5)  # 5: numbers beyond all bounds
    return found.what


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def check(forgery: Forgery, file: str, mutation: Mutation, seeds: range) -> None:
    """Each mutation in turn is refused or used, soon and in little memory."""
    before = memory()
    whole = (forgery.run / file).read_bytes()
    for seed in seeds:
        run = forgery.with_file(file, mutation(random.Random(seed), whole))
        start = time.process_time()
        try:
            use(run)
        except Exception as error:
            raise AssertionError(f"{file}, mutation {seed}") from error
        assert time.process_time() - start < MAX_SECONDS, f"{file}, mutation {seed}"
        forgery.restore()
    assert memory() - before < MAX_MEMORY
    assert use(forgery.run) == ""


@each_file
def test_no_mutation_of_a_file_breaks_anything(what: str, trained: Callable[[str], Path], tmp_path: Path) -> None:
    unit, file, mutation = FILES[what]
    check(Forgery(trained(unit), tmp_path / "run"), file, mutation, range(FEW))


@pytest.mark.slow
@each_file
def test_no_mutation_of_thousands_breaks_anything(what: str, trained: Callable[[str], Path], tmp_path: Path) -> None:
    unit, file, mutation = FILES[what]
    check(Forgery(trained(unit), tmp_path / "run"), file, mutation, range(FEW, FEW + MANY))


# Resuming a run from anybody

STATES: dict[str, tuple[str, Mutation]] = {
    "config": ("config.json", mutations.mutate_json),
    "state": ("last.safetensors", mutations.mutate_state),
    "ids": ("corpus/train.ids", mutations.mutate_ids),
    "log": ("metrics.jsonl", mutations.mutate_bytes),
}


def go_on(run: Path) -> None:
    """Two steps more."""
    try:
        session = open_session(settings={"steps": 90}, run=str(run), resume=True)
        events = session.events()
        for _ in zip(range(2), (event for event in events if isinstance(event, StepDone)), strict=False):
            pass
        events.close()
    except CharlmError as error:
        found = error
    else:
        return
    assert found.exit_code in (2, 4, 5, 6), found  # 2: --device cuda, or a length that is none; 6: too large for here


def go_on_with_mutations(run: Path, folder: Path, what: str, seeds: range) -> None:
    file, mutation = STATES[what]
    whole, before = (run / file).read_bytes(), memory()
    for seed in seeds:
        forgery = Forgery(run, folder / str(seed))
        forgery.with_file(file, mutation(random.Random(seed), whole))
        start = time.process_time()
        try:
            go_on(forgery.run)
        except Exception as error:
            raise AssertionError(f"{file}, mutation {seed}") from error
        assert time.process_time() - start < 2 * MAX_SECONDS, f"{file}, mutation {seed}"
        shutil.rmtree(forgery.run)
    assert memory() - before < MAX_MEMORY


@pytest.mark.parametrize("what", list(STATES))
def test_no_mutation_breaks_a_training_that_goes_on(what: str, trained: Callable[[str], Path], tmp_path: Path) -> None:
    go_on_with_mutations(trained("char"), tmp_path, what, range(FEW // 2))


@pytest.mark.slow
@pytest.mark.parametrize("what", list(STATES))
def test_no_mutation_of_hundreds_breaks_a_training_that_goes_on(
    what: str, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    go_on_with_mutations(trained("char"), tmp_path, what, range(FEW, FEW + MANY // 4))


# sentencepiece's own code, which is C++: in a process of its own, where a crash would be seen

USE_MODELS = r"""
import random, re, resource, sys
from pathlib import Path
from charlm.errors import RunError
from charlm.text.tokenizer import load_tokenizer
from tests.mutations import mutate_model

resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[4]),) * 2)
path, taken = Path(sys.argv[1]), 0
model = path.read_bytes()
for seed in range(int(sys.argv[2]), int(sys.argv[3])):
    print(seed, file=sys.stderr, flush=True)
    path.write_bytes(mutate_model(random.Random(seed), model))
    try:
        tokenizer = load_tokenizer(path)
    except RunError:
        continue
    taken += 1
    for text in ("The cat sees it.\nA d\u00f6g \u6771 \u2581x \U0001f600", "", "  a  ", "\x00\ufeff" * 50):
        encoded = tokenizer.encode_detailed(text)
        assert (encoded.ids < tokenizer.vocab_size).all()
        tokenizer.decode(encoded.ids)
        tokenizer.normalise(text)
    tokenizer.decode(range(tokenizer.vocab_size))
    for id in range(tokenizer.vocab_size):
        tokenizer.symbol(id).encode()
peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
print(taken, int(peak[1]) >> 10)
"""


def models() -> dict[str, bytes]:
    """charlm's own two kinds, and one as sentencepiece makes it by default, with a map of characters."""
    import sentencepiece

    kinds: tuple[SubwordModel, ...] = ("unigram", "bpe")
    own = {
        kind: build_tokenizer(TextSettings(unit="subword", vocab_size=300, subword_model=kind), [english(200)])
        for kind in kinds
    }
    foreign = io.BytesIO()
    lines = iter(english(200).split("\n"))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=foreign, vocab_size=80, hard_vocab_limit=False, minloglevel=2
    )
    return {**{kind: one.files()["tokenizer.model"] for kind, one in own.items()}, "foreign": foreign.getvalue()}


def use_models(folder: Path, seeds: range, seconds: int) -> None:
    for kind, model in models().items():
        path = folder / f"{kind}.model"
        path.write_bytes(model)
        arguments = [sys.executable, "-c", USE_MODELS, str(path), str(seeds.start), str(seeds.stop), str(seconds)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (kind, done.stderr[-2000:])
        taken, megabytes = map(int, done.stdout.split())
        assert 0 < taken < len(seeds)
        assert megabytes < 300


def test_no_mutation_of_a_sentencepiece_model_crashes(tmp_path: Path) -> None:
    use_models(tmp_path, range(FEW), 20)


@pytest.mark.slow
def test_no_mutation_of_a_sentencepiece_model_of_thousands_crashes(tmp_path: Path) -> None:
    use_models(tmp_path, range(FEW, FEW + MANY), 200)


def test_a_model_that_makes_very_much_text_of_one_character_is_refused(tmp_path: Path) -> None:
    """sentencepiece would turn a line of a million characters into gigabytes."""
    import sentencepiece

    (tmp_path / "rules.tsv").write_text("61\t" + " ".join(["62"] * 300) + "\n")
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(english(20).split("\n")),
        model_writer=made,
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
        normalization_rule_tsv=str(tmp_path / "rules.tsv"),
    )
    with pytest.raises(ValueError, match="very much text"):
        SubwordTokenizer(made.getvalue())


def test_a_piece_that_is_no_text_is_refused_of_whatever_kind(trained: Callable[[str], Path]) -> None:
    model = mutations.fields_of((trained("subword") / "tokenizer.model").read_bytes())
    for number in (0, 1, 2, 100, 270):
        piece = mutations.fields_of(model[number][2])
        changed = [[1, 2, b"<\xff>"], *piece[1:]]
        pieces = [*model[:number], [1, 2, mutations.joined(changed)], *model[number + 1 :]]
        with pytest.raises(ValueError, match=r"sentencepiece model|codec"):
            SubwordTokenizer(mutations.joined(pieces))


@pytest.mark.parametrize("model", [b"\x08", b"\x0b\x01", b"\x1a\x05abc", b"\xff" * 20, b"\x80" * 9], ids=bytes.hex)
def test_what_is_no_protocol_buffer_is_refused(model: bytes) -> None:
    with pytest.raises(ValueError, match="not a sentencepiece model"):
        check_model(model)


# Sizes, before anything is allocated


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 10**12},
        {"hidden_size": 65536, "embedding_size": 65536, "num_layers": 64},
        {"vocab_size": 2**24, "embedding_size": 65536},
        {"num_layers": 10**9},
        {"cell": "lstm_mogrifier", "mogrifier_rounds": 10**9, "mogrifier_rank": 4},
        {"head_layers": 10**9, "head_size": 4},
        {"hidden_size": "24"},
        {"hidden_size": True},
        {"dropout": 0.1},
        {"direction": "backward"},
        {"cell": "tape"},
        {"cell": "lstm_projected"},
        {"wings": 2},
        {"kind": ["language-model"]},
    ],
    ids=str,
)
def test_a_network_that_no_settings_make_is_refused_at_once(
    change: dict[str, Any], trained: Callable[[str], Path], tmp_path: Path
) -> None:
    forgery = Forgery(trained("char"), tmp_path / "run")
    config = json.loads((forgery.run / "config.json").read_bytes())
    config["model"] |= change
    before, start = memory(), time.process_time()
    run = forgery.with_file("config.json", json.dumps(config).encode())
    with pytest.raises(RunError, match=r"config\.json"):
        charlm.load(run)
    assert memory() - before < 50 << 20
    assert time.process_time() - start < MAX_SECONDS


def test_a_file_that_is_larger_than_its_network_is_not_read(trained: Callable[[str], Path], tmp_path: Path) -> None:
    forgery = Forgery(trained("char"), tmp_path / "run")
    with (forgery.run / "best.safetensors").open("r+b") as file:
        file.truncate(1 << 34)
    before = memory()
    with pytest.raises(RunError, match="more than"):
        charlm.load(forgery.run).score("a")
    assert memory() - before < 50 << 20


@pytest.mark.parametrize("name", ["config.json", "MANIFEST.json", "tokenizer.json", "metrics.jsonl"])
def test_a_file_of_gigabytes_is_not_read(name: str, trained: Callable[[str], Path], tmp_path: Path) -> None:
    forgery = Forgery(trained("char"), tmp_path / "run")
    with (forgery.run / name).open("r+b") as file:
        file.truncate(1 << 34)
    before = memory()
    assert not all(one.ok for one in verify(forgery.run))
    assert memory() - before < 100 << 20


# What a file is


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
@pytest.mark.parametrize(
    "name", ["config.json", "MANIFEST.json", "tokenizer.json", "best.safetensors", "metrics.jsonl", "corpus/train.ids"]
)
def test_what_is_no_regular_file_is_refused_by_name(
    kind: str, name: str, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    path = Forgery(trained("char"), tmp_path / "run").run / name
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    damaged = [one.detail for one in verify(tmp_path / "run") if not one.ok]
    assert any(name in detail for detail in damaged)


def test_a_tokenizer_that_a_person_names_may_be_a_link(trained: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "mine.json").symlink_to(trained("char") / "tokenizer.json")
    (tmp_path / "mine.model").symlink_to(trained("subword") / "tokenizer.model")
    assert load_tokenizer(tmp_path / "mine.json").sha256() == load_tokenizer(trained("char")).sha256()
    assert load_tokenizer(tmp_path / "mine.model").vocab_size == load_tokenizer(trained("subword")).vocab_size


def test_a_run_may_be_a_link_and_its_corpus_may_not(trained: Callable[[str], Path], tmp_path: Path) -> None:
    forgery = Forgery(trained("char"), tmp_path / "run")
    (tmp_path / "link").symlink_to(forgery.run)
    assert all(one.ok for one in verify(tmp_path / "link"))
    assert use(tmp_path / "link") == ""
    (forgery.run / "corpus").rename(tmp_path / "elsewhere")
    (forgery.run / "corpus").symlink_to(tmp_path / "elsewhere")
    assert [one.file for one in verify(forgery.run) if not one.ok] == ["corpus/"]


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "corpus/train.ids", "..", ".", "", "a\0b", "a\\b"])
def test_a_manifest_names_no_file_elsewhere(name: str, trained: Callable[[str], Path], tmp_path: Path) -> None:
    run = Forgery(trained("char"), tmp_path / "run").run
    (tmp_path / "secret").write_text("secret")
    manifest = json.loads((run / "MANIFEST.json").read_bytes())
    (run / "MANIFEST.json").write_text(json.dumps({**manifest, name: manifest["config.json"]}) + "\n")
    with pytest.raises(RunError, match=r"MANIFEST\.json names"):
        charlm.load(run)


def test_symbols_that_are_no_symbols_are_refused(trained: Callable[[str], Path], tmp_path: Path) -> None:
    forgery = Forgery(trained("word"), tmp_path / "run")
    fields = json.loads((forgery.run / "tokenizer.json").read_bytes())
    for symbol in ("\ud800", "a\nb", "x" * 2000, 7, None, fields["symbols"][5]):
        changed = {**fields, "symbols": [*fields["symbols"][:-1], symbol]}
        with pytest.raises(RunError, match=r"tokenizer\.json"):
            load_tokenizer(forgery.with_file("tokenizer.json", json.dumps(changed).encode()))
        forgery.restore()


@pytest.mark.parametrize("number", [3e38, math.inf, math.nan])
@pytest.mark.parametrize("engine", list(ENGINES))
def test_weights_of_any_size_give_a_result_or_an_error(
    engine: str, number: float, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    """And no warning, which these tests take for an error."""
    run = RunDirectory(Forgery(trained("char"), tmp_path / "run").run)
    best = run.load(BEST)
    for name, array in best.tensors.items():
        changed = np.where(np.arange(array.size).reshape(array.shape) % 5 == 2, np.float32(number), array)
        run.save(BEST, Weights({**best.tensors, name: changed}, best.step, best.scalars))
        lm = charlm.load(run.path, engine=engine)
        for use_it in (
            lambda lm=lm: lm.score("the sea", per_token=True),
            lambda lm=lm: lm.sample("a", length=8, seed=1),
            lambda: inspect_states(run.path, "the sea", neuron=1),
            lambda: inspect_embeddings(run.path, ["a"]),
        ):
            with suppress(RunError, DivergedError):
                use_it()


def test_weights_of_another_network_are_refused(trained: Callable[[str], Path], tmp_path: Path) -> None:
    forgery = Forgery(trained("char"), tmp_path / "run")
    config = json.loads((forgery.run / "config.json").read_bytes())
    config["model"]["hidden_size"] += 1
    (forgery.run / "config.json").write_text(json.dumps(config) + "\n")
    reseal(forgery.run)
    assert RunDirectory(forgery.run).load(BEST)
    with pytest.raises(RunError, match=r"(?s)layers\.0\..* is float32 .*best\.safetensors"):
        charlm.load(forgery.run).score("a")
