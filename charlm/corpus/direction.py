"""A text in the order in which a backward network reads it: the reverse of `<eos> x1 ... xn <eos>`.

Such a network begins at the end of the text; the `<eos>` that it predicts last is the start of the text's first line.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def turned(ids: NDArray[Any]) -> NDArray[Any]:
    """Ids that begin with `<eos>`, read from their end; the result begins with `<eos>`, too.

    If the text is finished, so that an `<eos>` is also the last id, this is the reversed array itself, a view. An
    unfinished text is copied: its last token comes right after the first `<eos>`, and no `<eos>` follows its first one.
    """
    if len(ids) > 1 and ids[-1] == ids[0]:
        return ids[::-1]
    return np.concatenate([ids[:1], ids[:0:-1]])
