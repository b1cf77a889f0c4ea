"""The labelled data of data/: labels, tags and dates are right, and what decides is what data/README.md says."""

import random
import re
from collections import Counter
from datetime import date, datetime
from itertools import islice
from math import log

import pytest

from charlm.formats.recognition import recognise
from charlm.formats.records import Wanted
from charlm.text.tag_schemes import SCHEMES, recognise_scheme, spans
from tests.test_data import SCRIPTS, lines, read

dates, people, reviews = (SCRIPTS[name] for name in ("dates", "people", "reviews"))


def rows(name: str) -> list[tuple[str, str]]:
    """The two columns of a table."""
    return [(first, second) for first, second in (line.split("\t") for line in lines(name))]


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [("reviews.tsv", "labelled", "tsv"), ("people.conll", "tagged", "conll"), ("dates.tsv", "pairs", "tsv")],
)
def test_the_form_of_each_file_is_recognised(name: str, wanted: Wanted, expected: str) -> None:
    assert recognise([f"{line}\n" for line in lines(name)[:100]], wanted) == expected


# Reviews

WORD = r"\w+|\S"  # or a mark
CONTRASTS = [
    r"(.+), but (.+)\.",
    r"(.+)\. however, (.+)\.",
    r"although (.+), (.+)\.",
    r"(.+), although (.+)\.",
    r"(.+), even though (.+)\.",
]


def turned(text: str) -> str | None:
    """The review in small letters, with the clauses of its contrast in each other's place; None if it has none."""
    text = text.lower()
    for pattern in CONTRASTS:
        if found := re.fullmatch(pattern, text):
            return text[: found.start(1)] + found[2] + text[found.end(1) : found.start(2)] + found[1] + "."
    return None


def test_reviews_are_different_and_as_many_as_said() -> None:
    listed = {name: rows(name) for name in ("reviews.tsv", "reviews-test.tsv", "reviews-twins.tsv")}
    assert [len(table) for table in listed.values()] == [2000, 300, 200]
    texts = [text for table in listed.values() for _, text in table]
    assert len(set(texts)) == len(texts)
    assert not set(texts) & set(reviews.COURSE)
    for table in listed.values():
        assert {label for label, _ in table} == {"good", "bad"}
        assert 0.45 < sum(label == "good" for label, _ in table) / len(table) < 0.55


@pytest.mark.parametrize("name", ["reviews.tsv", "reviews-test.tsv", "reviews-twins.tsv"])
def test_the_label_follows_from_the_rules(name: str) -> None:
    assert [reviews.label(text) for _, text in rows(name)] == [label for label, _ in rows(name)]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("The dessert was excellent.", "good"),
        ("The dessert was not excellent.", "bad"),
        ("The waiters were far from rude.", "good"),
        ("I would not say that the dessert was hardly fresh.", "good"),
        ("The waiter was slow, but I would not say that the soup was bad.", "good"),
        ("The soup was good, but the waiter was slow.", "bad"),
        ("The soup was good, although the waiter was slow.", "good"),
        ("Although the soup was good, the waiter was slow.", "bad"),
        ("The soup was cold. However, the bar was never noisy.", "good"),
        ("The soup was not good, even though the bar was quiet.", "bad"),
        ("The soup was fresh, and the cook was not rude.", "good"),
    ],
)
def test_rules_of_reviews(text: str, label: str) -> None:
    assert reviews.label(text) == label


def test_twins_have_the_same_words_and_marks_and_the_other_label() -> None:
    listed = rows("reviews-twins.tsv")
    pairs = list(zip(listed[::2], listed[1::2], strict=True))
    for (label, text), (other_label, other_text) in pairs:
        assert {label, other_label} == {"good", "bad"}
        assert sorted(re.findall(WORD, text)) == sorted(re.findall(WORD, other_text))
    assert sum(turned(text) == other_text.lower() for (_, text), (_, other_text) in pairs) == len(pairs) // 2


def test_more_than_a_third_of_the_reviews_have_the_other_label_in_another_order() -> None:
    for name in ("reviews.tsv", "reviews-test.tsv"):
        table = rows(name)
        twins = {text: twin for _, text in table if (twin := turned(text))}
        assert len(twins) > len(table) / 3
        for text, twin in twins.items():
            assert sorted(re.findall(WORD, text.lower())) == sorted(re.findall(WORD, twin))
            assert reviews.label(text) != reviews.label(twin), text


def test_words_without_their_order_say_little() -> None:
    """A naive Bayes classifier, which adds up what each word says, is wrong in more than a third of the reviews."""
    counts = {label: Counter[str]() for label in ("good", "bad")}
    for label, text in rows("reviews.tsv"):
        counts[label].update(re.findall(WORD, text.lower()))

    def favours_good(text: str) -> bool:
        words = re.findall(WORD, text.lower())
        return sum(log((counts["good"][word] + 1) / (counts["bad"][word] + 1)) for word in words) > 0

    for name in ("reviews.tsv", "reviews-test.tsv"):
        table = rows(name)
        assert sum(favours_good(text) == (label == "good") for label, text in table) < len(table) * 2 / 3


# People

Sentence = list[tuple[str, str]]


def sentences(name: str) -> list[Sentence]:
    *blocks, last = read(name).split("\n\n")
    assert last == ""
    return [[(token, tag) for token, tag in (row.split("\t") for row in block.split("\n"))] for block in blocks]


def names_in(listed: list[Sentence]) -> Counter[tuple[str, str]]:
    """How often each name occurs, with its type."""
    found = Counter[tuple[str, str]]()
    for sentence in listed:
        tokens, tags = zip(*sentence, strict=True)
        found.update((" ".join(tokens[one.start : one.stop]), one.type) for one in spans(tags, SCHEMES["BIO"]))
    return found


def test_sentences_are_different_and_as_many_as_said() -> None:
    training, test = sentences("people.conll"), sentences("people-test.conll")
    assert (len(training), len(test)) == (1500, 200)
    assert len({tuple(token for token, _ in sentence) for sentence in training + test}) == 1700
    course = {"Harry", "Potter", "Hermione", "Granger"}
    assert not course & {token for sentence in training + test for token, _ in sentence}


@pytest.mark.parametrize("name", ["people.conll", "people-test.conll"])
def test_tags_are_bio_of_three_types(name: str) -> None:
    tags = [[tag for _, tag in sentence] for sentence in sentences(name)]
    assert recognise_scheme(tags) == SCHEMES["BIO"]
    types = {"person", "place", "day"}
    assert {tag for listed in tags for tag in listed} == {"O"} | {
        f"{letter}-{type_}" for letter in "BI" for type_ in types
    }


def test_ambiguous_names_are_both_in_the_training_part() -> None:
    found = names_in(sentences("people.conll"))
    for name in people.PEOPLE_OR_PLACES.split():
        assert min(found[name, "person"], found[name, "place"]) >= 5, name
    for name in people.FAMILIES_OR_PLACES.split():
        num_families = sum(n for (full, type_), n in found.items() if type_ == "person" and full.split()[-1] == name)
        assert min(num_families, found[name, "place"]) >= 5, name


def test_words_that_are_also_names_are_both_in_the_training_part() -> None:
    tags = Counter(row for sentence in sentences("people.conll") for row in sentence)
    for word in ("Rose", "May", "Will", "Mark", "Grace", "Hope", "Dawn", "June"):
        assert min(tags[word, "O"] + tags[word, "I-day"], tags[word, "B-person"]) >= 2, word


def test_every_second_name_of_the_test_part_is_new() -> None:
    new = {token for text in people.NEW.values() for name in text.split() for token in name.split("_")}
    assert not new & {token for sentence in sentences("people.conll") for token, _ in sentence}
    tokens = [token for sentence in sentences("people-test.conll") for token, tag in sentence if "-p" in tag]
    assert 0.45 < sum(token in new for token in tokens) / len(tokens) < 0.55


def test_only_one_tagging_is_possible_even_if_all_names_are_the_same() -> None:
    words = people.KNOWN | {symbol: ["May"] for symbol in ("GIVEN", "FAMILY", "TOWN", "MONTH")}
    tags_of = dict[tuple[str, ...], tuple[str, ...]]()
    rng = random.Random(3)
    for sentence in (people.draw(rng, words) for _ in range(20_000)):
        tokens, tags = zip(*sentence, strict=True)
        assert tags_of.setdefault(tokens, tags) == tags, tokens


# Dates

FORMATS = [
    *("%d %B %Y", "%B %d %Y", "%A %d %B %Y", "%A %B %d %Y", "%a %d %b %Y", "%b %d %Y"),
    *("%d-%b-%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y%m%d"),
]
ORDINALS = {word: str(number) for number, word in enumerate(dates.ORDINALS.split(), 1)}


def readings(text: str) -> set[date]:
    """All dates that Python's own reader finds in a text, once it has been made plainer."""
    plain = re.sub(r"(?<=\d)(?:st|nd|rd|th)\b|\bthe\b|\bof\b|,", "", text)
    plain = " ".join(ORDINALS.get(word, word) for word in plain.split())
    found = set()
    for form in FORMATS:
        try:
            found.add(datetime.strptime(plain, form).date())
        except ValueError:
            continue
    return found


@pytest.mark.parametrize(("name", "number"), [("dates.tsv", 4000), ("dates-test.tsv", 300)])
def test_dates_are_those_that_python_reads_and_their_weekdays_are_right(name: str, number: int) -> None:
    table = rows(name)
    assert len({source for source, _ in table}) == len(table) == number
    for source, target in table:
        day = date.fromisoformat(target)
        assert day.isoformat() == target
        assert readings(source) == {day}, source
        weekday = re.match("(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*(?=,)", source)
        assert weekday is None or f"{day:%A}".startswith(weekday[0]), source


def test_ordinals() -> None:
    written = " ".join(dates.nth(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30, 31))
    assert written == "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 23rd 30th 31st"


def test_no_day_of_the_test_part_is_in_the_training_part() -> None:
    assert not {target for _, target in rows("dates.tsv")} & {target for _, target in rows("dates-test.tsv")}


def test_every_form_is_frequent() -> None:
    forms = Counter(dates.written(date.fromisoformat(target)).index(source) for source, target in rows("dates.tsv"))
    assert len(forms) == len(dates.FORMS)
    assert min(forms.values()) >= 100


def test_no_form_of_one_day_is_a_form_of_another() -> None:
    day_of = dict[str, date]()
    for day in islice(dates.days(random.Random(5)), 4000):
        for text in dates.written(day):
            assert day_of.setdefault(text, day) == day, text
