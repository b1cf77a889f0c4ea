"""The plain models of labelled data learn something, and read the forms of the corpora."""

import random
from pathlib import Path

import pytest

from benchmarks.plain_tasks import Pair, Unit, answers, figures, make_model, read_pairs, train

LETTERS = "abcd"
WORDS = {"Anna": "B-PER", "Maria": "B-PER", "Lund": "B-PER", "Oslo": "B-LOC", "met": "O", "saw": "O", "again": "O"}


def made_up(task: str, number: int) -> list[Pair]:
    """Texts and whether `a` stands in them; words with their tags; texts and the same in other symbols."""
    drawn = random.Random(number)
    if task == "tag":
        sentences = [drawn.choices([*WORDS], k=4) for _ in range(number)]
        return [(words, [WORDS[word] for word in words]) for words in sentences]
    texts = ["".join(drawn.choices(LETTERS, k=drawn.randint(1, 3))) for _ in range(number)]
    if task == "classify":
        return [(text, ["with" if "a" in text else "without"]) for text in texts]
    return [(text, [letter.upper() for letter in text]) for text in texts]


@pytest.mark.parametrize(
    ("task", "passes", "figure", "low", "high"),
    [
        ("classify", 6, "accuracy", 0.9, 1),
        ("tag", 0.5, "entity F1", 0.8, 1),
        ("translate", 10, "word error rate", 0, 0.3),
    ],
)
def test_each_model_learns(task: str, passes: float, figure: str, low: float, high: float) -> None:
    rows, test = made_up(task, 320), made_up(task, 50)
    model = make_model(task, rows, "char", "word", seed=1)
    assert train(model, rows, seed=1, passes=passes) == passes
    found = figures(task, test, answers(model, test), "word")[figure]
    assert low <= found.value <= high
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize(
    ("task", "text", "units", "pairs"),
    [
        ("classify", 'x\tit\'s "so"\ny\tb\n', ("word", "char"), [(["it's", '"so"'], ["x"]), (["b"], ["y"])]),
        ("tag", "Oslo\tB\n\t\nin\tO\nit\tO\n\n", ("char", "char"), [(["Oslo"], ["B"]), (["in", "it"], ["O", "O"])]),
        ("translate", "ab\tɑ b\n", ("char", "word"), [(["a", "b"], ["ɑ", "b"])]),
    ],
)
def test_rows_are_read(tmp_path: Path, task: str, text: str, units: tuple[Unit, Unit], pairs: list[Pair]) -> None:
    (tmp_path / "rows").write_text(text, "utf-8")
    assert read_pairs(task, tmp_path / "rows", None, *units) == pairs


def test_parallel_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "de").write_text("ein Hund\neine Katze\n", "utf-8")
    (tmp_path / "en").write_text("a dog\na cat\n", "utf-8")
    pairs = read_pairs("translate", tmp_path / "de", tmp_path / "en", "word", "word")
    assert pairs == [(["ein", "Hund"], ["a", "dog"]), (["eine", "Katze"], ["a", "cat"])]
