"""Scores by several runs side by side: which of them finds a text likeliest."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from charlm.cli.console import literal, out, visible, write_text

if TYPE_CHECKING:
    from charlm.api import LanguageModel, Score
    from charlm.scoring.metrics import Tally

NARROWEST = 12  # columns of a figure with its mark
MARK = " *"
LEGEND = "log p in nats by each run; * marks the one that finds the text likeliest"


def short_names(models: "Sequence[LanguageModel]") -> list[str]:
    """What the runs are called in a table: the names of their folders, unless two have the same."""
    names = [lm.path.name for lm in models]
    return names if len(set(names)) == len(names) else [str(lm.path) for lm in models]


def show_sentences_by_run(names: Sequence[str], scores: "Sequence[Sequence[Score]]") -> None:
    """A line a sentence, a column a run; of several sentences their sum, too."""
    out.print(LEGEND)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(literal(name), justify="right", min_width=NARROWEST, overflow="fold")
    table.add_column("sentence", min_width=20, overflow="fold")
    for of_sentence in scores:
        logprobs = [score.logprob_nats for score in of_sentence]
        table.add_row(*_marked(logprobs), Text(visible(of_sentence[0].text)))
    if len(scores) > 1:
        sums = [sum(score.logprob_nats for score in of_run) for of_run in zip(*scores, strict=True)]
        table.add_row(*_marked(sums), Text("all of them", style="italic"))
    out.print(table)


def show_headings(names: Sequence[str]) -> None:
    """The line above those of `show_line`."""
    out.print(LEGEND)
    columns = "".join(f"{visible(name):>{width - len(MARK)}}{'':{len(MARK)}}" for name, width in _widths(names))
    out.print(Text(f"{columns}  sentence", style="bold"))


def show_line(names: Sequence[str], scores: "Sequence[Score]") -> None:
    """One line of a file, at once."""
    marked = _marked([score.logprob_nats for score in scores])
    columns = "".join(f"{figure:>{width}}" for figure, (_, width) in zip(marked, _widths(names), strict=True))
    write_text(f"{columns}  {visible(scores[0].text)}\n", flush=True)


def show_totals_by_run(names: Sequence[str], totals: "Sequence[Tally]") -> None:
    """What each run makes of a whole file."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("run", "log p (nats)", "nats/char", "bits/char", "unknown"):
        table.add_column(heading, justify="left" if heading == "run" else "right", overflow="fold")
    marked = _marked([total.logprob_nats for total in totals])
    for name, figure, total in zip(names, marked, totals, strict=True):
        per_char = (f"{total.nats_per_char:.4f}", f"{total.bits_per_char:.4f}")
        table.add_row(literal(name), figure, *per_char, f"{total.unknown:,}")
    out.print(table)


def _widths(names: Sequence[str]) -> list[tuple[str, int]]:
    return [(name, max(NARROWEST, len(visible(name)) + len(MARK) + 1)) for name in names]


def _marked(logprobs: Sequence[float]) -> list[str]:
    """The figures, the largest of them marked."""
    best = max(logprobs)
    return [f"{one:.2f}{MARK if one == best else ' ' * len(MARK)}" for one in logprobs]
