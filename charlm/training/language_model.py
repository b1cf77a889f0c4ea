"""The objective of a causal language model: predict each next token of a text.

Shapes: B batch, T time.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.cells.cell import NetworkState
from charlm.corpus.prepare import PreparedCorpus
from charlm.corpus.windows import LAYOUT, RareTypes, SentenceWindows, StreamWindows, Window, Windows
from charlm.errors import DivergedError
from charlm.model.network import TorchNetwork
from charlm.model.predictor import TorchPredictor
from charlm.network.architecture import Architecture
from charlm.network.snapshot import POSITION, without_position
from charlm.sampling.generate import Ending
from charlm.sampling.strategies import Strategy
from charlm.scoring.language_model import LanguageModel
from charlm.scoring.loading import Trained, for_sentences
from charlm.scoring.reading import Reading
from charlm.settings import CorpusSettings, TrainingSettings
from charlm.training.defaults import MAX_PASSES
from charlm.training.evaluation import CHECK_TOKENS, check_pieces, mean_nats
from charlm.training.objective import Batch, Check, DataOrder, Generators

SAMPLE_CHARACTERS = 160
SAMPLE_TEMPERATURE = 0.8


class LanguageModelObjective:
    """A `training.objective.Objective`: the loss is -log p of the tokens in windows of a text (`corpus/windows.py`).

    The network of a backward model gets the windows of the text read from its end.
    """

    network: TorchNetwork
    max_passes = MAX_PASSES
    corpus: PreparedCorpus
    """The text in the direction in which the network reads it."""

    def __init__(
        self, architecture: Architecture, corpus: PreparedCorpus, settings: TrainingSettings, device: str = "cpu"
    ) -> None:
        self.network = TorchNetwork(architecture, settings.dropout or 0.0).to(device)
        corpus = corpus.backward() if architecture.direction == "backward" else corpus
        self.corpus, self._settings, self._windows = corpus, settings, windows_of(corpus, settings)
        # Opened now, since the run's folder can be renamed during training.
        self._valid_ids = corpus.valid.ids[1:] if corpus.valid else None
        self.check_tokens = CHECK_TOKENS
        self.generators = ("dropout", *(["initial_state"] if architecture.initial_state == "random" else []))
        self.state_sizes = architecture.state_sizes

    @property
    def predictor(self) -> TorchPredictor:
        """The current network as a predictor, in float32."""
        return TorchPredictor(self.network)

    @property
    def batches_per_pass(self) -> int:
        return self._windows.windows_per_pass

    @property
    def targets_per_batch(self) -> float:
        return self._windows.tokens_per_window

    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)

    def next_batch(self) -> Batch:
        window = self._windows.next()
        others, size_of_one = (window.beside,) if window.beside else (), f"{self._settings.bptt} tokens a sequence"
        to_do = "give a smaller model or a smaller --bptt"
        return Batch(window, others, window.num_tokens, window.num_seen, size_of_one, to_do)

    def loss(
        self, examples: Window, state: NetworkState | None, generators: Generators
    ) -> tuple[Tensor, int, NetworkState]:
        """-log p of a window's targets in nats, summed; the number of targets; the state after the window."""
        inputs, targets, reset = map(self._tensor, (examples.inputs, examples.targets, examples.reset))
        start = self.network.initial_state(len(inputs), generators.get("initial_state"))
        if state is not None:
            start = _reset_state(state, start, reset)
        nats, new_state = self.network.total_nats(inputs, targets, start, generators["dropout"])
        return nats, examples.num_tokens, new_state

    def after_update(self) -> None:
        self.network.keep_bounds()

    def position(self) -> dict[str, Tensor]:
        return {POSITION: torch.from_numpy(self._windows.position()["pass_and_step"])}

    def restore_position(self, tensors: Mapping[str, Tensor]) -> None:
        self._windows.restore({"pass_and_step": tensors[POSITION].numpy()})

    @property
    def has_check(self) -> bool:
        return self._valid_ids is not None

    def check(self) -> Check:
        """Nats per token on a slice of the validation part, in the precision of the training."""
        predictor = TorchPredictor(self.network, bfloat16=self._settings.precision == "bfloat16")
        return Check(mean_nats(predictor, self._check_pieces, self.corpus.tokenizer.eos_id))

    @cached_property
    def _check_pieces(self) -> list[NDArray[Any]]:
        assert self._valid_ids is not None
        eos_id, line_by_line = self.corpus.tokenizer.eos_id, self._settings.mode == "sentence"
        return check_pieces(self._valid_ids, eos_id, line_by_line, self.check_tokens, self.corpus.division.item)

    def sample(self) -> str:
        """A short sample of text; it ends early if the state diverges, which it can beyond the length of a window."""
        tokenizer, architecture = self.corpus.tokenizer, self.network.architecture
        predictor = for_sentences(Trained(architecture, self.network.arrays()))
        reading = Reading(CorpusSettings(line_ends="keep", item=self.corpus.division.item), tokenizer)
        lm = LanguageModel(tokenizer, predictor, reading=reading, direction=architecture.direction)
        ending = Ending(length=round(SAMPLE_CHARACTERS / tokenizer.characters_per_token))
        tokens = lm.sample_tokens("", Strategy(temperature=SAMPLE_TEMPERATURE), ending, seed=self._settings.seed)
        texts: list[str] = []
        with suppress(DivergedError):
            texts.extend(token.text for token in tokens)
        return "".join(texts)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.network.device)


def windows_of(corpus: PreparedCorpus, settings: TrainingSettings) -> Windows:
    """The windows of the training part."""
    ids, tokenizer = corpus.train.ids, corpus.tokenizer
    assert settings.batch_size is not None
    assert settings.bptt is not None
    rare = RareTypes(ids, tokenizer.vocab_size, tokenizer.eos_id, tokenizer.unk_id, settings.seed)
    how = (ids, tokenizer.eos_id, settings.batch_size, settings.bptt, settings.seed, rare)
    return SentenceWindows(*how, corpus.division.item) if settings.mode == "sentence" else StreamWindows(*how)


def at_start_of_pass(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A saved state's tensors, moved to the start of its pass and without carried state.

    This is for states whose text was cut into other windows. Raises KeyError for a state without a position.
    """
    return {**without_position(tensors), POSITION: torch.stack([tensors[POSITION][0], torch.tensor(0)])}


ORDER = DataOrder(LAYOUT, at_start_of_pass)


def windows_fit(settings: TrainingSettings, num_tokens: int) -> bool:
    """Whether a text of so many tokens is at least as large as one window of these settings."""
    return (settings.batch_size or 1) * (settings.bptt or 1) <= max(num_tokens, 1)


def _reset_state(state: NetworkState, initial: NetworkState, reset: Tensor) -> NetworkState:
    """The state (B, size) with `initial` where `reset` (B,) is true, and the detached old state elsewhere."""
    where = reset.unsqueeze(-1)
    return tuple(
        tuple(torch.where(where, start, old.detach().to(start.dtype)) for old, start in zip(*parts, strict=True))
        for parts in zip(state, initial, strict=True)
    )
