"""`charlm report`: one page that says what a run is, that asks for nothing, and that no text can break."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import typer.main

import charlm as package
from charlm import api
from charlm.cli.app import app_with, main
from charlm.corpus.store import IdsFile
from charlm.engine.compiled import can_compile
from charlm.inspection.page import POLICY
from charlm.inspection.passages import extremes, find_passages
from charlm.inspection.report import SHADES, make_report
from charlm.runs.config import read_config
from charlm.runs.directory import RunDirectory
from tests.conftest import TINY, UNITS, english
from tests.logs import a_run
from tests.test_cli import QUICK, Charlm, charlm, records
from tests.test_layers import RUN, loaded_by

__all__ = ["charlm"]  # a fixture

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = [
    "<script>alert('x')</script>",
    "</pre><img src=x onerror=alert(1)>",
    "a \x1b[31m red \x07 & \u202e bell",
    "&amp; &lt;",
]
MAX_BYTES = 2_000_000


def content(page: str) -> str:
    """The text that a reader of the page sees."""
    return unescape(re.sub(r"<style>.*?</style>|<[^>]*>", "", page, flags=re.DOTALL))


def asks_for_nothing(page: str) -> bool:
    """Whether there is no address in a page, and nothing that could load something or lead somewhere."""
    addresses = re.sub(r'<link rel="icon" href="data:,">', "", page)
    return not re.search(r"//\w|\bsrc\s*=|\bhref\s*=|url\(|@import|<script|<iframe|<form|<base|<object", addresses)


@pytest.fixture(scope="module")
def pages(trained: Callable[[str], Path]) -> Callable[[str], str]:
    """The report on the tiny model of a unit."""
    made: dict[str, str] = {}

    def page(unit: str) -> str:
        if unit not in made:
            made[unit] = make_report(trained(unit))
        return made[unit]

    return page


@pytest.mark.parametrize("unit", list(UNITS))
def test_a_report_has_everything_and_asks_for_nothing(
    pages: Callable[[str], str], trained: Callable[[str], Path], unit: str
) -> None:
    page = pages(unit)
    seen = content(page)
    for heading in ("Figures", "Curves", "Samples", "Passages of the validation text", "Settings", "Make it again"):
        assert heading in seen
    for temperature in ("0 (arg max)", "0.5", "0.8", "1", "1.2"):
        assert re.search(rf"<h3>temperature {re.escape(temperature)}</h3>\n<pre>", page)
    for title in ("Loss", "Learning rate", "Gradient norm", "Speed"):
        assert f'class="title">{title}</text>' in page
    for unit_of_a_figure in ("nats/char", "bits/char", "nats/token", "perplexity", "tokens per second"):
        assert unit_of_a_figure in seen
    assert read_config(RunDirectory(trained(unit))).corpus.sha256 in seen
    assert asks_for_nothing(page)
    assert len(page.encode()) < MAX_BYTES


def test_the_same_run_gives_the_same_page(pages: Callable[[str], str], trained: Callable[[str], Path]) -> None:
    assert make_report(trained("char")) == pages("char")


def test_the_figures_are_those_that_were_measured(pages: Callable[[str], str], trained: Callable[[str], Path]) -> None:
    log = [json.loads(line) for line in (trained("char") / "metrics.jsonl").read_text().splitlines()]
    measured = next(record for record in log if record["event"] == "Measured")
    seen = content(pages("char"))
    for name in ("valid_nats_per_char", "valid_cold_nats_per_char", "train_nats_per_token"):
        assert f"{measured[name]:.4f} nats/" in seen
    assert f"{measured['tokens_seen']:,}" in seen


# Passages


def validation_part(run: Path) -> IdsFile:
    return IdsFile.open(run / "corpus" / "valid.ids")


@pytest.mark.parametrize("unit", list(UNITS))
def test_passages_are_the_validation_text_with_its_nats(trained: Callable[[str], Path], unit: str) -> None:
    lm, part = package.load(trained(unit)), validation_part(trained(unit))
    passages = find_passages(lm, part, by_line=False)
    text = lm.tokenizer.decode(part.ids[1:])
    assert all(passage.text.strip() in text for passage in passages)
    assert [each.nats_per_char for each in passages] == sorted(each.nats_per_char for each in passages)
    most, least = extremes(passages, 2)
    assert most[0] == passages[-1]
    assert least[0] == passages[0]
    assert not {passage.text for passage in most} & {passage.text for passage in least}


def test_a_line_is_as_surprising_as_score_says(trained: Callable[[str], Path]) -> None:
    lm, part = package.load(trained("char")), validation_part(trained("char"))
    for passage in find_passages(lm, part, by_line=True)[:5]:
        score = lm.score(passage.text.removesuffix("\n"), eos=passage.text.endswith("\n"))
        assert passage.nats_per_char == pytest.approx(score.tally.nats_per_char, abs=1e-4)


def test_nearly_all_of_a_small_text_is_scored(trained: Callable[[str], Path], pages: Callable[[str], str]) -> None:
    """Only passages that are too short to be read, or that have come before, are left out."""
    part = validation_part(trained("byte"))
    passages = find_passages(package.load(trained("byte")), part, by_line=False)
    num_characters = sum(passage.num_characters for passage in passages)
    assert 0.8 * part.header.num_characters < num_characters <= part.header.num_characters
    streamed = re.search(r"([\d.]+) nats/char", content(pages("byte")))
    assert streamed
    nats = sum(passage.nats_per_char * passage.num_characters for passage in passages)
    assert nats / num_characters == pytest.approx(float(streamed[1]), rel=0.05)


@pytest.mark.parametrize(
    ("passages", "count", "most", "least"),
    [("abc", 3, "cb", "a"), ("abcd", 1, "d", "a"), ("a", 3, "a", ""), ("", 3, "", "")],
)
def test_no_passage_is_among_both(passages: str, count: int, most: str, least: str) -> None:
    found = extremes(list(passages), count)  # type: ignore[arg-type]
    assert ("".join(found[0]), "".join(found[1])) == (most, least)  # type: ignore[arg-type]


def test_a_surprising_piece_is_darker(pages: Callable[[str], str]) -> None:
    shades = re.findall(r'<span class="s(\d)" title="(-?[\d.]+) nats">', pages("char"))
    assert len(shades) > 100
    for shade, nats in shades:
        assert abs(int(shade) - sum(float(nats) >= limit for limit in SHADES)) <= 1  # the title is rounded
    assert len({shade for shade, _ in shades}) > 2


# Text that is not harmless


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose name, text and samples try to break the page."""
    folder = tmp_path_factory.mktemp("hostile")
    corpus = folder / "<b>corpus & co.txt"
    corpus.write_text("".join(f"{HOSTILE[n % 4]}\n" for n in range(200)), encoding="utf-8")
    run = folder / "runs" / "<i>my run</i> ünï"
    settings = {**TINY, "batch_size": 4}
    return Path(package.train(corpus, run=str(run), steps=120, mode="sentence", **settings).run)


def test_no_text_becomes_markup(hostile: Path) -> None:
    page = make_report(hostile)
    assert asks_for_nothing(re.sub(r"(?s)<(pre|title|h1)>.*?</\1>", "", page))
    assert not re.search(r"<script|<img|<b>|<i>|onerror=alert\(1\)>", page)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page)
    seen = content(page)
    assert "<i>my run</i> ünï" in seen
    assert "<script>alert('x')</script>" in seen  # in a passage
    assert "\\x1b[31m red \\x07" in seen


def test_words_of_a_byte_model_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "noise.bin").write_bytes(bytes(range(256)) * 40)
    run = package.train(tmp_path / "noise.bin", run=str(tmp_path / "run"), unit="byte", steps=4, **TINY).run
    make_report(Path(run)).encode()


# Runs of all kinds


def test_a_run_without_its_corpus_says_so(trained: Callable[[str], Path], tmp_path: Path) -> None:
    run = shutil.copytree(trained("char"), tmp_path / "run")
    shutil.rmtree(run / "corpus")
    assert "the folder corpus/ of the run has been removed" in content(make_report(run))


def test_a_run_without_its_log_says_so(trained: Callable[[str], Path], tmp_path: Path) -> None:
    run = shutil.copytree(trained("char"), tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    seen = content(make_report(run))
    assert "The log of this run has no steps." in seen
    assert "This run has not been measured" in seen


def test_a_run_without_validation_says_so(charlm: Charlm) -> None:
    assert charlm("train", "corpus.txt", "--valid-fraction", "0", *QUICK).code == 0
    assert charlm("report", "corpus", "-o", "F.html").code == 0
    assert "kept no text for validation" in content(Path("F.html").read_text())


@pytest.mark.parametrize("version", range(1, 6))
@pytest.mark.parametrize("unit", ["char", "word"])
def test_runs_of_all_versions_have_a_report(version: int, unit: str) -> None:
    page = make_report(Path(__file__).parent / "fixtures" / f"format-{version}" / unit)
    assert asks_for_nothing(page)
    assert "Most surprising" in page


def test_the_command_that_was_typed_is_shown(charlm: Charlm) -> None:
    assert charlm("train", "corpus.txt", "--cell", "gru", "--run", "a b", *QUICK).code == 0
    assert charlm("report", "a b", "-o", "F.html").code == 0
    seen = content(Path("F.html").read_text())
    assert "charlm train corpus.txt --cell gru --run 'a b' --steps 6" in seen
    assert "sha256 of corpus.txt" in seen


def test_a_run_made_from_python_has_a_command_with_its_settings(pages: Callable[[str], str]) -> None:
    found = re.search(r"charlm train .*", content(pages("word")))
    assert found
    name, *arguments = shlex.split(found[0])[1:]
    assert {"--unit", "word", "--vocab-size", "60", "--steps", "40", "--hidden-size", "24"} <= set(arguments)
    typer.main.get_command(app_with()).commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


# The command


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a", "-o", "F.pdf"], 2, "give a name that ends with .html"),
        (["a", "-o", "F.svg"], 2, "give a name that ends with .html"),
        (["a"], 2, "-o"),
        (["nowhere", "-o", "F.html"], 4, "no run 'nowhere'"),
        (["a", "-o", "F.html"], 4, "damaged run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_reported_is_refused(charlm: Charlm, arguments: list[str], code: int, message: str) -> None:
    a_run(Path("runs/a"))  # whose config.json is too short to be one
    outcome = charlm("report", *arguments)
    assert outcome.code == code
    assert message in outcome.err
    assert not list(Path().glob("F*"))


def test_a_run_that_has_not_saved_anything_has_no_report(charlm: Charlm) -> None:
    assert charlm("train", "corpus.txt", *QUICK).code == 0
    for weights in Path("runs/corpus").glob("*.safetensors"):
        weights.unlink()
    outcome = charlm("report", "corpus", "-o", "F.html")
    assert outcome.code == 4
    assert "not saved anything yet" in outcome.err


def test_it_says_what_it_wrote(charlm: Charlm) -> None:
    assert charlm("train", "corpus.txt", *QUICK).code == 0
    outcome = charlm("report", "corpus", "-o", "F.html")
    assert (outcome.out, outcome.err) == ("", "written: F.html\n")
    (record,) = records(charlm("report", "corpus", "-o", "F.html", "--json"))
    assert (record["run"], record["file"], record["bytes"]) == ("runs/corpus", "F.html", Path("F.html").stat().st_size)
    api.report("corpus", "G.html")
    assert Path("G.html").read_bytes() == Path("F.html").read_bytes()


def test_no_torch_is_loaded_where_the_network_runs_without(trained: Callable[[str], Path], tmp_path: Path) -> None:
    if not can_compile(read_config(RunDirectory(trained("char"))).architecture):
        pytest.skip("charlm's compiled code is not here")
    _, loaded = loaded_by(RUN, "report", str(trained("char")), "-o", str(tmp_path / "F.html"))
    assert "torch" not in loaded


# In a browser


def asked_by(page: Path, folder: Path) -> set[str]:
    """The addresses that a browser asks for because of a page, whether it is answered or not.

    The browser asks for some things of its own accord, which its log tells apart.
    """
    assert BROWSER
    log = folder / f"{page.stem}.json"
    quiet = ("--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run")
    command = [BROWSER, "--headless", "--no-sandbox", *quiet, f"--user-data-dir={folder / page.stem}"]
    options = ["--host-resolver-rules=MAP * ~NOTFOUND", f"--log-net-log={log}", "--dump-dom"]
    done = subprocess.run(
        [*command, *options, page.resolve().as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    assert "</html>" in done.stdout, done.stderr
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    own = {event["url"] for event in events if event.get("initiator") == "not an origin"}
    asked = {event["url"] for event in events if re.match("(https?|wss?|ftp):", str(event.get("url")))}
    return asked - own


@pytest.mark.skipif(BROWSER is None, reason="there is no chromium here")
@pytest.mark.parametrize("has_policy", [True, False], ids=["as it is", "without its policy"])
def test_a_browser_asks_for_nothing(hostile: Path, tmp_path: Path, has_policy: bool) -> None:
    """Neither with the policy that forbids it nor without."""
    text = make_report(hostile)
    assert POLICY in text
    page = tmp_path / "report.html"
    page.write_text(text if has_policy else text.replace(POLICY, ""), encoding="utf-8")
    assert asked_by(page, tmp_path) == set()


@pytest.mark.skipif(BROWSER is None, reason="there is no chromium here")
def test_a_page_that_asks_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "asking.html"
    page.write_text(f'<html><img src="http://elsewhere.test/a.png">{english(3)}</html>')
    assert asked_by(page, tmp_path) == {"http://elsewhere.test/a.png"}


@pytest.mark.parametrize("settings", [{"objective": "cloze"}, {"direction": "both"}, {"cell": "gru", "head_layers": 1}])
def test_the_command_that_makes_a_run_again_is_one_that_charlm_takes(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """Also for a run that was made from Python."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(corpus, "english.txt")
    made = package.train("english.txt", run="made", **{**TINY, "steps": 2, **settings})
    page = unescape(make_report(Path(made.run)))
    command = next(line for line in re.split(r"[\n<>]", page) if line.startswith("charlm train"))
    monkeypatch.setattr(sys, "argv", [*shlex.split(command), "--run", "again", "-q"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    own, again = (read_config(RunDirectory(Path(run))) for run in (made.run, "runs/again"))
    assert again.architecture == own.architecture
    assert again.training == own.training
