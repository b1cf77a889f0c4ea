"""Write charts into a file, in the form that its name asks for."""

from collections.abc import Callable, Sequence
from pathlib import Path

from charlm.errors import UsageError
from charlm.inspection.chart import Chart
from charlm.inspection.page import charts_page
from charlm.inspection.png import check_png_is_possible, to_png
from charlm.inspection.svg import to_svg_of_all
from charlm.system.files import write_atomically

FORMS: dict[str, Callable[[Sequence[Chart], str], bytes]] = {
    ".svg": lambda charts, title: to_svg_of_all(charts, title).encode(),
    ".html": lambda charts, title: charts_page(charts, title).encode(),
    ".png": to_png,
}


def write_charts(charts: Sequence[Chart], path: Path, title: str) -> None:
    """Write charts as SVG, HTML or PNG, one under the other. Raises UsageError and ResourceError."""
    check_form(path)
    write_atomically(path, FORMS[path.suffix.lower()](charts, title))


def check_form(path: Path, forms: Sequence[str] = tuple(FORMS)) -> None:
    """Raise UsageError unless the file's name ends with one of these forms, and this form can be written here."""
    ending = path.suffix.lower()
    if ending not in forms:
        what = f"-o {path}: charlm cannot tell from this name what to write"
        raise UsageError(what, to_do=f"give a name that ends with {' or '.join(forms)}")
    if ending == ".png":
        check_png_is_possible()
