"""A linear-chain conditional random field: the probability of all tags of a sentence together. Written with `ops`.

Lafferty, McCallum & Pereira 2001. A sentence of T words has a score for each sequence of tags y:

    score(y) = start[y_1] + sum over t of emissions[t, y_t] + sum over t > 1 of between[y_(t-1), y_t] + end[y_T]
    p(y) = e^score(y) / sum over all y' of e^score(y')

`start`, `between` and `end` are one matrix of transitions (K + 1, K + 1): from the tag of its row to the tag of its
column, where the last row is the start of a sentence and the last column its end. The recursions are those of hidden
Markov models (Rabiner 1989). They keep their numbers near 0, so that float32 is precise for sentences of any length.
Shapes: T time, B batch, K tags. Sentences of unequal `lengths` (B,), of at least one word, are padded at their ends.
"""

from collections.abc import Callable, Sequence

from charlm.cells.cell import Array, Ops

EXCLUDED = -1e6  # the score of a transition that is not allowed; e^-1e6 is 0, and unlike infinity it never gives nan


def exclusions(tags: Sequence[str], may_follow: Callable[[str | None, str | None], bool]) -> list[list[float]]:
    """What to add to the scores of transitions (K + 1, K + 1): 0 where a tag may follow another, else EXCLUDED.

    `may_follow` takes the tag before and the tag after it; None stands for the start and for the end of a sentence.
    """
    ends = (*tags, None)
    return [[0.0 if may_follow(before, after) else EXCLUDED for after in ends] for before in ends]


def log_partition(emissions: Array, lengths: Array, transitions: Array, ops: Ops) -> Array:
    """log of the sum of e^score over all sequences of tags: emissions (T, B, K) -> (B,)."""
    prefixes, totals = all_prefixes(emissions, transitions, ops)
    return log_partition_of(prefixes, totals, lengths, transitions, ops)


def log_partition_of(prefixes: Array, totals: Array, lengths: Array, transitions: Array, ops: Ops) -> Array:
    """`log_partition` from the results of `all_prefixes`."""
    last = ops.at(prefixes, lengths - 1) + transitions[:-1, -1]
    return ops.sum_over_time(totals[:, :, None], lengths)[:, 0] + ops.logsumexp(last, 1)


def all_prefixes(emissions: Array, transitions: Array, ops: Ops) -> tuple[Array, Array]:
    """The forward algorithm: for each place and tag, the log of the sum of e^score over all beginnings that end there.

    Each place's logs (T, B, K) are shifted to be those of probabilities; the totals (T, B) say by how much, each in
    addition to those before it.
    """
    prefixes: list[Array] = []
    totals: list[Array] = []
    scores = transitions[-1, :-1] + emissions[0]
    for emission in emissions[1:]:
        _add(prefixes, totals, scores, ops)
        scores = ops.logsumexp(prefixes[-1][:, :, None] + transitions[:-1, :-1], 1) + emission
    _add(prefixes, totals, scores, ops)
    return ops.stack(prefixes), ops.stack(totals)


def _add(prefixes: list[Array], totals: list[Array], scores: Array, ops: Ops) -> None:
    totals.append(ops.logsumexp(scores, 1))
    prefixes.append(scores - totals[-1][:, None])


def all_suffixes(emissions: Array, lengths: Array, transitions: Array, ops: Ops) -> Array:
    """The backward algorithm: the same as `all_prefixes` for all ends that begin at each place (T, B, K)."""
    prefixes, _ = all_prefixes(ops.reverse(emissions, lengths), transitions.T, ops)
    return ops.reverse(prefixes, lengths)


def log_marginals(emissions: Array, lengths: Array, transitions: Array, ops: Ops) -> Array:
    """log p of each tag at each place, given the whole sentence: emissions (T, B, K) -> (T, B, K)."""
    prefixes, _ = all_prefixes(emissions, transitions, ops)
    return log_marginals_of(prefixes, all_suffixes(emissions, lengths, transitions, ops), emissions, ops)


def log_marginals_of(prefixes: Array, suffixes: Array, emissions: Array, ops: Ops) -> Array:
    """`log_marginals` from the results of `all_prefixes` and `all_suffixes`, which both count a place's emission."""
    scores = prefixes + suffixes - emissions
    return scores - ops.logsumexp(scores, 2)[:, :, None]


def log_steps(emissions: Array, tags: Array, lengths: Array, transitions: Array, ops: Ops) -> Array:
    """log p of each tag of sequences (T, B), given the tag before it and the whole sentence: -> (T, B).

    For a sentence they add up to log p of its tags; for some words in a row, to log p of their tags given the one
    before.
    """
    before = ops.stack([tags[0] * 0 - 1, *tags[:-1]])  # -1, the last row, is the start
    scores = transitions[before][:, :, :-1] + all_suffixes(emissions, lengths, transitions, ops)
    return _of_tags(scores, tags, ops) - ops.logsumexp(scores, 2)


def path_scores(emissions: Array, tags: Array, lengths: Array, transitions: Array, ops: Ops) -> Array:
    """The score of one sequence of tags for each sentence: emissions (T, B, K), tags (T, B) -> (B,).

    Tags in the padding can be any.
    """
    emitted = _of_tags(emissions, tags, ops)
    between = transitions[tags[:-1], tags[1:]]
    ends = transitions[-1][tags[0]] + transitions[:, -1][ops.at(tags, lengths - 1)]
    within = ops.sum_over_time(between[:, :, None], lengths - 1)
    return (ops.sum_over_time(emitted[:, :, None], lengths) + within)[:, 0] + ends


def _of_tags(values: Array, tags: Array, ops: Ops) -> Array:
    """Of the values of all tags (T, B, K), those of the tags (T, B)."""
    return ops.at(values.reshape(-1, values.shape[2]).T, tags.reshape(-1)).reshape(tags.shape)


def best_paths(emissions: Array, lengths: Array, transitions: Array, ops: Ops) -> Array:
    """The tags of the highest score (Viterbi 1967): emissions (T, B, K) -> tags (T, B)."""
    scores, origins = transitions[-1, :-1] + emissions[0], []
    for time, emission in enumerate(emissions[1:], 1):
        arriving = scores[:, :, None] + transitions[:-1, :-1]  # (B, K tags before, K tags here)
        origins.append(arriving.argmax(1))
        new = ops.largest(arriving, 1) + emission
        scores = ops.where((time < lengths)[:, None], new - ops.largest(new, 1)[:, None], scores)
    tags = [(scores + transitions[:-1, -1]).argmax(1)]
    for time in range(len(origins), 0, -1):
        before = ops.at(origins[time - 1].T, tags[-1])
        tags.append(ops.where(time < lengths, before, tags[-1]))
    return ops.stack(tags[::-1])
