"""Tagging schemes: which are recognised, which tags may follow which, and which spans they mark."""

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import TextError
from charlm.text.tag_schemes import PLAIN, SCHEMES, Scheme, SchemeError, Span, check, in_scheme, recognise_scheme, spans
from tests.conlleval import conlleval

WITH_SPANS = [scheme for scheme in SCHEMES.values() if scheme.has_spans]
NAMES = [scheme.name for scheme in WITH_SPANS]
LETTERS = {"IOBES": "BIES", "BMES": "BMES", "BILOU": "BILU"}  # begin, inside, end, single


def written(found: Sequence[Span], num_tokens: int, scheme: Scheme) -> list[str]:
    """The tags of some spans in a scheme, as its definition says."""
    tags = ["O"] * num_tokens
    for place, span in enumerate(found):
        length = span.stop - span.start
        if scheme.name in LETTERS:
            begin, inside, end, single = LETTERS[scheme.name]
            letters = single if length == 1 else begin + inside * (length - 2) + end
        else:
            follows_its_type = place > 0 and found[place - 1][1:] == (span.start, span.type)
            needs_begin = scheme.name == "BIO" or follows_its_type
            letters = ("B" if needs_begin else "I") + "I" * (length - 1)
        tags[span.start : span.stop] = [f"{letter}-{span.type}" for letter in letters]
    return tags


@st.composite
def sentences(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Spans in order that do not overlap, and the number of tokens."""
    found, place = [], draw(st.integers(0, 2))
    for _ in range(draw(st.integers(0, 5))):
        length = draw(st.integers(1, 4))
        found.append(Span(place, place + length, draw(st.sampled_from(["PER", "LOC", "B-X"]))))
        place += length + draw(st.sampled_from([0, 0, 1, 3]))
    return found, place + draw(st.integers(0, 2))


# Which tags may follow which

WITH_ENDS = """
    . O|. b-X|. s-X|O O|O b-X|O s-X|O .|b-X i-X|b-X e-X|i-X i-X|i-X e-X|e-X O|e-X b-X|e-X b-Y|e-X s-X|e-X s-Y|e-X .
    s-X O|s-X b-X|s-X b-Y|s-X s-X|s-X s-Y|s-X .
    """
LEGAL = {
    "BIO": ". O|. B-X|O O|O B-X|O .|B-X O|B-X B-X|B-X B-Y|B-X I-X|B-X .|I-X O|I-X B-X|I-X B-Y|I-X I-X|I-X .",
    "IOB1": ". O|. I-X|O O|O I-X|O .|I-X O|I-X I-X|I-X I-Y|I-X B-X|I-X .|B-X O|B-X I-X|B-X I-Y|B-X B-X|B-X .",
    **{name: WITH_ENDS.translate(str.maketrans("bies", letters)) for name, letters in LETTERS.items()},
}
"""The pairs of tags that may follow one another; a point is the start or the end of a sentence. Types are exchanged
where the first tag has type Y, so that half of the pairs are enough."""


@pytest.mark.parametrize("name", NAMES)
def test_a_tag_may_follow_another_as_the_scheme_s_definition_says(name: str) -> None:
    legal = {pair for line in LEGAL[name].strip().split("\n") for pair in line.strip().split("|")}
    tags = ["O", *(f"{letter}-{type_}" for letter in SCHEMES[name].letters.replace("O", "") for type_ in "XY")]
    pairs = [*product(tags, tags), *((None, tag) for tag in tags), *((tag, None) for tag in tags)]
    for before, after in pairs:
        pair = f"{before or '.'} {after or '.'}"
        if "Y" in pair and not pair.partition("Y")[0].count("X"):
            pair = pair.translate(str.maketrans("XY", "YX"))
        assert SCHEMES[name].may_follow(before, after) == (pair in legal), pair


def test_plain_tags_may_follow_one_another_as_they_like() -> None:
    for before in (None, "NOUN", "I-X"):
        for after in (None, "VERB", "I-Y"):
            assert PLAIN.may_follow(before, after)
    assert spans(["B-PER", "I-PER"], PLAIN) == []


def test_a_tag_of_another_scheme_may_be_nowhere() -> None:
    assert not SCHEMES["BIO"].may_follow("O", "S-PER")
    assert not SCHEMES["BIO"].may_follow("O", "PER")
    assert not SCHEMES["BMES"].may_follow("B-PER", "I-PER")


# Recognising


@pytest.mark.parametrize(
    ("tagged", "name"),
    [
        (["O B-PER I-PER O B-LOC B-LOC", "O O"], "BIO"),
        (["O I-PER I-PER O I-LOC B-LOC I-LOC", "O O"], "IOB1"),
        (["O I-PER I-PER O I-LOC"], "IOB1"),
        (["O B-PER E-PER S-LOC", "B-ORG I-ORG I-ORG E-ORG"], "IOBES"),
        (["B-NAME M-NAME E-NAME O S-NAME"], "BMES"),
        (["B M M E S S", "S B E"], "BMES"),
        (["B I O O B"], "BIO"),
        (["B-PER L-PER U-LOC O"], "BILOU"),
        (["DET NOUN VERB DET ADJ NOUN"], "plain"),
        (["O O O", "", "O"], "plain"),
        ([], "plain"),
        (["NN-TL FW-IN I NP", "NP VB"], "plain"),  # the Brown corpus has hyphens in its tags
        (["H H E E B T S C G I"], "plain"),  # the secondary structure of proteins
        (["B-noun-phrase I-noun-phrase"], "BIO"),
    ],
)
def test_the_scheme_is_recognised(tagged: list[str], name: str) -> None:
    assert recognise_scheme(line.split() for line in tagged) is SCHEMES[name]


@pytest.mark.parametrize(
    ("tagged", "sentence", "tag", "message"),
    [
        (["B-PER I-PER O", "O B-LOC", "O B-LOC I-PER"], 2, 2, "I-PER follows B-LOC, which the tagging scheme BIO"),
        (["B-PER E-PER O", "O B-LOC", "S-PER B-LOC E-LOC"], 1, 2, "ends with the tag B-LOC"),
        (["B-PER I-PER B-LOC", "I-PER I-PER B-PER"], 1, 0, "begins with the tag I-PER"),
        (["B-PER I-PER O", "O B-LOC O PER"], 1, 3, "PER does not belong to the tagging scheme BIO"),
        (["B M E S", "S M E"], 1, 1, "M follows S"),
    ],
)
def test_tags_that_break_their_scheme_are_named(tagged: list[str], sentence: int, tag: int, message: str) -> None:
    with pytest.raises(TextError, match=message) as caught:
        recognise_scheme(line.split() for line in tagged)
    assert isinstance(caught.value, SchemeError)
    assert (caught.value.sentence, caught.value.tag) == (sentence, tag)
    assert caught.value.where == f"sentence {sentence + 1}, tag {tag + 1}"
    assert caught.value.exit_code == 3


def test_the_scheme_that_is_broken_least_often_is_the_likeliest() -> None:
    tagged = [["O", "I-PER", "I-PER", "B-PER"]] * 9 + [["B-PER", "I-PER"]]
    with pytest.raises(SchemeError, match="IOB1") as caught:
        recognise_scheme(tagged)
    assert caught.value.sentence == 9


@given(st.lists(sentences(), max_size=6), st.sampled_from(WITH_SPANS))
def test_what_is_written_in_a_scheme_fits_it(many: list[tuple[list[Span], int]], scheme: Scheme) -> None:
    tagged = [written(found, num_tokens, scheme) for found, num_tokens in many]
    recognised = recognise_scheme(tagged)
    for tags in tagged:
        check(tags, scheme)
        check(tags, recognised)


@given(sentences(), st.sampled_from(WITH_SPANS), st.sampled_from(WITH_SPANS))
def test_tags_are_brought_from_each_scheme_into_each_other(
    sentence: tuple[list[Span], int], scheme: Scheme, new: Scheme
) -> None:
    assert in_scheme(written(*sentence, scheme), scheme, new) == tuple(written(*sentence, new))


def test_letters_alone_are_brought_into_another_scheme() -> None:
    assert in_scheme(list("BMESOS"), SCHEMES["BMES"], SCHEMES["BIO"]) == tuple("BIIBOB")


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "M-X", "?"]), max_size=8))
def test_a_check_finds_the_first_tag_that_may_not_be_there(tags: list[str]) -> None:
    for scheme in SCHEMES.values():
        pairs = list(zip([None, *tags], [*tags, None], strict=True))
        wrong = [place for place, pair in enumerate(pairs) if not scheme.may_follow(*pair)]
        assert scheme.fits(tags) == (not wrong)
        if not wrong:
            check(tags, scheme)
            continue
        with pytest.raises(SchemeError) as caught:
            check(tags, scheme, sentence=4)
        assert (caught.value.sentence, caught.value.tag) == (4, wrong[0])


# Spans


@given(sentences(), st.sampled_from(WITH_SPANS))
def test_spans_come_back_from_their_tags(sentence: tuple[list[Span], int], scheme: Scheme) -> None:
    found, num_tokens = sentence
    assert spans(written(found, num_tokens, scheme), scheme) == found


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("I-PER I-PER O I-LOC", [(0, 2, "PER"), (3, 4, "LOC")]),  # I begins where nothing is open
        ("B-PER I-LOC I-LOC", [(0, 1, "PER"), (1, 3, "LOC")]),  # another type begins another span
        ("B-PER B-PER", [(0, 1, "PER"), (1, 2, "PER")]),
        ("B-PER I-PER", [(0, 2, "PER")]),  # open at the end of the sentence
        ("E-PER", [(0, 1, "PER")]),
        ("B-PER E-PER I-PER", [(0, 2, "PER"), (2, 3, "PER")]),
        ("S-PER E-PER", [(0, 1, "PER"), (1, 2, "PER")]),
        ("I-PER S-PER", [(0, 1, "PER"), (1, 2, "PER")]),
        ("O ? O", []),
        ("", []),
    ],
)
def test_spans_of_tags_that_break_their_scheme(tags: str, expected: list[tuple[int, int, str]]) -> None:
    assert spans(tags.split(), SCHEMES["IOBES"]) == expected


TAGS = st.lists(st.sampled_from(["O", *(f"{letter}-{type_}" for letter in "BIES" for type_ in "XY"), "B", "I"]))


@given(TAGS)
def test_there_are_as_many_spans_as_conlleval_finds(tags: list[str]) -> None:
    num_right, num_predicted, num_true = conlleval([(tags, tags)])
    assert num_right == num_predicted == num_true == len(spans(tags, SCHEMES["IOBES"]))


@given(TAGS)
def test_spans_are_those_of_seqeval(tags: list[str]) -> None:
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    expected = [(start, last + 1, type_) for type_, start, last in labeling.get_entities(tags)]
    assert [(span.start, span.stop, span.type or "_") for span in spans(tags, SCHEMES["IOBES"])] == expected
