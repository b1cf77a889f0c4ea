"""The corpora of data/ are what their scripts make, and the grammars' probabilities are true."""

import csv
import hashlib
import importlib.util
import math
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest

from tests.cases import slow_but

DATA = Path(__file__).parent.parent / "data"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"data_{name}", DATA / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPTS = {name: load(name) for name in sorted(path.stem for path in DATA.glob("*.py"))}
agreement, dna, names, teddy, tunes = (SCRIPTS[name] for name in ("agreement", "dna", "names", "teddy", "tunes"))


def read(name: str) -> str:
    return (DATA / name).read_bytes().decode("ascii")


def lines(name: str) -> list[str]:
    *complete, last = read(name).split("\n")
    assert last == "", f"{name} doesn't end with a newline"
    return complete


def read_pairs() -> list[dict[str, str]]:
    return list(csv.DictReader(lines("agreement-pairs.tsv"), delimiter="\t", quoting=csv.QUOTE_NONE))


LARGE = ("agreement", "teddy")


@pytest.mark.parametrize("name", slow_but(SCRIPTS.keys() - {*LARGE}, SCRIPTS))
def test_each_script_makes_the_files_beside_it_byte_for_byte(name: str, tmp_path: Path) -> None:
    for file, content in SCRIPTS[name].files().items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content.encode("ascii"))
        assert (tmp_path / file).read_bytes() == (DATA / file).read_bytes()


def test_data_stays_small() -> None:
    paths = [path for path in DATA.rglob("*.*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in paths) < 3_200_000


# The grammar


def test_every_line_of_agreement_has_a_probability_near_the_entropy_in_the_mean() -> None:
    surprisals = [-agreement.log_probability(line) for line in lines("agreement.txt")]
    assert len(surprisals) == agreement.LINES
    assert max(surprisals) < math.inf
    assert_mean(surprisals, agreement.entropy())


def test_mean_length_and_entropy_of_fresh_draws_are_the_exact_ones() -> None:
    drawn = list(agreement.sentences(seed=7, count=4000))
    assert_mean([-agreement.log_probability(sentence) for sentence in drawn], agreement.entropy())
    assert_mean([len(sentence) + 1 for sentence in drawn], agreement.mean_characters())


def assert_mean(values: list[float], expected: float) -> None:
    """The mean lies within four standard errors of what is expected."""
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    assert abs(mean - expected) < 4 * math.sqrt(variance / len(values))


def test_frequencies_of_the_commonest_sentences_agree_with_their_probabilities() -> None:
    drawn = list(agreement.sentences(seed=8, count=20_000))
    for sentence in ("Anna was full.", "The cat was full.", "The dogs were full."):
        expected = len(drawn) * math.exp(agreement.log_probability(sentence))
        assert expected > 1
        assert abs(drawn.count(sentence) - expected) < 4 * math.sqrt(expected)


def test_probabilities_of_each_symbol_sum_to_one() -> None:
    for symbol, rules in agreement.RULES.items():
        assert sum(probability for probability, _ in rules) == pytest.approx(1), symbol


def test_grammar_is_unambiguous_and_finite() -> None:
    sentences = [*agreement.sentences(seed=9, count=4000), *(row["good"] for row in read_pairs())]
    assert {agreement.derivations(sentence) for sentence in sentences} == {1}
    assert agreement.entropy() < math.inf  # the recursion over a grammar that isn't finite would not end


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "The cat were full.",
        "the cat was full.",
        "The cat was full",
        "The cat was full. ",
        "The  cat was full.",
        "The unicorn was full.",
        '"The cat was full, said Anna.',
        "The cat that the dogs likes was full.",
        "The cats near the box that was red were full.",
    ],
)
def test_outside_the_language(sentence: str) -> None:
    assert agreement.log_probability(sentence) == -math.inf
    assert agreement.derivations(sentence) == 0


def test_words_are_read_back_from_what_was_written() -> None:
    words = "`` after the rain , Anna was full , '' said the cook ."
    sentence = '"After the rain, Anna was full," said the cook.'
    assert agreement.written(words.split()) == sentence
    assert agreement.words_of(sentence) == words.split()


@pytest.mark.parametrize(
    ("word", "with_s"), [("cat", "cats"), ("fox", "foxes"), ("watch", "watches"), ("pony", "ponies"), ("boy", "boys")]
)
def test_s_form(word: str, with_s: str) -> None:
    assert agreement.s_form(word) == with_s


# The pairs


def test_good_is_in_the_language_and_bad_is_not_and_one_word_differs() -> None:
    for row in read_pairs():
        assert agreement.log_probability(row["good"]) > -math.inf
        assert agreement.log_probability(row["bad"]) == -math.inf
        words = zip(row["good"].split(), row["bad"].split(), strict=True)
        assert sum(good != bad for good, bad in words) == 1, row


def test_pairs_are_held_out_and_weigh_nothing() -> None:
    known = set(lines("agreement.txt"))
    rows = read_pairs()
    assert not known & {row[side] for row in rows for side in ("good", "bad")}
    assert sum(math.exp(agreement.log_probability(row["good"])) for row in rows) < 1e-4


def test_distances_are_spread_and_numbers_even() -> None:
    chosen = agreement.pairs()
    assert len(chosen) > 1000
    assert sum(pair.plural for pair in chosen) * 2 == len(chosen)
    for distance in range(12):
        assert sum(pair.distance == distance for pair in chosen) >= 84


def test_distance_counts_the_words_between_noun_and_verb() -> None:
    course = next(row for row in read_pairs() if row["good"] == agreement.COURSE[0].good)
    between = re.sub("[,.]", "", course["good"]).split("cat ")[1].split(" was")[0]
    assert int(course["distance"]) == len(between.split()) == 7


def test_held_out_sentences_are_fresh() -> None:
    known = set(lines("agreement.txt"))
    fresh = agreement.held_out(200)
    assert len(fresh) == 200
    assert not known & set(fresh)
    assert fresh == agreement.held_out(200) != agreement.held_out(200, seed=4)


def test_readme_gives_the_exact_figures() -> None:
    text = read("README.md")
    for grammar in (agreement, teddy):
        entropy, characters = grammar.entropy(), grammar.mean_characters()
        for figure in (
            f"{entropy:.2f} nats per sentence",
            f"{characters:.2f} characters",
            f"{entropy / characters:.4f} nats",
        ):
            assert figure in text


# The blanks that only what follows decides


def read_blanks() -> list[dict[str, str]]:
    return list(csv.DictReader(lines("teddy-blanks.tsv"), delimiter="\t", quoting=csv.QUOTE_NONE))


def filled(row: dict[str, str], side: str) -> str:
    return row["sentence"].replace("___", row[side])


def test_agreement_is_as_it_always_was() -> None:
    """Figures that were measured on it are compared with new ones."""
    digests = {name: hashlib.sha256((DATA / name).read_bytes()).hexdigest()[:16] for name in AGREEMENT}
    assert digests == AGREEMENT


AGREEMENT = {
    "agreement.py": "1a959829e6c157e1",
    "agreement.txt": "71d7364a45e35ea4",
    "agreement-pairs.tsv": "5e3d04411db27a2d",
}


def test_every_beginning_makes_the_right_and_the_wrong_word_equally_probable() -> None:
    for row in read_blanks():
        before = row["sentence"].partition("___")[0]
        right, wrong = (teddy.probability(before + row[side]) for side in ("right", "wrong"))
        assert 0 < right == wrong, row


def test_after_a_key_no_other_word_is_possible() -> None:
    for row in read_blanks():
        if row["kind"] == "name":
            before = row["sentence"].partition(" ___")[0]
            right, wrong = (teddy.probability(f"{before} {row[side]}") for side in ("right", "wrong"))
            assert right + wrong == teddy.probability(before), row


def test_only_the_deciding_word_decides_and_it_is_as_far_as_said() -> None:
    for row in read_blanks():
        words = {side: teddy.words_of(filled(row, side)) for side in ("right", "wrong")}
        (place,) = (
            n for n, (right, wrong) in enumerate(zip(words["right"], words["wrong"], strict=True)) if right != wrong
        )
        following = [n for n, word in enumerate(words["right"]) if n > place and word != ","]
        deciding = following[int(row["distance"])]
        until = [teddy.probability(teddy.written(words[side][:deciding])) for side in ("right", "wrong")]
        through = [teddy.probability(teddy.written(words[side][: deciding + 1])) for side in ("right", "wrong")]
        assert 0 < until[0] == until[1], row
        assert through[0] > through[1] == 0, row


def test_right_is_in_the_language_and_wrong_is_not() -> None:
    for row in read_blanks():
        assert teddy.log_probability(filled(row, "right")) > -math.inf, row
        assert teddy.log_probability(filled(row, "wrong")) == -math.inf, row


def test_blanks_are_held_out_and_weigh_little() -> None:
    known = set(lines("teddy.txt"))
    rows = read_blanks()
    assert not known & {filled(row, side) for row in rows for side in ("right", "wrong")}
    assert sum(teddy.probability(filled(row, "right")) for row in rows) < 1e-3


def test_blanks_are_twins_so_that_the_beginning_alone_is_right_in_half_of_them() -> None:
    rows = read_blanks()
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert (first["right"], first["wrong"]) == (second["wrong"], second["right"])
        assert first["sentence"].partition("___")[0] == second["sentence"].partition("___")[0]
        assert (first["distance"], first["kind"]) == (second["distance"], second["kind"])


def test_blanks_are_different_and_their_distances_spread() -> None:
    rows = read_blanks()
    assert len(rows) == len({filled(row, "right") for row in rows}) > 1000
    counts = Counter((row["kind"], int(row["distance"])) for row in rows)
    expected = {(kind, d): 2 * twins for kind, twins in teddy.TWINS_OF_A_KIND.items() for d in teddy.DISTANCES}
    assert counts == expected | {("name", 0): expected["name", 0] + 2}


def test_every_line_of_teddy_has_one_derivation_and_a_probability_near_the_entropy_in_the_mean() -> None:
    listed = lines("teddy.txt")
    assert len(listed) == teddy.LINES
    assert {teddy.derivations(line) for line in listed[:3000]} == {1}
    assert_mean([-teddy.log_probability(line) for line in listed[:3000]], teddy.entropy())
    assert_mean([len(line) + 1 for line in listed], teddy.mean_characters())


def test_words_of_teddy_are_frequent_and_sentences_neither_short_nor_long() -> None:
    listed = [teddy.words_of(line) for line in lines("teddy.txt")]
    counts = Counter(word for words in listed for word in words)
    assert set(counts) == teddy.VOCABULARY
    assert 150 < len(counts) < 300
    assert min(counts.values()) >= 50
    assert all(6 <= len(words) <= 33 for words in listed)


def test_probabilities_of_each_symbol_of_teddy_sum_to_one() -> None:
    assert all(sum(probability for probability, _ in rules) == 1 for rules in teddy.RULES.values())


@pytest.mark.parametrize(
    ("beginning", "expected"), [("", 1), ("He said, Teddy", None), ("He said, teddy", 0), ("He said Teddy", 0)]
)
def test_probability_of_a_beginning(beginning: str, expected: int | None) -> None:
    found = teddy.probability(beginning)
    assert found == expected if expected is not None else 0 < found < 1


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "He said, Teddy bears are on sale",
        "He said, Teddy bears was a great president.",
        "He said, Teddy Roosevelt are on sale.",
        "he said, Teddy bears are on sale.",
        "She sat in the garden by himself.",
        "The sheep was on their way to the river.",
    ],
)
def test_outside_the_language_of_teddy(sentence: str) -> None:
    assert teddy.log_probability(sentence) == -math.inf
    assert teddy.derivations(sentence) == 0


# The others


def test_stories_are_paragraphs_of_plain_text_separated_by_one_blank_line() -> None:
    text = read("stories.txt")
    assert len(text) >= 35_000
    assert "\n\n\n" not in text
    assert all(paragraph == paragraph.strip() and "\n" not in paragraph for paragraph in text[:-1].split("\n\n"))
    assert all(paragraph.count('"') % 2 == 0 for paragraph in text.split("\n\n"))
    assert len(re.findall(r"\bsaid\b", text)) > 180


def test_names_are_distinct_words() -> None:
    listed = lines("names.txt")
    assert len(set(listed)) == len(listed) == names.COUNT
    assert all(re.fullmatch("[A-Z][a-z]{2,9}", name) for name in listed)


def test_dna_holds_the_motifs_it_describes() -> None:
    rows = lines("dna.txt")
    strand = "".join(rows)
    assert {len(row) for row in rows[:-1]} == {dna.WIDTH}
    assert len(strand) == dna.LETTERS
    codon = "(?!TAA|TAG|TGA)[ACGT]{3}"
    gene = f"TATA[AT]A[AT][ACGT]{{{dna.GAP}}}ATG(?:{codon}){{40,120}}(?:TAA|TAG|TGA)"
    genes = re.findall(gene, strand)
    assert len(genes) > 400
    assert strand.count(dna.PALINDROME) > len(genes) / 2
    assert dna.PALINDROME[::-1].translate(str.maketrans("ACGT", "TGCA")) == dna.PALINDROME


def test_bars_of_each_tune_add_up() -> None:
    *listed, last = read("tunes.abc").split("\n\n")
    assert (len(listed), last) == (tunes.COUNT, "")
    for tune in listed:
        rows = tune.split("\n")
        head = dict(row.split(":") for row in rows[:5])
        assert list(head) == list("XTMLK")
        assert head["L"] == "1/8"
        assert_bars_add_up(rows[5:], head["M"])


def test_bars_of_each_tune_of_a_rhythm_add_up_to_its_metre() -> None:
    seen = set[str]()
    for rhythm, metre in tunes.RHYTHMS.items():
        *listed, last = read(f"rhythms/{rhythm}.abc").split("\n\n")
        assert (len(listed), last) == (tunes.COUNT_OF_A_RHYTHM, "")
        for tune in listed:
            key, *rows = tune.split("\n")
            assert key.removeprefix("K:") in tunes.KEYS
            assert_bars_add_up(rows, metre)
        seen.update(listed)
    assert len(seen) == tunes.COUNT_OF_A_RHYTHM * len(tunes.RHYTHMS)


def assert_bars_add_up(rows: list[str], metre: str) -> None:
    """16 bars of notes whose lengths, in eighths, add up to the metre."""
    bars = [bar for bar in re.split("[|:]+", " ".join(rows)) if bar.strip()]
    assert len(bars) == 16
    for bar in bars:
        notes = re.findall(r"[A-Ga-g],?(\d*)", bar)
        assert re.fullmatch(r"(?:[A-Ga-g],?\d*|\s)+", bar)
        assert sum(int(length or 1) for length in notes) * Fraction(1, 8) == Fraction(metre)
