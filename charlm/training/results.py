"""What a training came to: the best weights, measured in float32 on everything that was kept for it."""

from contextlib import suppress
from dataclasses import dataclass

from charlm.corpus.prepare import PreparedCorpus
from charlm.errors import UsageError
from charlm.lock import writing
from charlm.model.runner import Runner
from charlm.scoring.metrics import Tally
from charlm.scoring.score import split_lines
from charlm.scoring.spelling import spelling_nats
from charlm.shape import num_params
from charlm.training.evaluate import mean_nats, tally_cold, tally_streamed
from charlm.training.session import Session


@dataclass(frozen=True)
class TrainResult:
    """Streamed: one running text, the state carried over lines. Cold: each line from the initial state.

    Lines that were taken from all over a text are no running text: of those there is no streamed figure.
    `train_nats_per_token` is measured in the manner of the training, without dropout, over as many tokens of the
    training part as the validation part has; unknown symbols cost what they do in the mean of the training part.
    """

    run: str
    steps: int
    tokens_seen: int
    seconds: float
    num_params: int
    mode: str
    ended: str
    """Why training came to its end."""
    best_step: int
    """The step that the best weights, which were measured, are of."""
    train_nats_per_token: float
    valid_streamed: Tally | None
    valid_cold: Tally | None
    test: Tally | None

    @property
    def valid(self) -> Tally | None:
        """Measured in the manner of the training: streamed, or line by line in sentence mode; `test` likewise."""
        return self.valid_cold if self.mode == "sentence" else self.valid_streamed

    def as_json(self) -> dict[str, object]:
        """The figures that scripts rely on. `valid_` and `test_` are streamed; in sentence mode, line by line."""
        return {
            "run": self.run,
            "steps": self.steps,
            "tokens_seen": self.tokens_seen,
            "seconds": round(self.seconds, 3),
            "mode": self.mode,
            "train_nats_per_token": self.train_nats_per_token,
            "valid_nats_per_token": self.valid.nats_per_token if self.valid else None,
            "valid_nats_per_char": self.valid.nats_per_char if self.valid else None,
            "valid_cold_nats_per_char": self.valid_cold.nats_per_char if self.valid_cold else None,
            "test_nats_per_token": self.test.nats_per_token if self.test else None,
            "num_params": self.num_params,
            "ended": self.ended,
            "best_step": self.best_step,
        }


def measure(session: Session) -> TrainResult:
    """Load the best weights and measure them. The log has it, too, unless another process holds the run meanwhile."""
    best_step = session.load_best()
    runner, corpus, progress = Runner(session.network), session.corpus, session.trainer.progress
    eos_id, unk_id = corpus.tokenizer.eos_id, corpus.tokenizer.unk_id
    tally = tally_cold if session.training.mode == "sentence" else tally_streamed
    size = corpus.valid.num_tokens if corpus.valid else -(-corpus.train.num_tokens // 10)
    running = corpus.valid if corpus.division.split != "lines" else None
    result = TrainResult(
        run=str(session.run.path),
        steps=progress.step,
        tokens_seen=progress.tokens_seen,
        seconds=progress.seconds,
        num_params=num_params(session.shape),
        mode=session.training.mode,
        ended=session.finished.reason,
        best_step=best_step,
        train_nats_per_token=_train_nats(runner, corpus, size, session.training.mode == "sentence"),
        valid_streamed=tally_streamed(runner, running, eos_id, unk_id) if running else None,
        valid_cold=tally_cold(runner, corpus.valid, eos_id, unk_id) if corpus.valid else None,
        test=tally(runner, corpus.test, eos_id, unk_id) if corpus.test else None,
    )
    with suppress(UsageError), writing(session.run.path):  # a line in the log is not worth the figures
        session.run.append_metrics({"event": "Measured", **result.as_json()})
    return result


def _train_nats(runner: Runner, corpus: PreparedCorpus, size: int, line_by_line: bool) -> float:
    ids, eos_id = corpus.train.ids[1 : 1 + size], corpus.tokenizer.eos_id
    nats = mean_nats(runner, split_lines(ids, eos_id) if line_by_line else [ids], eos_id)
    return nats + spelling_nats(corpus.train.header.unknown_bytes) / corpus.train.num_tokens
