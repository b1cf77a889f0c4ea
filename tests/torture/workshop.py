"""A workshop for the attempts: a text, a small training, and its result when nothing disturbs it."""

import json
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.torture.processes import Outcome, Running, Setup, run, start

RUN = Path("runs/run")
SAVE_EVERY, CHECK_EVERY = 3, 2
LENGTH = 30  # steps
# No two sizes are the same, dropout draws numbers, and the carried state crosses the text's end more than once.
SETTINGS = (
    *("--run", "run", "--hidden-size", "8", "--embedding-size", "6", "--num-layers", "1", "--dropout", "0.2"),
    *("--bptt", "9", "--batch-size", "4", "--learning-rate", "0.02", "--precision", "float32", "--device", "cpu"),
    *("--threads", "1", "--seed", "7", "--patience", "0", "--save-every", str(SAVE_EVERY)),
    *("--eval-every", str(CHECK_EVERY), "--sample-every", "11"),
)
WORDS = ("the", "cat", "cats", "sea", "which", "already", "ate", "was", "were", "full", "of", "fish", "a", "house")
LABELLED = {"classify": "rows.tsv", "generate": "rows.tsv", "tag": "tags.conll", "translate": "pairs.tsv"}
"""The file of labelled data for each task."""
RESUME = ("train", "--resume", "--run", "run", "--json")
TIMES = {"seconds", "training_seconds", "time", "created", "tokens_per_second"}


def made_up_text(lines: int, seed: int = 1) -> str:
    rng = random.Random(seed)
    return "".join(" ".join(rng.choices(WORDS, k=rng.randint(2, 7))).capitalize() + ".\n" for _ in range(lines))


def write_labelled(folder: Path, text: str) -> None:
    """The lines of a text as labelled data: is there a cat in it, which words are cats, and its words backward."""
    words = [line.strip(".").split() for line in text.splitlines()]
    rows = (f"{'cat' if {'cat', 'cats'} & set(line) else 'none'}\t{' '.join(line)}\n" for line in words)
    tagged = ("".join(f"{word} {'B-animal' if 'cat' in word else 'O'}\n" for word in line) + "\n" for line in words)
    pairs = (f"{' '.join(line)}\t{' '.join(reversed(line))}\n" for line in words)
    for name, lines in {"rows.tsv": rows, "tags.conll": tagged, "pairs.tsv": pairs}.items():
        (folder / name).write_text("".join(lines))


@dataclass
class Workshop:
    """A folder for all tries, the text, and the generator that chooses the moments."""

    folder: Path
    rng: random.Random
    short: bool
    _references: dict[tuple[str, ...], "Reference"] = field(default_factory=dict)
    _homes: int = 0

    def __post_init__(self) -> None:
        self.corpus.write_text(made_up_text(60))
        (self.folder / "other.txt").write_text(made_up_text(60, seed=2))
        write_labelled(self.folder, made_up_text(60))

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus.txt"

    def times(self, in_full: int, short: int) -> int:
        return short if self.short else in_full

    def home(self) -> Path:
        """An empty folder for a try."""
        self._homes += 1
        home = self.folder / f"try-{self._homes}"
        home.mkdir()
        return home

    def command(self, *more: str, steps: int = LENGTH) -> tuple[str, ...]:
        pairs = zip(SETTINGS[::2], SETTINGS[1::2], strict=True)
        given = {*more, "--sample-every"} if "cloze" in more else {*more}  # such a network writes nothing
        settings = (part for pair in pairs if pair[0] not in given for part in pair)
        task = more[more.index("--task") + 1] if "--task" in more else ""
        data = LABELLED.get(task, self.corpus.name)
        return ("train", f"../{data}", *settings, "--steps", str(steps), "--json", *more)

    def reference(self, *more: str, steps: int = LENGTH) -> "Reference":
        """The result of a command when nothing disturbs it; computed when first asked for."""
        command = self.command(*more, steps=steps)
        if command not in self._references:
            home = self.home()
            outcome = run(home, *command)
            if outcome.code != 0:
                raise RuntimeError(f"an undisturbed training failed: {outcome}")
            self._references[command] = Reference(home / RUN, outcome)
        return self._references[command]

    def copy(self, reference: "Reference") -> Path:
        """A finished run in a home of its own."""
        home = self.home()
        shutil.copytree(reference.run, home / RUN)
        return home


@dataclass(frozen=True)
class Reference:
    """An undisturbed training."""

    run: Path
    outcome: Outcome


def announced(out: str) -> int:
    """The newest step that was surely committed when this was said: a step's saving comes before the next check."""
    checks = [json.loads(line)["step"] for line in out.split("\n")[:-1] if '"evaluated"' in line]
    return (max(checks) - 1) // SAVE_EVERY * SAVE_EVERY if checks else 0


def has_finished(out: str) -> bool:
    return '"train_nats_per_token"' in out


def training(home: Path, command: tuple[str, ...], setup: Setup | None = None, fresh: bool = False) -> Running:
    """A training that has saved."""
    running = start(home, *command, setup=setup, fresh=fresh)
    running.until(lambda: (home / RUN / "last.safetensors").exists())
    return running


def losses_after(home: Path, promised: int, command: tuple[str, ...], reference: Reference) -> Iterator[str]:
    """What was lost of a training that a fault ended: it must score, continue, and end with the undisturbed result."""
    if promised:
        scored = run(home, "score", "the cat", "--run", "run", "--json")
        if scored.code != 0:
            yield f"step {promised} was saved, and nothing can be scored: {scored}"
    outcome = run(home, *RESUME)
    step = resumed_at(outcome.err)
    if outcome.code == 4 and not promised and not (home / RUN / "config.json").exists():
        outcome, step = run(home, *command), 0
    if outcome.code != 0:
        yield f"does not go on: {outcome}"
    elif step < promised:
        yield f"step {promised} was saved, and it went on from {step}"
    else:
        yield from differences(home / RUN, reference.run)


def resumed_at(err: str) -> int:
    found = re.search(r"from step ([\d,]+)", err)
    return int(found[1].replace(",", "")) if found else 0


def strays(home: Path) -> list[str]:
    """Files that no run should have: all that are hidden, but for the lock's."""
    return sorted(str(p.relative_to(home)) for p in home.rglob(".*") if not p.name.startswith(".lock"))


def differences(run: Path, reference: Path) -> Iterator[str]:
    """How a run differs from another: in the bytes of its weights, in the lines of its log."""
    for name in ("best.safetensors", "last.safetensors"):
        if _arrays(run / name) != _arrays(reference / name):
            yield f"{name} differs from the undisturbed one"
    lines, expected = read_log(run), read_log(reference)
    if lines != expected:
        at = next((i for i, pair in enumerate(zip(lines, expected, strict=False)) if pair[0] != pair[1]), -1)
        pair = (lines[at], expected[at]) if at >= 0 else (f"{len(lines)} lines", f"{len(expected)} lines")
        yield f"metrics.jsonl differs from line {at + 1}: {pair[0]} for {pair[1]}"


def read_log(run: Path) -> list[Any]:
    """The log without its times."""
    path = run / "metrics.jsonl"
    return [_timeless(line) for line in path.read_text().split("\n") if line] if path.exists() else []


def _timeless(line: str) -> Any:
    try:
        return {name: value for name, value in json.loads(line).items() if name not in TIMES}
    except ValueError:
        return f"no JSON: {line}"


def _arrays(path: Path) -> dict[str, bytes] | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return {name: array.tobytes() for name, array in load_file(path).items()}
    except (OSError, SafetensorError):
        return None
