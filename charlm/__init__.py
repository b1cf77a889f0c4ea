"""Train a recurrent language model on your own text, sample from it, score sentences with it.

>>> import charlm
>>> lm = charlm.load("runs/stories")           # doctest: +SKIP
>>> lm.score("a sentence").logprob_nats        # doctest: +SKIP
-31.4
"""

from typing import Any

from charlm.version import __version__

__all__ = [
    "Ending",
    "LanguageModel",
    "Sample",
    "Score",
    "Strategy",
    "TokenScore",
    "__version__",
    "describe",
    "draft_training",
    "estimate",
    "evaluate_run",
    "fill",
    "load",
    "load_classifier",
    "load_cloze",
    "load_filler",
    "load_tagger",
    "load_translator",
    "start_training",
    "tokenize",
    "train",
    "train_request",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import the Python interface when it is first used, so that `import charlm` stays instant."""
    if name in __all__:
        import charlm.api

        return getattr(charlm.api, name)
    raise AttributeError(f"module 'charlm' has no attribute {name!r}")
