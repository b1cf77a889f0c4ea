"""The tagging schemes of files of tagged sentences: recognised, and brought into that of the training part."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from charlm.errors import TextError
from charlm.formats.records import Tagged
from charlm.text.tag_schemes import Scheme, SchemeError, in_scheme, recognise_scheme

Sentences = Callable[[], Iterator[Any]]
"""Reads all sentences of some data, from the first one again each time."""


def scheme_of(read: Sentences) -> Scheme:
    """The tagging scheme of some sentences. Raises TextError where a tag breaks it."""
    try:
        return recognise_scheme(sentence.tags for sentence in read())
    except SchemeError as error:
        where = next(islice(read(), error.sentence, None)).where
        raise TextError(error.what, f"tag {error.tag + 1:,} of the sentence at {where}", error.to_do) from error


def brought_into(scheme: Scheme, read: Sentences, name: str, notes: list[str]) -> Sentences:
    """What reads the sentences with tags of the training part's scheme; a note says so if they have another one.

    Raises TextError with its place for a tag that breaks the scheme of the sentences, and for plain tags where those of
    the training part mark spans.
    """
    if not scheme.has_spans or all(scheme.fits(sentence.tags) for sentence in read()):
        return read
    own = scheme_of(read)
    if not own.has_spans:
        what = f"these tags mark no spans; those of the training part do, in the tagging scheme {scheme.name}"
        raise TextError(what, name, "give data with tags of the same kind, or name their column: --tag-column")
    notes.append(f"{name}: its tags were brought from the tagging scheme {own.name} into {scheme.name}, as in training")
    return partial(_converted, read, own, scheme)


def _converted(read: Sentences, scheme: Scheme, new: Scheme) -> Iterator[Tagged]:
    for sentence in read():
        yield replace(sentence, tags=in_scheme(sentence.tags, scheme, new))
