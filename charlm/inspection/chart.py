"""What a chart shows. It is drawn as SVG, HTML, PNG or text by the other modules of this folder."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

MAX_NOISY_POINTS = 400  # of a noisy line; further points are drawn as means
MAX_FIGURE = 1e300  # a larger number in a file is no measurement, and could not be subtracted from another one


@dataclass(frozen=True)
class Line:
    """One line of a chart, or its single points. A NaN in `y` is a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    is_points: bool = False
    has_marks: bool = False
    """Whether each point of the line has a mark."""
    style: int | None = None
    """The number of its colour and dashes, which several lines can share; None means its place in the chart."""
    is_noisy: bool = False
    """Whether neighbouring points differ by chance, so that their mean says more than their extremes."""


@dataclass(frozen=True)
class Chart:
    """Lines over a common x axis. The labels name the quantity and its unit, such as "gradient norm" or "time (s)"."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    is_log_y: bool = False
    is_log_x: bool = False
    thresholds: tuple[tuple[str, float], ...] = ()
    """Named values of y, drawn as horizontal lines."""
    notes: tuple[str, ...] = ()
    """Sentences under the chart."""
    starts_at_zero: bool = False
    """Whether the y axis begins at 0."""
    labels: tuple[tuple[str, float, float], ...] = ()
    """Texts that stand at a point (x, y)."""

    @property
    def styled_lines(self) -> list[tuple[int, Line]]:
        """The lines, each with the number of its colour and dashes."""
        return [(place if line.style is None else line.style, line) for place, line in enumerate(self.lines)]


def pieces(line: Line, is_log_x: bool = False, is_log_y: bool = False) -> Iterator[list[tuple[float, float]]]:
    """The points of a line in pieces without a gap.

    A gap is a point that cannot be drawn: it has a number that is not finite, or none that a logarithmic axis has.
    """
    piece: list[tuple[float, float]] = []
    for x, y in zip(line.x, line.y, strict=True):
        if _can_be_drawn(x, is_log_x) and _can_be_drawn(y, is_log_y):
            piece.append((float(x), float(y)))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _can_be_drawn(value: float, is_log: bool) -> bool:
    return math.isfinite(value) and abs(value) <= MAX_FIGURE and not (is_log and value <= 0)


def thinned(line: Line, max_points: int) -> Line:
    """A line with at most about `max_points` points, for there are more than can be told apart.

    Of each group of neighbours the lowest, the highest and a gap are kept, so that a peak of one point stays. Of a
    noisy line their mean is drawn instead.
    """
    if line.is_noisy:
        return _averaged(line, min(max_points, MAX_NOISY_POINTS))
    if len(line.x) <= max_points:
        return line
    size = math.ceil(2 * len(line.x) / max_points)
    kept = [place for start in range(0, len(line.x), size) for place in _extremes(line.y, start, size)]
    return replace(line, x=[line.x[place] for place in kept], y=[line.y[place] for place in kept])


def _averaged(line: Line, max_points: int) -> Line:
    if len(line.x) <= max_points:
        return line
    size = math.ceil(len(line.x) / max_points)
    starts = range(0, len(line.x), size)
    x = [_mean(line.x[start : start + size]) for start in starts]
    return replace(line, x=x, y=[_mean(line.y[start : start + size]) for start in starts])


def _mean(values: Sequence[float]) -> float:
    """The mean of the finite values; nan if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(value / len(finite) for value in finite) if finite else math.nan


def _extremes(values: Sequence[float], start: int, size: int) -> list[int]:
    """The places of the lowest and the highest of some values, and of the first that is not finite, in order."""
    places = range(start, min(start + size, len(values)))
    finite = [place for place in places if math.isfinite(values[place])]
    gap = [place for place in places if not math.isfinite(values[place])][:1]
    ends = [min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)] if finite else []
    return sorted({*ends, *gap})
