"""`charlm info`: the runs there are, or one of them."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from charlm.cli.console import describe, out, say, write_json
from charlm.errors import RunError

MEASURED = ("valid_nats_per_token", "valid_nats_per_char", "valid_cold_nats_per_char", "test_nats_per_token")
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
    from charlm.run_directory import BEST, RunDirectory
    from charlm.shape import num_params, shape_from

    directory = RunDirectory(path)
    try:
        config = directory.config
        shape = shape_from(config, str(path / "config.json"))
        best = directory.load(BEST) if directory.has(BEST) else None
    except RunError as error:
        if not skip_damaged:
            raise
        say(f"{path}: {error.what}")
        return None
    measured = [record for record in directory.metrics() if record.get("event") == "Measured"]
    return {
        "run": str(path),
        "created": config["created"],
        "corpus": config["corpus"],
        "model": config["model"],
        "network": describe(shape),
        "num_params": num_params(shape),
        "training": config["training"],
        "best_step": best.step if best else None,
        "best_check_nats_per_token": best.scalars.get("nats_per_token") if best else None,
        "measured": measured[-1] if measured else None,
        "versions": {"charlm": config["charlm"], **config["versions"]},
        "last_saved": datetime.fromtimestamp(_newest(path)).isoformat(" ", timespec="minutes"),
    }


def _newest(path: Path) -> float:
    return max(file.stat().st_mtime for file in path.iterdir())


def _show_all(records: list[dict[str, Any]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("run", "unit", "model", "parameters", "valid nats/char", "saved"):
        table.add_column(heading, no_wrap=True)
    for record in records:
        table.add_row(
            escape(record["run"]),
            record["corpus"]["unit"],
            _model(record),
            f"{record['num_params']:,}",
            _figure(_measured(record, "valid_nats_per_char")),
            record["last_saved"],
        )
    if records:
        out.print(table)


def _show_one(record: dict[str, Any]) -> None:
    corpus, training = record["corpus"], record["training"]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    rows = {
        "run": record["run"],
        "created": record["created"],
        "saved": record["last_saved"],
        "corpus": f"{corpus['name']}: {corpus['train_tokens']:,} {corpus['unit']} tokens to train on",
        "model": record["network"],
        "types": f"{record['model']['vocab_size']:,}",
        "parameters": f"{record['num_params']:,}",
        "best": f"step {record['best_step']}, {_figure(record['best_check_nats_per_token'])} nats/token (quick check)",
        "measured": ", ".join(f"{name} {_figure(_measured(record, name))}" for name in MEASURED),
        "training": ", ".join(f"{name} {value}" for name, value in training.items() if value is not None),
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
    }
    for name, value in rows.items():
        table.add_row(name, escape(str(value)))
    out.print(table)


def _measured(record: dict[str, Any], name: str) -> float | None:
    """A figure of the final measuring, once there was one."""
    value: float | None = (record["measured"] or {}).get(name)
    return value


def _model(record: dict[str, Any]) -> str:
    model = record["model"]
    return f"{model['cell']} {model['num_layers']} x {model['hidden_size']}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
