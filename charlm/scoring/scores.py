"""What a scored text comes to: its counts, and its tokens one by one."""

import dataclasses
from dataclasses import dataclass
from typing import Self

from charlm.scoring.metrics import Tally
from charlm.scoring.spelling import spelled_bytes, spelling_nats
from charlm.text.encoded import Token
from charlm.text.interface import Tokenizer

NOTHING = "␣"  # how the place between two spaces is shown


@dataclass(frozen=True)
class TokenScore:
    """One token of a scored text; `rank` 1 is the likeliest. Its text is the tokenizer's symbol.

    For a symbol that the vocabulary lacks, `unknown` is what the text has there, and spelling it costs `spelling_nats`
    besides. For people, `plain` is the symbol without marks of charlm's own, and `joins` says what those say: "no space
    before".
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
    def of(cls, tokenizer: Tokenizer, id: int, logprob_nats: float, rank: int) -> Self:
        plain, joins = tokenizer.plain(id)
        return cls(id, tokenizer.symbol(id), logprob_nats, rank, plain=plain, joins=joins)

    def in_place_of(self, token: Token) -> Self:
        """The same, where the vocabulary lacks it with what the text has there."""
        if token.unknown is None:
            return self
        nats = spelling_nats(spelled_bytes(token.unknown))
        return dataclasses.replace(self, unknown=token.unknown or NOTHING, spelling_nats=nats)


@dataclass(frozen=True)
class Score:
    """A text's probability with all its counts; `tokens_scored` only where they were asked for.

    `has_space` says that one space was put between the context and the text, which had none. What is no UTF-8 in a
    byte model's text stands there in lone surrogates (U+DC80 to U+DCFF), from which `os.fsencode` makes the same bytes.
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
