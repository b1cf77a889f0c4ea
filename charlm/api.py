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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from charlm.engine.compiled import CompiledStepper, can_compile, fastest_stepper, has_bfloat16
from charlm.engine.steps import Stepper
from charlm.errors import DivergedError, RunError, UsageError
from charlm.network.architecture import check_weights, most_weight_bytes, shape_from
from charlm.probability import log_softmax
from charlm.runs.config import read_config, was_trained
from charlm.runs.directory import BEST, RunDirectory, find_run
from charlm.sampling.generate import Ending, Sample, SampledToken, collect, prime, stop_texts
from charlm.sampling.healing import Start, go_on, start_after, unknown_after
from charlm.sampling.strategies import Strategy
from charlm.scoring.joining import Joined, join
from charlm.scoring.metrics import Sums, Tally
from charlm.scoring.reading import Reading
from charlm.scoring.score import Network, score_sequence, score_sequences, score_stream
from charlm.scoring.scores import Score as Score
from charlm.scoring.scores import TokenScore as TokenScore
from charlm.scoring.spelling import spelled_bytes, spelling_nats
from charlm.settings import CorpusSettings, Device, Precision
from charlm.system.machine import cores, may_have_gpu
from charlm.text.interface import check_is_text
from charlm.text.octets import to_text
from charlm.text.tokenizer import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from charlm.lifecycle.results import TrainResult

LINES_AT_ONCE = 4096
TEXTS_AT_ONCE = 16  # sampled side by side in a thread: of more, none comes sooner


class LanguageModel:
    """A trained run, ready to use. Load it with `charlm.load`.

    A copy shares the network. `multiprocessing` sends the run's path and the options of `load`, no weights: the other
    process loads the run again, and gets RunError when it is gone or no longer the same.
    """

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
        self._best_step: int | None = None  # of the weights, once they were read
        self.shape = shape_from(run.config, str(run.path / "config.json"))
        self.tokenizer: Tokenizer = load_tokenizer(run.path)
        if self.tokenizer.vocab_size != self.shape.vocab_size:
            raise RunError("damaged run: tokenizer and network differ in size", str(run.path))
        if not run.has(BEST):
            if was_trained(run, read_config(run)):
                raise run.damaged("best.safetensors", "is missing")
            to_do = f"wait for it, or go on with it: charlm train --resume --run {run.path}"
            raise RunError("nothing of this run was saved yet", str(run.path), to_do)

    def __copy__(self) -> Self:
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __deepcopy__(self, memo: object) -> Self:
        return self.__copy__()  # what is shared is never changed

    def __reduce__(self) -> tuple[Any, ...]:
        path, run_id = str(self.run.path.absolute()), self.run.config["run_id"]
        return _load_again, (path, run_id, self._best_step, self._device, self._precision, self._threads)

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

        from charlm.model.network import LanguageModelNetwork
        from charlm.model.predictor import Runner
        from charlm.system.machine import find_device

        device = find_device(self._device)
        if compiled and device == "cpu":
            return self.stepper
        torch.set_num_threads(self._threads)
        network = LanguageModelNetwork(self.shape)
        network.load_state_dict({name: torch.from_numpy(value) for name, value in self._best().items()})
        return Runner(network.to(device), bfloat16=self._precision == "bfloat16")

    def score(
        self, text: str | bytes, *, context: str | bytes = "", eos: bool = True, per_token: bool = False
    ) -> Score:
        """log p(text) from the initial state, to its own `<eos>` unless `eos` is false.

        A context is read before the text and counts nothing itself; `scoring/joining.py` says how the two are joined. A
        newline within the text is one more `<eos>`. Bytes are for byte models, or UTF-8.
        """
        joined = join(self.tokenizer, self._read(context), self._read(text), eos, per_token)
        whole = joined.whole
        if per_token:
            tokens = tuple(self._step_through(whole))[len(joined.before) :]
            logprobs = np.array([token.logprob_nats for token in tokens])
            return self._score(text, joined, logprobs, tuple(map(TokenScore.in_place_of, tokens, joined.tokens)))
        logprobs = score_sequence(self.stepper, whole, self.tokenizer.eos_id)[len(joined.before) :]
        return self._score(text, joined, logprobs)

    def score_lines(
        self, lines: Iterable[str | bytes], *, context: str | bytes = "", eos: bool = True
    ) -> Iterator[Score]:
        """Score many texts, in batches."""
        before, remaining = self._read(context), iter(lines)
        while batch := list(islice(remaining, LINES_AT_ONCE)):
            joined = [join(self.tokenizer, before, self._read(line), eos) for line in batch]
            scores = score_sequences(self.runner, [one.whole for one in joined], self.tokenizer.eos_id)
            for line, one, logprobs in zip(batch, joined, scores, strict=True):
                yield self._score(line, one, logprobs[len(one.before) :])

    def score_stream(
        self, source: str | Path, settings: CorpusSettings | None = None, notes: list[str] | None = None
    ) -> Tally:
        """A file as one running text, the state carried over its lines; `-` is standard input.

        What a person should know of how it was read is appended to `notes`.
        """
        from charlm.corpus.prepare import encoded_text

        counts, spelled = Tally(), 0

        def ids_of_pieces() -> Iterator[NDArray[Any]]:
            nonlocal counts, spelled
            for piece in encoded_text(self.tokenizer, source, self.reading.of_file(settings), notes):
                characters, size, unknown = piece.characters, piece.bytes, len(piece.unknown)
                counts += Tally(0.0, len(piece.ids), characters, size, unknown)
                spelled += sum(map(spelled_bytes, piece.unknown))
                yield piece.ids

        sums = Sums()
        for ids, logprobs in score_stream(self.runner, ids_of_pieces(), self.tokenizer.eos_id):
            sums.add(logprobs, ids, self.tokenizer.unk_id)
        return self._tally(sums, counts, spelled)

    def next_tokens(self, context: str | bytes = "", count: int = 10) -> list[TokenScore]:
        """The likeliest tokens after a context, the likeliest first; a space at its end belongs to the next one."""
        before = self.tokenizer.encode_open(self._read(context))
        logits, _ = prime(self.stepper, np.concatenate([[self.tokenizer.eos_id], before]).astype(np.int64))
        logprobs = log_softmax(logits[0])
        best = np.argsort(-logprobs, kind="stable")[:count].tolist()
        return [TokenScore.of(self.tokenizer, id, float(logprobs[id]), rank) for rank, id in enumerate(best, 1)]

    def sample(
        self,
        prompt: str | bytes = "",
        *,
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
    ) -> Sample:
        """New text after a prompt, `length` tokens unless `<eos>` (with `until_eos`) or the text `stop` ends it.

        Of several stop texts the first that comes ends it.
        The prompt stays as it is, and its last token may go on: `The ol` may become `The old`. A byte model's text has
        what is no UTF-8 in lone surrogates, as `Score` has it.
        """
        strategy = Strategy(
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty
        )
        ending = Ending(length=length, until_eos=until_eos, stop=stop)
        prompt = self._as_text(prompt)
        return collect(prompt, self.sample_tokens(prompt, strategy, ending, seed=seed, allow_unk=allow_unk))

    def sample_tokens(
        self,
        prompt: str | bytes,
        strategy: Strategy,
        ending: Ending,
        *,
        seed: int | None = None,
        number: int = 0,
        allow_unk: bool = False,
    ) -> Iterator[SampledToken]:
        """The tokens of sample `number`, as they come; each number has its own randomness, whatever came before."""
        rng = np.random.default_rng([_randomness(seed), number])
        start, ending = self._start(prompt, allow_unk), self.as_read(ending)
        for tokens in go_on(self.stepper, start, strategy, ending, [rng]):
            yield from tokens.values()

    def sample_many(
        self,
        prompt: str | bytes,
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
        randomness, start, stopping = _randomness(seed), self._start(prompt, allow_unk), threading.Event()
        prompt, ending = self._as_text(prompt), self.as_read(ending)

        def write(numbers: range) -> list[Sample]:
            written: list[list[SampledToken]] = [[] for _ in numbers]
            rngs = [np.random.default_rng([randomness, number]) for number in numbers]
            for tokens in go_on(self.stepper, start, strategy, ending, rngs):
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
        """The weights, which are all and only those of a network of this shape, and the same each time."""
        best = self.run.load(BEST, most_weight_bytes(self.shape))
        check_weights(self.shape, best.tensors, str(self.run.path / f"{BEST}.safetensors"))
        if self._best_step not in (None, best.step):
            raise _no_longer_the_same(self.run.path)
        self._best_step = best.step
        return best.tensors

    def unknown_in(self, text: str | bytes) -> tuple[str, ...]:
        """What a text has that the vocabulary lacks."""
        return self.tokenizer.encode_detailed(self._read(text)).unknown

    def unknown_in_prompt(self, prompt: str | bytes) -> tuple[str, ...]:
        """The same for a prompt, whose last token may go on as a known one."""
        if not self.unknown_in(prompt):
            return ()
        return unknown_after(self.tokenizer, self.stepper, self._read(prompt))

    @cached_property
    def reading(self) -> Reading:
        """How the run's text was read."""
        return Reading(self.run, self.tokenizer)

    def _as_text(self, text: str | bytes) -> str:
        """Bytes as text, those that are none in lone surrogates. Raises TextError for units that cannot have those."""
        if isinstance(text, str):
            return text
        if self.tokenizer.unit != "byte":
            check_is_text(text)
        return to_text(text)

    def _read(self, text: str | bytes) -> str:
        """A text as it is tokenized."""
        text = self._as_text(text)
        return text if self.tokenizer.unit == "byte" else self.reading.prepared(text)

    def as_read(self, ending: Ending) -> Ending:
        """An ending whose stop texts are in the form of the run's text, as prompts are."""
        return dataclasses.replace(ending, stop=[self._read(one) or one for one in stop_texts(ending.stop)])

    def _start(self, prompt: str | bytes, allow_unk: bool) -> Start:
        return start_after(self.tokenizer, self.stepper, self._read(prompt), allow_unk)

    def _step_through(self, ids: NDArray[np.int64]) -> Iterator[TokenScore]:
        """Each token's probability and rank, one step at a time."""
        state, previous = self.stepper.initial_state(), self.tokenizer.eos_id
        for id in ids.tolist():
            logits, state = self.stepper.step(np.array([previous]), state)
            rank = 1 + int((logits[0] > logits[0][id]).sum())
            yield TokenScore.of(self.tokenizer, id, float(log_softmax(logits[0])[id]), rank)
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
    corpus: str | Path | Sequence[str | Path] | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
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

    Several texts, the files of a folder or an archive are read as one; `include` and `exclude` are patterns of them.
    Raises a CharlmError for what `charlm train` refuses; KeyboardInterrupt, after saving, when a signal ended it.
    `time` is that of the whole call.
    """
    began = time.perf_counter()
    from charlm.lifecycle.creation import TrainRequest
    from charlm.lifecycle.results import measure
    from charlm.lifecycle.session import open_session
    from charlm.settings import gather

    given = [corpus] if isinstance(corpus, (str, Path)) else corpus or []
    texts = [str(path) for path in given]
    request = TrainRequest(
        corpus=texts[0] if texts else None,
        further=tuple(texts[1:]),
        include=tuple(include),
        exclude=tuple(exclude),
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


def _load_again(path: str, run_id: str, best_step: int | None, *options: Any) -> LanguageModel:
    """The model that was pickled."""
    model = LanguageModel(RunDirectory(find_run(path)), *options)
    if model.run.config["run_id"] != run_id:
        raise _no_longer_the_same(model.run.path)
    model._best_step = best_step
    return model


def _no_longer_the_same(path: Path) -> RunError:
    return RunError("this run was replaced, or trained further, since the model was loaded", str(path), "load it again")


def _randomness(seed: int | None) -> int:
    if seed is not None and seed < 0:
        raise UsageError(f"--seed {seed} is out of range", to_do="give a number of 0 or more")
    return secrets.randbits(63) if seed is None else seed
