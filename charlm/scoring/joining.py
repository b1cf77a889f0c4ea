"""A context and a text as one: tokenized together, and only what ends in the text is counted.

They are joined as they stand. Where there is no white space between them and the unit is words or subwords, one space
is put there. In characters and bytes exactly the text's own are counted; in words and subwords every token that ends in
it, so one that begins in the context is counted whole. In words log p(whole) is log p(context) + log p(text | context),
the context scored without its end, for the space between two words belongs to the second one.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charlm.text.encoded import Encoded, Ids, Token
from charlm.text.interface import Tokenizer

WHOLE = ("char", "byte")  # units of which none ever reaches from one text into another


@dataclass(frozen=True)
class Joined:
    """`before` is read and counts nothing. `counted` is the text, its end too where that was asked for.

    `tokens` are those of `counted`, where they had to be found one by one.
    """

    before: Ids
    counted: Encoded
    tokens: list[Token]
    has_space: bool
    """Whether one space was put between context and text."""

    @property
    def whole(self) -> NDArray[np.int64]:
        return np.concatenate([self.before, self.counted.ids]).astype(np.int64)


def join(tokenizer: Tokenizer, context: str, text: str, eos: bool, one_by_one: bool = False) -> Joined:
    """What is read and what is counted when a text is scored after its context.

    Without `eos` the text may go on: for words, the space that ends it belongs to what follows and is no token yet.
    """
    has_space = is_space_missing(tokenizer, context, text)
    start, end = context + " " * has_space, "\n" * eos
    own = tokenizer.encode_detailed(text + end)  # its characters and bytes are those of the text alone
    is_apart = not start or (tokenizer.unit in WHOLE and tokenizer.lossless)
    if is_apart and not one_by_one and (eos or tokenizer.unit != "word"):
        return Joined(tokenizer.encode(start), own, [], has_space)
    whole = start + text + end
    tokens = tokenizer.tokens(whole)
    if tokenizer.unit == "word" and not eos:
        tokens = tokens[: len(tokenizer.encode_open(whole))]
    first = sum(token.end <= len(start) for token in tokens) if start else 0
    ids = np.array([token.id for token in tokens], np.uint32)
    unknown = tuple(token.unknown for token in tokens[first:] if token.unknown is not None)
    return Joined(ids[:first], replace(own, ids=ids[first:], unknown=unknown), tokens[first:], has_space)


def is_space_missing(tokenizer: Tokenizer, context: str, text: str) -> bool:
    """Whether context and text need a space between them to be two words."""
    if tokenizer.unit in WHOLE or not context or not text:
        return False
    return not (context[-1].isspace() or text[0].isspace())
