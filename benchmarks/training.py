"""Training: a step against the plain loop, and the whole of `charlm train` against its own bare step."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks import limits
from benchmarks.measure import Row, Way, alternate, rates
from benchmarks.texts import character_text, folder
from charlm.model.network import TorchNetwork
from charlm.network.architecture import Architecture
from charlm.system.machine import cores, find_machine
from charlm.system.memory import keep_freed_memory

CHARACTERS = {"vocab_size": 65, "embedding_size": 128, "hidden_size": 512, "num_layers": 1, "tied": False}
CHARACTER_WINDOW = {"batch": 32, "bptt": 64}
WORD_SIZES = {"vocab_size": 10_000, "embedding_size": 256, "hidden_size": 256, "num_layers": 2, "tied": True}
WORD_WINDOW = {"batch": 32, "bptt": 35}
MAX_CLOZE_TIME = 1.15  # times that of two forward layers
WHOLE_STEPS = 20  # of `charlm train`, timed together


def rows(quick: bool) -> Iterator[Row]:
    repeats = 3 if quick else 25
    models = (
        ("LSTM 1x512, 32 x 64, 65 symbols", {**CHARACTERS, **CHARACTER_WINDOW}, 1.6),
        ("LSTM 2x256 tied, 32 x 35, 10,000 words", {**WORD_SIZES, **WORD_WINDOW}, 2.5),
    )
    for what, sizes, target in models[:1] if quick else models:
        ways = {"plain": Way("plain:training_step", sizes), "charlm": Way("training:bare_step", sizes)}
        if not quick:
            ways["float32"] = Way("training:bare_step", {**sizes, "bfloat16": False})
        yield from _against_plain(what, alternate(ways, repeats), sizes["batch"] * sizes["bptt"], target)
    if not quick:
        yield _recurrent_layer(repeats)
        yield _cloze(repeats)
    yield _whole(1 if quick else 12)


def _against_plain(what: str, seconds: dict[str, list[float]], tokens: int, target: float) -> Iterator[Row]:
    for name in [name for name in seconds if name != "plain"]:
        figures = rates(tokens, seconds[name])
        row = Row("train", what if name == "charlm" else f"{what}, {name}", unit="tokens/s", threads=cores(), **figures)
        row.compare(tokens, seconds["plain"])
        if name == "charlm":
            row.target, row.met = f"{target} x plain", (row.ratio or 0) >= target
        yield row


def _recurrent_layer(repeats: int) -> Row:
    """The recurrent arithmetic alone, in billions of operations a second: three products a weight and token."""
    seconds = alternate({"layer": Way("training:layer_step", CHARACTER_WINDOW)}, 3 * repeats)
    limit = limits.gemm_gigaflops("bfloat16", quick=False)
    weights = 4 * 512 * (128 + 512)
    figures = rates(3 * 2 * weights * CHARACTER_WINDOW["batch"] * CHARACTER_WINDOW["bptt"] / 1e9, seconds["layer"])
    share = figures["value"] / limit
    what = "of which the recurrent layer, bfloat16"
    met = share >= 0.6
    return Row("train", what, unit="GFLOP/s", limit=limit, share=share, target="60 % of GEMM", met=met, **figures)


def _cloze(repeats: int) -> Row:
    """A pass of a cloze network forward and backward, against two forward networks of its size without their heads."""
    ways = {name: Way(f"training:{name}_step", CHARACTER_WINDOW) for name in ("cloze", "two_layers")}
    tokens, seconds = CHARACTER_WINDOW["batch"] * CHARACTER_WINDOW["bptt"], alternate(ways, repeats)
    figures, reference = rates(tokens, seconds["cloze"]), rates(tokens, seconds["two_layers"])["value"]
    share = figures["value"] / reference
    return Row(
        "train",
        "cloze network, 1x512 in both directions, lines of unequal length",
        unit="tokens/s",
        limit=reference,
        share=share,
        target="87 % of two forward layers (1.15 times their time)",
        met=share >= 1 / MAX_CLOZE_TIME,
        threads=cores(),
        **figures,
    )


def _whole(repeats: int) -> Row:
    """`charlm train`, windows, clipping, events, log and saving and all, against the step alone; by mean times."""
    tokens = CHARACTER_WINDOW["batch"] * CHARACTER_WINDOW["bptt"] * WHOLE_STEPS
    bare = {**CHARACTERS, **CHARACTER_WINDOW, "times": WHOLE_STEPS}
    ways = {
        "bare": Way("training:bare_step", bare),
        "whole": Way("training:whole_steps", {"corpus": character_text(1_000_000), "run": str(folder() / "whole")}),
    }
    seconds = alternate(ways, repeats, warmup=1)
    figures, reference = rates(tokens, seconds["whole"]), rates(tokens, seconds["bare"])["value"]
    share = sum(seconds["bare"]) / sum(seconds["whole"])
    return Row(
        "train",
        "`charlm train` as a whole, evaluation off",
        unit="tokens/s",
        limit=reference,
        share=share,
        target="95 % of its bare step",
        met=share >= 0.95,
        threads=cores(),
        **figures,
    )


# What is timed


def bare_step(
    vocab_size: int,
    embedding_size: int,
    hidden_size: int,
    num_layers: int,
    tied: bool,
    batch: int,
    bptt: int,
    bfloat16: bool = True,
    times: int = 1,
) -> Callable[[], None]:
    """Forward, loss, backward, clipping, AdamW, as the training loop does them."""
    from charlm.settings import TrainingSettings
    from charlm.training.optimizer import clip, make_optimizer

    settings = TrainingSettings(learning_rate=1e-4, clip_norm=1.0, device="cpu")
    find_machine(settings)
    keep_freed_memory()
    network = TorchNetwork(Architecture("lstm", num_layers, hidden_size, embedding_size, tied, "zero", vocab_size))
    network.initialise(torch.Generator().manual_seed(1))
    optimizer = make_optimizer(network, settings)
    ids = torch.randint(vocab_size, (batch, bptt + 1), generator=torch.Generator().manual_seed(1))
    state: Any = network.initial_state(batch)

    def step() -> None:
        nonlocal state
        for _ in range(times):
            before = tuple(tuple(part.detach() for part in parts) for parts in state)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                total, state = network.total_nats(ids[:, :-1], ids[:, 1:], before)
            optimizer.zero_grad(set_to_none=True)
            (total / (batch * bptt)).backward()
            clip(network.parameters(), settings)
            optimizer.step()

    return step


def layer_step(batch: int, bptt: int) -> Callable[[], None]:
    """One recurrent layer alone, forward and backward, in bfloat16."""
    from charlm.model.kernels import kernel_for
    from charlm.network.body import weights_by_layer

    keep_freed_memory()
    network = TorchNetwork(Architecture("lstm", 1, 512, 128, False, "zero", 65))
    network.initialise(torch.Generator().manual_seed(1))
    cell, (weights,) = network.architecture.recurrent_cell, weights_by_layer(network.weights, 1)
    x = torch.randn(bptt, batch, 128, requires_grad=True)
    upper = torch.randn(bptt, batch, 512)

    def step() -> None:
        (state,) = network.initial_state(batch)
        with torch.autocast("cpu", torch.bfloat16):
            output, _ = kernel_for("lstm", "cpu", 512)(cell, x, state, weights)
        output.backward(upper)
        x.grad = None
        network.zero_grad(set_to_none=True)

    return step


def two_layers_step(batch: int, bptt: int) -> Callable[[], None]:
    """Two forward networks of one layer, each forward and backward up to its head, in bfloat16."""
    keep_freed_memory()
    networks = [TorchNetwork(Architecture("lstm", 1, 512, 128, False, "zero", 65)) for _ in range(2)]
    for network in networks:
        network.initialise(torch.Generator().manual_seed(1))
    ids = torch.randint(65, (bptt, batch), generator=torch.Generator().manual_seed(1))
    upper = torch.randn(bptt, batch, 512)

    def step() -> None:
        for network in networks:
            with torch.autocast("cpu", torch.bfloat16):
                output, _ = network.hidden(ids, network.initial_state(batch))
            output.backward(upper.to(output.dtype))
            network.zero_grad(set_to_none=True)

    return step


def cloze_step(batch: int, bptt: int) -> Callable[[], None]:
    """A cloze network of one layer with 15 % of the tokens masked, forward and backward, in bfloat16."""
    from charlm.corpus.masking import MASKED_SHARE
    from charlm.corpus.windows import IGNORED
    from charlm.model.cloze import total_nats

    keep_freed_memory()
    sizes = Architecture("lstm", 1, 512, 128, False, "zero", 66, kind="cloze", direction="both")
    network, generator = TorchNetwork(sizes), torch.Generator().manual_seed(1)
    network.initialise(generator)
    ids = torch.randint(65, (batch, bptt), generator=generator)
    lengths = torch.randint(bptt // 2, bptt + 1, (batch,), generator=generator)
    is_masked = (torch.rand(batch, bptt, generator=generator) < MASKED_SHARE) & (torch.arange(bptt) < lengths[:, None])
    inputs, targets = torch.where(is_masked, sizes.num_outputs, ids), torch.where(is_masked, ids, IGNORED)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            nats = total_nats(network, inputs, targets, lengths)
        nats.backward()  # type: ignore[no-untyped-call]
        network.zero_grad(set_to_none=True)

    return step


def whole_steps(corpus: str, run: str) -> Callable[[], None]:
    """So many more steps of a training as the command runs it, save and log included: one of 3,000 steps."""
    from charlm.api import start_training
    from charlm.corpus.gathering import Texts
    from charlm.lifecycle.request import Settings, TrainRequest
    from charlm.training.events import StepDone

    settings = {"hidden_size": 512, "embedding_size": 128, "steps": 3000, "valid_fraction": 0.0, "device": "cpu"}
    settings |= {"batch_size": CHARACTER_WINDOW["batch"], "bptt": CHARACTER_WINDOW["bptt"], "dropout": 0.0}
    request = TrainRequest(
        texts=Texts((corpus,)), run=run, force=Path(run).exists(), settings=Settings.parsed(settings)
    )
    events = start_training(request).events()

    def steps() -> None:
        left = WHOLE_STEPS
        while left:
            left -= isinstance(next(events), StepDone)

    return steps
