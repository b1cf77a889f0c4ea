"""The weights of another run that a training starts from (`--init-from`)."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.network.architecture import Architecture
from charlm.network.weights import check_weights, max_weight_bytes
from charlm.runs.config import RunConfig, read_config
from charlm.runs.directory import INITIAL, RunDirectory
from charlm.runs.finding import find_run
from charlm.runs.weights import Weights
from charlm.scoring.loading import load_best
from charlm.settings import TaskName, TextSettings, TrainingSettings, flag
from charlm.text.interface import TOKENIZER_FILE
from charlm.text.tokenizer import Tokenizer, load_tokenizer

Arrays = Mapping[str, NDArray[Any]]
NEW_FOR_TASKS = ("task", "head_layers", "head_size", "decoder", "attention", "target_unit", "target_split")
"""Settings that a network for labelled data has of its own, whatever the language model is that it starts from."""
NEW_SYMBOLS = ("vocab_size", "min_count")
PER_SYMBOL = ("embedding.weight", "head.weight", "head.bias")  # weights with one row per symbol


@dataclass(frozen=True)
class Base:
    """The run whose weights a new run starts from."""

    run: RunDirectory
    config: RunConfig
    tokenizer: Tokenizer
    best: Mapping[str, Weights]
    """The best weights of each network, by the prefixes of `Architecture.networks`."""

    @classmethod
    def opened(cls, name: str, given: Mapping[str, Any], task: TaskName | None) -> "Base":
        """Open the run `name`, for a new run of the same kind, or one for a task, which needs a language model.

        `given` are the text and model settings that the new run was asked for. They must equal those of this run,
        except for the vocabulary's size, since new symbols can be added. Raises RunError or UsageError.
        """
        run = RunDirectory(find_run(name))
        config = read_config(run)
        if task:
            config.check_kind("language-model", run.path)
        own = {**dataclasses.asdict(config.text), **dataclasses.asdict(config.architecture)}
        own["objective"] = config.architecture.objective
        for setting, value in given.items():
            if not _is_its_own(setting, task) and own.get(setting) != value:
                what = f"--init-from takes network and tokenizer as they are, without {flag(setting)}"
                raise UsageError(what, str(run.path), f"leave it out (it is {own.get(setting)} there)")
        tokenizer = load_tokenizer(run.path)
        if tokenizer.vocab_size != config.architecture.num_symbols:
            raise run.damaged(TOKENIZER_FILE, "does not suit the network")
        best = {prefix: load_best(run, network, prefix) for prefix, network in config.architecture.networks.items()}
        return cls(run, config, tokenizer, best)

    def text_settings(self, given: Mapping[str, Any]) -> TextSettings:
        """The text settings of this run, with the vocabulary's limits from `given` or from the defaults."""
        default = TextSettings()
        limits = {name: given.get(name, getattr(default, name)) for name in ("vocab_size", "min_count")}
        return dataclasses.replace(self.config.text, **limits)

    def architecture_for(self, num_outputs: int) -> Architecture:
        """The network of this run, with another number of symbols to predict."""
        own = self.config.architecture
        return dataclasses.replace(own, vocab_size=own.vocab_size - own.num_outputs + num_outputs)

    def training_for(self, training: TrainingSettings) -> TrainingSettings:
        """The settings of the new training; without an explicit dropout it takes the dropout of this run."""
        dropout = self.config.training.dropout if training.dropout is None else training.dropout
        return dataclasses.replace(training, dropout=dropout)

    def weights_for(self, vocab_size: int) -> dict[str, Weights]:
        """The best weights of each network, grown to a vocabulary of `vocab_size` symbols, as weights of step 0."""
        unk_id = self.tokenizer.unk_id
        return {prefix: Weights(grown(best.tensors, vocab_size, unk_id), 0, {}) for prefix, best in self.best.items()}

    @property
    def step(self) -> int:
        """The step of its best weights."""
        return self.best[""].step

    def described(self) -> dict[str, Any]:
        """What the new run's config.json says about this run."""
        return {"run_id": self.config.run_id, "name": self.run.path.resolve().name, "step": self.step}


def _is_its_own(setting: str, task: TaskName | None) -> bool:
    """Whether a new run has this setting for itself.

    A tagger only reads what a pair of language models gives. A generator begins as the language model as a whole.
    """
    if task == "generate":
        return setting == "task"
    if task == "tag":
        return setting not in {field.name for field in dataclasses.fields(TextSettings)} or setting in NEW_SYMBOLS
    return setting in (NEW_FOR_TASKS if task else NEW_SYMBOLS)


def grown(weights: Arrays, vocab_size: int, unk_id: int | None) -> dict[str, NDArray[Any]]:
    """The weights with rows for new symbols appended; existing rows are unchanged.

    So far a new symbol was read as `<unk>`, so it starts with the weights of `<unk>`. With log(number of new symbols)
    subtracted from their biases, all new symbols together are as probable as `<unk>`.
    """
    num_new = vocab_size - len(weights["head.bias"])
    if num_new == 0:
        return dict(weights)
    assert unk_id is not None
    result = dict(weights)
    for name in PER_SYMBOL:
        if name in weights:
            row = weights[name][unk_id] - (math.log(num_new) if name == "head.bias" else 0.0)
            new = np.broadcast_to(row, (num_new, *weights[name].shape[1:]))
            known, others = np.split(weights[name], [vocab_size - num_new])  # the row of <mask>, if any, stays the last
            result[name] = np.concatenate([known, new, others]).astype(weights[name].dtype)
    return result


def inherited_weights(run: RunDirectory, config: RunConfig, prefix: str) -> dict[str, torch.Tensor]:
    """The weights of another run that a network of this one started from; `prefix` is of `Architecture.networks`.

    Raises RunError if they are missing or damaged.
    """
    architecture = config.architecture.networks[prefix]
    tensors = run.load(prefix + INITIAL, max_weight_bytes(architecture)).tensors
    check_weights(architecture, tensors, str(run.path / f"{prefix}{INITIAL}.safetensors"))
    return {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
