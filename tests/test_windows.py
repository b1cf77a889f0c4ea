"""Windows cover the text, go on where they stopped, start over at line starts, and can be put back."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from charlm.corpus.windows import IGNORED, LineStarts, RareTypes, SentenceWindows, StreamWindows, Window
from tests.cases import slow

EOS, UNK = 0, 1
Ids = Any


def text_ids(lengths: Iterable[int], ended: bool = True) -> Ids:
    """Lines of so many tokens, each token but <eos> occurring once: its id is its place."""
    lines = [[EOS]] + [[1] * length + [EOS] for length in lengths]
    flat = np.array([id for line in lines for id in line])
    ids = np.where(flat == EOS, EOS, np.arange(len(flat)))
    return ids if ended else ids[:-1]


def without_rare(ids: Ids) -> RareTypes:
    return RareTypes(ids, int(ids.max()) + 1, EOS, None, 1)


@dataclass(frozen=True)
class Case:
    """A text and the windows' settings. At least one token more than a window, and no more windows than tokens."""

    ids: Ids
    batch_size: int
    bptt: int
    seed: int

    def streams(self, **changes: int) -> StreamWindows:
        seed = changes.get("seed", self.seed)
        return StreamWindows(self.ids, EOS, self.batch_size, self.bptt, seed, without_rare(self.ids))

    def sentences(self, **changes: int) -> SentenceWindows:
        seed = changes.get("seed", self.seed)
        return SentenceWindows(self.ids, EOS, self.batch_size, self.bptt, seed, without_rare(self.ids))


@st.composite
def cases(draw: st.DrawFn, shortest: int = 1) -> Case:
    lengths = draw(st.lists(st.integers(shortest, 15), min_size=1, max_size=40))
    ids = text_ids(lengths, draw(st.booleans()))
    batch_size, bptt = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    assume(bptt < len(ids) - 1 and batch_size * bptt <= len(ids) - 1)
    return Case(ids, batch_size, bptt, draw(st.integers(0, 2**63 - 1)))


def take(windows: Any, passes: int = 1) -> list[Window]:
    return [windows.next() for _ in range(passes * windows.windows_per_pass)]


def one_pass(windows: Any) -> list[Window]:
    """From the beginning of a pass to its end; sentence mode's passes differ in length."""
    before, taken = windows.position()["pass_and_step"], []
    assert before[1] == 0
    while windows.position()["pass_and_step"][0] == before[0]:
        taken.append(windows.next())
    return taken


def circle(ids: Ids) -> Ids:
    """The text twice: a stream that comes to its end may go on at its beginning."""
    return np.concatenate([ids, ids[1:]])


def starts_of(window: Window, num_tokens: int) -> list[int]:
    """The place in the text of each row's first input, from its first token that is no <eos>."""
    rows = np.concatenate([window.inputs, window.targets[:, -1:]], axis=1)
    columns = [int(np.flatnonzero(row > 0)[0]) for row in rows]
    return [int(row[column] - column) % num_tokens for row, column in zip(rows, columns, strict=True)]


def same(one: Window, other: Window) -> bool:
    parts = ("inputs", "targets", "reset")
    alike = all(np.array_equal(getattr(one, part), getattr(other, part)) for part in parts)
    if one.beside is None or other.beside is None:
        return alike and one.beside is other.beside
    return alike and same(one.beside, other.beside)


both_modes = pytest.mark.parametrize("mode", ["streams", "sentences"])


def prose(ended: bool = True) -> Case:
    """A longer text: 400 lines, some long ones."""
    rng = np.random.default_rng(3)
    return Case(text_ids(rng.integers(1, 60, 400).tolist(), ended), batch_size=7, bptt=11, seed=5)


# Stream mode


def times_seen(case: Case, windows: list[Window]) -> list[int]:
    """How often each token of the text was a target."""
    starts = (start for window in windows for start in starts_of(window, len(case.ids) - 1))
    seen = Counter((start + t) % (len(case.ids) - 1) for start in starts for t in range(case.bptt))
    return [seen[place] for place in range(len(case.ids) - 1)]


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_each_pass_covers_every_token_and_nearly_all_once(ended: bool, batch_size: int) -> None:
    case = Case(prose(ended).ids, batch_size, 11, 5)
    streams = case.streams()
    for _ in range(3):
        seen = times_seen(case, one_pass(streams))
        assert [place for place, times in enumerate(seen) if times == 0] == []
        assert sum(times == 1 for times in seen) >= 0.8 * len(seen)


@pytest.mark.parametrize("line", [30, 300, 4_000, 36_000])
@pytest.mark.parametrize(("batch_size", "bptt"), [(32, 64), (7, 35), (64, 16)])
def test_a_pass_is_as_long_as_the_text_and_its_streams_begin_spread_over_it_however_long_lines_are(
    line: int, batch_size: int, bptt: int
) -> None:
    case = Case(text_ids([line - 1] * (36_000 // line)), batch_size, bptt, 3)
    streams, num_tokens = case.streams(), len(case.ids) - 1
    first = one_pass(streams)
    assert len(first) == streams.windows_per_pass == pytest.approx(num_tokens / (batch_size * bptt), rel=0.1, abs=1)
    starts = starts_of(first[0], num_tokens)
    distances = np.diff([*starts, starts[0] + num_tokens])
    assert distances.min() > 0.9 * num_tokens / batch_size
    assert distances.max() < 1.1 * num_tokens / batch_size
    seen = np.array([times_seen(case, one_pass(streams)) for _ in range(6)])
    assert abs(seen.mean() - 1) < 0.1
    assert np.mean(seen.sum(axis=0) == 6) > 0.8
    assert seen.sum(axis=0).max() <= 2 * 6


@given(cases())
def test_streams_are_pieces_of_the_text_and_targets_are_the_next_inputs(case: Case) -> None:
    text = circle(case.ids)
    for window in take(case.streams(), passes=3):
        assert window.inputs.shape == window.targets.shape == (case.batch_size, case.bptt)
        places = starts_of(window, len(case.ids) - 1)
        for place, inputs, targets in zip(places, window.inputs, window.targets, strict=True):
            assert np.array_equal(inputs, text[place : place + case.bptt])
            assert np.array_equal(targets, text[place + 1 : place + 1 + case.bptt])


@given(cases())
def test_a_stream_goes_on_where_it_stopped(case: Case) -> None:
    windows, n = take(case.streams(), passes=3), len(case.ids) - 1
    assert windows[0].reset.all()
    next_starts = starts_of(windows[0], n)
    for window in windows:
        assert window is windows[0] or not window.reset.any()
        assert starts_of(window, n) == next_starts
        next_starts = [(start + case.bptt) % n for start in next_starts]


@given(cases())
def test_beside_a_window_stand_beginnings_of_lines(case: Case) -> None:
    text = circle(case.ids)
    for beside in (window.beside for window in take(case.streams(), passes=4) if window.beside):
        assert beside.reset.all()
        assert (beside.inputs[:, 0] == EOS).all()
        width = beside.inputs.shape[1]
        assert width <= case.bptt
        for place, inputs, targets in zip(
            starts_of(beside, len(case.ids) - 1), beside.inputs, beside.targets, strict=True
        ):
            assert np.array_equal(inputs, text[place : place + width])
            assert np.array_equal(targets, text[place + 1 : place + 1 + width])


@given(cases())
def test_a_loss_is_divided_by_the_mean_tokens_of_a_window(case: Case) -> None:
    streams = case.streams()
    mean = np.mean([window.num_tokens for window in take(streams, passes=3)])
    assert streams.tokens_per_window == pytest.approx(mean, rel=0.001)


@pytest.mark.parametrize(("batch_size", "bptt"), [(16, 128), (32, 35), (7, 11)])
def test_beginnings_are_one_token_in_twenty(batch_size: int, bptt: int) -> None:
    case = Case(text_ids([9] * 5000), batch_size, bptt, 1)
    windows = take(case.streams())
    beside = sum(window.beside.num_tokens for window in windows if window.beside)
    assert beside / sum(window.inputs.size for window in windows) == pytest.approx(0.05, rel=0.5)


def met_from_the_initial_state(case: Case, passes: int) -> Counter[int]:
    """How often each line's first input was that of a sequence which begins from the initial state."""
    windows = take(case.streams(), passes=passes)
    windows += [window.beside for window in windows if window.beside]
    firsts = (starts_of(window, len(case.ids) - 1) for window in windows)
    reset = (place for window, places in zip(windows, firsts, strict=True) for place in np.array(places)[window.reset])
    return Counter(int(place) for place in reset if case.ids[place] == EOS)


@pytest.mark.parametrize(
    "lengths",
    [
        [2, *[63] * 9] * 70,  # one line in ten is short
        [*[5] * 300, *[90] * 300],  # sorted by length
        [40, 1, 1, 120] * 150,  # a speech
        [3000, 5, 5, 5] * 12,
    ],
)
@pytest.mark.parametrize("batch_size", [4, slow(32)])
def test_each_line_is_met_from_the_initial_state_equally_often_whatever_its_length(
    lengths: list[int], batch_size: int
) -> None:
    case = Case(text_ids(lengths), batch_size, 16, 11)
    met = met_from_the_initial_state(case, passes=20)
    starts = np.flatnonzero(case.ids[:-1] == EOS).tolist()
    assert set(met) <= set(starts)
    counts = np.array([met[start] for start in starts])
    expected = counts.sum() / len(starts)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < len(starts) + 3 * np.sqrt(2 * len(starts))  # that of chance, and three of its deviations
    for length in set(lengths):  # and the lines of each length together have their share
        share = counts[np.array(lengths) == length].sum() / counts.sum()
        assert share == pytest.approx(lengths.count(length) / len(lengths), rel=0.15)


def test_a_text_of_one_line_is_not_read_over_and_over_from_its_start() -> None:
    case = Case(text_ids([5000], ended=False), 8, 16, 2)
    assert sum(met_from_the_initial_state(case, passes=10).values()) <= 1 + 10


@given(cases(), st.integers(1, 40))
def test_line_starts_are_found_by_their_number(case: Case, counted: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("charlm.corpus.windows.COUNTED", counted)
        starts = LineStarts(case.ids, EOS)
        places = [starts.place(number) for number in range(starts.count)]
    assert places == np.flatnonzero(case.ids[:-1] == EOS).tolist()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_text_without_line_ends_is_covered_too(batch_size: int) -> None:
    ids = text_ids([500], ended=False)
    case = Case(ids, batch_size, 9, 2)
    assert min(times_seen(case, take(case.streams(), passes=4))) >= 1


# Sentence mode


@dataclass(frozen=True)
class Read:
    """What a row read from its reset on: tokens that follow each other in the text."""

    first_input: int
    tokens: tuple[int, ...]


def read_by_rows(windows: list[Window]) -> list[Read]:
    """What one pass read, put together from the windows that it was read in."""
    beside = [window.beside for window in windows if window.beside]
    done: list[Read] = read_by_rows(beside) if beside else []
    firsts: list[int] = []
    rows: list[list[int]] = []
    for window in windows:
        assert window.reset.all() or not window.reset.any()
        if window.reset.all():
            done += [Read(first, tuple(row)) for first, row in zip(firsts, rows, strict=True)]
            firsts, rows = window.inputs[:, 0].tolist(), [[] for _ in window.reset]
        assert len(rows) == len(window.reset)
        for first, row, inputs, targets in zip(firsts, rows, window.inputs, window.targets, strict=True):
            read = targets[targets != IGNORED].tolist()
            assert targets[: len(read)].tolist() == read, "padding only behind a line"
            if read:
                assert inputs[: len(read)].tolist() == [row[-1] if row else first, *read[:-1]]
            row += read
    return done + [Read(first, tuple(row)) for first, row in zip(firsts, rows, strict=True)]


def lines_read(windows: list[Window]) -> list[tuple[int, ...]]:
    """The lines of one pass in the order in which they began; the pieces of a line that was cut are put to its end."""
    lines: list[tuple[int, ...]] = []
    by_last: dict[int, int] = {}
    read = read_by_rows(windows)
    for one in [one for one in read if one.first_input == EOS]:
        by_last[one.tokens[-1]] = len(lines)
        lines.append(one.tokens)
    for one in sorted((one for one in read if one.first_input != EOS), key=lambda one: one.first_input):
        at = by_last[one.first_input]
        lines[at] += one.tokens
        by_last[one.tokens[-1]] = at
    return lines


def lines_of(ids: Ids) -> list[tuple[int, ...]]:
    lines, line = [], []
    for id in ids[1:].tolist():
        line.append(id)
        if id == EOS:
            lines.append(tuple(line))
            line = []
    return lines + ([tuple(line)] if line else [])


@given(cases(shortest=0))
@settings(deadline=None)
def test_each_line_is_read_once_a_pass_with_its_eos_from_a_reset_state(case: Case) -> None:
    sentences = case.sentences()
    for _ in range(2):
        assert sorted(lines_read(one_pass(sentences))) == sorted(lines_of(case.ids))


@given(cases(shortest=0))
@settings(deadline=None)
def test_a_line_that_fits_in_a_window_is_read_whole_in_one(case: Case) -> None:
    whole = [one.tokens for one in read_by_rows(one_pass(case.sentences())) if one.first_input == EOS]
    short = [line for line in lines_of(case.ids) if len(line) <= case.bptt]
    assert sorted(set(short)) == sorted(set(short) & set(whole))


@pytest.mark.parametrize(
    "lengths",
    [
        [*[40] * 1000, 60_000],
        [60_000],
        [60_000, 30_000, *[20] * 50],
        [*[700] * 60, *[30] * 600, 9_000],
        [0, 60] * 400,
        [300] * 90,
        np.random.default_rng(1).integers(1, 900, 120).tolist(),
    ],
)
@pytest.mark.parametrize(("batch_size", "bptt"), [(16, 256), (5, 64), (32, 35)])
def test_a_pass_has_about_as_many_windows_as_the_text_fills_however_unlike_its_lines_are(
    lengths: list[int], batch_size: int, bptt: int
) -> None:
    case = Case(text_ids(lengths), batch_size, bptt, 3)
    windows, wanted = one_pass(case.sentences()), (len(case.ids) - 1) / (batch_size * bptt)
    assert len(windows) <= 1.25 * wanted + 3
    assert sum(window.num_tokens for window in windows) == len(case.ids) - 1


@pytest.mark.parametrize("short", [0, 2, 9])
def test_short_lines_are_dealt_out_evenly_among_the_windows_of_longer_ones(short: int) -> None:
    rng = np.random.default_rng(2)
    lengths = np.where(rng.random(2000) < 0.2, short, rng.integers(45, 75, 2000))
    windows = one_pass(Case(text_ids(lengths.tolist()), 16, 128, 3).sentences())
    beside = np.array([len(window.beside.inputs) if window.beside else 0 for window in windows])
    assert beside.sum() == np.count_nonzero(lengths == short)
    assert beside.max() - beside.min() <= 1


@given(cases(shortest=0))
def test_a_window_holds_no_more_tokens_than_asked_for_nor_longer_rows(case: Case) -> None:
    for window in take(case.sentences()):
        for one in (window, window.beside):
            if one is not None:
                assert one.inputs.shape == one.targets.shape
                assert one.inputs.shape[1] <= case.bptt
                assert one.inputs.size <= case.batch_size * case.bptt
                assert (one.targets != IGNORED).any()


def test_lines_of_like_length_share_a_window() -> None:
    windows = take(prose().sentences())
    padded = sum(int((window.targets == IGNORED).sum()) for window in windows)
    assert padded < 0.1 * sum(window.targets.size for window in windows)


def test_lines_are_shuffled_anew_each_pass() -> None:
    sentences = prose().sentences()
    first, second = lines_read(one_pass(sentences)), lines_read(one_pass(sentences))
    assert first != second
    assert sorted(first) == sorted(second)


# Both


@both_modes
@given(case=cases(), steps=st.integers(0, 40))
@settings(deadline=None)
def test_a_position_put_back_gives_the_same_windows(mode: str, case: Case, steps: int) -> None:
    straight, other = getattr(case, mode)(), getattr(case, mode)()
    for _ in range(steps):
        straight.next()
    position = {name: value.copy() for name, value in straight.position().items()}
    expected = [straight.next() for _ in range(12)]
    other.next()
    other.restore(position)
    assert all(same(other.next(), window) for window in expected)


@both_modes
@given(case=cases())
@settings(deadline=None)
def test_the_same_seed_gives_the_same_windows(mode: str, case: Case) -> None:
    first, again = (take(getattr(case, mode)(), passes=2) for _ in range(2))
    assert all(same(one, other) for one, other in zip(first, again, strict=True))


@both_modes
def test_another_seed_and_another_pass_give_other_windows(mode: str) -> None:
    case = prose()
    windows = getattr(case, mode)()
    first, second, other = one_pass(windows), one_pass(windows), one_pass(getattr(case, mode)(seed=case.seed + 1))
    assert not all(same(one, another) for one, another in zip(first, second, strict=False))
    assert not all(same(one, another) for one, another in zip(first, other, strict=False))


# Rare types


def zipfian(size: int = 30_000, vocab_size: int = 400, seed: int = 1) -> Ids:
    rng = np.random.default_rng(seed)
    types = np.minimum(rng.zipf(1.4, size) + 1, vocab_size - 1)
    return np.concatenate([[EOS], np.where(rng.random(size) < 0.1, EOS, types)])


def replaced(ids: Ids, rare: RareTypes, pass_number: int) -> Ids:
    return rare.replace(ids, np.arange(len(ids)), pass_number) != ids


def test_each_type_becomes_unk_about_once_in_ten_passes_whatever_its_count() -> None:
    ids, passes = zipfian(), 60
    rare = RareTypes(ids, 400, EOS, UNK, 3)
    counts = np.bincount(ids, minlength=400)
    times = sum(np.bincount(ids[replaced(ids, rare, n)], minlength=400) for n in range(passes))
    for group in (counts == 1, (counts > 1) & (counts <= 5), (counts > 5) & (counts <= 50), counts > 50):
        group[[EOS, UNK]] = False
        assert times[group].mean() / passes == pytest.approx(0.1, abs=0.04)
    frequent = int(counts[2:].argmax()) + 2
    assert times[frequent] / (passes * counts[frequent]) < 0.001


def test_eos_is_never_replaced_and_everything_else_only_by_unk() -> None:
    ids = zipfian()
    rare = RareTypes(ids, 400, EOS, UNK, 3)
    for pass_number in range(20):
        result = rare.replace(ids, np.arange(len(ids)), pass_number)
        changed = result != ids
        assert (result[changed] == UNK).all()
        assert (ids[changed] != EOS).all()


def test_overlapping_windows_agree_and_passes_differ() -> None:
    ids = zipfian()
    rare, places = RareTypes(ids, 400, EOS, UNK, 3), np.arange(len(ids))
    whole = rare.replace(ids, places, 2)
    assert np.array_equal(rare.replace(ids[1000:3000], places[1000:3000], 2), whole[1000:3000])
    assert not np.array_equal(rare.replace(ids, places, 3), whole)
    assert np.array_equal(RareTypes(ids, 400, EOS, UNK, 3).replace(ids, places, 2), whole)


@both_modes
def test_a_rare_type_is_unk_as_a_target_and_as_the_next_input_alike(mode: str) -> None:
    ids = zipfian(3000)
    kind = {"streams": StreamWindows, "sentences": SentenceWindows}[mode]
    windows = take(kind(ids, EOS, 4, 9, 1, RareTypes(ids, 400, EOS, UNK, 3)), passes=3)
    assert any((window.targets == UNK).any() for window in windows)
    for window in windows:
        known = window.targets[:, :-1] != IGNORED
        assert (window.targets[:, :-1] == window.inputs[:, 1:])[known].all()


@pytest.mark.parametrize("unk_id", [None, UNK])
def test_nothing_is_replaced_where_unk_is_there_already_or_does_not_exist(unk_id: int | None) -> None:
    ids = zipfian()
    ids[5:2000:7] = UNK
    assert not replaced(ids, RareTypes(ids, 400, EOS, unk_id, 3), 0).any()
