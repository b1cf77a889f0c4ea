"""What a chart shows. It is drawn as SVG, HTML, PNG or text by the other modules of this folder."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One line of a chart, or its single points. A NaN in `y` is a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    is_points: bool = False


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
