"""A language model in use: a tokenizer and a predictor. Text in, text and numbers out."""

import dataclasses
import math
import secrets
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import DivergedError, RunError, UsageError
from charlm.probability import NOT_FINITE, log_softmax
from charlm.sampling.backward import write_before
from charlm.sampling.generate import Ending, Sample, SampledToken, collect, likeliest, prime, stop_texts
from charlm.sampling.healing import Start, go_on, start_after, unknown_after
from charlm.sampling.strategies import Strategy
from charlm.scoring.joining import Joined, join
from charlm.scoring.metrics import Sums, Tally
from charlm.scoring.predictor import Predictor
from charlm.scoring.reading import Reading
from charlm.scoring.score import score_sequence, score_sequences, score_stream
from charlm.scoring.scores import Score, TokenScore
from charlm.scoring.spelling import spelled_bytes, spelling_nats
from charlm.settings import CorpusSettings, Direction
from charlm.text.interface import check_is_text
from charlm.text.items import NUM_ENDS, first_item, last_item
from charlm.text.surrogates import to_text
from charlm.text.tokenizer import Tokenizer

LINES_AT_ONCE = 4096
TEXTS_AT_ONCE = 16  # sampled side by side in a thread: more of them would come no sooner


class LanguageModel:
    """A tokenizer and a predictor. `charlm.load` makes one from a run; any other predictor also works.

    `batch_predictor` scores many texts at once where that is faster by another way. `reading` says in which form texts
    are read, `path` which run it is from, for messages, and `notes` what people should know of it. Several texts are
    sampled in up to `threads` threads. With the `direction` "backward" the predictor reads each text from its end
    (`corpus/direction.py`).
    A model can be used by several threads, copied, and sent to other processes. Raises ValueError where tokenizer and
    predictor differ in size.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        predictor: Predictor,
        batch_predictor: Predictor | None = None,
        reading: Reading | None = None,
        path: Path = Path(),
        threads: int = 1,
        direction: Direction = "forward",
        notes: tuple[str, ...] = (),
    ) -> None:
        if predictor.vocab_size != tokenizer.vocab_size:
            raise ValueError(f"a tokenizer of {tokenizer.vocab_size} types, a predictor of {predictor.vocab_size}")
        self.tokenizer, self.predictor = tokenizer, predictor
        self.batch_predictor = batch_predictor or predictor
        self.reading = reading or Reading(CorpusSettings(line_ends="keep"), tokenizer)
        self.item = self.reading.settings.item
        self.path, self._threads, self.direction, self.notes = path, threads, direction, notes

    def score(
        self,
        text: str | bytes,
        *,
        context: str | bytes = "",
        eos: bool = True,
        per_token: bool = False,
        alternatives: int = 0,
    ) -> Score:
        """log p(text) from the initial state, to its own end unless `eos` is false.

        A context is read before the text and counts nothing itself; `scoring/joining.py` says how the two are joined. A
        newline within the text is one more `<eos>`. The end is an `<eos>`, or two where paragraphs are the items; a
        text is one of these then. Bytes are for byte models, or UTF-8. With `per_token` each token's probability is
        there, too, and the `alternatives` likeliest tokens in its place.

        A backward model takes no context. Each of its tokens is conditioned on those that follow it, and `<eos>`, which
        then stands for the start of the text and is the first of the tokens, on the whole text. Raises UsageError for
        a number of `alternatives` below 0, or without `per_token`, and for a text of several paragraphs.
        """
        _check_count("alternatives", alternatives)
        if alternatives and not per_token:
            raise UsageError("alternatives are those of each token", to_do="give per_token=True, too")
        joined = self._joined(context, text, eos, per_token)
        order = self.reading_order(len(joined.whole), eos)
        if per_token:
            read = list(self._step_through(joined.whole[order], alternatives))
            tokens = [read[n] for n in order.tolist()][len(joined.before) :]
            logprobs = np.array([token.logprob_nats for token in tokens])
            named = list(map(TokenScore.in_place_of, tokens, joined.tokens))
            if self.direction == "backward" and eos:
                named = named[-NUM_ENDS[self.item] :] + named[: -NUM_ENDS[self.item]]
            return self._score(text, joined, logprobs, tuple(named))
        logprobs = score_sequence(self.predictor, joined.whole[order], self.tokenizer.eos_id)
        return self._score(text, joined, logprobs[order][len(joined.before) :])

    def score_lines(
        self, lines: Iterable[str | bytes], *, context: str | bytes = "", eos: bool = True
    ) -> Iterator[Score]:
        """Score many texts, in batches."""
        remaining = iter(lines)
        while batch := list(islice(remaining, LINES_AT_ONCE)):
            joined_lines = [self._joined(context, line, eos) for line in batch]
            orders = [self.reading_order(len(joined.whole), eos) for joined in joined_lines]
            wholes = [joined.whole[order] for joined, order in zip(joined_lines, orders, strict=True)]
            scores = score_sequences(self.batch_predictor, wholes, self.tokenizer.eos_id)
            for line, joined, logprobs, order in zip(batch, joined_lines, scores, orders, strict=True):
                yield self._score(line, joined, logprobs[order][len(joined.before) :])

    def score_stream(
        self, source: str | Path, settings: CorpusSettings | None = None, notes: list[str] | None = None
    ) -> Tally:
        """A file as one running text, the state carried over its lines; `-` is standard input.

        What a person should know of how it was read is appended to `notes`. Raises UsageError where paragraphs are the
        items.
        """
        if self.item != "line":
            what = f"this run reads each {self.item} on its own, and no running text"
            raise UsageError(what, str(self.path), "charlm score --file FILE")
        from charlm.corpus.prepare import encoded_text

        counts, spelled = Tally(), 0

        def ids_of_pieces() -> Iterator[NDArray[Any]]:
            nonlocal counts, spelled
            for piece in encoded_text(self.tokenizer, source, self.reading.of_file(settings), notes):
                characters, size, unknown = piece.characters, piece.bytes, len(piece.unknown)
                counts += Tally(0.0, len(piece.ids), characters, size, unknown)
                spelled += sum(map(spelled_bytes, piece.unknown))
                yield piece.ids

        sums, pieces = Sums(), ids_of_pieces()
        if self.direction == "backward":  # it can begin only when the end has been read
            ids = np.concatenate([np.empty(0, np.uint32), *pieces]).astype(np.int64)
            has_end = len(ids) > 0 and ids[-1] == self.tokenizer.eos_id
            pieces = iter([ids[self.reading_order(len(ids), has_end)]])
        for ids, logprobs in score_stream(self.batch_predictor, pieces, self.tokenizer.eos_id):
            sums.add(logprobs, ids, self.tokenizer.unk_id)
        return self._tally(sums, counts, spelled)

    def next_tokens(self, context: str | bytes = "", count: int = 10) -> list[TokenScore]:
        """The likeliest tokens after a context, the likeliest first; a space at its end belongs to the next one.

        Raises UsageError for a backward model, and for a `count` below 0.
        """
        _check_count("count", count)
        self._refuse_backward("the next tokens", "ask a forward model")
        before = self.tokenizer.encode_open(last_item(self._read(context), self.item))
        logits, _ = prime(self.predictor, np.concatenate([[self.tokenizer.eos_id], before]).astype(np.int64))
        return list(self._likeliest(log_softmax(logits[0]), count))

    def _likeliest(self, logprobs: NDArray[np.float64], count: int) -> tuple[TokenScore, ...]:
        found = enumerate(likeliest(logprobs, count), 1)
        return tuple(TokenScore.from_id(self.tokenizer, id, logprob, rank) for rank, (id, logprob) in found)

    def sample(
        self,
        prompt: str | bytes = "",
        *,
        suffix: str | bytes = "",
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        length: int = Ending.length,
        until_eos: bool = False,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        allow_unk: bool = False,
        alternatives: int = 0,
    ) -> Sample:
        """New text after a prompt, `length` tokens unless its end (with `until_eos`) or the text `stop` ends it.

        Of several stop texts the first that comes ends it. A backward model takes a `suffix` in place of a prompt, and
        writes the text before it, up to the start of a line with `until_eos`, or from the end of a stop text on. Where
        paragraphs are the items, each is begun from the initial state, and `until_eos` writes to the end of one.
        The prompt stays as it is, and its last token may become longer: `The ol` may become `The old`. In the text of a
        byte model, bytes that are not valid UTF-8 are lone surrogates, as in `Score`.
        """
        strategy = Strategy(
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty
        )
        ending = Ending(length=length, until_eos=until_eos, stop=stop)
        given = self.given(self._as_text(prompt), self._as_text(suffix))
        samples = self.sample_many(given, strategy, ending, seed=seed, allow_unk=allow_unk, alternatives=alternatives)
        return next(iter(samples))

    def given(self, prompt: str, suffix: str) -> str:
        """The text to continue: the prompt, or for a backward model the suffix. Raises UsageError or RunError."""
        if prompt:
            self._refuse_backward("--prompt", "give the text that follows: --suffix TEXT")
        if suffix and self.direction != "backward":
            what = "--suffix needs a model that reads from the end; this run has none"
            raise RunError(what, str(self.path), "train one: charlm train --direction backward, or both")
        return prompt or suffix

    def sample_tokens(
        self,
        given: str | bytes,
        strategy: Strategy,
        ending: Ending,
        *,
        seed: int | None = None,
        number: int = 0,
        allow_unk: bool = False,
        alternatives: int = 0,
    ) -> Iterator[SampledToken]:
        """The tokens of sample `number`, as they come; each number has its own randomness, whatever came before.

        `given` is the prompt, or for a backward model the suffix; its tokens come when all of them are written. Each
        token has the `alternatives` likeliest ids in its place.
        """
        _check_count("alternatives", alternatives)
        rngs, ending = [np.random.default_rng([_randomness(seed), number])], self.as_read(ending)
        if self.direction == "backward":
            (sample,) = self._write_before([self._as_text(given)], strategy, ending, rngs, allow_unk, alternatives)
            yield from sample.per_token
            return
        start = self._start(given, allow_unk)
        for tokens in go_on(self.predictor, [start], strategy, ending, rngs, alternatives):
            yield from tokens.values()

    def sample_many(
        self,
        given: str | bytes | Sequence[str | bytes],
        strategy: Strategy,
        ending: Ending,
        count: int = 1,
        *,
        seed: int | None = None,
        allow_unk: bool = False,
        alternatives: int = 0,
    ) -> Iterator[Sample]:
        """For each prompt samples 0 to count - 1, in this order, the same as one by one but many side by side.

        For a backward model these are suffixes. Up to TEXTS_AT_ONCE are sampled together in each thread. Raises
        UsageError for a number of samples or alternatives below 0.
        """
        _check_count("count", count)
        _check_count("alternatives", alternatives)
        from concurrent.futures import ThreadPoolExecutor  # here, since scoring does not need it

        texts = [given] if isinstance(given, (str, bytes)) else given
        wanted = [(prompt, number) for prompt in map(self._as_text, texts) for number in range(count)]
        size = max(1, min(TEXTS_AT_ONCE, -(-len(wanted) // self._threads)))
        groups = (wanted[first : first + size] for first in range(0, len(wanted), size))
        randomness, stopping, ending = _randomness(seed), threading.Event(), self.as_read(ending)
        start_of = lru_cache(TEXTS_AT_ONCE)(partial(self._start, allow_unk=allow_unk))

        def write(group: list[tuple[str, int]]) -> list[Sample]:
            rngs = [np.random.default_rng([randomness, number]) for _, number in group]
            if self.direction == "backward":
                suffixes = [suffix for suffix, _ in group]
                return self._write_before(suffixes, strategy, ending, rngs, allow_unk, alternatives)
            tokens_of: list[list[SampledToken]] = [[] for _ in group]
            starts = [start_of(prompt) for prompt, _ in group]
            for tokens in go_on(self.predictor, starts, strategy, ending, rngs, alternatives):
                if stopping.is_set():
                    return []
                for text_number, token in tokens.items():
                    tokens_of[text_number].append(token)
            return [collect(prompt, tokens) for (prompt, _), tokens in zip(group, tokens_of, strict=True)]

        with ThreadPoolExecutor(self._threads) as pool:
            try:
                begun = deque(pool.submit(write, group) for group in islice(groups, 2 * self._threads))
                while begun:
                    samples = begun.popleft().result()
                    begun.extend(pool.submit(write, group) for group in islice(groups, 1))
                    yield from samples
            finally:
                stopping.set()  # nobody waits for the rest
                pool.shutdown(cancel_futures=True)

    def _write_before(
        self,
        suffixes: list[str],
        strategy: Strategy,
        ending: Ending,
        rngs: "list[np.random.Generator]",
        allow_unk: bool,
        alternatives: int,
    ) -> list[Sample]:
        """Texts that end in these suffixes, each with its own generator."""
        forbidden, texts = None if allow_unk else self.tokenizer.unk_id, [self._read(suffix) for suffix in suffixes]
        texts = [first_item(text, self.item) for text in texts]
        how = (strategy, ending, rngs, forbidden, alternatives, self.item)
        samples = write_before(self.predictor, self.tokenizer, texts, *how)
        return [dataclasses.replace(sample, suffix=suffix) for sample, suffix in zip(samples, suffixes, strict=True)]

    def reading_order(self, count: int, has_end: bool) -> NDArray[np.int64]:
        """The order (count,) in which tokens are read; taking an array in this order twice gives it back.

        A text that `has_end` ends as an item does, and this end also stands for its start where it is read backward.
        """
        order, num_ends = np.arange(count), NUM_ENDS[self.item] if has_end else 0
        if self.direction == "backward":
            order[: count - num_ends] = order[: count - num_ends][::-1].copy()
        return order

    def unknown_in(self, text: str | bytes) -> tuple[str, ...]:
        """The symbols of a text that are not in the vocabulary."""
        return self.tokenizer.encode_detailed(self._read(text)).unknown

    def unknown_in_prompt(self, prompt: str | bytes) -> tuple[str, ...]:
        """The symbols of a prompt that are not in the vocabulary.

        A last word that could be completed to a known one does not count.
        """
        unknown = self.unknown_in(prompt)
        if not unknown or self.direction == "backward":
            return unknown
        return unknown_after(self.tokenizer, self.predictor, last_item(self._read(prompt), self.item))

    def _as_text(self, text: str | bytes) -> str:
        """Decode bytes; invalid UTF-8 becomes lone surrogates. Raises TextError for units that cannot have those."""
        if isinstance(text, str):
            return text
        if not self.tokenizer.takes_any_bytes:
            check_is_text(text)
        return to_text(text)

    def _read(self, text: str | bytes) -> str:
        """A text as it is tokenized."""
        text = self._as_text(text)
        return text if self.tokenizer.takes_any_bytes else self.reading.prepared(text)

    def as_read(self, ending: Ending) -> Ending:
        """An ending whose stop texts are in the form of the run's text, as prompts are."""
        return dataclasses.replace(ending, stop=[self._read(text) or text for text in stop_texts(ending.stop)])

    def _joined(self, context: str | bytes, text: str | bytes, eos: bool, one_by_one: bool = False) -> Joined:
        """A context and a text as ids. Raises UsageError for a context where the model reads backward."""
        if context:
            self._refuse_backward("--context", "score the whole text, or ask a forward model")
        return join(self.tokenizer, self._read(context), self._read(text), eos, one_by_one, self.item)

    def _refuse_backward(self, what: str, to_do: str) -> None:
        if self.direction == "backward":
            raise UsageError(
                f"this model reads from the end, and does not know what stands before: no {what}", to_do=to_do
            )

    def _start(self, prompt: str | bytes, allow_unk: bool) -> Start:
        prompt = last_item(self._read(prompt), self.item)
        return start_after(self.tokenizer, self.predictor, prompt, allow_unk, self.item)

    def _step_through(self, ids: NDArray[np.int64], alternatives: int) -> Iterator[TokenScore]:
        """Each token's probability and rank, one step at a time."""
        state, previous = self.predictor.initial_state(), self.tokenizer.eos_id
        for id in ids.tolist():
            logits, state = self.predictor.step(np.array([previous]), state)
            logprobs, rank = log_softmax(logits[0]), 1 + int((logits[0] > logits[0][id]).sum())
            scored = TokenScore.from_id(self.tokenizer, id, float(logprobs[id]), rank)
            yield dataclasses.replace(scored, alternatives=self._likeliest(logprobs, alternatives))
            previous = id

    def _score(
        self, text: str | bytes, joined: Joined, logprobs: NDArray[np.float64], tokens: tuple[TokenScore, ...] = ()
    ) -> Score:
        counted, sums = joined.counted, Sums()
        sums.add(logprobs, counted.ids, self.tokenizer.unk_id)
        counts = Tally(0.0, len(counted.ids), counted.characters, counted.bytes, len(counted.unknown))
        tally = self._tally(sums, counts, sum(map(spelled_bytes, counted.unknown)))
        return Score(self._as_text(text), tally, tokens, joined.has_space)

    def _tally(self, sums: Sums, counts: Tally, spelled: int) -> Tally:
        """The counts with their nats; `spelled` bytes of unknown symbols are spelled."""
        if not math.isfinite(sums.logprob_nats):
            raise DivergedError(NOT_FINITE, str(self.path), "train it longer or again, or score a shorter text")
        spelling = spelling_nats(spelled)
        unknown_nats = sums.unknown_nats(counts.unknown) + spelling
        return dataclasses.replace(counts, total_nats=-sums.logprob_nats + spelling, unknown_nats=unknown_nats)


def _check_count(name: str, count: int) -> None:
    if count < 0:
        raise UsageError(f"{name} {count} is out of range", to_do="give a number of 0 or more")


def _randomness(seed: int | None) -> int:
    if seed is not None and seed < 0:
        raise UsageError(f"--seed {seed} is out of range", to_do="give a number of 0 or more")
    return secrets.randbits(63) if seed is None else seed
