"""Tagging schemes: how the tags of a sentence mark where the spans in it, such as names, begin and end.

A tag is a letter with a type, `B-PER`, or a letter alone, `B`. The letters of the schemes:

    BIO    B begins a span, I continues it                      (also called IOB2)
    IOB1   I is in a span; B begins one right after another of the same type
    IOBES  B begins, I continues, E ends, S is a span of one token
    BMES   the same with M for I
    BILOU  the same with L for E and U for S

In all of them O is outside. Part-of-speech tags have no letters: their scheme is `plain`, where any tag may follow any.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, starmap
from typing import NamedTuple

from charlm.errors import TextError

OUTSIDE = "O"
ROLES: Mapping[str, str] = {"O": "O", "B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}
"""What each letter means in every scheme that has it, in the letters of IOBES."""
ANYTHING_ELSE = "?"  # the letter of a tag that is none of the schemes'
ONE_SCHEME = "use one tagging scheme in all sentences"


class Span(NamedTuple):
    """Tokens `start` to `stop` (exclusive) of a sentence, which are one thing of this type."""

    start: int
    stop: int
    type: str


class Tag(NamedTuple):
    """A tag in its parts: `B-PER` is letter B and type PER. The type is empty if a letter stands alone."""

    letter: str
    type: str


@dataclass(frozen=True)
class Scheme:
    """Which tags there are, and which may follow which.

    `anywhere` has the pairs of letters, such as "OB", of which the second may follow the first whatever their types;
    `within_a_type` those that need the same type. The start and the end of a sentence count as O.
    """

    name: str
    letters: str
    anywhere: frozenset[str]
    within_a_type: frozenset[str]

    @property
    def has_spans(self) -> bool:
        return bool(self.letters)

    def may_follow(self, before: str | None, after: str | None) -> bool:
        """Whether a tag may come right after another; None before is the start of a sentence, None after its end."""
        if not self.has_spans:
            return True
        first, second = parts(before), parts(after)
        return self.allows(first.letter + second.letter, first.type == second.type)

    def fits(self, tags: Sequence[str]) -> bool:
        """Whether each tag of a sentence may be where it is."""
        return all(starmap(self.may_follow, _neighbours(tags)))

    def allows(self, letters: str, is_same_type: bool) -> bool:
        """Whether two tags with these letters may follow one another."""
        return letters in self.anywhere or (is_same_type and letters in self.within_a_type)


def _scheme_with_ends(name: str, begin: str, inside: str, end: str, single: str) -> Scheme:
    """A scheme in which every span has a token that ends it."""
    between, opening = OUTSIDE + end + single, OUTSIDE + begin + single
    anywhere = frozenset(before + after for before in between for after in opening)
    within_a_type = frozenset(before + after for before in begin + inside for after in inside + end)
    return Scheme(name, OUTSIDE + begin + inside + end + single, anywhere, within_a_type)


PLAIN = Scheme("plain", "", frozenset(), frozenset())
SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("BIO", "OBI", frozenset(("OO", "OB", "BO", "BB", "IO", "IB")), frozenset(("BI", "II"))),
        _scheme_with_ends("IOBES", "B", "I", "E", "S"),
        _scheme_with_ends("BMES", "B", "M", "E", "S"),
        _scheme_with_ends("BILOU", "B", "I", "L", "U"),
        Scheme("IOB1", "OBI", frozenset(("OO", "OI", "BO", "BI", "IO", "II")), frozenset(("BB", "IB"))),
        PLAIN,
    )
}
"""All schemes by name. Tags that fit two of them, such as only O and S-LOC, count as the first one's."""


class SchemeError(TextError):
    """Tags that break their scheme: in which sentence and at which of its tags, both counted from 0.

    A tag that may not end a sentence is reported with the number of its tags.
    """

    def __init__(self, what: str, sentence: int, tag: int) -> None:
        super().__init__(what, f"sentence {sentence + 1:,}, tag {tag + 1:,}", ONE_SCHEME)
        self.sentence, self.tag = sentence, tag


def parts(tag: str | None) -> Tag:
    """The letter and the type of a tag. None, which stands for both ends of a sentence, counts as O."""
    if tag is None or tag == OUTSIDE:
        return Tag(OUTSIDE, "")
    letter, _, type_ = tag.partition("-")
    return Tag(letter, type_) if letter in ROLES and letter != OUTSIDE else Tag(ANYTHING_ELSE, tag)


def spans(tags: Sequence[str], scheme: Scheme) -> list[Span]:
    """The spans of a sentence by the rules of conlleval, which find spans in every sequence of tags, legal or not.

    A span begins at B and S, and at I and E where no span of their type is open. It ends with E and S, and before O,
    before a tag of another type and before the next beginning. These are the rules of the CoNLL-2000 and CoNLL-2003
    shared tasks with what was added to them later for IOBES: E and S always end a span. A tag that does not belong to
    the scheme counts as O. Plain tags have no spans.
    """
    found: list[Span] = []
    before = Tag(OUTSIDE, "")
    for place, tag in enumerate(tags):
        now = _as_in_iobes(parts(tag), scheme)
        if now.letter != OUTSIDE:
            start = place if _begins(before, now) else found.pop().start
            found.append(Span(start, place + 1, now.type))
        before = now
    return found


def in_scheme(tags: Sequence[str], scheme: Scheme, new: Scheme) -> tuple[str, ...]:
    """The tags of a new scheme that mark the same spans as the tags of a sentence in another. Both have spans."""
    written, before = [OUTSIDE] * len(tags), Span(0, 0, "")
    for span in spans(tags, scheme):
        follows_its_type = before.start < before.stop == span.start and before.type == span.type
        ending = f"-{span.type}" if span.type else ""
        letters = _letters(span.stop - span.start, follows_its_type, new)
        written[span.start : span.stop] = [letter + ending for letter in letters]
        before = span
    return tuple(written)


def _letters(length: int, follows_its_type: bool, scheme: Scheme) -> str:
    """The letters of a span, which may come right after another one of its type."""
    begin, inside, *ends = list(scheme.letters.removeprefix(OUTSIDE))
    if ends:
        end, single = ends
        return single if length == 1 else begin + inside * (length - 2) + end
    needs_begin = follows_its_type or scheme.may_follow(None, begin)
    return (begin if needs_begin else inside) + inside * (length - 1)


def _as_in_iobes(tag: Tag, scheme: Scheme) -> Tag:
    return Tag(ROLES[tag.letter], tag.type) if tag.letter in scheme.letters else Tag(OUTSIDE, "")


def _begins(before: Tag, now: Tag) -> bool:
    """Whether a span begins at a tag that is not O."""
    return now.letter in "BS" or before.letter in "OES" or before.type != now.type


def check(tags: Sequence[str], scheme: Scheme, sentence: int = 0) -> None:
    """Raise SchemeError at the first tag that may not be where it is. `sentence` is the number of the sentence."""
    for place, (before, after) in enumerate(_neighbours(tags)):
        if not scheme.may_follow(before, after):
            raise SchemeError(_fault(before, after, scheme), sentence, place)


def _neighbours(tags: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """Each tag with the one before it, and the end of the sentence with its last tag."""
    return pairwise((None, *tags, None))


def _fault(before: str | None, after: str | None, scheme: Scheme) -> str:
    """What is wrong with two tags that may not follow one another."""
    if after is None:
        return f"a sentence ends with the tag {before}, which the tagging scheme {scheme.name} does not allow"
    if parts(after).letter not in scheme.letters:
        return f"the tag {after} does not belong to the tagging scheme {scheme.name}, which the other tags have"
    if before is None:
        return f"a sentence begins with the tag {after}, which the tagging scheme {scheme.name} does not allow"
    return f"the tag {after} follows {before}, which the tagging scheme {scheme.name} does not allow"


# Recognising a scheme


class _Place(NamedTuple):
    """Where two neighbouring tags were met."""

    sentence: int
    tag: int
    before: str | None
    after: str | None


class _Kind(NamedTuple):
    """All that a scheme looks at in two neighbouring tags: their letters, and whether their types are the same."""

    letters: str
    is_same_type: bool


class _Seen:
    """The kinds of neighbours in many sentences: how often each was met, and where first."""

    def __init__(self) -> None:
        self.counts: Counter[_Kind] = Counter()
        self.first: dict[_Kind, _Place] = {}
        self.num_typed = self.num_untyped = self.num_others = 0
        """Tags with a letter and a type, with a letter alone, and others; without O."""

    def add(self, sentence: int, tags: Sequence[str]) -> None:
        first = parts(None)
        for place, (before, after) in enumerate(_neighbours(tags)):
            second = parts(after)
            kind = _Kind(first.letter + second.letter, first.type == second.type)
            self.counts[kind] += 1
            if kind not in self.first:
                self.first[kind] = _Place(sentence, place, before, after)
            self._count(second)
            first = second

    def _count(self, tag: Tag) -> None:
        if tag.letter == ANYTHING_ELSE:
            self.num_others += 1
        elif tag.letter != OUTSIDE:
            self.num_typed += bool(tag.type)
            self.num_untyped += not tag.type

    @property
    def has_letters(self) -> bool:
        """Whether the tags are meant to be a scheme's: most of them have a type, or all have at least a letter."""
        if self.num_others:
            return self.num_typed > self.num_untyped + self.num_others
        return self.num_typed + self.num_untyped > 0

    def faults(self, scheme: Scheme) -> list[_Kind]:
        return [kind for kind in self.counts if not scheme.allows(*kind)]

    def error(self, scheme: Scheme) -> SchemeError:
        """The first place that breaks a scheme, as an error."""
        place = min((self.first[kind] for kind in self.faults(scheme)), key=lambda place: place[:2])
        return SchemeError(_fault(place.before, place.after, scheme), place.sentence, place.tag)


def recognise_scheme(sentences: Iterable[Sequence[str]]) -> Scheme:
    """The scheme of the tags of many sentences, found in one pass; memory does not grow with the number of sentences.

    Of several schemes that fit, the first of SCHEMES is taken. Tags are plain if most of them (O aside) have no letter
    of a scheme with a type, unless every one is such a letter, with or without a type. Raises SchemeError if the tags
    have letters but fit no scheme: at the first place that breaks the scheme that is broken least often.
    """
    seen = _Seen()
    for place, tags in enumerate(sentences):
        seen.add(place, tags)
    if not seen.has_letters:
        return PLAIN
    num_faults = {
        scheme: sum(seen.counts[kind] for kind in seen.faults(scheme))
        for scheme in SCHEMES.values()
        if scheme.has_spans
    }
    likeliest = min(num_faults, key=num_faults.__getitem__)
    if num_faults[likeliest]:
        raise seen.error(likeliest)
    return likeliest
