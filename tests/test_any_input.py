"""Any text, any bytes, any options in range: it works, or it is refused with an error for people."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlm.api import LanguageModel
from charlm.corpus.gathering import Texts
from charlm.corpus.prepare import open_prepared, prepare
from charlm.errors import CharlmError
from charlm.lifecycle.request import TrainRequest
from charlm.settings import CorpusSettings, EncodingErrors, Punctuation, Split, SubwordModel, TextSettings, Unit
from charlm.text.tokenizer import build_tokenizer

# Two symbols at least are likelier to be worth training on; Hypothesis's own texts are the odd ones.
TEXTS = st.one_of(st.text(max_size=80), st.text("ab \n.é", min_size=9, max_size=80))
BYTES = st.one_of(st.binary(max_size=80), TEXTS.map(str.encode), TEXTS.map(lambda text: text.encode("utf-16")))
SETTINGS = st.builds(
    TextSettings,
    unit=st.sampled_from(["char", "byte", "word"]),
    vocab_size=st.one_of(st.none(), st.integers(3, 20), st.just(2**24)),
    min_count=st.sampled_from([1, 1, 2, 10**12]),
    split=st.sampled_from(get_args(Split)),
    punctuation=st.sampled_from(get_args(Punctuation)),
    lowercase=st.booleans(),
)
SUBWORDS = st.builds(
    TextSettings,
    unit=st.just("subword"),
    vocab_size=st.sampled_from([300, 307]),
    lowercase=st.booleans(),
    subword_model=st.sampled_from(get_args(SubwordModel)),
)
CORPUS = st.builds(
    CorpusSettings,
    valid_fraction=st.one_of(st.sampled_from([0.0, 1e-300, 0.1, 0.9]), st.floats(0.0, 0.9)),
    encoding=st.sampled_from(
        ["utf-8", "utf-8", "utf-16", "latin-1", "cp1252", "utf-32-be", "shift_jis", "utf-7", "hz", "idna"]
    ),
    encoding_errors=st.sampled_from(get_args(EncodingErrors)),
)


def attempt(folder: Path, data: bytes, text: TextSettings, corpus: CorpusSettings, valid: bytes | None) -> None:
    """Prepare a text: what comes is sound, or an error for people, and then nothing is left behind."""
    (folder / "text").write_bytes(data)
    if valid is not None:
        (folder / "valid").write_bytes(valid)
    refused = None
    try:
        prepared = prepare(folder / "text", folder / "ids", text, corpus, None if valid is None else folder / "valid")
    except CharlmError as error:
        assert not (folder / "ids").exists()
        refused = error
    if refused:
        assert (refused.exit_code, bool(refused.what)) in ((2, True), (3, True))
        return
    again = open_prepared(folder / "ids")
    assert again.train.header == prepared.train.header
    assert again.train.num_tokens > 0
    for file in filter(None, (again.train, again.valid)):
        decoded = again.tokenizer.decode(file.ids[1:].tolist())
        if again.tokenizer.lossless and not file.header.num_unknown:
            assert len(decoded) == file.header.num_characters or text.unit == "byte"
            assert again.tokenizer.encode(decoded).tolist() == file.ids[1:].tolist() or text.unit != "char"


@settings(max_examples=120)
@given(data=BYTES, text=SETTINGS, corpus=CORPUS, valid=st.one_of(st.none(), st.none(), BYTES))
def test_any_bytes_with_any_options(
    tmp_path_factory: pytest.TempPathFactory,
    data: bytes,
    text: TextSettings,
    corpus: CorpusSettings,
    valid: bytes | None,
) -> None:
    attempt(tmp_path_factory.mktemp("any"), data, text, corpus, valid)


@settings(max_examples=12)
@given(data=BYTES, text=SUBWORDS, corpus=CORPUS)
def test_any_bytes_as_subwords(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, text: TextSettings, corpus: CorpusSettings
) -> None:
    attempt(tmp_path_factory.mktemp("any"), data, text, corpus, None)


@pytest.mark.parametrize("unit", get_args(Unit))
@settings(max_examples=40)
@given(text=TEXTS)
def test_a_text_comes_back_from_a_tokenizer_that_has_seen_it(
    models: Callable[[str], LanguageModel], unit: Unit, text: str
) -> None:
    seen = unit == "subword"  # its own spells any text, and another one takes long to learn
    tokenizer = models(unit).tokenizer if seen else build_tokenizer(TextSettings(unit=unit), [text])
    assert tokenizer.lossless
    assert tokenizer.decode(tokenizer.encode(text).tolist()) == text


ARGUMENTS = st.one_of(TEXTS, st.text(st.characters(), max_size=30))  # with surrogates, as arguments may have


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ARGUMENTS, context=ARGUMENTS, eos=st.booleans(), data=st.data())
def test_any_text_has_a_finite_score(
    any_lm: LanguageModel, text: str, context: str, eos: bool, data: st.DataObject
) -> None:
    score = any_lm.score(text, context=context, eos=eos, per_token=data.draw(st.booleans()))
    assert math.isfinite(score.logprob_nats)
    assert score.logprob_nats <= 0
    (line,) = any_lm.score_lines([text], context=context, eos=eos)
    assert math.isclose(line.logprob_nats, score.logprob_nats, abs_tol=1e-3)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=ARGUMENTS, seed=st.integers(0, 2**63 - 1))
def test_any_text_is_a_prompt(any_lm: LanguageModel, prompt: str, seed: int) -> None:
    sample = any_lm.sample(prompt, length=5, seed=seed)
    assert sample.text.encode(errors="surrogateescape" if any_lm.tokenizer.unit == "byte" else "strict")
    assert all(0 <= token.id < any_lm.tokenizer.vocab_size for token in any_lm.next_tokens(prompt, 3))


@given(path=st.text(st.characters(), min_size=1, max_size=30))
def test_any_path_gives_a_run_a_name(path: str) -> None:
    name = TrainRequest(texts=Texts((path,))).corpus_name
    assert name
    assert "/" not in name
