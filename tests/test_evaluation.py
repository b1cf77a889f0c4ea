"""The metrics of predictions: by hand, against other packages where they are there, and what must hold for any data."""

import random
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import TextError, UsageError
from charlm.evaluation.bleu import bleu, bleu_of, bleu_statistics, chrf, chrf_of, chrf_statistics
from charlm.evaluation.bootstrap import Figure
from charlm.evaluation.classification import (
    confusion,
    evaluate_classification,
    evaluate_label_sets,
)
from charlm.evaluation.edit_distance import edit_distance
from charlm.evaluation.matches import Matches
from charlm.evaluation.tagging import evaluate_entities, evaluate_tagging
from charlm.evaluation.translation import evaluate_translation
from charlm.text.tag_schemes import PLAIN, SCHEMES
from tests.conlleval import conlleval

BIO, IOBES = SCHEMES["BIO"], SCHEMES["IOBES"]
needs_sacrebleu = pytest.mark.skipif(find_spec("sacrebleu") is None, reason="needs the extra eval")
LABELS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=40)


def approx(value: float) -> object:
    return pytest.approx(value, abs=1e-12)


def holds(found: Figure) -> bool:
    return found.low <= found.value <= found.high


# Classification

TRUTH, PREDICTED = list("aaaabbbccd"), list("aaabbbcace")


def test_a_classifier_s_figures_by_hand() -> None:
    report = evaluate_classification(TRUTH, PREDICTED)
    assert report.confusion is not None
    assert report.confusion.labels == tuple("abcde")
    assert report.confusion.matrix().tolist() == [
        [3, 1, 0, 0, 0],
        [0, 2, 1, 0, 0],
        [1, 0, 1, 0, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
    ]
    assert (report.accuracy.value, report.accuracy.count) == (0.6, 10)
    assert report.matches["a"] == Matches(3, 4, 4)
    assert (report.matches["b"].precision, report.matches["b"].recall) == (2 / 3, 2 / 3)
    assert (report.matches["d"].precision, report.matches["d"].recall, report.matches["d"].f1) == (0, 0, 0)
    assert report.macro_f1.value == approx((3 / 4 + 2 / 3 + 1 / 2 + 0 + 0) / 5)
    assert report.coverage is None


def test_a_label_that_never_occurs_does_not_count_for_macro_f1() -> None:
    with_more = evaluate_classification(TRUTH, PREDICTED, labels=["z", "b"])
    assert list(with_more.matches) == ["z", "b", "a", "c", "d", "e"]
    assert with_more.macro_f1.value == evaluate_classification(TRUTH, PREDICTED).macro_f1.value


@given(LABELS)
@settings(max_examples=50, deadline=None)
def test_a_classifier_s_figures_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    truth, predicted = zip(*pairs, strict=True)
    report = evaluate_classification(truth, predicted)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(truth, predicted, zero_division=0)
    rows = [(each.precision, each.recall, each.f1, each.num_true) for each in report.matches.values()]
    assert np.allclose(rows, np.stack([precision, recall, f1, support], axis=1))
    assert report.macro_f1.value == approx(metrics.f1_score(truth, predicted, average="macro", zero_division=0))
    assert report.accuracy.value == approx(metrics.accuracy_score(truth, predicted))


@given(LABELS, st.randoms())
@settings(max_examples=10, deadline=None)
def test_the_order_of_examples_changes_nothing(pairs: list[tuple[str, str]], rng: random.Random) -> None:
    shuffled = rng.sample(pairs, len(pairs))
    reports = [evaluate_classification(*zip(*each, strict=True)) for each in (pairs, shuffled)]
    assert reports[0].as_json() == reports[1].as_json()
    assert all(map(holds, (reports[0].accuracy, reports[0].macro_f1)))
    sets = [evaluate_label_sets(*zip(*each, strict=True)) for each in (pairs, shuffled)]
    assert sets[0].as_json() == sets[1].as_json()


def test_unanswered_examples_count_for_coverage_alone() -> None:
    report = evaluate_classification(["a", "a", "b", "b", "a"], ["a", None, "a", None, "a"])
    assert report.coverage is not None
    assert (report.coverage.value, report.coverage.count) == (0.6, 5)
    assert (report.accuracy.value, report.accuracy.count) == (2 / 3, 3)
    assert report.matches["b"] == Matches(0, 0, 1)


def test_a_classifier_that_answers_nothing_has_no_accuracy() -> None:
    fields = evaluate_classification(["a", "b"], [None, None]).as_json()
    assert fields["accuracy"] is fields["macro_f1"] is None
    assert list(fields["labels"]) == ["a", "b"]
    assert (fields["coverage"], fields["coverage_interval"]) == (0.0, [0.0, 0.0])


SETS = st.lists(st.tuples(*[st.frozensets(st.sampled_from("abcd"))] * 2), min_size=1, max_size=20)


def test_figures_of_label_sets_by_hand() -> None:
    truth, predicted = [{"a", "b"}, {"b"}, set(), {"a"}], [{"a"}, {"b"}, set(), {"a", "c"}]
    report = evaluate_label_sets(truth, predicted)
    assert (report.accuracy.value, report.accuracy.count) == (0.5, 4)
    assert report.matches == {"a": Matches(2, 2, 2), "b": Matches(1, 1, 2), "c": Matches(0, 1, 0)}
    assert report.micro_f1 is not None
    assert report.micro_f1.value == approx(2 * 3 / (4 + 4))
    assert report.macro_f1.value == approx((1 + 2 / 3 + 0) / 3)
    assert report.confusion is None


@given(SETS)
@settings(max_examples=50, deadline=None)
def test_figures_of_label_sets_are_those_of_scikit_learn(pairs: list[tuple[frozenset[str], frozenset[str]]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    occurring = sorted({label for pair in pairs for each in pair for label in each})
    if not occurring:
        return
    truth, predicted = ([[label in pair[side] for label in occurring] for pair in pairs] for side in (0, 1))
    report = evaluate_label_sets(*zip(*pairs, strict=True))
    assert report.micro_f1 is not None
    for found, average in ((report.micro_f1, "micro"), (report.macro_f1, "macro")):
        assert found.value == approx(metrics.f1_score(truth, predicted, average=average, zero_division=0))
        assert holds(found)
    assert report.accuracy.value == approx(metrics.accuracy_score(truth, predicted))


def test_sets_of_one_label_each_have_the_figures_of_single_labels() -> None:
    one, sets = evaluate_classification(TRUTH, PREDICTED), evaluate_label_sets(TRUTH, PREDICTED)
    assert (sets.accuracy, sets.macro_f1, sets.matches) == (one.accuracy, one.macro_f1, one.matches)
    assert sets.micro_f1 is not None
    assert sets.micro_f1.value == approx(one.accuracy.value)


# Tagging

TAGS = st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y", "S-Y"])
TAGGED = st.lists(st.lists(st.tuples(TAGS, TAGS), max_size=9), min_size=1, max_size=9).filter(any)


def sides(tagged: Sequence[Sequence[tuple[str, str]]]) -> tuple[list[list[str]], list[list[str]]]:
    return [[true for true, _ in each] for each in tagged], [[guessed for _, guessed in each] for each in tagged]


def test_a_tagger_s_figures_by_hand() -> None:
    truth = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-PER", "B-ORG", "I-ORG"], ["O"]]
    predicted = [["B-PER", "I-PER", "O", "B-ORG"], ["O", "B-PER", "B-ORG", "O"], ["B-LOC"]]
    report = evaluate_tagging(truth, predicted, BIO)
    assert (report.accuracy.value, report.accuracy.count) == (6 / 9, 9)
    assert report.entities is not None
    assert report.entities.matches == {"LOC": Matches(0, 1, 1), "ORG": Matches(0, 2, 1), "PER": Matches(2, 2, 2)}
    assert (report.entities.precision.value, report.entities.precision.count) == (2 / 5, 5)
    assert (report.entities.recall.value, report.entities.recall.count) == (2 / 4, 4)
    assert report.entities.f1.value == approx(4 / 9)
    assert report.confusion.num_examples == 9


@given(TAGGED)
@settings(max_examples=100, deadline=None)
def test_entities_are_counted_as_conlleval_does(tagged: list[list[tuple[str, str]]]) -> None:
    truth, predicted = sides(tagged)
    figures = evaluate_entities(truth, predicted, IOBES)
    num_right, num_predicted, num_true = conlleval(zip(truth, predicted, strict=True))
    assert (figures.precision.count, figures.recall.count) == (num_predicted, num_true)
    assert figures.precision.value == approx(num_right / num_predicted if num_predicted else 0)
    assert figures.recall.value == approx(num_right / num_true if num_true else 0)
    assert figures.f1.value == approx(2 * num_right / (num_predicted + num_true) if num_predicted + num_true else 0)
    assert sum(each.num_right for each in figures.matches.values()) == num_right
    assert all(map(holds, (figures.precision, figures.recall, figures.f1)))


@given(TAGGED)
@settings(max_examples=30, deadline=None)
def test_precision_and_recall_change_places_with_truth_and_prediction(tagged: list[list[tuple[str, str]]]) -> None:
    truth, predicted = sides(tagged)
    figures, exchanged = (evaluate_entities(*each, IOBES) for each in ((truth, predicted), (predicted, truth)))
    assert figures.precision.value == exchanged.recall.value
    assert figures.recall.value == exchanged.precision.value
    assert figures.f1.value == exchanged.f1.value


def test_plain_tags_have_no_entities() -> None:
    report = evaluate_tagging([["DET", "NOUN"]], [["DET", "VERB"]], PLAIN)
    assert report.entities is None
    assert "entity_f1" not in report.as_json()
    assert report.as_json()["accuracy"] == 0.5


def test_sentences_are_drawn_whole() -> None:
    """Tokens that are right or wrong sentence by sentence say less than as many tokens on their own."""
    in_sentences = evaluate_tagging([["A"] * 20] * 30, [["A"] * 20] * 15 + [["B"] * 20] * 15, PLAIN).accuracy
    on_their_own = evaluate_tagging([["A"]] * 600, [["A"]] * 300 + [["B"]] * 300, PLAIN).accuracy
    assert in_sentences.value == on_their_own.value
    assert in_sentences.high - in_sentences.low > 3 * (on_their_own.high - on_their_own.low)


# Translation


def slow_distance(first: Sequence[str], second: Sequence[str]) -> int:
    row = list(range(len(second) + 1))
    for place, symbol in enumerate(first, 1):
        above, row = row, [place]
        for column, other in enumerate(second, 1):
            row.append(min(above[column] + 1, row[-1] + 1, above[column - 1] + (symbol != other)))
    return row[-1]


WORDS = st.text("abc", max_size=12) | st.text("ab", min_size=60, max_size=140)


@given(WORDS, WORDS)
def test_the_edit_distance_is_that_of_the_whole_table(first: str, second: str) -> None:
    assert edit_distance(first, second) == slow_distance(first, second)


@given(WORDS, WORDS, WORDS)
def test_the_edit_distance_is_a_metric(first: str, second: str, third: str) -> None:
    assert (edit_distance(first, second) == 0) == (first == second)
    assert edit_distance(first, second) == edit_distance(second, first)
    assert edit_distance(first, third) <= edit_distance(first, second) + edit_distance(second, third)


def test_error_rates_by_hand() -> None:
    report = evaluate_translation(
        ["K AE T", "D AO G", "F IH SH"], ["K AE T", "D AA", "F IH SH  "], True, with_bleu=False
    )
    assert (report.accuracy.value, report.word_error_rate.value) == (approx(2 / 3), approx(1 / 3))
    assert (report.symbol_error_rate.value, report.symbol_error_rate.count) == (approx(2 / 9), 9)
    in_characters = evaluate_translation(["cat", "dog", ""], ["cat", "dxgs", "y"], False, with_bleu=False)
    assert (in_characters.symbol_error_rate.value, in_characters.symbol_error_rate.count) == (approx(3 / 6), 6)


def test_without_symbols_there_is_no_symbol_error_rate() -> None:
    report = evaluate_translation(["", " "], ["", "a"], True, with_bleu=False)
    assert report.as_json()["symbol_error_rate"] is None
    assert report.as_json()["word_error_rate"] == 0.5


def english(count: int, rng: random.Random) -> list[str]:
    words = ["the", "a", "cat", "dog's", "house,", "over", ".", "run", "Running", "isn't", "«mat»", "12.5", "naïve"]
    return [" ".join(rng.choices(words, k=rng.randrange(25))) for _ in range(count)]


def noisy(text: str, rng: random.Random) -> str:
    return " ".join(word for word in text.split() if rng.random() < 0.8) + rng.choice(["", " mat", "."])


@needs_sacrebleu
@pytest.mark.parametrize("is_split", [True, False])
@pytest.mark.parametrize("count", [1, 2, 150])
def test_bleu_and_chrf_are_those_of_sacrebleu(count: int, is_split: bool) -> None:
    from sacrebleu.metrics import BLEU, CHRF

    rng = random.Random(count)
    references = english(count, rng)
    outputs = [noisy(reference, rng) for reference in references]
    filled = [reference or " " for reference in references]
    tokenizer = "none" if is_split else "13a"
    whole = BLEU(tokenize=tokenizer, force=True)
    expected = whole.corpus_score(outputs, [filled]).score
    found = bleu(references, outputs, is_split)
    assert found.figure.value == expected
    assert holds(found.figure)
    assert found.signature == str(whole.get_signature())
    assert float(bleu_of(bleu_statistics(references, outputs, tokenizer).sum(axis=0))) == approx(expected)
    expected = CHRF().corpus_score(outputs, [filled]).score
    assert chrf(references, outputs).figure.value == expected
    assert float(chrf_of(chrf_statistics(references, outputs).sum(axis=0))) == approx(expected)


@needs_sacrebleu
def test_an_interval_of_bleu_is_that_of_sentences_drawn_again() -> None:
    from sacrebleu.metrics import BLEU, CHRF

    rng = random.Random(4)
    references = english(40, rng)
    references = [reference or "mat" for reference in references]
    outputs = [noisy(reference, rng) for reference in references]
    for metric, found in (
        (BLEU(tokenize="none", force=True), bleu(references, outputs, True)),
        (CHRF(), chrf(references, outputs)),
    ):
        scores = []
        for _ in range(120):
            drawn = rng.choices(range(40), k=40)
            scores.append(
                metric.corpus_score([outputs[place] for place in drawn], [[references[place] for place in drawn]]).score
            )
        expected = np.quantile(scores, [0.025, 0.975])
        assert [found.figure.low, found.figure.high] == pytest.approx(expected, abs=0.25 * (expected[1] - expected[0]))


def test_without_sacrebleu_bleu_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(UsageError, match=r"pip install 'charlm\[eval\]'"):
        evaluate_translation(["a"], ["a"], True)
    assert evaluate_translation(["a"], ["a"], True, with_bleu=False).bleu is None


# All kinds


@needs_sacrebleu
def test_perfect_predictions_have_perfect_figures() -> None:
    labels, tags = list("abcab"), [["B-X", "I-X", "O"], ["B-Y"]]
    texts = ["the cat sat on the mat", "a dog ran away quickly"]
    classified, tagged = evaluate_classification(labels, labels), evaluate_tagging(tags, tags, BIO)
    translated = evaluate_translation(texts, texts, True)
    assert tagged.entities is not None
    assert translated.bleu is not None
    assert translated.chrf is not None
    for perfect in (classified.accuracy, classified.macro_f1, tagged.accuracy, tagged.entities.f1, translated.accuracy):
        assert (perfect.value, perfect.low, perfect.high) == (1, 1, 1)
    assert translated.word_error_rate.value == translated.symbol_error_rate.value == 0
    assert translated.bleu.figure.value == approx(100)
    assert translated.chrf.figure.value == approx(100)


@needs_sacrebleu
def test_json_has_a_number_an_interval_and_a_count_for_each_figure() -> None:
    reports = {
        ("accuracy", "macro_f1"): evaluate_classification(TRUTH, PREDICTED),
        ("accuracy", "macro_f1", "micro_f1"): evaluate_label_sets(TRUTH, PREDICTED),
        ("accuracy", "entity_f1", "entity_precision", "entity_recall"): evaluate_tagging(
            [["B-X", "O"]], [["B-X", "B-X"]], BIO
        ),
        ("accuracy", "word_error_rate", "symbol_error_rate", "bleu", "chrf"): evaluate_translation(
            ["a b", "c d"], ["a b", "d"], True
        ),
    }
    for keys, report in reports.items():
        fields = report.as_json()
        assert [key.removesuffix("_interval") for key in fields if key.endswith("_interval")] == list(keys)
        for key in keys:
            low, high = fields[f"{key}_interval"]
            assert low <= fields[key] <= high
            assert isinstance(fields[f"{key}_count"], int)


def test_nothing_to_evaluate_is_an_error_of_the_data() -> None:
    for evaluate in (
        lambda: evaluate_classification([], []),
        lambda: evaluate_label_sets([], []),
        lambda: evaluate_tagging([[]], [[]], BIO),
        lambda: evaluate_translation([], [], True),
    ):
        with pytest.raises(TextError, match="no examples"):
            evaluate()


def test_as_many_predictions_as_examples_are_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        evaluate_classification(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="zip"):
        evaluate_tagging([["O", "O"]], [["O"]], BIO)


def test_a_confusion_counts_every_pair() -> None:
    pairs = Counter(zip(TRUTH, PREDICTED, strict=True))
    counted = confusion(TRUTH, PREDICTED, ["c"])
    for row, true in enumerate(counted.labels):
        for column, guessed in enumerate(counted.labels):
            assert counted.matrix()[row, column] == pairs[true, guessed]
