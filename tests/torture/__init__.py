"""The promises of docs/reliability.md, each tried hard: `python -m tests.torture [PROMISE ...] [--short]`."""
