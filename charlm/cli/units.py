"""What the losses of each kind of network are per."""

UNITS = {"cloze": "nats/masked token", "classify": "nats/text", "tag": "nats/word", "translate": "nats/token"}
"""What the losses are per, for kinds of network that give no probability of a whole text."""
