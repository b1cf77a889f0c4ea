"""A report on a run: one page of HTML with its figures, curves, samples and passages, and how to make it again."""

import dataclasses
import math
import shlex
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from charlm.corpus.parts import VALID
from charlm.corpus.store import IdsFile
from charlm.errors import RunError
from charlm.inspection.curves import QUANTITIES, History, charts_of, figure, read_history
from charlm.inspection.page import figure as chart_figure
from charlm.inspection.page import heading, paragraph, table, to_page, verbatim
from charlm.inspection.passages import Passage, extremes, find_passages
from charlm.inspection.svg import safe
from charlm.inspection.writing import check_form
from charlm.runs.config import RunConfig, read_config
from charlm.runs.directory import RunDirectory
from charlm.sampling.generate import Ending
from charlm.sampling.strategies import Strategy
from charlm.scoring.generators import open_generator
from charlm.scoring.language_model import LanguageModel
from charlm.scoring.loading import language_model, load_cloze_model, load_model
from charlm.scoring.metrics import perplexity
from charlm.settings import CorpusSettings, Item, ModelSettings, TextSettings, TrainingSettings, flag
from charlm.system.files import write_atomically
from charlm.text.items import NUM_ENDS

FORMS = (".html",)
TEMPERATURES = (0.0, 0.5, 0.8, 1.0, 1.2)
SEED = 1
SAMPLE_TOKENS = {"char": 300, "byte": 300, "word": 80, "subword": 100}
NUM_LABELS = 3  # the most frequent ones, of which a generator's samples are shown
NUM_LINES = 5  # sampled at each temperature, of a model that was trained on single lines
NUM_PASSAGES = 4  # of each kind
SHADES = (0.1, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0)
"""From how many nats on a piece of text has the next darker shade."""
IMPLIED = {"cloze": ("direction", "mode"), "generate": ("direction", "initial_state", "mode")}
"""Settings that follow from the kind of network."""
STYLES = """
.passage { margin: .6rem 0 1rem }
.passage span, .shades span { padding: 1px 0; print-color-adjust: exact; -webkit-print-color-adjust: exact }
.shades span { padding: 1px 6px; margin-right: 2px; white-space: nowrap; display: inline-block }
""" + "\n".join(f".s{shade} {{ background: rgb(213 94 0 / {shade * 10}%) }}" for shade in range(1, len(SHADES) + 1))


def report(run: Path, output: Path) -> None:
    """Write a report on a run. Raises UsageError for another form than HTML, RunError and ResourceError."""
    check_form(output, FORMS)
    write_atomically(output, make_report(run).encode())


def make_report(path: Path) -> str:
    """The page itself. Raises RunError when the run is damaged, or has no weights yet."""
    run = RunDirectory(path)
    config, history = read_config(run), read_history(path)
    parts = [
        *_figures(config, history),
        *_curves(history),
        *_what_it_writes_and_expects(run, config),
        *_settings(config),
        *_how_to_make_it_again(config),
    ]
    return to_page(f"Report on {path}", parts, STYLES)


def _figures(config: RunConfig, history: History) -> Iterator[str]:
    """How good the model is, and how large it and its text are."""
    corpus, model = config.corpus, config.architecture
    yield heading("Figures")
    if not history.measured:
        yield paragraph("This run has not been measured: its training goes on, or was interrupted.")
    if model.is_pair:
        yield paragraph("Figures that do not say otherwise are those of the model that reads forward.")
    rows = {
        **_measured(history.measured, config.reading.item, is_by_line=config.training.mode == "sentence"),
        "best quick check": _best_check(history),
        "parameters": f"{model.num_params:,}",
        "vocabulary": f"{model.vocab_size:,} types",
        "text to train on": _size(corpus.train_tokens, corpus.unit, corpus.train_characters),
        "validation text": _size(corpus.valid_tokens, corpus.unit) if corpus.valid_tokens else "none",
        "created": config.created,
    }
    yield table({name: value for name, value in rows.items() if value})
    yield paragraph("Lower is better for nats, bits and perplexity. A nat is 1.44 bits.", is_quiet=True)


def _best_check(history: History) -> str:
    """The best quick check during training."""
    first = next(iter(history.curves.values()), None)  # of a pair, the forward one
    checks = first.checks if first else []
    best = min(checks, key=lambda check: _or_inf(check.nats_per_token), default=None)
    spelling = "without the cost of spelling unknown symbols"
    if best is None:
        return ""
    found = f"{best.nats_per_token:.4f} nats per {history.target} at step {best.step:,}"
    return found if history.target != "token" else f"{found} ({spelling})"


def _or_inf(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _size(tokens: int, unit: str, characters: int = 0) -> str:
    """The size of a text."""
    if unit == "char":
        return f"{tokens:,} characters"
    return f"{tokens:,} {unit} tokens" + (f", {characters:,} characters" if characters else "")


def _measured(measured: Mapping[str, Any], item: Item, is_by_line: bool) -> dict[str, str]:
    """The rows of what was measured at the end; empty where there is no such figure."""
    streamed, cold = ("read as one text", f"each {item} on its own")
    steps, best = _count(measured.get("steps")), _count(measured.get("best_step"))
    cold_nats = math.nan if is_by_line else figure(measured.get("valid_cold_nats_per_char"))
    how = cold if is_by_line else streamed
    return {
        f"validation, {'cold' if is_by_line else 'streamed'}": _per_char_and_token(measured, "valid", how),
        **({} if is_by_line else {"validation, cold": _per_char(cold_nats, cold)}),
        "validation, masked tokens": _masked(measured, "valid"),
        "test, masked tokens": _masked(measured, "test"),
        "validation, right labels": _accuracy(measured),
        "validation, backward model": _per_char_and_token(measured, "valid_backward", how),
        "test, backward model": _per_token(figure(measured.get("test_backward_nats_per_token")), how),
        "test": _per_token(figure(measured.get("test_nats_per_token")), how),
        "training text": _per_token(figure(measured.get("train_nats_per_token")), f"{how}, without dropout"),
        "steps": f"{steps}, the best of them step {best}" if steps and best else steps,
        "tokens read in training": _count(measured.get("tokens_seen")),
        "time": _seconds(figure(measured.get("seconds")), figure(measured.get("training_seconds"))),
        "ended": str(measured.get("ended") or ""),
    }


def _masked(measured: Mapping[str, Any], part: str) -> str:
    """How well a cloze network finds masked tokens."""
    nats = figure(measured.get(f"{part}_nats_per_masked_token"))
    found = figure(measured.get(f"{part}_masked_accuracy"))
    return f"{nats:.4f} nats per masked token, {found:.1%} found" if math.isfinite(nats) else ""


def _accuracy(measured: Mapping[str, Any]) -> str:
    """How often a text is given the right label."""
    accuracy = figure(measured.get("valid_accuracy"))
    return f"{accuracy:.1%} of {_count(measured.get('valid_accuracy_count'))}" if math.isfinite(accuracy) else ""


def _per_char_and_token(measured: Mapping[str, Any], part: str, how: str) -> str:
    per_char = _per_char(figure(measured.get(f"{part}_nats_per_char")))
    per_token = _per_token(figure(measured.get(f"{part}_nats_per_token")), how)
    return ", ".join(filter(None, (per_char, per_token)))


def _per_char(nats: float, how: str = "") -> str:
    if not math.isfinite(nats):
        return ""
    return f"{nats:.4f} nats/char, {nats / math.log(2):.4f} bits/char" + (f" ({how})" if how else "")


def _per_token(nats: float, how: str) -> str:
    if not math.isfinite(nats):
        return ""
    return f"{nats:.4f} nats/token, perplexity {perplexity(nats):,.4g} ({how})"


def _count(value: object) -> str:
    return f"{value:,}" if type(value) is int else ""


def _seconds(command: float, training: float) -> str:
    if not math.isfinite(command):
        return ""
    return f"{command:,.0f} s" + (f", {training:,.0f} s of them training" if math.isfinite(training) else "")


def _curves(history: History) -> Iterator[str]:
    yield heading("Curves")
    if history.is_empty:
        yield paragraph("The log of this run has no steps.")
        return
    for chart in charts_of([history], QUANTITIES, "steps"):
        yield chart_figure(chart)


def _what_it_writes_and_expects(run: RunDirectory, config: RunConfig) -> Iterator[str]:
    """Samples and passages of each language model of the run; a cloze network has neither, a generator only samples."""
    if config.architecture.kind == "cloze":
        load_cloze_model(run)
        yield heading("Samples and passages")
        yield paragraph(
            "A cloze network writes no text, and gives no probability of one: charlm fill shows what it knows."
        )
        return
    if config.architecture.kind == "generate":
        generator = open_generator(run)
        for number, label in enumerate(generator.labels[:NUM_LABELS]):
            lm = language_model(generator.numbered(number), run.path)
            yield from _samples(lm, config, f" given {label}")
        return
    for network in config.architecture.networks.values():
        lm = load_model(run, direction=network.direction)
        which = f" ({network.direction})" if config.architecture.is_pair else ""
        yield from _samples(lm, config, which)
        yield from _passages(lm, run, config, which)


def _samples(lm: LanguageModel, config: RunConfig, which: str) -> Iterator[str]:
    """Texts that the model writes, the same ones each time."""
    yield heading(f"Samples{which}")
    begun = f"the end of a {lm.item} backward" if lm.direction == "backward" else f"the start of a {lm.item}"
    yield paragraph(f"Written from {begun}, with seed {SEED}. Escapes stand for what cannot be seen.", True)
    is_by_line = config.training.mode == "sentence"
    ending = Ending(length=SAMPLE_TOKENS[config.text.unit], until_eos=is_by_line)
    for temperature in TEMPERATURES:
        strategy = Strategy(temperature=temperature)
        count = NUM_LINES if is_by_line and temperature else 1
        samples = lm.sample_many("", strategy, ending, count, seed=SEED)
        yield heading(f"temperature {temperature:g}" if temperature else "temperature 0 (arg max)", 3)
        yield verbatim(("\n" * NUM_ENDS[lm.item]).join(sample.text for sample in samples))


def _passages(lm: LanguageModel, run: RunDirectory, config: RunConfig, which: str) -> Iterator[str]:
    """The most and the least surprising passages of the validation part, or why there are none."""
    yield heading(f"Passages of the validation text{which}")
    if not config.corpus.valid_tokens:
        yield paragraph("This run kept no text for validation.")
        return
    if not (run.corpus / VALID).exists():
        yield paragraph("The validation text is not here: the folder corpus/ of the run has been removed.")
        return
    by_line = config.training.mode == "sentence" or config.corpus.split == "lines"
    most, least = extremes(find_passages(lm, _validation_part(lm, run), by_line), NUM_PASSAGES)
    yield paragraph("The stronger the colour, the more surprising. Surprisal is -log p of a token, in nats:", True)
    yield _legend()
    for title, passages in (("Most surprising", most), ("Least surprising", least)):
        if passages:
            yield heading(title, 3)
            yield from map(_shaded, passages)


def _validation_part(lm: LanguageModel, run: RunDirectory) -> IdsFile:
    """The ids of the validation part. Raises RunError when they are damaged, or not of this run's tokenizer."""
    part = IdsFile.open(run.corpus / VALID)
    if part.header.tokenizer_sha256 != lm.tokenizer.sha256():
        raise RunError("these ids were made by another tokenizer", str(part.path), "restore them from a copy")
    part.verify(lm.tokenizer.vocab_size, lm.tokenizer.eos_id)
    return part


def _legend() -> str:
    names = [f"under {SHADES[0]:g}", *(f"{low:g} to {high:g}" for low, high in pairwise(SHADES))]
    names.append(f"{SHADES[-1]:g} or more")
    shades = "".join(f'<span class="s{shade}">{name}</span>' for shade, name in enumerate(names))
    return f'<p class="shades">{shades}</p>'


def _shaded(passage: Passage) -> str:
    """A passage whose pieces are shaded by their surprisal; the pointer over a piece shows its nats."""
    spans = []
    for piece in passage.pieces:
        shade = sum(piece.nats >= limit for limit in SHADES)
        text = safe(piece.text.replace("\n", "↵\n"))
        spans.append(f'<span class="s{shade}" title="{piece.nats:.2f} nats">{text}</span>')
    caption = f"{passage.nats_per_char:.3f} nats/char, {passage.num_characters:,} characters"
    return f'<figure class="passage"><pre>{"".join(spans)}</pre><figcaption>{caption}</figcaption></figure>'


def _settings(config: RunConfig) -> Iterator[str]:
    """Every setting with its value."""
    groups = {
        "Model": dataclasses.asdict(config.architecture),
        "Text": dataclasses.asdict(config.text),
        "Reading": dataclasses.asdict(config.reading),
        "Training": dataclasses.asdict(config.training),
    }
    yield heading("Settings")
    for title, group in groups.items():
        values = {name.replace("_", " "): value for name, value in group.items()}
        yield heading(title, 3)
        yield table({name: str(value) for name, value in values.items() if value is not None})
    yield heading("Versions", 3)
    yield table({"charlm": config.charlm, **config.versions})


def _how_to_make_it_again(config: RunConfig) -> Iterator[str]:
    """The command line of the run, or one with the same settings, and which texts it was given."""
    yield heading("Make it again")
    if config.command:
        yield verbatim(config.command)
        yield paragraph("Settings from CHARLM_* variables or a --config file are in the tables above.", True)
    else:
        yield paragraph("This run was made from Python. This command has the same settings:")
        yield verbatim(shlex.join(["charlm", "train", config.corpus.name, *_options(config)]))
    if config.init_from:
        yield paragraph(f"It began with the weights of another run: {config.init_from.get('name', 'see config.json')}.")
    corpus = config.corpus
    sums = {
        f"sha256 of {corpus.name}": corpus.sha256,
        "sha256 of the text for validation": corpus.valid_sha256,
        "sha256 of the text for the test": corpus.test_sha256,
    }
    yield table({name: value for name, value in sums.items() if value})


def _options(config: RunConfig) -> Iterator[str]:
    """The options that give these settings, as far as they are not the defaults."""
    implied = IMPLIED.get(config.architecture.kind, ())
    for kind, own in (
        (TextSettings, config.text),
        (CorpusSettings, config.reading),
        (ModelSettings, config.architecture),
        (TrainingSettings, config.training),
    ):
        for each in dataclasses.fields(kind):
            value = getattr(own, each.name, None)
            is_missing_part = type(value) is int and value < (each.metadata["low"] or 0)  # such as a head_size of 0
            if value is None or value == each.default or is_missing_part or each.name in implied:
                continue
            if type(value) is bool:
                yield flag(each.name) if value else flag(f"no_{each.name}")
            else:
                yield from (flag(each.name), str(value))
