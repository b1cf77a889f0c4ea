"""Line ends and normal forms: what a text is made into before anything is counted, and what follows from it."""

import json
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import charlm as package
from charlm.corpus.forms import bring_into_form
from charlm.corpus.line_ends import LineEndCounts
from charlm.corpus.prepare import prepare
from charlm.corpus.reader import open_text
from charlm.errors import UsageError
from charlm.settings import CorpusSettings, LineEnds, NormalForm, TextSettings
from charlm.text.normal_form import normalised_chunks
from tests.conftest import TINY, english
from tests.test_cli import QUICK, Charlm, charlm, trained

__all__ = ["charlm", "trained"]  # fixtures

PIECES = st.lists(st.sampled_from(["a", "b c", "é", "\r", "\n", "\r\n"]), min_size=1, max_size=40)


def lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def form_of(path: Path, settings: CorpusSettings) -> tuple[str, CorpusSettings, list[str]]:
    with open_text(path, settings) as text:
        decided = bring_into_form(text, settings, raw=False)
        return "".join(text.chunks()), decided, text.notes


@given(pieces=PIECES, size=st.integers(1, 5))
def test_lf_leaves_no_cr_and_keep_leaves_everything(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], size: int
) -> None:
    path, text = tmp_path_factory.mktemp("ends") / "text", "".join(pieces)
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charlm.corpus.text_file.BLOCK_SIZE", size)  # CRLF is cut in two
        assert form_of(path, CorpusSettings(line_ends="keep"))[0] == text
        assert form_of(path, CorpusSettings(line_ends="lf"))[0] == lf(text)
        counts = LineEndCounts.from_blocks(text.encode()[i : i + size] for i in range(0, len(text.encode()), size))
    pairs = text.count("\r\n")
    assert counts == LineEndCounts(text.count("\n") - pairs, pairs, text.count("\r") - pairs)


@pytest.mark.parametrize(
    ("crlf", "lf", "cr", "decided"),
    [(100, 0, 0, "lf"), (98, 2, 0, "lf"), (97, 3, 0, "keep"), (98, 1, 1, "lf"), (0, 0, 5, "lf"), (0, 1, 5, "keep")],
)
def test_the_line_ends_of_nearly_all_lines_decide(
    tmp_path: Path, crlf: int, lf: int, cr: int, decided: LineEnds
) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"some words\r\n" * crlf + b"some more\n" * lf + b"and more\r" * cr)
    text, settings, notes = form_of(path, CorpusSettings())
    assert settings.line_ends == decided
    assert ("\r" in text) == (decided == "keep")
    (note,) = notes
    assert all(f"{count} {name}" in note for count, name in ((crlf, "CRLF"), (lf, "LF"), (cr, "CR alone")) if count)


def test_without_cr_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes("a b\né\n".encode())
    for settings in (CorpusSettings(), CorpusSettings(line_ends="lf"), CorpusSettings(line_ends="keep")):
        expected = CorpusSettings(line_ends=settings.line_ends or "keep")
        assert form_of(tmp_path / "text", settings) == ("a b\né\n", expected, [])


def test_the_files_of_a_folder_are_decided_as_one(tmp_path: Path) -> None:
    for number in range(5):  # without a line end at their ends, which charlm adds
        (tmp_path / f"{number}").write_bytes(b"one\r\ntwo\r\nthree")
    assert form_of(tmp_path, CorpusSettings())[0] == "one\ntwo\nthree\n" * 5
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(b"one\rtwo\r")
    assert form_of(tmp_path, CorpusSettings())[0] == "one\ntwo\n" * 5
    (tmp_path / "5").write_bytes(b"one\ntwo\n")
    assert form_of(tmp_path, CorpusSettings())[1].line_ends == "keep"


@pytest.mark.parametrize("unit", ["char", "word", "subword"])
def test_a_text_from_windows_gives_the_ids_of_the_same_text_from_unix(tmp_path: Path, unit: str) -> None:
    text = english(400)
    ids = []
    for name, end in (("unix", "\n"), ("windows", "\r\n"), ("mac", "\r")):
        (tmp_path / name).write_bytes(text.replace("\n", end).encode())
        settings = TextSettings(unit=unit, vocab_size=300 if unit == "subword" else None)  # type: ignore[arg-type]
        corpus = prepare(tmp_path / name, tmp_path / f"{name}-ids", settings, CorpusSettings())
        assert corpus.valid
        assert corpus.train.header.line_ends == ("keep" if name == "unix" else "lf")
        ids.append((corpus.train.ids.tolist(), corpus.valid.ids.tolist(), corpus.tokenizer.files()))
    assert ids[0] == ids[1] == ids[2]


def test_bytes_are_kept(tmp_path: Path) -> None:
    data = b"a b\r\nc d\r\n" * 50
    (tmp_path / "text").write_bytes(data)
    corpus = prepare(tmp_path / "text", tmp_path / "ids", TextSettings(unit="byte"), CorpusSettings(valid_fraction=0))
    assert bytes(corpus.train.ids[1:].tolist()) == data
    assert corpus.train.header.line_ends == "keep"
    assert any("100 CRLF; kept" in note for note in corpus.notes)
    for settings in (CorpusSettings(line_ends="lf"), CorpusSettings(normal_form="nfc")):
        with pytest.raises(UsageError):
            prepare(tmp_path / "text", tmp_path / "other", TextSettings(unit="byte"), settings)


def config_of(run: str) -> dict[str, object]:
    text = json.loads((Path("runs") / run / "config.json").read_text())["text"]
    return {name: text[name] for name in ("line_ends", "normal_form")}


def total(outcome: object) -> dict[str, object]:
    record = json.loads(outcome.out.splitlines()[-1])  # type: ignore[attr-defined]
    return {name: record[name] for name in ("tokens", "characters", "unknown", "logprob_nats")}


def test_a_run_reads_everything_as_its_own_text(charlm: Charlm) -> None:
    unix = Path("corpus.txt").read_bytes()
    Path("windows.txt").write_bytes(unix.replace(b"\n", b"\r\n"))
    notes = charlm("train", "windows.txt", *[option for option in QUICK if option != "-q"]).err
    assert notes.count("120 CRLF") == 1
    assert charlm("train", "corpus.txt", *QUICK).code == 0
    assert config_of("windows") == {"line_ends": "lf", "normal_form": "keep"}
    assert config_of("corpus") == {"line_ends": "keep", "normal_form": "keep"}
    for run in ("windows", "corpus"):  # and one whose own text had no CR
        for way in ("--file", "--stream"):
            both = [charlm("score", way, name, "--json", "--run", run) for name in ("corpus.txt", "windows.txt")]
            assert total(both[0]) == total(both[1])
            assert total(both[0])["unknown"] == 0
            assert ["CRLF" in outcome.err for outcome in both] == [False, True]
    for sentence in ("the cat", "the cat\r"):  # as `$(head -1 FILE)` leaves it
        for run in ("windows", "corpus"):
            found = total(charlm("score", sentence, "--json", "--run", run))
            assert (found["tokens"], found["unknown"]) == (8, 0)
    in_two = [charlm("score", f"the{end}cat", "--run", "windows", "--json") for end in ("\n", "\r\n", "\r")]
    assert len({json.dumps(total(outcome)) for outcome in in_two}) == 1
    assert total(charlm("score", "the\rcat", "--run", "corpus", "--json"))["unknown"] == 1
    prompts = [
        charlm("sample", "--run", "windows", "--prompt", f"the cat{end}a", "--seed", "1", "--no-echo", "--length", "9")
        for end in ("\n", "\r\n")
    ]
    assert prompts[0].out == prompts[1].out


def test_the_other_texts_are_read_as_the_one_to_train_on(charlm: Charlm) -> None:
    unix = Path("corpus.txt").read_bytes()
    Path("windows.txt").write_bytes(unix.replace(b"\n", b"\r\n"))
    for corpus in ("windows.txt", "corpus.txt"):
        for other in ("windows.txt", "corpus.txt"):
            assert charlm("train", corpus, "--valid", other, "--test", other, *QUICK, "--run", "r", "--force").code == 0
            facts = json.loads(Path("runs/r/config.json").read_text())["corpus"]
            assert facts["valid_tokens"] == facts["test_tokens"] == len(unix.decode())
    assert (
        charlm("train", "corpus.txt", "--valid", "windows.txt", "--line-ends", "keep", *QUICK, "--run", "k").code == 0
    )
    assert json.loads(Path("runs/k/config.json").read_text())["corpus"]["valid_tokens"] == len(unix.decode()) + 120


def test_prepared_folders_and_runs_hand_on_how_they_were_read(charlm: Charlm) -> None:
    unix = Path("corpus.txt").read_text()
    Path("windows.txt").write_bytes(unicodedata.normalize("NFD", unix).replace("\n", "\r\n").encode())
    assert charlm("tokenize", "windows.txt", "-o", "ids", "--normal-form", "nfc").code == 0
    assert charlm("train", "ids", *QUICK).code == 0
    assert config_of("ids") == {"line_ends": "lf", "normal_form": "nfc"}
    assert charlm("train", "ids", "--line-ends", "lf", *QUICK).code == 2
    Path("mixed.txt").write_bytes((unix[:1000].replace("\n", "\r\n") + unix[1000:] + "ça\r\n").encode())
    for more in (("--init-from", "ids"), ("--tokenizer", "runs/ids")):
        assert charlm("train", "mixed.txt", *more, *QUICK, "--run", "next", "--force").code == 0
        assert config_of("next") == {"line_ends": "lf", "normal_form": "nfc"}
    assert "\\r" not in Path("runs/next/tokenizer.json").read_text()
    assert charlm("train", "windows.txt", "--resume", "--run", "ids", "--steps", "8", "-q").code == 0
    shown = charlm("tokenize", "--run", "ids", "--text", "cafe\u0301\r\n", "--json")
    assert json.loads(shown.out)["text"] == "café\n"


def test_a_base_without_cr_goes_on_with_a_text_from_windows(charlm: Charlm) -> None:
    older = str(Path(__file__).parent / "fixtures/format-3/char")  # which does not say how its text was read
    for end, line_ends in (("\n", "keep"), ("\r\n", "lf")):
        Path("new.txt").write_bytes((f"the captain sees the pear.{end}" * 99).encode())
        assert charlm("train", "new.txt", "--init-from", older, "--steps", "3", "-q", "--run", line_ends).code == 0
        assert config_of(line_ends)["line_ends"] == line_ends
    tokenizers = [Path(f"runs/{run}/tokenizer.json").read_bytes() for run in ("keep", "lf")]
    assert tokenizers[0] == tokenizers[1]


def test_line_ends_of_a_run_are_not_given_anew(charlm: Charlm) -> None:
    Path("windows.txt").write_bytes(Path("corpus.txt").read_bytes().replace(b"\n", b"\r\n"))
    assert charlm("train", "windows.txt", *QUICK).code == 0
    assert charlm("train", "windows.txt", "--resume", "--steps", "8", "-q").code == 0
    assert charlm("train", "windows.txt", "--resume", "--line-ends", "lf", "--steps", "9", "-q").code == 0
    refused = charlm("train", "windows.txt", "--resume", "--line-ends", "keep", "-q")
    assert (refused.code, "--line-ends lf" in refused.err) == (2, True)


# Normal forms

LETTERS = st.text(
    st.sampled_from("aeq \n\u00e9\u1ec7\u0301\u0323\u0302\u1100\u1161\u11a8\uac01\u0f71\u09c7\u09be"), max_size=60
)


@given(text=LETTERS, form=st.sampled_from(["nfc", "nfd"]), size=st.integers(1, 7))
def test_normalised_in_chunks_is_normalised_whole(text: str, form: NormalForm, size: int) -> None:
    chunks = (text[start : start + size] for start in range(0, len(text), size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charlm.text.normal_form.SLICE", 40)
        for piece in (normalised_chunks(chunks, form), normalised_chunks([text], form)):
            assert "".join(piece) == unicodedata.normalize(form.upper(), text)


def test_no_character_that_may_join_what_is_before_it_is_cut_off() -> None:
    """Every pair that composes is kept together, wherever a text is cut."""
    for number in range(0x110000):
        parts = unicodedata.decomposition(chr(number)).split()
        if len(parts) == 2 and parts[0][0] != "<":
            pair = chr(int(parts[0], 16)) + chr(int(parts[1], 16))
            assert "".join(normalised_chunks(pair, "nfc")) == unicodedata.normalize("NFC", pair)


def test_marks_without_end_take_no_time() -> None:
    assert "".join(normalised_chunks(["e" + "\u0301\u0323" * 200_000], "nfc")).startswith("\u1eb9")


@pytest.mark.parametrize("form", ["nfc", "nfd"])
def test_a_run_of_one_form_reads_both(charlm: Charlm, form: str) -> None:
    composed = unicodedata.normalize("NFC", Path("corpus.txt").read_text())
    Path("nfc.txt").write_text(composed)
    Path("nfd.txt").write_text(unicodedata.normalize("NFD", composed))
    for name in ("nfc", "nfd"):
        assert charlm("train", f"{name}.txt", "--normal-form", form, *QUICK, "--run", name).code == 0
    ids = [Path(f"runs/{name}/corpus/train.ids").read_bytes()[1024:] for name in ("nfc", "nfd")]
    assert ids[0] == ids[1]
    for way in ("--file", "--stream"):
        totals = [total(charlm("score", way, f"{name}.txt", "--json", "--run", "nfc")) for name in ("nfc", "nfd")]
        assert totals[0] == totals[1]
    sentences = [total(charlm("score", word, "--json", "--run", "nfc")) for word in ("café", "cafe\u0301")]
    assert sentences[0] == sentences[1]


def test_another_form_is_said_in_one_sentence(charlm: Charlm) -> None:
    composed = unicodedata.normalize("NFC", Path("corpus.txt").read_text())
    Path("corpus.txt").write_text(composed)
    Path("nfd.txt").write_text(unicodedata.normalize("NFD", composed))
    quiet = [option for option in QUICK if option != "-q"]
    assert "NFD" not in charlm("train", "corpus.txt", *quiet).err
    assert charlm("train", "corpus.txt", "--valid", "nfd.txt", *quiet, "--run", "v").err.count("(NFD)") == 1
    for arguments in (
        ("score", "cafe\u0301"),
        ("score", "--file", "nfd.txt"),
        ("score", "--stream", "nfd.txt"),
        ("sample", "--prompt", "cafe\u0301", "--length", "2"),
    ):
        errors = charlm(*arguments, "--run", "corpus").err
        assert errors.count("(NFD)") == 1, arguments
        assert "\u0301" not in errors
    assert "--normal-form nfc" in charlm("train", "nfd.txt", *quiet).err
    Path("both.txt").write_text(composed + unicodedata.normalize("NFD", composed))
    assert "two ways" in charlm("train", "both.txt", *quiet).err


@pytest.mark.parametrize("clause", ["วันนี้เด็กขายปลา", "我昨天买了一本新书", "私は新しい本を買いました"])
def test_words_of_a_script_without_spaces_are_warned_of(tmp_path: Path, clause: str) -> None:
    (tmp_path / "text").write_text(f"{clause} {clause[::-1]}\n" * 50)
    words = prepare(tmp_path / "text", tmp_path / "words", TextSettings(unit="word"), CorpusSettings())
    assert any("--unit char" in note for note in words.notes)
    characters = prepare(tmp_path / "text", tmp_path / "ids", TextSettings(), CorpusSettings())
    assert not any("--unit char" in note for note in characters.notes)


def test_an_unlikely_perplexity_is_written_by_its_exponent() -> None:
    from charlm.cli.console import perplexity

    assert perplexity(1.0, 2) == "2.72"
    assert perplexity(239.8975, 2) == "10^104.2"
    assert perplexity(5000.0, 4) == "10^2171.5"
    assert perplexity(float("nan"), 4) == "-"


def test_python_takes_several_texts(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(corpus.read_bytes())
    (tmp_path / "b.md").write_bytes(b"z" * 99)
    both = [tmp_path / "a.txt", tmp_path / "b.md"]
    result = package.train(both, run=str(tmp_path / "run"), exclude=["*.md"], steps=2, **TINY)  # type: ignore[arg-type]
    assert "z" not in package.load(result.run).tokenizer.symbol(3)


def test_lines_from_a_pipe_end_as_those_of_the_runs_text_did(charlm: Charlm, monkeypatch: pytest.MonkeyPatch) -> None:
    unix = Path("corpus.txt").read_bytes()
    Path("mac.txt").write_bytes(unix.replace(b"\n", b"\r"))
    assert charlm("train", "mac.txt", *QUICK).code == 0
    found = []
    for end in (b"\n", b"\r\n", b"\r"):
        Path("lines").write_bytes(unix.replace(b"\n", end))
        with open("lines") as lines:
            monkeypatch.setattr(sys, "stdin", lines)
            found.append(charlm("score", "-", "--json").out)
    assert len(found[0].splitlines()) == unix.count(b"\n") + 1
    assert found[0] == found[1] == found[2]
