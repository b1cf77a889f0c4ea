"""Whether a model can write a text is told without writing all texts."""

from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.settings import TextSettings
from charlm.text.possible import can_write
from charlm.text.tokenizer import Tokenizer, build_tokenizer

WORDS = {
    "char": TextSettings(),
    "lowercase": TextSettings(lowercase=True),
    "word": TextSettings(unit="word"),
    "whitespace": TextSettings(unit="word", split="whitespace"),
}
TEXT = "a b. “ab”\nab  a\n"


def written(tokenizer: Tokenizer, most: int, line_ends: bool) -> Iterator[str]:
    """Everything that up to `most` tokens write."""
    ids = [id for id in range(tokenizer.vocab_size) if id != tokenizer.unk_id and (line_ends or id != tokenizer.eos_id)]
    for count in range(1, most + 1):
        yield from map(tokenizer.decode, product(ids, repeat=count))


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("line_ends", [True, False])
def test_a_text_can_come_if_and_only_if_some_tokens_write_it(name: str, line_ends: bool) -> None:
    tokenizer = build_tokenizer(WORDS[name], [TEXT])
    all_of_it = "\ud800".join(written(tokenizer, 5, line_ends))
    for size in (1, 2, 3):
        for characters in product("ab. “”\nX", repeat=size):
            text = "".join(characters)
            assert can_write(tokenizer, text, line_ends=line_ends) == (text in all_of_it), text


@given(st.text(min_size=1, max_size=9))
def test_bytes_spell_any_text(text: str) -> None:
    assert can_write(build_tokenizer(TextSettings(unit="byte"), [TEXT]), text)


def test_unk_can_come_where_it_is_allowed() -> None:
    tokenizer = build_tokenizer(WORDS["char"], [TEXT])
    assert [can_write(tokenizer, "a<unk>", unknown=allowed) for allowed in (False, True)] == [False, True]
