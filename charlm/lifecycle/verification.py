"""Check every file of a run. Runs without torch, so that it starts at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from charlm.corpus.corpora import open_corpus
from charlm.errors import RunError
from charlm.network.architecture import BACKWARD, Architecture
from charlm.network.snapshot import NETWORK, of_network, under
from charlm.network.weights import check_finite, check_weights, max_weight_bytes
from charlm.ngram.storage import read_trie
from charlm.runs.config import RunConfig, read_config, was_trained
from charlm.runs.directory import BEST, CONFIG, CORPUS, INITIAL, LAST, NGRAMS, PREVIOUS, RunDirectory
from charlm.runs.log import METRICS
from charlm.runs.weights import Weights
from charlm.scoring.loading import load_best
from charlm.system.files import MANIFEST
from charlm.text.interface import TOKENIZER_FILE
from charlm.text.tokenizer import Tokenizer, load_tokenizer

NEEDED_TO_RESUME_ONLY = "not there; only --resume would need it"


@dataclass(frozen=True)
class Checked:
    """A file or folder of a run, whether it is sound, and what is known about it or what is wrong with it."""

    file: str
    ok: bool
    detail: str


def verify(path: Path) -> list[Checked]:
    """Check everything in a run's folder that can be checked without torch, one result per file. Nothing is written.

    A missing training state, log or corpus is not damage, because sampling and scoring do not need it. A file that
    can only be checked with the help of a damaged one counts as damaged, and its `detail` says so.
    """
    return _Verification(path).checked


class _Verification:
    """The checks in their order; what one of them has read, the later ones use."""

    def __init__(self, path: Path) -> None:
        self.run = RunDirectory(path)
        self.config: RunConfig | None = None
        self.tokenizer: Tokenizer | None = None
        self.last: Weights | None = None
        self.checked: list[Checked] = []
        self._check(MANIFEST, self._manifest)
        self._check(CONFIG, self._settings)
        self._check(TOKENIZER_FILE, self._tokenizer)
        networks = self.config.architecture.networks if self.config else {"": None}
        initial = [prefix + INITIAL for prefix in networks if self.run.has(prefix + INITIAL) or self._needs_initial()]
        for name in (*initial, *(prefix + BEST for prefix in networks)):
            self._check(f"{name}.safetensors", partial(self._network, name))
        for name in (LAST, PREVIOUS):
            self._check(f"{name}.safetensors", partial(self._state, name))
        if (self.run.path / NGRAMS).exists():
            self._check(NGRAMS, self._ngrams)
        self._check(METRICS, self._log)
        self._check(f"{CORPUS}/", self._corpus)

    def _check(self, file: str, check: Callable[[], str]) -> None:
        """Run one check and note its result."""
        try:
            result = Checked(file, True, check())
        except RunError as error:
            result = Checked(file, False, f"{error.what} ({error.where})" if error.where else error.what)
        self.checked.append(result)

    def _manifest(self) -> str:
        return f"format {self.run.config['format']}; all files that it names match"

    def _settings(self) -> str:
        self.config = read_config(self.run)
        return f"run {self.config.run_id}, made by charlm {self.config.charlm} on {self.config.created}"

    def _tokenizer(self) -> str:
        tokenizer = load_tokenizer(self.run.path)
        config = self._sound_config()
        if (tokenizer.unit, tokenizer.vocab_size) != (config.corpus.unit, config.architecture.num_symbols):
            raise self.run.damaged(TOKENIZER_FILE, "does not suit the network: another unit, or number of types")
        if not tokenizer.files().keys() <= self.run.sealed:
            raise self.run.damaged(TOKENIZER_FILE, "is not in the manifest")
        self.tokenizer = tokenizer
        return f"{tokenizer.unit}, {tokenizer.vocab_size:,} types"

    def _network(self, name: str) -> str:
        """Check a file with the weights of one network."""
        if not self.run.has(name):
            return self._missing_weights(name)
        prefix = BACKWARD if name.startswith(BACKWARD) else ""
        architecture = self._sound_config().architecture.networks[prefix]
        if name == prefix + BEST:
            saved = load_best(self.run, architecture, prefix)
        else:
            saved = self.run.load(name, max_weight_bytes(architecture))
        self._check_weights(architecture, saved.tensors, name)
        return f"step {saved.step:,}, {len(saved.tensors)} tensors"

    def _state(self, name: str) -> str:
        """Check a file with a training state."""
        if not self.run.has(name):
            return self._missing_weights(name)
        config = self._sound_config()
        saved = self.run.load(name, config.max_state_bytes)
        for prefix, architecture in config.architecture.networks.items():
            self._check_weights(architecture, under(NETWORK, of_network(saved.tensors, prefix)), name)
        check_finite(saved.tensors, self._where(name))
        if name == LAST:
            self.last = saved
        return f"step {saved.step:,}, {len(saved.tensors)} tensors"

    def _check_weights(self, architecture: Architecture, tensors: Mapping[str, Any], name: str) -> None:
        check_weights(architecture, tensors, self._where(name))
        check_finite(tensors, self._where(name))

    def _where(self, name: str) -> str:
        return str(self.run.path / f"{name}.safetensors")

    def _missing_weights(self, name: str) -> str:
        """Why a file of weights may be missing. Raises RunError when it may not."""
        kind = name.removeprefix(BACKWARD)
        if kind == INITIAL or (kind == BEST and self._was_trained()) or (kind == LAST and self.run.has(PREVIOUS)):
            raise self.run.damaged(f"{name}.safetensors", "is missing")
        return "not there: nothing was saved yet" if kind == BEST else NEEDED_TO_RESUME_ONLY

    def _was_trained(self) -> bool:
        """Whether a step was saved, so that there has to be a `best`; assumed where the state that tells is damaged."""
        try:
            return was_trained(self.run, self._sound_config())
        except RunError:
            return True

    def _ngrams(self) -> str:
        config = self._sound_config()
        trie, _ = read_trie(self.run.path / NGRAMS, config.run_id, verify=True)
        if trie.vocab_size != config.architecture.num_symbols:
            raise self.run.damaged(NGRAMS, "does not suit the network: another number of types")
        return f"{trie.num_ngrams:,} n-grams of up to {trie.order} tokens"

    def _log(self) -> str:
        num_lines = sum(1 for _ in self.run.log.records())
        if self.last is not None and not self.run.log.begins_as_saved(self.last.scalars):
            raise self.run.damaged(METRICS, "does not begin with what was there when last.safetensors was saved")
        return f"{num_lines:,} lines" if num_lines else "no line"

    def _corpus(self) -> str:
        if not self.run.corpus.is_dir():
            return NEEDED_TO_RESUME_ONLY
        config = self._sound_config()
        corpus = open_corpus(self.run.corpus, config.architecture.task, config.corpus.seal)
        if self.tokenizer is None or corpus.tokenizer.sha256() != self.tokenizer.sha256():
            raise self.run.damaged("corpus", "has another tokenizer than the run")
        parts = {"train": corpus.train, "valid": corpus.valid, "test": corpus.test}
        for name, part in parts.items():
            if (part.num_tokens if part else 0) != getattr(config.corpus, f"{name}_tokens"):
                raise self.run.damaged(f"corpus/{name}.ids", "is not as long as config.json says")
        return ", ".join(f"{name} {part.num_tokens:,} tokens" for name, part in parts.items() if part)

    def _needs_initial(self) -> bool:
        """Whether training began with the weights of another run, which must then be there."""
        return self.config is not None and self.config.init_from is not None

    def _sound_config(self) -> RunConfig:
        if self.config is None:
            raise RunError("not checked, for config.json is damaged")
        return self.config
