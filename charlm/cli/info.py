"""`charlm info`: the runs there are, or one of them."""

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from charlm.cli.console import describe, literal, out, say, write_json
from charlm.errors import RunError

MEASURED = ("valid_nats_per_token", "valid_nats_per_char", "valid_cold_nats_per_char", "test_nats_per_token")
CHECKSUMS = ("sha256", "valid_sha256", "test_sha256", "seal")
EXAMPLES = """[bold]Examples[/]

charlm info

charlm info stories

charlm info runs/stories --json"""


def register(app: typer.Typer) -> None:
    app.command("info", epilog=EXAMPLES)(info_cli)


def info_cli(
    run: Annotated[str | None, typer.Argument(help="A run; without one, all are listed.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a run.")] = False,
) -> None:
    """List the runs, or show one."""
    from charlm.run_directory import find_run, list_runs

    paths = [find_run(run)] if run else list_runs()
    if not paths:
        say("no runs yet: charlm train corpus.txt")
    described = [_describe(path, skip_damaged=run is None) for path in paths]
    records = [record for record in described if record]
    if json:
        for record in records:
            write_json(record)
    elif run:
        _show_one(records[0])
    else:
        _show_all(records)


def _describe(path: Path, skip_damaged: bool) -> dict[str, Any] | None:
    from charlm.run_config import read_config
    from charlm.run_directory import BEST, RunDirectory
    from charlm.shape import most_weight_bytes, num_params

    directory = RunDirectory(path)
    try:
        config = read_config(directory)
        best = directory.load(BEST, most_weight_bytes(config.model)) if directory.has(BEST) else None
        measured = None
        for record in directory.metrics():
            measured = record if record.get("event") == "Measured" else measured
    except RunError as error:
        if not skip_damaged:
            raise
        say(f"{path}: {error.what}")
        return None
    return {
        "run": str(path),
        "created": config.created,
        "command": config.command,
        "corpus": dataclasses.asdict(config.corpus),
        "model": dataclasses.asdict(config.model),
        "network": describe(config.model),
        "num_params": num_params(config.model),
        "training": dataclasses.asdict(config.training),
        "best_step": best.step if best else None,
        "best_check_nats_per_token": _number(best.scalars.get("nats_per_token")) if best else None,
        "measured": measured,
        "init_from": config.init_from,
        "versions": {"charlm": config.charlm, **config.versions},
        "last_saved": _local(directory.saved_at),
    }


def _local(moment: datetime | None) -> str | None:
    """A moment by the clock of this machine."""
    return moment.astimezone().replace(tzinfo=None).isoformat(" ", timespec="minutes") if moment else None


def _show_all(records: list[dict[str, Any]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("run", "unit", "model", "parameters", "valid nats/char", "saved"):
        table.add_column(heading, no_wrap=True)
    for record in records:
        table.add_row(
            literal(record["run"]),
            record["corpus"]["unit"],
            _model(record),
            f"{record['num_params']:,}",
            _figure(_measured(record, "valid_nats_per_char")),
            record["last_saved"] or "-",
        )
    if records:
        out.print(table)


def _show_one(record: dict[str, Any]) -> None:
    corpus, training = record["corpus"], dict(record["training"])
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    rows = {
        "run": record["run"],
        "created": record["created"],
        "command": record["command"],
        "saved": record["last_saved"],
        "corpus": f"{corpus['name']}: {corpus['train_tokens']:,} {corpus['unit']} tokens to train on",
        "checksum": ", ".join(f"{name} {corpus[name]}" for name in CHECKSUMS if corpus[name]),
        "model": record["network"],
        "types": f"{record['model']['vocab_size']:,}",
        "parameters": f"{record['num_params']:,}",
        "best": f"step {record['best_step']}, {_figure(record['best_check_nats_per_token'])} nats/token (quick check)",
        "measured": ", ".join(f"{name} {_figure(_measured(record, name))}" for name in MEASURED),
        "seed": training.pop("seed"),
        "training": ", ".join(
            f"{name} {value}" for name, value in training.items() if value is not None and name != "seed"
        ),
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
    }
    for name, value in rows.items():
        if value not in (None, ""):
            table.add_row(name, literal(str(value)))
    out.print(table)


def _measured(record: dict[str, Any], name: str) -> float | None:
    """A figure of the final measuring, once there was one."""
    return _number((record["measured"] or {}).get(name))


def _number(value: object) -> float | None:
    """A figure from a file, or nothing when it is none."""
    return float(value) if type(value) in (int, float) and abs(value) < 1e300 else None  # type: ignore[arg-type]


def _model(record: dict[str, Any]) -> str:
    model = record["model"]
    return f"{model['cell']} {model['num_layers']} x {model['hidden_size']}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
