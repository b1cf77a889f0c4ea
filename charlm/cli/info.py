"""`charlm info`: list all runs, or describe one. Runs without torch."""

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from charlm.cli.console import MIN_COLUMNS_FOR_ALL, describe, literal, out, say, write_json
from charlm.cli.task_figures import shares_of
from charlm.cli.units import UNITS
from charlm.errors import RunError

CHECKSUMS = ("sha256", "valid_sha256", "test_sha256", "seal")
AS_IT_IS = ("keep", "line")  # ways to read a text that change nothing
MAX_COLUMNS = 80  # of the description of one run, also where there is no terminal
ALONE = {"network": "network", "ngram": "n-grams"}  # the predictors that are mixed
MAX_FIGURE = 1e300  # a larger one in a file is not a measurement
EXAMPLES = """[bold]Examples[/]

charlm info

charlm info stories

charlm info runs/stories --json"""


def register(app: typer.Typer) -> None:
    app.command("info", epilog=EXAMPLES)(info_cli)


def info_cli(
    run: Annotated[
        str | None, typer.Argument(help="A run: its folder, or its name under runs/ (default: list all).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per run.")] = False,
) -> None:
    """List all runs, or describe one."""
    from charlm.runs.finding import find_run, list_runs

    paths = [find_run(run)] if run else list_runs()
    if not paths:
        say("no runs yet: charlm train corpus.txt")
    described = [record_of(path, skip_damaged=run is None) for path in paths]
    records = [record for record in described if record]
    if json:
        for record in records:
            write_json(record)
    elif run:
        _show_one(records[0])
    else:
        _show_all(records)


def record_of(path: Path, skip_damaged: bool) -> dict[str, Any] | None:
    """The record of one run. If it is damaged, say so and return None with `skip_damaged`, else raise RunError."""
    from charlm.lifecycle.description import describe_run

    try:
        found = describe_run(path)
    except RunError as error:
        if not skip_damaged:
            raise
        say(f"{path}: {error.what}")
        return None
    config = found.config
    return {
        "run": str(path),
        "created": config.created,
        "command": config.command,
        "corpus": dataclasses.asdict(config.corpus),
        "reading": {name: getattr(config.reading, name) for name in ("line_ends", "normal_form", "item")},
        "model": {**dataclasses.asdict(config.architecture), "dropout": config.training.dropout},
        "network": describe(config.architecture),
        "num_params": config.architecture.num_params,
        "training": dataclasses.asdict(config.training),
        "best_step": found.best_step,
        "best_check_nats_per_token": _as_figure(found.best_check_nats_per_token),
        "measured": found.measured,
        "init_from": config.init_from,
        "versions": {"charlm": config.charlm, **config.versions},
        "last_saved": _local_time(found.saved_at),
    }


def _local_time(moment: datetime | None) -> str | None:
    """A moment in this machine's time zone, to the minute."""
    return moment.astimezone().replace(tzinfo=None).isoformat(" ", timespec="minutes") if moment else None


def _show_all(records: list[dict[str, Any]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    rows = [_row(record) for record in records]
    for heading in rows[0] if rows else ():
        table.add_column(heading, no_wrap=heading not in ("run", "model"), overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    if rows:
        out.print(table, soft_wrap=False)


def _row(record: dict[str, Any]) -> dict[str, str]:
    """The columns of a run in the list; a narrow terminal gets only those that tell runs apart."""
    row = {
        "run": literal(record["run"]),
        "validation": _main_figure(record),
        "unit": record["corpus"]["unit"],
        "model": _model(record),
        "params": _short_number(record["num_params"]),
        "saved": record["last_saved"] or "-",
    }
    for name in ("params", "model") if out.width < MIN_COLUMNS_FOR_ALL else ():
        del row[name]
    return row


def _show_one(record: dict[str, Any]) -> None:
    """Print all about a run: how good it is, then what it is, then how it was made."""
    corpus, training = record["corpus"], dict(record["training"])
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "run": record["run"],
        "validation": _validation(record, "valid") or _shares(record, "valid"),
        "alone": _alone(record),
        "labels": _shares(record, "valid") if record["model"]["kind"] == "generate" else "",
        "backward": _validation(record, "valid_backward"),
        "masked tokens": _masked(record),
        "test": _test(record) or _shares(record, "test"),
        "best": _best(record),
        "ended": (record["measured"] or {}).get("ended"),
        "corpus": _corpus(corpus),
        "read as": _reading(record),
        "model": record["network"],
        "parameters": f"{record['num_params']:,}",
        "types": f"{record['model']['vocab_size']:,}",
        "command": record["command"],
        "created": record["created"],
        "saved": record["last_saved"],
        "training": ", ".join(
            f"{name} {value}" for name, value in training.items() if value is not None and name != "seed"
        ),
        "seed": training["seed"],
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        **{name: corpus[name] for name in CHECKSUMS},
    }
    for name, value in rows.items():
        if value not in (None, ""):
            table.add_row(name, literal(str(value)))
    out.print(table, soft_wrap=False, width=min(out.width, MAX_COLUMNS))


def _corpus(corpus: dict[str, Any]) -> str:
    examples = f"{corpus['train_examples']:,} examples, " if corpus["train_examples"] else ""
    return f"{corpus['name']}: {examples}{corpus['train_tokens']:,} {corpus['unit']} tokens to train on"


def _validation(record: dict[str, Any], part: str) -> str:
    """The figures by which runs are compared, first the one for text that is read as in training."""
    as_trained, cold = (_measured(record, f"{part}_{name}nats_per_char") for name in ("", "cold_"))
    is_by_sentence = record["training"]["mode"] == "sentence"
    figures = {"cold": as_trained} if is_by_sentence else {"streamed": as_trained, "cold": cold}
    shown = ", ".join(f"{value:.4f} {reading}" for reading, value in figures.items() if value is not None)
    return shown and f"{shown} (nats/char; lower is better)"


def _alone(record: dict[str, Any]) -> str:
    """What the network and the n-grams beside it give without the other one."""
    figures = {name: _measured(record, f"valid_{key}_nats_per_char") for key, name in ALONE.items()}
    return ", ".join(f"{value:.4f} {name}" for name, value in figures.items() if value is not None)


def _shares(record: dict[str, Any], part: str) -> str:
    """How often a network for labelled data is right on a part."""
    shown = ", ".join(shares_of(record["model"]["kind"], part, record["measured"]))
    return shown and f"{shown} (higher is better)"


def _main_figure(record: dict[str, Any]) -> str:
    """The figure by which runs of the same kind are compared."""
    if (nats := _measured(record, "valid_nats_per_char")) is not None:
        return f"{nats:.4f} nats/char"
    if (nats := _measured(record, "valid_nats_per_masked_token")) is not None:
        return f"{nats:.4f} nats/masked token"
    return next(iter(shares_of(record["model"]["kind"], "valid", record["measured"])), "-")


def _masked(record: dict[str, Any]) -> str:
    """How well a cloze network finds masked tokens of the validation part."""
    nats, found = (_measured(record, f"valid_{name}") for name in ("nats_per_masked_token", "masked_accuracy"))
    if nats is None:
        return ""
    share = "" if found is None else f", {found:.1%} found"
    return f"{nats:.4f} nats per masked token{share} (lower is better)"


def _reading(record: dict[str, Any]) -> str:
    """How the text was changed before it was counted, and which part of it was kept for validation."""
    parts = [f"{name.replace('_', ' ')} {form}" for name, form in record["reading"].items() if form not in AS_IT_IS]
    if (split := record["corpus"].get("split")) in ("lines", "paragraphs"):
        parts.append(f"validation on {split} from all over it")
    return ", ".join(parts)


def _best(record: dict[str, Any]) -> str:
    nats = record["best_check_nats_per_token"]
    unit = UNITS.get(record["model"]["kind"], "nats/token")
    check = "" if nats is None else f", {nats:.4f} {unit} in a quick check"
    return "" if record["best_step"] is None else f"step {record['best_step']:,}{check}"


def _test(record: dict[str, Any]) -> str:
    nats = _measured(record, "test_nats_per_token")
    return "" if nats is None else f"{nats:.4f} nats/token"


def _measured(record: dict[str, Any], name: str) -> float | None:
    """A figure of the last measurement, if there was one."""
    return _as_figure((record["measured"] or {}).get(name))


def _as_figure(value: object) -> float | None:
    """A value from a file as a figure, or None if it cannot be one."""
    return float(value) if type(value) in (int, float) and abs(value) < MAX_FIGURE else None  # type: ignore[arg-type]


def _model(record: dict[str, Any]) -> str:
    model = record["model"]
    return f"{model['cell']} {model['num_layers']} x {model['hidden_size']}"


def _short_number(count: int) -> str:
    """A number with three digits and a unit, such as 1.23M."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)
