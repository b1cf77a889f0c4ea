"""Pages of HTML that need nothing else: no script, no request to anywhere, not even a link."""

from collections.abc import Iterable, Mapping, Sequence

from charlm.inspection.chart import Chart
from charlm.inspection.svg import STYLES as CHART_STYLES
from charlm.inspection.svg import safe, to_svg_for_page

# A browser that reads this asks for nothing, whatever else might stand in the page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
STYLES = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --quiet: #666; --rule: #ddd; --block: #f5f5f2 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ddd; --paper: #16181c; --quiet: #999; --rule: #363a42; --block: #1f2228 }
}
body { margin: 2rem auto; padding: 0 1rem; max-width: 46rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", Arial, sans-serif }
h1 { font-size: 1.6rem; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--rule) }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem }
h2, h3 { break-after: avoid }
p.quiet, figcaption, th { color: var(--quiet) }
figure { margin: 1rem 0; break-inside: avoid }
svg { max-width: 100%; height: auto; display: block }
table { border-collapse: collapse; width: 100% }
th { text-align: left; font-weight: normal; padding-right: 1rem; white-space: nowrap; vertical-align: top;
  width: 12rem }
td { overflow-wrap: anywhere }
tr { border-bottom: 1px solid var(--rule); break-inside: avoid }
pre { padding: .6rem .8rem; background: var(--block); white-space: pre-wrap; overflow-wrap: anywhere;
  font: 14px/1.6 ui-monospace, "DejaVu Sans Mono", Consolas, monospace }
@media print { body { margin: 0; max-width: none; font-size: 11pt } }
"""


def to_page(title: str, parts: Iterable[str], more_styles: str = "") -> str:
    """A whole page of parts that are HTML already; the title is plain text."""
    content = "\n".join(parts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{safe(title)}</title>
<style>{STYLES}{CHART_STYLES}
{more_styles}</style>
</head>
<body>
<h1>{safe(title)}</h1>
{content}
</body>
</html>
"""


def charts_page(charts: Sequence[Chart], title: str) -> str:
    """A page that shows charts one under the other."""
    return to_page(title, map(figure, charts))


def figure(chart: Chart) -> str:
    """A chart in a page."""
    return f"<figure>{to_svg_for_page(chart)}</figure>"


def heading(text: str, level: int = 2) -> str:
    return f"<h{level}>{safe(text)}</h{level}>"


def paragraph(text: str, is_quiet: bool = False) -> str:
    kind = ' class="quiet"' if is_quiet else ""
    return f"<p{kind}>{safe(text)}</p>"


def verbatim(text: str) -> str:
    """A text as it is, with its line ends and spaces."""
    return f"<pre>{safe(text)}</pre>"


def table(rows: Mapping[str, str]) -> str:
    """Names on the left, values on the right."""
    cells = "\n".join(f"<tr><th>{safe(name)}</th><td>{safe(value)}</td></tr>" for name, value in rows.items())
    return f"<table>\n{cells}\n</table>"
