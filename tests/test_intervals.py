"""Confidence intervals by the bootstrap: right, repeatable, and the same in whatever order the examples come."""

import math

import numpy as np
import pytest

from charlm.evaluation.bootstrap import figure, interval, interval_of_counts, share, share_of


def test_an_interval_depends_on_the_seed_and_not_on_the_order_of_examples() -> None:
    statistics = np.random.default_rng(3).random((50, 2)) + np.array([0, 1])
    first = interval(statistics, share_of)
    assert interval(statistics, share_of) == interval(statistics[::-1], share_of) == first
    assert interval(statistics, share_of, seed=2) != first


def test_an_interval_is_that_of_examples_drawn_one_by_one() -> None:
    generator = np.random.default_rng(5)
    statistics = np.stack([generator.integers(0, 9, 60), generator.integers(1, 20, 60)], axis=1)
    drawn = [statistics[generator.integers(0, 60, 60)].sum(axis=0) for _ in range(4000)]
    expected = np.quantile([right / total for right, total in drawn], [0.025, 0.975])
    assert interval(statistics, share_of, samples=4000) == pytest.approx(expected, abs=0.01)


def test_equal_examples_can_be_counted_instead() -> None:
    rows, counts = np.array([[0, 1], [1, 1], [2, 3]]), np.array([4, 30, 7])
    counted = interval_of_counts(counts, lambda drawn: share_of(drawn @ rows))
    assert counted == interval(rows.repeat(counts, axis=0), share_of)


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    generator = np.random.default_rng(0)
    figures = [share(int(generator.binomial(100, 0.7)), 100, seed) for seed in range(200)]
    assert 0.90 <= np.mean([each.low <= 0.7 <= each.high for each in figures]) <= 0.99


def test_more_examples_make_an_interval_narrower() -> None:
    widths = [each.high - each.low for each in (share(7 * many, 10 * many) for many in (1, 10, 100, 1000))]
    assert widths == sorted(widths, reverse=True)
    assert widths[1] == pytest.approx(10 * widths[3], rel=0.15)  # the width falls with the root of the number


def test_many_blocks_of_samples_are_as_good_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from charlm.evaluation import bootstrap

    statistics = np.random.default_rng(1).random((40, 2)) + np.array([0, 1])
    whole = interval(statistics, share_of)
    monkeypatch.setattr(bootstrap, "MAX_DRAWN", 3 * 40)
    assert interval(statistics, share_of) == pytest.approx(whole, abs=1e-12)


def test_a_metric_that_is_not_defined_is_nan_and_null_in_json() -> None:
    undefined = figure(np.array([[0, 0]]), share_of, 0)
    assert math.isnan(undefined.value)
    assert undefined.as_json("accuracy") == {
        "accuracy": None,
        "accuracy_interval": [None, None],
        "accuracy_count": 0,
    }
