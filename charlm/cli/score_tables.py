"""The tables that `charlm score` prints."""

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from charlm.cli.console import literal, out, perplexity, say, write_text
from charlm.settings import Item
from charlm.text.visible import visible, visible_symbol, visible_type

if TYPE_CHECKING:
    from charlm.api import LanguageModel, Score, TokenScore
    from charlm.scoring.metrics import Tally

MIN_FIGURE_COLUMNS = 12  # with the mark
MIN_SENTENCE_COLUMNS = 20
MAX_SHOWN = 60  # characters of a paragraph
MARK = " *"
LEGEND = "log p in nats by each run; * marks the one that finds the text likeliest"
MAX_RATIO = 1e6  # above it, a ratio is written as a power of ten


def run_names(models: "Sequence[LanguageModel]") -> list[str]:
    """The runs' names, short where that is enough to tell them apart."""
    from charlm.runs.finding import short_names

    return short_names([lm.path for lm in models])


# Sentences


def show_sentences(scores: "Sequence[Score]", num_ends: int, quiet: bool) -> None:
    """One sentence's figures, or a ranking; then their tokens in the same order, where they were asked for.

    At the end of each, `num_ends` tokens `<eos>` are counted.
    """
    if len(scores) == 1:
        show_figures(scores[0].tally, f", its end{' <eos>' * num_ends} among them" if num_ends else "")
        _show_tokens(scores[0])
        return
    ranked = sorted(scores, key=lambda score: -score.logprob_nats)
    same_length = len({score.tally.characters for score in scores}) == 1
    _show_ranking(ranked, same_length)
    say("longer sentences are less likely by their length alone: see per character", quiet or same_length)
    for place, score in enumerate(ranked, 1):
        if score.tokens_scored:
            out.print(Text(f"\n{place}. {visible(score.text)}", style="bold"))
            _show_tokens(score)


def _show_ranking(ranked: "Sequence[Score]", same_length: bool) -> None:
    """The most likely sentence first, each with its ratio to the next one; per character too if lengths differ."""
    ratios = ["times likelier\nthan the next"] if same_length else ["times likelier\nthan the next", "per\ncharacter"]
    table = _table("", "log p\n(nats)", "perplexity", *ratios, "sentence")
    for place, (score, following) in enumerate(zip(ranked, [*ranked[1:], None], strict=True), 1):
        figures = [f"{score.logprob_nats:.4f}", perplexity(score.tally.nats_per_token, 4)]
        figures += _times_likelier(score, following)[: len(ratios)] if following else [""] * len(ratios)
        table.add_row(f"{place}.", *figures, Text(visible(score.text)))
    out.print(table)


def _times_likelier(score: "Score", other: "Score") -> list[str]:
    """How many times likelier a text is than another: as a whole, and per character."""
    per_character = other.tally.nats_per_char - score.tally.nats_per_char
    return [_ratio(score.logprob_nats - other.logprob_nats), _ratio(per_character)]


def show_figures(tally: "Tally", counted: str = "") -> None:
    """All figures of a text; `counted` says what its tokens include."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in _figures(tally, counted).items():
        table.add_row(name, value)
    out.print(table)


def _figures(tally: "Tally", counted: str) -> dict[str, str]:
    figures = {
        "log-probability": f"{tally.logprob_nats:.4f} nats, {tally.logprob10:.4f} base 10; nearer to 0: likelier",
        "probability": _probability(tally.logprob_nats),
        "perplexity": f"{perplexity(tally.nats_per_token, 4)} per token; lower: likelier",
        "bits per character": f"{tally.bits_per_char:.4f}",
        "nats per character": f"{tally.nats_per_char:.4f}",
        "tokens": f"{tally.tokens:,}{counted}",
        "unknown": f"{tally.unknown:,}",
    }
    if tally.unknown:
        figures["perplexity without them"] = perplexity(tally.nats_per_known_token, 4)
    return figures


# Tokens


def show_next(tokens: "Sequence[TokenScore]") -> None:
    """The most likely next tokens."""
    table = _table("", "p", "token")
    for token in tokens:
        table.add_row(f"{token.rank}.", f"{math.exp(token.logprob_nats):.6f}", Text(_shown(token)))
    out.print(table)


def _show_tokens(score: "Score") -> None:
    """The tokens of a sentence, if they were asked for."""
    if not score.tokens_scored:
        return
    table = _table("token", "p", "surprisal (bits)", "rank")
    for token in score.tokens_scored:
        surprisal = f"{-token.logprob_nats / math.log(2):.3f}"
        table.add_row(Text(_shown(token)), f"{math.exp(token.logprob_nats):.6f}", surprisal, f"{token.rank:,}")
    out.print(table)
    if spelling_nats := sum(token.spelling_nats for token in score.tokens_scored):
        out.print(f"and {spelling_nats / math.log(2):.3f} bits for the spelling of what is unknown")


def _shown(token: "TokenScore") -> str:
    return visible_type(token.plain, token.joins) + (f" for {visible_symbol(token.unknown)}" if token.unknown else "")


# Lines of files


def show_headings(names: Sequence[str]) -> None:
    """The headings above the lines that `show_line` prints for several runs."""
    out.print(LEGEND)
    columns = "".join(f"{visible(name):>{width - len(MARK)}}{'':{len(MARK)}}" for name, width in _widths(names))
    out.print(Text(f"{columns}  sentence", style="bold"))


def show_line(names: Sequence[str], scores: "Sequence[Score]", item: Item) -> None:
    """One item of a file, printed at once: its log-probability by each run, and its text, or a paragraph's start."""
    if len(scores) > 1:
        marked = _marked([score.logprob_nats for score in scores])
        columns = "".join(f"{figure:>{width}}" for figure, (_, width) in zip(marked, _widths(names), strict=True))
    else:
        columns = f"{scores[0].logprob_nats:12.4f}"
    text = scores[0].text if item == "line" else _beginning(scores[0].text)
    write_text(f"{columns}  {visible(text)}\n", flush=True)


def _beginning(paragraph: str) -> str:
    """The first words of a paragraph, on one line."""
    words = " ".join(paragraph.split())
    return words if len(words) <= MAX_SHOWN else f"{words[:MAX_SHOWN]} ..."


def show_totals(names: Sequence[str], totals: "Sequence[Tally]", title: str) -> None:
    """The totals of a file, or of all files, by each run; `title` says of which, if there are several."""
    if title:
        out.print(Text(f"total of {visible(title)}", style="bold"))
    if len(totals) == 1:
        show_figures(totals[0])
    else:
        _show_totals_by_run(names, totals)


# Several runs


def show_sentences_by_run(names: Sequence[str], scores: "Sequence[Sequence[Score]]") -> None:
    """A row for each sentence and a column for each run; below several sentences, their sum."""
    out.print(LEGEND)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(literal(name), justify="right", min_width=MIN_FIGURE_COLUMNS, overflow="fold")
    table.add_column("sentence", min_width=MIN_SENTENCE_COLUMNS, overflow="fold")
    logprobs = [[score.logprob_nats for score in by_run] for by_run in scores]
    for by_run, figures in zip(scores, logprobs, strict=True):
        table.add_row(*_marked(figures), Text(visible(by_run[0].text)))
    if len(scores) > 1:
        table.add_row(*_marked([sum(column) for column in zip(*logprobs, strict=True)]), Text("all of them", "italic"))
    out.print(table)


def _show_totals_by_run(names: Sequence[str], totals: "Sequence[Tally]") -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("run", "log p (nats)", "nats/char", "bits/char", "unknown"):
        table.add_column(heading, justify="left" if heading == "run" else "right", overflow="fold")
    marked = _marked([total.logprob_nats for total in totals])
    for name, figure, total in zip(names, marked, totals, strict=True):
        per_char = (f"{total.nats_per_char:.4f}", f"{total.bits_per_char:.4f}")
        table.add_row(literal(name), figure, *per_char, f"{total.unknown:,}")
    out.print(table)


def _widths(names: Sequence[str]) -> list[tuple[str, int]]:
    """The names, each with the columns that it and the figures below it take."""
    return [(name, max(MIN_FIGURE_COLUMNS, len(visible(name)) + len(MARK) + 1)) for name in names]


def _marked(logprobs: Sequence[float]) -> list[str]:
    """The figures, with a mark at the largest."""
    best = max(logprobs)
    return [f"{logprob:.2f}{MARK if logprob == best else ' ' * len(MARK)}" for logprob in logprobs]


# Figures and tables


def _probability(logprob_nats: float) -> str:
    """A probability as a decimal number, or as a power of ten where it is too small for that."""
    if logprob_nats > math.log(sys.float_info.min):
        return f"{math.exp(logprob_nats):.4g}"
    return f"10^{logprob_nats / math.log(10):.2f}, too small for a number"


def _ratio(nats: float) -> str:
    return f"{math.exp(nats):,.2f}" if nats < math.log(MAX_RATIO) else f"10^{nats / math.log(10):.1f}"


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in headings:
        is_text = heading in ("token", "sentence")
        table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
    return table
