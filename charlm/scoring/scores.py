"""The result of scoring a text: its sums and counts, and its single tokens."""

import dataclasses
from dataclasses import dataclass
from typing import Self

from charlm.scoring.metrics import Tally
from charlm.scoring.spelling import spelled_bytes, spelling_nats
from charlm.text.encoded import Token
from charlm.text.interface import EMPTY_SYMBOL, Tokenizer


@dataclass(frozen=True)
class TokenScore:
    """One token of a scored text. `text` is the tokenizer's symbol, and `rank` 1 means the likeliest token.

    For a symbol that is not in the vocabulary, `unknown` is the symbol in the text, and `spelling_nats` the additional
    cost of spelling it. For display, `plain` is the symbol without charlm's own marks, and `joins` says in words what
    these mean, such as "no space before".
    """

    id: int
    text: str
    logprob_nats: float
    rank: int
    unknown: str = ""
    spelling_nats: float = 0.0
    plain: str = ""
    joins: str = ""
    alternatives: "tuple[TokenScore, ...]" = ()
    """The likeliest tokens in its place, as many as were asked for; it may be one of them itself."""

    @classmethod
    def from_id(cls, tokenizer: Tokenizer, id: int, logprob_nats: float, rank: int) -> Self:
        """The score of the token with this id; for an unknown one, `in_place_of` adds what the text has there."""
        plain, joins = tokenizer.plain(id)
        return cls(id, tokenizer.symbol(id), logprob_nats, rank, plain=plain, joins=joins)

    def in_place_of(self, token: Token) -> Self:
        """This score with the symbol of `token` and the cost of spelling it, if it is not in the vocabulary."""
        if token.unknown is None:
            return self
        nats = spelling_nats(spelled_bytes(token.unknown))
        return dataclasses.replace(self, unknown=token.unknown or EMPTY_SYMBOL, spelling_nats=nats)


@dataclass(frozen=True)
class Score:
    """The probability of a text with all counts; `tokens_scored` only if they were asked for.

    `has_space` says that one space was inserted between the context and the text. Bytes that are not UTF-8 in the text
    of a byte model appear as lone surrogates (U+DC80 to U+DCFF), which `os.fsencode` turns back into these bytes.
    """

    text: str
    tally: Tally
    tokens_scored: tuple[TokenScore, ...] = ()
    has_space: bool = False

    @property
    def logprob_nats(self) -> float:
        return self.tally.logprob_nats

    @property
    def logprob10(self) -> float:
        return self.tally.logprob10

    @property
    def perplexity(self) -> float:
        return self.tally.perplexity

    @property
    def bits_per_char(self) -> float:
        return self.tally.bits_per_char
