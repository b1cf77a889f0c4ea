"""A tokenizer can be used by several threads at once, pickled and copied, whatever its unit."""

import copy
import pickle
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from charlm.settings import TextSettings
from charlm.text import words
from charlm.text.tokenizer import Tokenizer, build_tokenizer

SETTINGS = {
    "char": TextSettings(unit="char"),
    "char, lowercase": TextSettings(unit="char", lowercase=True),
    "byte": TextSettings(unit="byte"),
    "word": TextSettings(unit="word", vocab_size=40),
    "word, whitespace": TextSettings(unit="word", split="whitespace", vocab_size=40),
    "word, no punctuation": TextSettings(unit="word", punctuation="drop", lowercase=True, vocab_size=40),
    "subword": TextSettings(unit="subword"),
}
NUM_THREADS = 6
COPIES: dict[str, Callable[[Tokenizer], Tokenizer]] = {
    "pickle": lambda tokenizer: pickle.loads(pickle.dumps(tokenizer)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def text_of_words(seed: int, num_words: int) -> str:
    """Words that are in the vocabulary, and words and characters that are not, in lines."""
    rng = np.random.default_rng(seed)
    endings = [" ", " ", ", ", ".\n", "  "]
    return "".join(
        f"{'Éa東'[number % 3]}{number}{endings[number % len(endings)]}" for number in rng.integers(0, 400, num_words)
    )


def make(kind: str) -> Tokenizer:
    return build_tokenizer(SETTINGS[kind], [text_of_words(0, 500)])


def results(tokenizer: Tokenizer, texts: list[str]) -> list[tuple[object, ...]]:
    """All that a tokenizer says of each text."""
    return [tuple(all_results(tokenizer, text)) for text in texts]


def all_results(tokenizer: Tokenizer, text: str) -> Iterator[object]:
    encoded, counted = tokenizer.encode_detailed(text), tokenizer.encode_counted(text.encode())
    yield encoded.ids.tolist(), encoded.unknown, encoded.characters, encoded.bytes
    yield counted.ids.tolist(), *list(vars(counted).values())[1:]
    yield tokenizer.encode(text).tolist()
    yield tokenizer.tokens(text[:300])
    yield tokenizer.decode(encoded.ids)
    yield tokenizer.normalise(text)


@pytest.fixture
def threads_take_turns_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("max_remembered", [30, words.MAX_REMEMBERED])
def test_threads_that_share_a_tokenizer_get_what_one_thread_gets(
    kind: str, max_remembered: int, threads_take_turns_often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "MAX_REMEMBERED", max_remembered)  # with 30, what is remembered is often forgotten
    texts = [text_of_words(seed, 400) for seed in range(NUM_THREADS)]
    expected, shared, together = results(make(kind), texts), make(kind), Barrier(NUM_THREADS)

    def use(thread: int) -> None:
        together.wait()
        for turn in range(len(texts)):
            number = (thread // 2 + turn) % len(texts)  # two threads at a time have the same new words
            assert results(shared, [texts[number]]) == [expected[number]]

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        for done in [pool.submit(use, thread) for thread in range(NUM_THREADS)]:
            done.result()


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("used", [False, True])
def test_a_copy_is_the_same_tokenizer(kind: str, way: str, used: bool) -> None:
    tokenizer, text = make(kind), text_of_words(1, 50)
    expected = results(tokenizer if used else make(kind), [text])
    again = COPIES[way](tokenizer)
    assert type(again) is type(tokenizer)
    assert results(again, [text]) == expected
    assert again.sha256() == tokenizer.sha256()
    assert again.files() == tokenizer.files()
    fields = ("unit", "vocab_size", "eos_id", "unk_id", "lossless", "needs_lines")
    assert all(getattr(again, name) == getattr(tokenizer, name) for name in fields)
    assert results(tokenizer, [text]) == expected


@pytest.mark.parametrize("kind", ["word", "subword"])
def test_a_pickled_tokenizer_is_about_as_large_as_its_files_however_much_it_was_used(kind: str) -> None:
    tokenizer = make(kind)
    results(tokenizer, [text_of_words(1, 2000)])
    assert len(pickle.dumps(tokenizer)) < 1000 + 2 * sum(map(len, tokenizer.files().values()))
