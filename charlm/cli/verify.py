"""`charlm verify`: every file of a run looked at, without torch."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from charlm.cli.console import out, visible, write_json
from charlm.errors import RunError

if TYPE_CHECKING:
    from charlm.runs.config import RunConfig
    from charlm.runs.weights import Weights
    from charlm.text.tokenizer import Tokenizer

NETWORK = "network."  # how a state of training calls them
EXAMPLES = """[bold]Examples[/]

charlm verify stories

charlm verify runs/stories --json"""


@dataclass(frozen=True)
class Checked:
    """One file or folder of a run: whether it is `ok`, and what is known of it, or wrong with it."""

    file: str
    ok: bool
    detail: str


def register(app: typer.Typer) -> None:
    app.command("verify", epilog=EXAMPLES)(verify_cli)


def verify_cli(
    run: Annotated[str, typer.Argument(help="A run: its folder, or its name under runs/.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check every file of a run; exit code 4 when one is damaged."""
    from charlm.runs.finding import find_run

    path = find_run(run)
    checked = verify(path)
    ok = all(one.ok for one in checked)
    if json:
        write_json({"run": str(path), "ok": ok, "files": [asdict(one) for one in checked]})
    else:
        for one in checked:
            state = ("ok       ", "") if one.ok else ("damaged  ", "bold red")
            line = Text.assemble(state, f"{one.file:22}", visible(one.detail))
            out.print(line, soft_wrap=not out.is_terminal)
    if not ok:
        raise typer.Exit(RunError.exit_code)


def verify(path: Path) -> list[Checked]:
    """Everything in a run's folder that can be checked without torch, a line a file. Nothing is written.

    A missing state of training, log or corpus is not damage: sampling and scoring need none of them.
    """
    return _Verification(path).checked


class _Verification:
    """One look at a run; a file that needs another one, which is damaged, is said to be unchecked."""

    def __init__(self, path: Path) -> None:
        from charlm.runs.directory import BEST, CONFIG, CORPUS, INITIAL, LAST, MANIFEST, PREVIOUS, RunDirectory
        from charlm.runs.log import METRICS

        self.run: RunDirectory = RunDirectory(path)
        self.config: RunConfig | None = None
        self.tokenizer: Tokenizer | None = None
        self.last: Weights | None = None
        self.checked: list[Checked] = []
        self._look(MANIFEST, self._manifest)
        self._look(CONFIG, self._settings)
        self._look("tokenizer.json", self._symbols)
        initial = [INITIAL] if self.run.has(INITIAL) or self._began_elsewhere() else []
        for kind in (*initial, BEST, LAST, PREVIOUS):
            self._look(f"{kind}.safetensors", partial(self._weights, kind))
        self._look(METRICS, self._log)
        self._look(f"{CORPUS}/", self._corpus)

    def _look(self, file: str, check: Callable[[], str]) -> None:
        """Note what a check finds."""
        try:
            found = Checked(file, True, check())
        except RunError as error:
            found = Checked(file, False, f"{error.what} ({error.where})" if error.where else error.what)
        self.checked.append(found)

    def _manifest(self) -> str:
        return f"format {self.run.config['format']}; all files that it names match"

    def _settings(self) -> str:
        from charlm.runs.config import read_config

        self.config = read_config(self.run)
        return f"run {self.config.run_id}, made by charlm {self.config.charlm} on {self.config.created}"

    def _symbols(self) -> str:
        from charlm.text.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(self.run.path)
        config = self._configured()
        if (tokenizer.unit, tokenizer.vocab_size) != (config.corpus.unit, config.architecture.vocab_size):
            raise self.run.damaged("tokenizer.json", "does not suit the network: another unit, or number of types")
        if not tokenizer.files().keys() <= self.run.sealed:
            raise self.run.damaged("tokenizer.json", "is not in the manifest")
        self.tokenizer = tokenizer
        return f"{tokenizer.unit}, {tokenizer.vocab_size:,} types"

    def _weights(self, kind: str) -> str:
        from charlm.network.weights import check_finite, check_weights, max_weight_bytes
        from charlm.runs.directory import BEST, INITIAL, LAST, PREVIOUS

        name = f"{kind}.safetensors"
        if not self.run.has(kind):
            if kind == INITIAL or (kind == BEST and self._was_trained()) or (kind == LAST and self.run.has(PREVIOUS)):
                raise self.run.damaged(name, "is missing")
            return "not there: nothing was saved yet" if kind == BEST else "not there; only --resume would need it"
        config, architecture = self._configured(), self._configured().architecture
        where, is_network = str(self.run.path / name), kind in (BEST, INITIAL)
        saved = self.run.load(kind, max_weight_bytes(architecture) if is_network else config.max_state_bytes)
        network = saved.tensors.items() if is_network else _of_network(saved.tensors)
        check_weights(architecture, dict(network), where)
        check_finite(saved.tensors, where)
        self.last = saved if kind == LAST else self.last
        return f"step {saved.step:,}, {len(saved.tensors)} tensors"

    def _was_trained(self) -> bool:
        """Whether there has to be a best; so where the state that knows is damaged."""
        from charlm.runs.config import was_trained

        try:
            return was_trained(self.run, self._configured())
        except RunError:
            return True

    def _log(self) -> str:
        from charlm.runs.log import METRICS

        count = sum(1 for _ in self.run.log.records())
        if self.last is not None and not self.run.log.begins_as_saved(self.last.scalars):
            raise self.run.damaged(METRICS, "does not begin with what was there when last.safetensors was saved")
        return f"{count:,} lines" if count else "no line"

    def _corpus(self) -> str:
        from charlm.corpus.prepare import open_prepared

        if not self.run.corpus.is_dir():
            return "not there; only --resume would need it"
        config = self._configured()
        corpus = open_prepared(self.run.corpus, config.corpus.seal)
        if self.tokenizer is None or corpus.tokenizer.sha256() != self.tokenizer.sha256():
            raise self.run.damaged("corpus", "has another tokenizer than the run")
        parts = {"train": corpus.train, "valid": corpus.valid, "test": corpus.test}
        for name, part in parts.items():
            if (part.num_tokens if part else 0) != getattr(config.corpus, f"{name}_tokens"):
                raise self.run.damaged(f"corpus/{name}.ids", "is not as long as config.json says")
        return ", ".join(f"{name} {part.num_tokens:,} tokens" for name, part in parts.items() if part)

    def _began_elsewhere(self) -> bool:
        """Whether its first weights are those of another run."""
        return self.config is not None and self.config.init_from is not None

    def _configured(self) -> "RunConfig":
        if self.config is None:
            raise RunError("not checked, for config.json is damaged")
        return self.config


def _of_network(tensors: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The network's own weights among all that a state of training has."""
    return ((name.removeprefix(NETWORK), value) for name, value in tensors.items() if name.startswith(NETWORK))
