"""A text in the order in which a backward network reads it: the reverse of `<eos> x1 ... xn <eos>`.

Such a network begins at the end of the text; the `<eos>` that it predicts last is the start of the text's first line.
Of a paragraph `<eos> x1 ... xn <eos> <eos>` it reads `<eos> xn ... x1 <eos> <eos>`: a blank line also stands for the
start of a paragraph, so that the network, too, can tell it from the line starts within.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.settings import Item
from charlm.text.items import NUM_ENDS


def turned(ids: NDArray[Any], item: Item = "line") -> NDArray[Any]:
    """Ids that begin with `<eos>`, read from their end; the result begins with `<eos>`, too.

    If the text is finished, so that an `<eos>` is also the last id, this is the reversed array itself, a view. An
    unfinished text is copied: its last token comes right after the first `<eos>`, and no `<eos>` follows its first one.
    Paragraphs, which are always finished, are copied: all but one `<eos>` of the last one's end come last again.
    """
    num_ends = NUM_ENDS[item]
    if len(ids) > num_ends and ids[-1] == ids[0]:
        return ids[::-1] if num_ends == 1 else np.concatenate([ids[-num_ends::-1], ids[1 - num_ends :]])
    return np.concatenate([ids[:1], ids[:0:-1]])
