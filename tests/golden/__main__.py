"""`python -m tests.golden`: the loss curves that `tests/test_golden.py` expects, made again. Say in the log why."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import charlm
from tests.conftest import english

HERE = Path(__file__).parent
COMMON: dict[str, Any] = {
    "steps": 40,
    "hidden_size": 17,
    "embedding_size": 11,
    "dropout": 0.2,
    "bptt": 13,
    "batch_size": 6,
    "learning_rate": 0.02,
    "eval_every": 3,
    "save_every": 1000,
    "sample_every": 1000,
    "patience": 0,
    "seed": 3,
    "precision": "float32",
    "threads": 1,
    "device": "cpu",
}
CURVES: dict[str, dict[str, Any]] = {
    "lstm-stream-char": {"cell": "lstm", "mode": "stream", "unit": "char"},
    "gru-sentence-word": {"cell": "gru", "mode": "sentence", "unit": "word", "vocab_size": 30, "num_layers": 2},
    "rnn-sgd-byte": {"cell": "rnn_tanh", "unit": "byte", "optimizer": "sgd", "learning_rate": 0.5},
}
FIGURES = {"StepDone": ("nats_per_token", "gradient_norm", "learning_rate"), "Evaluated": ("nats_per_token",)}
Curve = dict[str, float]  # by event, step and figure


def compute(name: str, **changed: Any) -> Curve:
    """Train, and read the curve from the run's log."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "english.txt"
        corpus.write_text(english(210), encoding="utf-8")
        run = charlm.train(corpus, run=f"{folder}/run", **{**COMMON, **CURVES[name], **changed}).run
        lines = (Path(run) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return dict(_figures(json.loads(line) for line in lines))


def _figures(events: Iterator[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    for event in events:
        for figure in FIGURES.get(event["event"], ()):
            yield f"{event['event']} {event['step']} {figure}", event[figure]


def read(name: str) -> Curve:
    lines = (HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return {key: float(value) for key, value in (line.rsplit(" ", 1) for line in lines)}


def furthest(curve: Curve, other: Curve) -> float:
    """The largest relative difference between two curves of the same points."""
    assert curve.keys() == other.keys()
    return max(abs(curve[key] - other[key]) / abs(other[key]) for key in curve)


def main() -> None:
    for name in CURVES:
        text = "".join(f"{key} {value:.9g}\n" for key, value in compute(name).items())
        (HERE / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
