"""Python's door to charlm: text in, text and numbers out. It puts tokenizer and network together.

Sentences and samples run on `engine/`, which starts at once; batches on `model/` (torch) where they are for a GPU, or
`engine/` has no compiled code for them.
"""

import dataclasses
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from charlm.config import CorpusSettings, Device, Precision
from charlm.device import cores, may_have_gpu
from charlm.engine.compiled import CompiledStepper, can_compile, fastest_stepper, has_bfloat16
from charlm.engine.stepper import Stepper
from charlm.errors import DivergedError, RunError, UsageError
from charlm.probability import log_softmax
from charlm.run_config import read_config, was_trained
from charlm.run_directory import BEST, RunDirectory, find_run
from charlm.sampling.generate import Ending, Sample, SampledToken, collect, generate, generate_together, prime
from charlm.sampling.strategies import Strategy
from charlm.scoring.metrics import Sums, Tally
from charlm.scoring.score import Network, score_sequence, score_sequences, score_stream
from charlm.scoring.spelling import spelled_bytes, spelling_nats
from charlm.shape import check_weights, most_weight_bytes, shape_from
from charlm.text.tokenizer import Encoded, Tokenizer, load_tokenizer, text_from_argument

if TYPE_CHECKING:
    from charlm.training.results import TrainResult

LINES_AT_ONCE = 4096
TEXTS_AT_ONCE = 16  # sampled side by side in a thread: of more, none comes sooner


@dataclass(frozen=True)
class TokenScore:
    """One token of a scored text; `rank` 1 is the likeliest. Its text is the tokenizer's symbol.

    For a symbol that the vocabulary lacks, `unknown` is that symbol, and spelling it costs `spelling_nats` besides.
    """

    id: int
    text: str
    logprob_nats: float
    rank: int
    unknown: str = ""
    spelling_nats: float = 0.0


@dataclass(frozen=True)
class Score:
    """A text's probability with all its counts; `tokens_scored` only where they were asked for."""

    text: str
    tally: Tally
    tokens_scored: tuple[TokenScore, ...] = ()

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


class LanguageModel:
    """A trained run, ready to use. Load it with `charlm.load`."""

    def __init__(
        self,
        run: RunDirectory,
        device: Device = "auto",
        precision: Precision = "float32",
        threads: int | None = None,
    ) -> None:
        _check_choice("device", device, Device)
        _check_choice("precision", precision, Precision)
        if threads is not None and threads < 1:
            raise UsageError(f"--threads {threads} is out of range", to_do="give a number of 1 or more")
        self.run, self._device, self._precision, self._threads = run, device, precision, threads or cores()
        self.shape = shape_from(run.config, str(run.path / "config.json"))
        self.tokenizer: Tokenizer = load_tokenizer(run.path)
        if self.tokenizer.vocab_size != self.shape.vocab_size:
            raise RunError("damaged run: tokenizer and network differ in size", str(run.path))
        if not run.has(BEST):
            if was_trained(run, read_config(run)):
                raise run.damaged("best.safetensors", "is missing")
            to_do = f"wait for it, or go on with it: charlm train --resume --run {run.path}"
            raise RunError("nothing of this run was saved yet", str(run.path), to_do)

    @cached_property
    def stepper(self) -> Stepper:
        """The network for one token at a time, without torch."""
        tensors = self._best()
        if self._precision == "float32":
            return fastest_stepper(self.shape, tensors, self._threads)
        if not can_compile(self.shape) or not has_bfloat16():
            what = "--precision bfloat16 needs an LSTM, charlm's compiled code and a processor with bfloat16"
            raise UsageError(what, str(self.run.path), "leave --precision out, or score a --file")
        return CompiledStepper(self.shape, tensors, bfloat16=True, threads=self._threads)

    @cached_property
    def runner(self) -> Network:
        """The network for batches: the same where it is compiled and there is no GPU to be used, else in torch."""
        compiled = can_compile(self.shape) and (self._precision == "float32" or has_bfloat16())
        if compiled and (self._device == "cpu" or (self._device == "auto" and not may_have_gpu())):
            return self.stepper
        import torch

        from charlm.device import find_device
        from charlm.model.language_model import LanguageModelNetwork
        from charlm.model.runner import Runner

        device = find_device(self._device)
        if compiled and device == "cpu":
            return self.stepper
        torch.set_num_threads(self._threads)
        network = LanguageModelNetwork(self.shape)
        network.load_state_dict({name: torch.from_numpy(value) for name, value in self._best().items()})
        return Runner(network.to(device), bfloat16=self._precision == "bfloat16")

    def score(self, text: str, *, context: str = "", eos: bool = True, per_token: bool = False) -> Score:
        """log p(text) from the initial state, to its own `<eos>` unless `eos` is false.

        A context is read before the text and counts nothing itself. A newline within the text is one more `<eos>`.
        """
        encoded, before = self._encode(text), self._encode(context).ids
        ids = np.append(encoded.ids, self.tokenizer.eos_id) if eos else encoded.ids
        whole = np.concatenate([before, ids]).astype(np.int64)
        if per_token:
            tokens = tuple(self._step_through(whole))[len(before) :]
            logprobs = np.array([token.logprob_nats for token in tokens])
            return self._score(text, encoded, ids, logprobs, eos, self._with_spelling(tokens, encoded.unknown))
        logprobs = score_sequence(self.stepper, whole, self.tokenizer.eos_id)[len(before) :]
        return self._score(text, encoded, ids, logprobs, eos)

    def score_lines(self, lines: Iterable[str], *, context: str = "", eos: bool = True) -> Iterator[Score]:
        """Score many texts, in batches."""
        before, remaining = self._encode(context).ids, iter(lines)
        while batch := list(islice(remaining, LINES_AT_ONCE)):
            encoded = [self._encode(line) for line in batch]
            ids = [np.append(one.ids, self.tokenizer.eos_id) if eos else one.ids for one in encoded]
            sequences = [np.concatenate([before, one]).astype(np.int64) for one in ids]
            scores = score_sequences(self.runner, sequences, self.tokenizer.eos_id)
            for line, one, own, logprobs in zip(batch, encoded, ids, scores, strict=True):
                yield self._score(line, one, own, logprobs[len(before) :], eos)

    def score_stream(self, source: str | Path, settings: CorpusSettings | None = None) -> Tally:
        """A file as one running text, the state carried over its lines; `-` is standard input."""
        from charlm.corpus.prepare import encoded_text

        counts, spelled = Tally(), 0

        def ids_of_pieces() -> Iterator[NDArray[Any]]:
            nonlocal counts, spelled
            for piece in encoded_text(self.tokenizer, source, settings or CorpusSettings()):
                characters, size, unknown = piece.characters, piece.bytes, len(piece.unknown)
                counts += Tally(0.0, len(piece.ids), characters, size, unknown)
                spelled += sum(map(spelled_bytes, piece.unknown))
                yield piece.ids

        sums = Sums()
        for ids, logprobs in score_stream(self.runner, ids_of_pieces(), self.tokenizer.eos_id):
            sums.add(logprobs, ids, self.tokenizer.unk_id)
        return self._tally(sums, counts, spelled)

    def next_tokens(self, context: str = "", count: int = 10) -> list[TokenScore]:
        """The likeliest tokens after a context, the likeliest first."""
        logits, _ = prime(self.stepper, self._start(context))
        logprobs = log_softmax(logits[0])
        best = np.argsort(-logprobs, kind="stable")[:count].tolist()
        return [TokenScore(id, self.tokenizer.symbol(id), float(logprobs[id]), rank) for rank, id in enumerate(best, 1)]

    def sample(
        self,
        prompt: str = "",
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        length: int = Ending.length,
        until_eos: bool = False,
        stop: str | None = None,
        seed: int | None = None,
        allow_unk: bool = False,
    ) -> Sample:
        """New text after a prompt, `length` tokens unless `<eos>` (with `until_eos`) or the text `stop` ends it."""
        strategy = Strategy(
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty
        )
        ending = Ending(length=length, until_eos=until_eos, stop=stop)
        return collect(prompt, self.sample_tokens(prompt, strategy, ending, seed=seed, allow_unk=allow_unk))

    def sample_tokens(
        self,
        prompt: str,
        strategy: Strategy,
        ending: Ending,
        *,
        seed: int | None = None,
        number: int = 0,
        allow_unk: bool = False,
    ) -> Iterator[SampledToken]:
        """The tokens of sample `number`, as they come; each number has its own randomness, whatever came before."""
        start, rng = self._start(prompt), np.random.default_rng([_randomness(seed), number])
        special = self._special(allow_unk)
        return generate(self.stepper, start, strategy, ending, rng, self._decoder_after(start), **special)

    def sample_many(
        self,
        prompt: str,
        strategy: Strategy,
        ending: Ending,
        count: int,
        *,
        seed: int | None = None,
        allow_unk: bool = False,
    ) -> Iterator[Sample]:
        """Samples 0 to count - 1, the same as one by one, but up to TEXTS_AT_ONCE side by side in each thread."""
        size = max(1, min(TEXTS_AT_ONCE, -(-count // self._threads)))
        groups = (range(first, min(first + size, count)) for first in range(0, count, size))
        randomness, start, stopping = _randomness(seed), self._start(prompt), threading.Event()
        primed, seen = prime(self.stepper, start), set(start[1:].tolist())
        special = self._special(allow_unk)

        def write(numbers: range) -> list[Sample]:
            written: list[list[SampledToken]] = [[] for _ in numbers]
            rngs = [np.random.default_rng([randomness, number]) for number in numbers]
            decoders = [self._decoder_after(start) for _ in numbers]
            for tokens in generate_together(self.stepper, primed, seen, strategy, ending, rngs, decoders, **special):
                if stopping.is_set():
                    return []
                for place, token in tokens.items():
                    written[place].append(token)
            return [collect(prompt, tokens) for tokens in written]

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

    def _best(self) -> Mapping[str, NDArray[np.float32]]:
        """The weights, which are all and only those of a network of this shape."""
        tensors = self.run.load(BEST, most_weight_bytes(self.shape)).tensors
        check_weights(self.shape, tensors, str(self.run.path / f"{BEST}.safetensors"))
        return tensors

    def unknown_in(self, text: str) -> tuple[str, ...]:
        """The symbols of a text that the vocabulary lacks."""
        return self._encode(text).unknown

    def _encode(self, text: str) -> Encoded:
        return self.tokenizer.encode_detailed(text_from_argument(text))

    def _start(self, prompt: str) -> NDArray[np.int64]:
        """What comes before the first sampled token: `<eos>`, then the prompt."""
        return np.concatenate([[self.tokenizer.eos_id], self._encode(prompt).ids]).astype(np.int64)

    def _special(self, allow_unk: bool) -> dict[str, Any]:
        """The id that ends a line, and the one that is never sampled."""
        return {"eos_id": self.tokenizer.eos_id, "forbidden": None if allow_unk else self.tokenizer.unk_id}

    def _decoder_after(self, start: NDArray[np.int64]) -> Any:
        """A decoder that has seen the prompt: a word after a word begins with a space."""
        decoder = self.tokenizer.decoder()
        for id in start[1:].tolist():
            decoder.feed(id)
        return decoder

    def _step_through(self, ids: NDArray[np.int64]) -> Iterator[TokenScore]:
        """Each token's probability and rank, one step at a time."""
        state, previous = self.stepper.initial_state(), self.tokenizer.eos_id
        for id in ids.tolist():
            logits, state = self.stepper.step(np.array([previous]), state)
            rank = 1 + int((logits[0] > logits[0][id]).sum())
            yield TokenScore(id, self.tokenizer.symbol(id), float(log_softmax(logits[0])[id]), rank)
            previous = id

    def _with_spelling(self, tokens: tuple[TokenScore, ...], unknown: tuple[str, ...]) -> tuple[TokenScore, ...]:
        """The tokens, unknown ones with their symbols; a literal `<unk>` in the text leaves open which."""
        if sum(token.id == self.tokenizer.unk_id for token in tokens) != len(unknown):
            return tokens
        symbols = iter(unknown)
        return tuple(_spelled(token, next(symbols)) if token.id == self.tokenizer.unk_id else token for token in tokens)

    def _score(
        self,
        text: str,
        encoded: Encoded,
        ids: NDArray[Any],
        logprobs: NDArray[np.float64],
        eos: bool,
        tokens: tuple[TokenScore, ...] = (),
    ) -> Score:
        sums = Sums()
        sums.add(logprobs, ids, self.tokenizer.unk_id)
        counts = Tally(0.0, len(ids), encoded.characters + eos, encoded.bytes + eos, len(encoded.unknown))
        return Score(text, self._tally(sums, counts, sum(map(spelled_bytes, encoded.unknown))), tokens)

    def _tally(self, sums: Sums, counts: Tally, spelled: int) -> Tally:
        """The counts with their nats; `spelled` bytes of unknown symbols are spelled."""
        if not math.isfinite(sums.logprob_nats):
            what = "the model's predictions are not finite: its training diverged, or its state grows without bound"
            raise DivergedError(what, str(self.run.path), "train it longer or again, or score a shorter text")
        spelling = spelling_nats(spelled)
        unknown_nats = sums.unknown_nats(counts.unknown) + spelling
        return dataclasses.replace(counts, total_nats=-sums.logprob_nats + spelling, unknown_nats=unknown_nats)


def load(
    run: str | Path | None = None,
    device: Device = "auto",
    precision: Precision = "float32",
    threads: int | None = None,
) -> LanguageModel:
    """The model of a run: a path, a name under runs/, or None for the one saved last. Raises RunError.

    The device is for scoring in batches; single sentences and samples are computed by the processor. With precision
    "bfloat16" products are computed in it: faster, with probabilities that differ by some thousandths of a nat.
    Several texts at once use `threads` (default: all).
    """
    return LanguageModel(RunDirectory(find_run(None if run is None else str(run))), device, precision, threads)


def train(
    corpus: str | Path | None = None,
    *,
    run: str | None = None,
    valid: str | Path | None = None,
    test: str | Path | None = None,
    tokenizer: str | Path | None = None,
    init_from: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **settings: Any,
) -> "TrainResult":
    """Train as `charlm train` does, silently. `settings` are its options with underscores: `hidden_size=256`.

    Raises a CharlmError for what `charlm train` refuses; KeyboardInterrupt, after saving, when a signal ended it.
    `time` is that of the whole call.
    """
    began = time.perf_counter()
    from charlm.config import gather
    from charlm.training.creation import TrainRequest
    from charlm.training.results import measure
    from charlm.training.session import open_session

    request = TrainRequest(
        corpus=None if corpus is None else str(corpus),
        run=run,
        valid=Path(valid) if valid else None,
        test=Path(test) if test else None,
        tokenizer=Path(tokenizer) if tokenizer else None,
        init_from=str(init_from) if init_from else None,
        resume=resume,
        force=force,
        settings=gather(settings, resume=resume),
        began=began,
    )
    session = open_session(request)
    for _ in session.events():
        pass
    if session.finished.signal is not None:
        raise KeyboardInterrupt
    return measure(session)


def _check_choice(name: str, value: str, kind: Any) -> None:
    if value not in get_args(kind):
        raise UsageError(f"--{name} {value}: no such {name}", to_do=f"choose from {', '.join(get_args(kind))}")


def _randomness(seed: int | None) -> int:
    if seed is not None and seed < 0:
        raise UsageError(f"--seed {seed} is out of range", to_do="give a number of 0 or more")
    return secrets.randbits(63) if seed is None else seed


def _spelled(token: TokenScore, symbol: str) -> TokenScore:
    return dataclasses.replace(token, unknown=symbol, spelling_nats=spelling_nats(spelled_bytes(symbol)))
