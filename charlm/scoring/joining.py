"""Join a context and a text: they are tokenized together, and only tokens that end in the text are counted.

With words and subwords, one space is inserted if there is no white space between the two. With characters and bytes,
exactly those of the text are counted; with words and subwords, every token that ends in the text, even if it begins in
the context. With words, log p(whole) = log p(context) + log p(text | context), where the context is scored without its
end, because the space between two words belongs to the second word.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charlm.settings import Item
from charlm.text.encoded import Encoded, Ids, Token
from charlm.text.interface import Tokenizer
from charlm.text.items import as_one_item


@dataclass(frozen=True)
class Joined:
    """A context and a text as ids. `before` is only read; `counted` is scored, with the text's end if asked for.

    `tokens` are the tokens of `counted` if they had to be determined one by one; else it is empty.
    """

    before: Ids
    counted: Encoded
    tokens: list[Token]
    has_space: bool
    """Whether one space was inserted between context and text."""

    @property
    def whole(self) -> NDArray[np.int64]:
        """The ids of context and text together."""
        return np.concatenate([self.before, self.counted.ids]).astype(np.int64)


def join(
    tokenizer: Tokenizer, context: str, text: str, eos: bool, one_by_one: bool = False, item: Item = "line"
) -> Joined:
    """Join a context and a text for scoring: which ids are read, and which are counted.

    With `eos` the text's end is counted too; without it the text may continue, so with words a final space is not a
    token yet: it belongs to the next word. With `one_by_one` the tokens are determined even if the ids suffice.
    Raises UsageError for a text of several paragraphs, where these are the items.
    """
    context, text, end = as_one_item(context, text, eos, item)
    has_space = is_space_missing(tokenizer, context, text)
    start = context + (" " if has_space else "")
    own = tokenizer.encode_detailed(text + end)  # for the text's own characters and bytes
    is_apart = not start or (tokenizer.can_be_cut_anywhere and tokenizer.lossless)
    if is_apart and not one_by_one and (eos or len(tokenizer.encode_open(text)) == len(own.ids)):
        return Joined(tokenizer.encode(start), own, [], has_space)
    whole = start + text + end
    tokens = tokenizer.tokens(whole)
    if not eos:
        tokens = tokens[: len(tokenizer.encode_open(whole))]
    first = len([token for token in tokens if token.end <= len(start)]) if start else 0
    ids = np.array([token.id for token in tokens], np.uint32)
    unknown = tuple(token.unknown for token in tokens[first:] if token.unknown is not None)
    return Joined(ids[:first], replace(own, ids=ids[first:], unknown=unknown), tokens[first:], has_space)


def is_space_missing(tokenizer: Tokenizer, context: str, text: str) -> bool:
    """Whether a space must be inserted between context and text to keep two words apart."""
    if tokenizer.can_be_cut_anywhere or not context or not text:
        return False
    return not (context[-1].isspace() or text[0].isspace())
