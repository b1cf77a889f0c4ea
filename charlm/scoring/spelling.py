"""What an unknown symbol costs beyond -log p(<unk>): spelling it, so a smaller vocabulary never gains by itself."""

from math import log

NATS_PER_BYTE = log(257)  # 256 bytes and an end mark, all equally likely


def spelling_nats(unknown_bytes: int) -> float:
    """The spelling's cost in nats; `unknown_bytes` is the sum of UTF-8 bytes + 1 over all unknown symbols."""
    return unknown_bytes * NATS_PER_BYTE


def spelled_bytes(symbol: str) -> int:
    """Bytes to spell one unknown symbol, its end mark counted."""
    return len(symbol.encode("utf-8", "surrogatepass")) + 1
