"""The cost of spelling an unknown symbol, added to -log p(<unk>), so that a smaller vocabulary gains no advantage."""

from math import log

NATS_PER_BYTE = log(257)  # 256 bytes and an end mark, all equally likely


def spelling_nats(unknown_bytes: int) -> float:
    """The cost of spelling in nats; `unknown_bytes` is the sum of `spelled_bytes` over all unknown symbols."""
    return unknown_bytes * NATS_PER_BYTE


def spelled_bytes(symbol: str) -> int:
    """How many bytes spell an unknown symbol: its UTF-8 bytes and an end mark."""
    return len(symbol.encode("utf-8", "surrogatepass")) + 1
