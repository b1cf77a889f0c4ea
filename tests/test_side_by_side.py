"""Several prompts side by side, and the likeliest alternatives of each token."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from charlm.api import LanguageModel
from charlm.sampling.generate import Ending, collect
from charlm.sampling.strategies import Strategy

PROMPTS = ["The cat ", "", "She likes", "A dog sees the sea and more", "The cat "]
WILD = Strategy(temperature=1.3, top_p=0.95)


@pytest.mark.parametrize(
    "ending", [Ending(length=9), Ending(length=40, until_eos=True), Ending(length=30, stop=["e", " a"])]
)
def test_several_prompts_side_by_side_are_sampled_as_one_by_one(any_lm: LanguageModel, ending: Ending) -> None:
    together = list(any_lm.sample_many(PROMPTS, WILD, ending, 2, seed=7))
    alone = [
        collect(prompt, any_lm.sample_tokens(prompt, WILD, ending, seed=7, number=number))
        for prompt in PROMPTS
        for number in range(2)
    ]
    assert together == alone
    assert [sample.prompt for sample in together] == [prompt for prompt in PROMPTS for _ in range(2)]
    assert len({sample.text for sample in together}) > 3


def test_no_prompt_is_no_sample(lm: LanguageModel) -> None:
    assert list(lm.sample_many([], WILD, Ending(length=3))) == []


def test_the_alternatives_of_a_token_are_the_likeliest_in_its_place(any_lm: LanguageModel) -> None:
    score = any_lm.score("The cat sees it.", per_token=True, alternatives=4)
    assert score.tokens_scored[0].alternatives == tuple(any_lm.next_tokens("", 4))
    for token in score.tokens_scored:
        logprobs = [other.logprob_nats for other in token.alternatives]
        assert logprobs == sorted(logprobs, reverse=True)
        assert [other.rank for other in token.alternatives] == [1, 2, 3, 4]
        assert sum(map(np.exp, logprobs)) <= 1 + 1e-9
        assert (token.rank <= 4) == (token.id in [other.id for other in token.alternatives])
    assert all(not token.alternatives for token in any_lm.score("The cat", per_token=True).tokens_scored)


def test_all_alternatives_together_are_certain(lm: LanguageModel) -> None:
    for token in lm.score("A dog", per_token=True, alternatives=10**6).tokens_scored:
        assert len(token.alternatives) == lm.tokenizer.vocab_size
        assert sum(np.exp(other.logprob_nats) for other in token.alternatives) == pytest.approx(1)


def test_a_sample_says_what_else_was_likely(any_lm: LanguageModel) -> None:
    greedy = any_lm.sample("The ", temperature=0, length=12, alternatives=3, allow_unk=True)
    free = any_lm.sample("The ", temperature=0, length=12, allow_unk=True)
    assert (greedy.text, greedy.ids) == (free.text, free.ids)
    for token in greedy.per_token:
        ids, logprobs = zip(*token.alternatives, strict=True)
        assert len(ids) == 3
        assert max(logprobs) == logprobs[0]
        if token.id in ids:
            assert dict(token.alternatives)[token.id] == token.logprob_nats
    assert all(token.alternatives == () for token in free.per_token)


def test_a_model_is_used_by_several_threads_at_once(models: Callable[[str], LanguageModel]) -> None:
    lm = models("word")
    texts = [f"The cat sees {'the sea ' * n}and two apples." for n in range(12)]
    expected = [(lm.score(text).logprob_nats, lm.sample(text, length=8, seed=n).text) for n, text in enumerate(texts)]
    found: list[list[tuple[float, str]]] = [[] for _ in range(4)]

    def work(results: list[tuple[float, str]]) -> None:
        results += [
            (lm.score(text).logprob_nats, lm.sample(text, length=8, seed=n).text) for n, text in enumerate(texts)
        ]

    threads = [threading.Thread(target=work, args=(results,)) for results in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
