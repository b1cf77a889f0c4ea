"""The JSON that `charlm score` writes."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charlm.cli.console import text_fields, write_json

if TYPE_CHECKING:
    from charlm.api import LanguageModel, Score, TokenScore
    from charlm.scoring.metrics import Tally


def write_sentences(models: "Sequence[LanguageModel]", scores: "Sequence[Sequence[Score]]") -> None:
    """One object for each sentence and model."""
    for by_run in scores:
        write_line(models, by_run)


def write_line(models: "Sequence[LanguageModel]", scores: "Sequence[Score]", file: str = "") -> None:
    """One object for each model; `file` names the file of the line where there are several."""
    for lm, score in zip(models, scores, strict=True):
        write_json({**_score_record(score), **_source(lm, file)})


def write_totals(models: "Sequence[LanguageModel]", totals: "Sequence[Tally]", file: str = "") -> None:
    """The total of one file, or of all of them, one object for each model."""
    for lm, total in zip(models, totals, strict=True):
        write_json({"total": True, **_tally_record(total), **_source(lm, file)})


def write_total(total: "Tally") -> None:
    """The total of a running text."""
    write_json({"total": True, **_tally_record(total)})


def write_next(tokens: "Sequence[TokenScore]") -> None:
    """The most likely next tokens, in one object."""
    write_json({"next": [_token_record(token) for token in tokens]})


def _source(lm: "LanguageModel", file: str) -> dict[str, str]:
    return {"run": str(lm.path), "direction": lm.direction, **({"file": file} if file else {})}


def _score_record(score: "Score") -> dict[str, Any]:
    record = {**text_fields("text", score.text), **_tally_record(score.tally)}
    if score.tokens_scored:
        record["per_token"] = [_token_record(token) for token in score.tokens_scored]
    return record


def _tally_record(tally: "Tally") -> dict[str, Any]:
    return {
        "logprob_nats": tally.logprob_nats,
        "logprob10": tally.logprob10,
        "tokens": tally.tokens,
        "characters": tally.characters,
        "bytes": tally.bytes,
        "unknown": tally.unknown,
        "perplexity": _finite(tally.perplexity),
        "perplexity_without_unknown": _finite(tally.perplexity_without_unknown),
        "bits_per_char": tally.bits_per_char,
        "bits_per_byte": tally.bits_per_byte,
        "nats_per_char": tally.nats_per_char,
    }


def _token_record(token: "TokenScore") -> dict[str, Any]:
    unknown = {"unknown": token.unknown, "spelling_nats": token.spelling_nats} if token.unknown else {}
    return {
        **unknown,
        "id": token.id,
        "symbol": token.text,
        "logprob_nats": token.logprob_nats,
        "probability": math.exp(token.logprob_nats),
        "surprisal_bits": -token.logprob_nats / math.log(2),
        "rank": token.rank,
    }


def _finite(value: float) -> float | None:
    """A number, or None when it is infinite or not a number, which JSON cannot express."""
    return value if math.isfinite(value) else None
