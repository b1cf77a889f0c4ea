"""Text written backward, towards its end, by a model that reads from the end; the finished text is turned round."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.sampling.generate import (
    Alternatives,
    Ending,
    Sample,
    SampledToken,
    Steps,
    StoppedBy,
    generate,
    prime,
    stop_texts,
)
from charlm.sampling.strategies import Strategy
from charlm.settings import Item
from charlm.text.interface import Tokenizer
from charlm.text.items import NUM_ENDS, EndOfItem

MAX_SYMBOL_BYTES = 4  # of a character; a stop text has at most so many tokens per character


class TextBefore:
    """A text that is being written from its end to its start: what was sampled, and what stopped it.

    `after` are the ids of the text that follows, which is the end of an item. A stop text ends the sample: what is
    written begins after it.
    """

    def __init__(
        self,
        number: int,
        rng: "np.random.Generator",
        tokenizer: Tokenizer,
        ending: Ending,
        after: NDArray[Any],
        item: Item,
    ) -> None:
        self.number, self.rng, self.seen, self.position = number, rng, {int(id) for id in after}, None
        self.stopped_by: StoppedBy | None = None
        self.begins_anew = False
        self.tokens: list[SampledToken] = []
        self._tokenizer, self._ending, self._after = tokenizer, ending, after
        self._item, self._end = item, EndOfItem(tokenizer.eos_id, item)
        for id in after[::-1].tolist():
            self._end.is_at(id)
        self._stops = stop_texts(ending.stop)
        self._watched = 1 + max((MAX_SYMBOL_BYTES * len(stop) for stop in self._stops), default=0)  # tokens

    def add(self, id: int, logprob_nats: float, alternatives: Alternatives) -> SampledToken:
        """Take the token before all others."""
        self.seen.add(id)
        has_ended = self._end.is_at(id)
        self.begins_anew = has_ended and self._item != "line"
        if self._ending.until_eos and has_ended:
            self.stopped_by = "eos"
        elif any(stop in self._beginning(id) for stop in self._stops):
            self.stopped_by = "stop"
        elif len(self.tokens) + 1 == self._ending.length:
            self.stopped_by = "length"
        self.tokens.append(SampledToken(id, logprob_nats, "", self.stopped_by, alternatives))
        return self.tokens[-1]

    def sample(self, suffix: str) -> Sample:
        """The finished text, in the order in which it is read; `suffix` is the text that follows it."""
        tokens = self.tokens[::-1]
        num_ends = NUM_ENDS[self._item] if tokens[0].stopped_by == "eos" else 0
        decoder = self._tokenizer.decoder()
        texts = ["" if n < num_ends else decoder.feed(token.id) for n, token in enumerate(tokens)]
        ids = [token.id for token in tokens][num_ends:]
        between = self._tokenizer.decode([*ids, *self._after.tolist()]).removeprefix("".join(texts))
        after = self._tokenizer.decode(self._after.tolist())
        is_spaced = suffix.startswith(" ") and between == f" {after}"
        texts[-1] += "" if is_spaced else between.removesuffix(after)
        if tokens[0].stopped_by == "stop":
            texts = _after_stop(texts, self._stops)
        per_token = [
            SampledToken(token.id, token.logprob_nats, text, token.stopped_by, token.alternatives)
            for token, text in zip(tokens, texts, strict=True)
        ]
        return Sample(
            text="".join(texts),
            prompt="",
            ids=[token.id for token in tokens],
            logprob_nats=sum(token.logprob_nats for token in tokens),
            stopped_by=tokens[0].stopped_by or "length",
            per_token=per_token,
            suffix=suffix,
        )

    def _beginning(self, id: int) -> str:
        """The first characters of the text that begins with the token `id`, enough of them to find a stop text."""
        if not self._stops:
            return ""
        return self._tokenizer.decode([id, *(token.id for token in self.tokens[: -self._watched : -1])])


def write_before(
    network: Steps,
    tokenizer: Tokenizer,
    suffixes: Sequence[str],
    strategy: Strategy,
    ending: Ending,
    rngs: "Sequence[np.random.Generator]",
    forbidden: int | None = None,
    num_alternatives: int = 0,
    item: Item = "line",
) -> list[Sample]:
    """Texts that end in these suffixes, written side by side by a network that reads backward.

    Each text has its own generator. The text before an empty suffix ends where a line ends. The id `forbidden` is never
    sampled. Of paragraphs, only the end of one may be in a suffix.
    """
    after = [tokenizer.encode_after(suffix) for suffix in suffixes]
    texts = [
        TextBefore(number, rng, tokenizer, ending, ids, item)
        for number, (rng, ids) in enumerate(zip(rngs, after, strict=True))
    ]
    primed = [prime(network, np.append(ids, tokenizer.eos_id)[::-1].astype(np.int64)) for ids in after]
    for _ in generate(network, primed, texts, strategy, forbidden, num_alternatives):
        pass
    return [text.sample(suffix) for text, suffix in zip(texts, suffixes, strict=True)]


def _after_stop(texts: Sequence[str], stops: Sequence[str]) -> list[str]:
    """The texts of the tokens, without all that stands before the end of the first stop text."""
    whole = "".join(texts)
    left = min(found + len(stop) for stop in stops if (found := whole.find(stop)) >= 0)
    kept = []
    for text in texts:
        kept.append(text[left:])
        left = max(0, left - len(text))
    return kept
