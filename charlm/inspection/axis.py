"""Axes: where a value lies between the ends of an axis, and the round values that are written along it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from charlm.inspection.chart import Chart, pieces

ROUND = (1, 2, 5, 10)
MARGIN = 0.04  # of the range of y, left free above and below the lines
NEAR_ZERO = 0.2  # an x axis that begins below this share of its end begins at 0
MIN_PLAIN, MAX_PLAIN = 1e-4, 1e7  # smaller and larger numbers are written with a power of ten
MAX_DECIMALS = 6


@dataclass(frozen=True)
class Axis:
    """The range of an axis and the values that are written along it, in rising order."""

    low: float
    high: float
    ticks: tuple[float, ...]
    is_log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high end."""
        low, high, value = (math.log(each) if self.is_log else each for each in (self.low, self.high, value))
        return (value - low) / (high - low)

    @property
    def labels(self) -> tuple[str, ...]:
        """The ticks as people read them, all with the same number of decimals."""
        if self.is_log:
            return tuple(map(number, self.ticks))
        decimals = _decimals(self.ticks)
        if decimals > MAX_DECIMALS or max(map(abs, self.ticks), default=0.0) >= MAX_PLAIN:
            return tuple(map(number, self.ticks))
        return tuple(f"{tick:,.{decimals}f}" for tick in self.ticks)


def number(value: float) -> str:
    """A number with up to four digits as people read it: 1,500, 0.002, 3e-9."""
    if value == 0:
        return "0"
    if not MIN_PLAIN <= abs(value) < MAX_PLAIN:
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else f"{value:.3e}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    shown = f"{value:,.{digits}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def axes_of(chart: Chart, num_x_ticks: int, num_y_ticks: int) -> tuple[Axis, Axis]:
    """The x axis and the y axis of a chart, each with about so many ticks; both go from 0 to 1 if there is no point."""
    points = [
        point for line in chart.lines for piece in pieces(line, chart.is_log_x, chart.is_log_y) for point in piece
    ]
    levels = [level for _, level in chart.thresholds if math.isfinite(level) and not (chart.is_log_y and level <= 0)]
    x, y = [point[0] for point in points], [point[1] for point in points] + (levels if points else [])
    if chart.labels:
        across = [x for _, x, _ in chart.labels]
        room = MARGIN * (max(across) - min(across))  # half of a label reaches beyond its point
        x += [min(across) - room, max(across) + room]
        y += [height for _, _, height in chart.labels]
    return _x_axis(x, chart.is_log_x, num_x_ticks), _y_axis(y, chart.is_log_y, chart.starts_at_zero, num_y_ticks)


def _x_axis(values: Sequence[float], is_log: bool, num_ticks: int) -> Axis:
    low, high = _range(values, is_log)
    if not is_log and 0 < low <= NEAR_ZERO * high:
        low = 0.0
    smallest = 1.0 if all(float(value).is_integer() for value in values) else 0.0
    return Axis(low, high, _ticks(low, high, is_log, num_ticks, smallest), is_log)


def _y_axis(values: Sequence[float], is_log: bool, starts_at_zero: bool, num_ticks: int) -> Axis:
    low, high = _range(values, is_log)
    if is_log:
        factor = math.exp(MARGIN * (math.log(high) - math.log(low)))
        low, high = low / factor, high * factor
    else:
        low = min(low, 0.0) if starts_at_zero else low - MARGIN * (high - low)
        high += MARGIN * (high - low)
    return Axis(low, high, _ticks(low, high, is_log, num_ticks), is_log)


def _range(values: Sequence[float], is_log: bool) -> tuple[float, float]:
    """The lowest and the highest value, moved apart if they are equal."""
    low, high = min(values, default=1.0 if is_log else 0.0), max(values, default=1.0)
    if is_log:
        return (low, high) if high > low * 1.01 else (low / 2, high * 2)
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    room = abs(low) / 2 or 1.0
    return low - room, high + room


def _ticks(low: float, high: float, is_log: bool, count: int, smallest: float = 0.0) -> tuple[float, ...]:
    """Round values from low to high, about `count` of them and none closer than `smallest`."""
    if is_log:
        ticks = _powers(low, high, count)
        if len(ticks) > 1:
            return ticks
    step = max(_round_step((high - low) / max(1, count)), smallest)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple(place * step for place in range(first, last + 1))
    return tuple(tick for tick in ticks if not is_log or tick > 0)


def _round_step(step: float) -> float:
    """The next number that is 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next((digit * power for digit in ROUND if digit * power >= step * (1 - 1e-9)), 10 * power)


def _powers(low: float, high: float, count: int) -> tuple[float, ...]:
    """Powers of ten from low to high, each n-th if there are many; with their double and fivefold if there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, math.ceil((last - first) / max(1, count)))
    digits = (1, 2, 5) if last - first <= max(1, count // 3) else (1,)

    def ticks(digits: tuple[int, ...]) -> tuple[float, ...]:
        all_ticks = (digit * 10.0**power for power in range(first, last + 1, every) for digit in digits)
        return tuple(tick for tick in all_ticks if low <= tick <= high)

    found = ticks(digits)
    return found if len(found) > 1 or every > 1 else ticks((1, 2, 5))


def _decimals(ticks: tuple[float, ...]) -> int:
    """How many decimals tell the ticks apart."""
    step = min((after - before for before, after in pairwise(ticks)), default=abs(ticks[0]) if ticks else 1.0)
    return max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
