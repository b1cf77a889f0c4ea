"""How many symbols must be inserted, left out or replaced to turn one sequence into another (Levenshtein 1966)."""

from collections.abc import Hashable, Sequence


def edit_distance(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """The least number of insertions, deletions and replacements of single symbols.

    The table of the distances between beginnings of the two is computed column by column, one for each symbol of
    `second`. Neighbours differ by at most 1, so a column is kept as two sets of rows, the bits of two long integers:
    where the distance is 1 more than in the row above, and where it is 1 less. One addition computes a whole column
    (Myers 1999, "A fast bit-vector algorithm for approximate string matching"; the formulas are those of Hyyrö 2003).
    """
    if not first:
        return len(second)
    places: dict[Hashable, int] = {}
    for row, symbol in enumerate(first):
        places[symbol] = places.get(symbol, 0) | 1 << row
    all_rows, last_row = (1 << len(first)) - 1, 1 << (len(first) - 1)
    more, less = all_rows, 0  # in the first column each row costs 1 more than the one above
    distance = len(first)  # in the last row
    for symbol in second:
        same = places.get(symbol, 0)
        as_diagonal = (((same & more) + more) ^ more) | same | less  # as far as the neighbour above and to the left
        more_across = (less | ~(as_diagonal | more)) & all_rows  # 1 more than the neighbour to the left
        less_across = more & as_diagonal
        distance += bool(more_across & last_row) - bool(less_across & last_row)
        more_above = more_across << 1 | 1  # the row above; the one above the first grows by 1 with every symbol
        more = (less_across << 1 | ~(as_diagonal | more_above)) & all_rows
        less = more_above & as_diagonal & all_rows
    return distance
