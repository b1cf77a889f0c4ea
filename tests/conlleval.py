"""The counts of conlleval once more, by its own rules and token by token, to compare charlm's with.

The rules are those of the CoNLL-2000 and CoNLL-2003 shared tasks, with the ones for S that were added for IOBES.
"""

from collections.abc import Iterable, Sequence

ENDS = {"BB", "BO", "BS", "IB", "IO", "IS", "EB", "EI", "EE", "EO", "ES", "SB", "SI", "SE", "SO", "SS"}
"""Pairs of neighbouring letters between which an entity ends, whatever the types."""
STARTS = {"OB", "OI", "OE", "OS", "BB", "BS", "IB", "IS", "EB", "EI", "EE", "ES", "SB", "SI", "SE", "SS"}


def divided(tag: str) -> tuple[str, str]:
    letter, hyphen, type_ = tag.partition("-")
    return (letter, type_) if hyphen else (tag, "")


def ends(before: str, now: str) -> bool:
    (letter, type_), (next_letter, next_type) = divided(before), divided(now)
    return letter + next_letter in ENDS or (letter != "O" and type_ != next_type)


def starts(before: str, now: str) -> bool:
    (letter, type_), (next_letter, next_type) = divided(before), divided(now)
    return letter + next_letter in STARTS or (next_letter != "O" and type_ != next_type)


def conlleval(sentences: Iterable[tuple[Sequence[str], Sequence[str]]]) -> tuple[int, int, int]:
    """How many entities are right, predicted and true, of pairs of true and predicted tags."""
    num_right = num_predicted = num_true = 0
    is_right_so_far = False
    before, guessed_before = "O", "O"
    for truth, predicted in sentences:
        for tag, guessed in zip([*truth, "O"], [*predicted, "O"], strict=True):  # an O between sentences
            end, guessed_end = ends(before, tag), ends(guessed_before, guessed)
            if is_right_so_far and end and guessed_end:
                num_right += 1
                is_right_so_far = False
            elif end != guessed_end or divided(tag)[1] != divided(guessed)[1]:
                is_right_so_far = False
            start, guessed_start = starts(before, tag), starts(guessed_before, guessed)
            if start and guessed_start and divided(tag)[1] == divided(guessed)[1]:
                is_right_so_far = True
            num_true += start
            num_predicted += guessed_start
            before, guessed_before = tag, guessed
    return num_right, num_predicted, num_true
