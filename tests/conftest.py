"""A small corpus, and tiny models trained on it once a session."""

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

import charlm
from charlm.api import LanguageModel

# A shell ignores Ctrl-C for what it starts in the background; the tests that send it are not to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The workers share the processors: with two threads each they wait for each other, and the suite takes seven times as
# long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CHARLM_THREADS", "1")
# Else each command that a test starts in a process of its own would compile charlm once more.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# The same examples each time, and no stopwatch: a suite that fails by chance or by load is believed by nobody.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

SUBJECTS = ("the cat", "a dog", "my old friend", "the café", "she", "the captain", "nobody here")
VERBS = ("sees", "likes", "doesn't hear", "follows", "remembers", "asks for")
OBJECTS = ("the sea", "two apples", "a small house", "the pear", "what you said", "her crème brûlée", "it")
ENDS = (".", ".", ".", "!", "?", "; that is all.", ", as always.")
TINY = {
    "hidden_size": 24,
    "embedding_size": 10,
    "num_layers": 1,
    "dropout": 0.1,
    "bptt": 17,
    "batch_size": 5,
    "warmup_steps": 3,
    "learning_rate": 0.02,
    "precision": "float32",
    "threads": 1,
    "device": "cpu",
}
UNITS = {
    "char": {"steps": 60},
    "byte": {"steps": 40},
    "word": {"steps": 40, "vocab_size": 60},
    "subword": {"steps": 40, "vocab_size": 300},
}


def english(lines: int, seed: int = 1) -> str:
    """Lines of made-up English, an empty one now and then."""
    rng = random.Random(seed)
    parts = (SUBJECTS, VERBS, OBJECTS)
    sentences = [" ".join(rng.choice(part) for part in parts).capitalize() + rng.choice(ENDS) for _ in range(lines)]
    return "".join(f"{sentence}\n" if rng.random() > 0.05 else "\n" for sentence in sentences)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 7 KB of text; not to be changed."""
    path = tmp_path_factory.mktemp("corpus") / "english.txt"
    path.write_bytes(english(210).encode())
    return path


@pytest.fixture(scope="session")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run of a tiny model by unit, trained when first asked for; not to be changed."""
    folder = tmp_path_factory.mktemp("trained") / "runs"
    runs: dict[str, Path] = {}

    def run(unit: str) -> Path:
        if unit not in runs:
            runs[unit] = Path(charlm.train(corpus, run=str(folder / unit), unit=unit, **TINY, **UNITS[unit]).run)
        return runs[unit]

    return run


@pytest.fixture(scope="session")
def models(trained: Callable[[str], Path]) -> Callable[[str], LanguageModel]:
    """The tiny models themselves, by unit."""
    loaded: dict[str, LanguageModel] = {}

    def model(unit: str) -> LanguageModel:
        return loaded.setdefault(unit, charlm.load(trained(unit)))

    return model


@pytest.fixture(scope="session")
def lm(models: Callable[[str], LanguageModel]) -> LanguageModel:
    """The tiny character model."""
    return models("char")


@pytest.fixture(params=list(UNITS))
def any_lm(request: pytest.FixtureRequest, models: Callable[[str], LanguageModel]) -> LanguageModel:
    """Each of the tiny models."""
    return models(request.param)


Once = Callable[[str, Callable[[], object]], None]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(name, make)` puts into the current folder what `make` makes there, which is called once a session.

    What was in the folder when it was called is kept too. Tests may change what they get: it is a copy.
    """
    kept = tmp_path_factory.mktemp("once")

    def fill(name: str, make: Callable[[], object]) -> None:
        if (kept / name).exists():
            shutil.copytree(kept / name, ".", symlinks=True, dirs_exist_ok=True)
        else:
            make()
            shutil.copytree(".", kept / name, symlinks=True)

    return fill


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """No test loses power, and waiting until a disk has what was written takes longer than most trainings here.

    That all is synced, and in which order, is what `tests/torture` and the tests that replace `os.fsync` look at.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
