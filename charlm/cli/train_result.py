"""What `charlm train` shows at the end: the figures of each kind of network."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from rich.table import Table

from charlm.cli.console import MIN_COLUMNS_FOR_ALL, literal, out, perplexity

if TYPE_CHECKING:
    from charlm.evaluation.bootstrap import Figure
    from charlm.lifecycle.classification import ClassificationResult
    from charlm.lifecycle.cloze import ClozeResult
    from charlm.lifecycle.generation import GenerationResult
    from charlm.lifecycle.measuring import PartsResult
    from charlm.lifecycle.results import Result, TrainResult
    from charlm.lifecycle.tagging import TaggingResult
    from charlm.lifecycle.translation import TranslationResult
    from charlm.scoring.metrics import Tally

Figures = TypeVar("Figures")


def show_result(result: "Result") -> None:
    """Print the figures of any kind of network."""
    SHOWN[type(result).__name__](result)


def next_commands(result: "Result") -> tuple[str, ...]:
    """The commands that use a run of this kind, with RUN for its name."""
    return NEXT[type(result).__name__]


def show_language_model(result: "TrainResult") -> None:
    """Print the table of what was measured, and what it means."""
    per_token = ("nats/token", "bits/token") if out.width >= MIN_COLUMNS_FOR_ALL else ()
    table = _table(result, "", "nats/char", "bits/char", *per_token, "perplexity", space=1)
    measured = {name: tally for name, tally in _measured(result).items() if tally is not None}
    for name, tally in _with_those_alone(result, measured):
        figures = (tally.nats_per_char, tally.bits_per_char, tally.nats_per_token, tally.bits_per_token)
        shown = [f"{figure:.4f}" for figure in figures[: 2 + len(per_token)]]
        table.add_row(name, *shown, perplexity(tally.nats_per_token, 2))
        if tally.unknown:
            known = perplexity(tally.nats_per_known_token, 2)
            table.add_row(f"  without {tally.unknown:,} unknown", *("" for _ in shown), known)
    out.print(table if table.row_count else f"[bold]{literal(result.run)}[/]", soft_wrap=False)
    if result.valid is None:
        out.print(f"no validation part; on the text that it was trained on: {_trained_to(result)}")
    for line in _explained(result, list(measured)):
        out.print(line, soft_wrap=False)
    out.print(what_it_took(result), soft_wrap=False)


def _explained(result: "TrainResult", measured: list[str]) -> Iterator[str]:
    """Lines that say which figure to look at, what the rows mean, why training ended, and which weights were kept."""
    if measured:
        yield f"Look at nats/char of {measured[0]}: lower is better."
    if result.predictor == "mixture":
        yield "A mixture of the network and the n-grams of the text, by a gate that was fitted on validation."
    meanings = {"streamed": "read as one text", "cold": f"each {result.item} on its own, as in charlm score"}
    if needed := [f"{name}: {meaning}" for name, meaning in meanings.items() if name in " ".join(measured)]:
        yield "; ".join(needed)
    yield how_it_ended(result, has_valid=result.valid is not None)


def _trained_to(result: "TrainResult") -> str:
    """The nats per token on the training part, of a pair those of both models."""
    own = f"{result.train_nats_per_token:.4f} nats/token"
    return own if result.backward is None else f"{own} forward, {result.backward.train_nats_per_token:.4f} backward"


def _measured(result: "TrainResult") -> "dict[str, Tally | None]":
    """The measurements by name, first the one in which the text is read as in training; of a pair, forward first."""
    own = _measured_of_network(result)
    if result.backward is None:
        return own
    backward = {f"{name}, backward": tally for name, tally in _measured_of_network(result.backward).items()}
    return {f"{name}, forward": tally for name, tally in own.items()} | backward


def _measured_of_network(result: "TrainResult") -> "dict[str, Tally | None]":
    return {name: getattr(result, field) for name, field in _fields(result).items()}


def _fields(result: "TrainResult") -> dict[str, str]:
    """The measurements by name, and the fields that have them."""
    streamed, cold = ("validation, streamed", "valid_streamed"), ("validation, cold", "valid_cold")
    if result.mode == "sentence":  # such a model has never seen a running text
        return dict([cold, streamed, ("test, cold", "test")])
    return dict([streamed, cold, ("test, streamed", "test")])


def _with_those_alone(result: "TrainResult", measured: "Mapping[str, Tally]") -> "Iterator[tuple[str, Tally]]":
    """The measurements, the first one followed by the same of what is not used, or only in a mixture."""
    field = next(iter(_fields(result).values()))
    for number, (name, tally) in enumerate(measured.items()):
        yield name, tally
        for predictor, tallies in result.alone.items() if number == 0 else ():
            if (alone := getattr(tallies, field)) is not None:
                yield f"  {PREDICTORS[predictor]}", alone


def show_cloze_result(result: "ClozeResult") -> None:
    """Print how well a cloze network finds masked tokens."""
    table = _table(result, "", "nats/masked token", "perplexity", "found", "masked tokens")
    for name, part in _parts(result):
        nats, share = f"{part.nats_per_masked_token:.4f}", f"{part.accuracy:.1%}"
        table.add_row(name, nats, perplexity(part.nats_per_masked_token, 2), share, f"{part.tokens:,}")
    meaning = "Look at nats/masked token of validation: lower is better. found: its first guess was right"
    _show_table(result, table, meaning)


def how_it_ended(result: "Result", has_valid: bool) -> str:
    """Why training ended, and which weights were kept."""
    is_older = has_valid and result.best_step < result.steps
    weights = f" Kept: step {result.best_step:,} of {result.steps:,}, the best in validation." if is_older else ""
    return f"{result.ended[0].upper()}{result.ended[1:]}.{weights}"


def what_it_took(result: "Result") -> str:
    """The size of the network, the steps and the time."""
    took = f"{result.seconds:.0f} s, {result.training_seconds:.0f} s of them training"
    return f"{result.num_params:,} parameters, {result.steps:,} steps, {result.tokens_seen:,} tokens, {took}"


def show_classification(result: "ClassificationResult") -> None:
    """Print how often a classifier finds the right label."""
    table = _table(result, "", "accuracy", "macro F1", "texts", "nats/text")
    for name, part in _parts(result):
        figures = with_interval(part.accuracy), with_interval(part.macro_f1)
        table.add_row(name, *figures, f"{part.accuracy.count:,}", f"{part.nats_per_text:.4f}")
    _show_table(result, table, "Look at accuracy of validation: higher is better. In brackets: 95 % intervals.")


def show_generation(result: "GenerationResult") -> None:
    """Print how probable texts are given their labels, and how often Bayes finds the right label."""
    table = _table(result, "", "nats/char", "bits/char", "nats/token", "perplexity")
    for name, part in _parts(result):
        figures = (part.nats_per_char, part.bits_per_char, part.nats_per_token)
        table.add_row(name, *(f"{figure:.4f}" for figure in figures), perplexity(part.nats_per_token, 2))
    meaning = "Look at nats/char of validation: lower is better. Each text is read on its own, given its label."
    if result.valid_accuracy:
        found = f"{with_interval(result.valid_accuracy)} of {result.valid_accuracy.count:,} texts"
        meaning = f"{meaning}\nThe likeliest label is the right one in {found} (by Bayes; 95 % interval)."
    _show_table(result, table, meaning)


def show_tagging(result: "TaggingResult") -> None:
    """Print how often a tagger finds the right tags, and the names or other spans that they mark."""
    parts = list(_parts(result))
    has_entities = any(part.entity_f1 for _, part in parts)
    table = _table(
        result, "", *(["entity F1", "entities"] if has_entities else []), "token accuracy", "tokens", "nats/token"
    )
    for name, part in parts:
        f1 = part.entity_f1
        entities = (with_interval(f1), f"{f1.count:,}") if f1 else ()
        accuracy = part.accuracy
        table.add_row(name, *entities, with_interval(accuracy), f"{accuracy.count:,}", f"{part.nats_per_token:.4f}")
    best = "entity F1" if has_entities else "token accuracy"
    _show_table(result, table, f"Look at {best} of validation: higher is better. In brackets: 95 % intervals.")


def show_translation(result: "TranslationResult") -> None:
    """Print how often a translator writes exactly what it should, and how far it is from that."""
    table = _table(result, "", "exactly right", "wrong symbols", "pairs", "nats/token")
    for name, part in _parts(result):
        figures = with_interval(part.accuracy), with_interval(part.symbol_error_rate)
        table.add_row(name, *figures, f"{part.accuracy.count:,}", f"{part.nats_per_token:.4f}")
    meaning = "Look at nats/token of validation: lower is better. Shares are those of arg max, with 95 % intervals."
    _show_table(result, table, meaning)


def with_interval(figure: "Figure") -> str:
    """A share as a percentage, with its interval."""
    return f"{figure.value:.1%} [{figure.low:.1%}, {figure.high:.1%}]"


def _table(result: "Result", *headings: str, space: int = 2) -> Table:
    """An empty table under the run's path; `space` is that between columns."""
    padding = (0, space, 0, 0)
    table = Table(title=literal(result.run), title_justify="left", title_style="bold", box=None, padding=padding)
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left", overflow="fold")
    return table


def _parts(result: "PartsResult[Figures]") -> "Iterator[tuple[str, Figures]]":
    """The names of the parts that were measured, and their figures."""
    for name, figures in (("validation", result.valid), ("test", result.test)):
        if figures:
            yield name, figures


def _show_table(result: "Result", table: Table, meaning: str) -> None:
    """Print a table of figures, what it means, and how the training went."""
    has_figures = table.row_count > 0
    if has_figures:
        out.print(table, soft_wrap=False)
    out.print(meaning if has_figures else "no validation part", soft_wrap=False)
    out.print(how_it_ended(result, has_valid=has_figures), soft_wrap=False)
    out.print(what_it_took(result), soft_wrap=False)


PREDICTORS = {"network": "network alone", "ngram": "n-grams alone"}
SHOWN: dict[str, Callable[[Any], None]] = {
    "TrainResult": show_language_model,
    "ClozeResult": show_cloze_result,
    "ClassificationResult": show_classification,
    "GenerationResult": show_generation,
    "TaggingResult": show_tagging,
    "TranslationResult": show_translation,
}
"""What shows a result, by its class, which is not imported here because it brings torch with it."""
NEXT = {
    "TrainResult": ("sample --run RUN --temp 0.8", 'score --run RUN "a sentence"'),
    "ClozeResult": ('fill --run RUN "a sentence with a ___"', 'score --pseudo --run RUN "a sentence"'),
    "ClassificationResult": ('classify --run RUN "a text"', "evaluate RUN test.tsv"),
    "GenerationResult": ("sample --run RUN --until-eos --given LABEL", 'classify --run RUN "a text"'),
    "TaggingResult": ('tag --run RUN "a sentence"', "evaluate RUN test.conll"),
    "TranslationResult": ('translate --run RUN "a text"', "evaluate RUN test.tsv"),
}
"""Commands that use a run, by the class of its result."""
