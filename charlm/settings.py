"""All settings, each defined once: its default, its one-line description and its allowed range.

The command line, `--config run.toml`, the environment and Python all fill the same frozen dataclasses.
The default `None` means that charlm chooses a value that suits the corpus and the machine.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from charlm.errors import UsageError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Unit = Literal["char", "byte", "word", "subword"]
Split = Literal["unicode", "whitespace"]
Punctuation = Literal["keep", "drop"]
SubwordModel = Literal["unigram", "bpe"]
EncodingErrors = Literal["strict", "replace", "ignore"]
LineEnds = Literal["keep", "lf"]
NormalForm = Literal["keep", "nfc", "nfd"]
Cell = Literal[
    "rnn_tanh",
    "rnn_relu",
    "indrnn",
    "gru_simple",
    "gru_reset_before",
    "gru",
    "lstm",
    "lstm_peephole",
    "lstm_peephole_previous",
    "lstm_coupled",
    "lstm_mogrifier",
    "lstm_layernorm",
    "lstm_projected",
    "mingru",
    "minlstm",
]
InitialState = Literal["zero", "learned", "random"]
OneDirection = Literal["forward", "backward"]
Direction = Literal["forward", "backward", "both"]
ObjectiveName = Literal["causal", "cloze"]
TaskName = Literal["classify", "tag", "translate", "generate"]
DataFormat = Literal["tsv", "csv", "jsonl", "fasttext", "conll", "folder"]
TagDecoder = Literal["crf", "softmax"]
Attention = Literal["additive", "dot", "none"]
Prior = Literal["data", "uniform"]
FillBy = Literal["forward", "backward", "mean", "cloze"]
Mode = Literal["stream", "sentence"]
Item = Literal["line", "paragraph"]
ValidSplit = Literal["end", "lines", "paragraphs", "rows", "given", "none"]  # for validation; most at random
OptimizerName = Literal["adamw", "sgd"]
Precision = Literal["float32", "bfloat16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
PresetName = Literal["tiny", "small", "medium", "large"]
PredictorName = Literal["mixture", "network", "ngram"]

MAX_NGRAM = 32  # tokens

Settings = TypeVar("Settings")


def setting(default: Any, doc: str, *, low: float | None = None, high: float | None = None, panel: str) -> Any:
    """A dataclass field with its description, its inclusive range and the panel of `--help` that shows it."""
    return dataclasses.field(default=default, metadata={"doc": doc, "low": low, "high": high, "panel": panel})


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """How a text becomes tokens. Everything that is counted is counted on the training part."""

    unit: Unit = setting("char", "What one token is.", panel="Text")
    vocab_size: int | None = setting(
        None,
        "Maximum number of types, with special symbols (default 10,000 words or 4,000 subwords).",
        low=3,
        high=2**24,
        panel="Text",
    )
    min_count: int = setting(1, "Types that occur less often become <unk>.", low=1, panel="Text")
    split: Split = setting("unicode", "Words: split by Unicode rules (lossless) or at white space.", panel="Text")
    punctuation: Punctuation = setting("keep", "Words: keep punctuation, or drop it (lossy).", panel="Text")
    lowercase: bool = setting(False, "Convert the text to lowercase (lossy).", panel="Text")
    subword_model: SubwordModel = setting("unigram", "Subwords: sentencepiece's unigram model or BPE.", panel="Text")


@dataclass(frozen=True, kw_only=True)
class CorpusSettings:
    """How a file is read and divided."""

    valid_fraction: float = setting(
        0.1,
        "Fraction kept for validation: the end of the text; by sentence: items from all over it.",
        low=0.0,
        high=0.9,
        panel="Text",
    )
    item: Item = setting(
        "line", "Each line on its own, or each paragraph between blank lines (implies --mode sentence).", panel="Text"
    )
    encoding: str = setting("utf-8", "Encoding of the text.", panel="Text")
    encoding_errors: EncodingErrors = setting("strict", "What to do with bytes that cannot be decoded.", panel="Text")
    line_ends: LineEnds | None = setting(
        None,
        "lf: turn CRLF and CR into newlines (default if nearly all lines end in CRLF, or all in CR).",
        panel="Text",
    )
    normal_form: NormalForm = setting(
        "keep", "Unicode: a letter and its accent become one character (nfc) or two (nfd).", panel="Text"
    )


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """How labelled data is read, and how the second text of a pair becomes tokens."""

    data_format: DataFormat | None = setting(
        None, "Form of the labelled data (default: recognised by its content).", panel="Task"
    )
    columns: str | None = setting(
        None,
        "The columns of label and text, source and target, or word and tag: two names, or numbers from 1.",
        panel="Task",
    )
    tag_column: int | None = setting(
        None, "tag: the column of the tags, from 1 (default: the last).", low=1, panel="Task"
    )
    skip_bad: int = setting(0, "Leave out up to this many wrong rows, and count them.", low=0, panel="Task")
    multi: bool = setting(False, "classify: a text may have several labels, or none.", panel="Task")
    target_unit: Unit | None = setting(
        None, "translate: the unit of the target (default: that of the source).", panel="Task"
    )
    target_split: Split | None = setting(
        None, "translate: how words of the target are split (default: as those of the source).", panel="Task"
    )


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The network's architecture, and what it is trained to predict."""

    objective: ObjectiveName = setting(
        "causal", "causal: predict each next token; cloze: predict masked tokens from both sides.", panel="Model"
    )
    task: TaskName | None = setting(
        None,
        "Train on labelled data: classify a text, tag its words, translate it, or generate it from a label.",
        panel="Task",
    )
    decoder: TagDecoder | None = setting(
        None, "tag: choose all tags of a sentence together (crf, the default), or each on its own.", panel="Task"
    )
    attention: Attention | None = setting(
        None, "translate: how the decoder looks at the source (default additive).", panel="Task"
    )
    direction: Direction = setting(
        "forward",
        "Read a text from its start, from its end (backward), or train a pair of models (both).",
        panel="Model",
    )
    cell: Cell = setting("lstm", "The recurrent cell; `charlm cells` shows the equations.", panel="Model")
    num_layers: int | None = setting(
        None, "Number of recurrent layers (default 1; indrnn, mingru, minlstm: 3).", low=1, high=64, panel="Model"
    )
    hidden_size: int | None = setting(None, "Units in each recurrent layer.", low=1, high=65536, panel="Model")
    embedding_size: int | None = setting(None, "Size of a token's vector.", low=1, high=65536, panel="Model")
    tie_embeddings: bool | None = setting(
        None, "Share the embeddings with the output layer (default for words and subwords).", panel="Model"
    )
    initial_state: InitialState = setting(
        "zero", "State at the start of a sentence; random: in training only.", panel="Model"
    )
    residual: bool = setting(False, "Add each layer's input to its output, if the sizes are equal.", panel="Model")
    head_layers: int = setting(
        0, "Number of feed-forward layers after the recurrent ones.", low=0, high=64, panel="Model"
    )
    head_size: int | None = setting(None, "Units in each feed-forward layer.", low=1, high=65536, panel="Model")
    proj_size: int | None = setting(
        None, "lstm_projected: units in the output (default: half the hidden size).", low=1, high=65536, panel="Model"
    )
    mogrifier_rounds: int | None = setting(
        None, "lstm_mogrifier: number of rounds (default 5).", low=1, high=64, panel="Model"
    )
    mogrifier_rank: int | None = setting(
        None,
        "lstm_mogrifier: rank of each round's matrix (default: a sixteenth of the hidden size).",
        low=1,
        high=65536,
        panel="Model",
    )


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How the network is trained."""

    mode: Mode = setting(
        "stream",
        "stream: one running text, state carried on; sentence: each line (or --item) on its own, shuffled.",
        panel="Training",
    )
    bptt: int | None = setting(
        None,
        "Tokens in a window: how far back the gradient flows (truncated backpropagation through time).",
        low=1,
        high=65536,
        panel="Training",
    )
    batch_size: int | None = setting(
        None,
        "Streams read side by side; by sentence, up to batch-size * bptt tokens in a batch.",
        low=1,
        high=65536,
        panel="Training",
    )
    dropout: float | None = setting(
        None,
        "On embeddings and each layer's output; one mask for all time steps (default: more for small texts).",
        low=0.0,
        high=0.95,
        panel="Training",
    )
    optimizer: OptimizerName = setting("adamw", "The optimizer.", panel="Training")
    learning_rate: float | None = setting(None, "Highest learning rate.", low=1e-8, high=1e4, panel="Training")
    weight_decay: float = setting(
        0.01, "AdamW: weight decay of the matrices, not of embeddings and biases.", low=0.0, high=10.0, panel="Training"
    )
    warmup_steps: int | None = setting(
        None, "Steps until the learning rate is highest.", low=0, high=10**9, panel="Training"
    )
    ngram: str = setting(
        "auto",
        f"Counts beside the network: auto (where they help), none, or the length of the longest (1 to {MAX_NGRAM}).",
        panel="Training",
    )
    balance: bool = setting(False, "classify: give rare labels as much weight as frequent ones.", panel="Task")
    freeze: bool = setting(
        False, "classify with --init-from: keep the language model as it is, and train the output only.", panel="Task"
    )
    clip_norm: float | None = setting(
        None, "Limit of the gradient's norm (default 1).", low=1e-9, high=1e9, panel="Training"
    )
    clip_value: float | None = setting(
        None, "Limit of each gradient component, instead of the norm.", low=1e-9, high=1e9, panel="Training"
    )
    steps: int | None = setting(None, "Train for this many steps.", low=1, high=10**9, panel="Length")
    epochs: float | None = setting(
        None, "Train for this many passes; a pass reads the whole text once.", low=1e-6, high=1e6, panel="Length"
    )
    time: str | None = setting(
        None, "Train for this long: 90s, 5m, 1h (default 5m); at most 80 passes of a text.", panel="Length"
    )
    patience: int = setting(
        8, "Stop after this many evaluations in a row without improvement (0: never).", low=0, panel="Length"
    )
    eval_every: int | None = setting(None, "Steps between evaluations.", low=1, panel="Length")
    sample_every: int | None = setting(None, "Steps between short samples.", low=1, panel="Length")
    save_every: int | None = setting(None, "Steps between saved states.", low=1, panel="Length")
    seed: int = setting(1, "Seed of all random numbers.", low=0, high=2**63 - 1, panel="Machine")
    device: Device = setting("auto", "Device to compute on.", panel="Machine")
    precision: Precision | None = setting(
        None,
        "Precision of products; weights stay float32 (default: bfloat16 if the processor has it).",
        panel="Machine",
    )
    threads: int | None = setting(None, "Number of processor threads.", low=1, high=1024, panel="Machine")
    deterministic: bool = setting(
        False, "On GPUs: use deterministic operations only; on CPUs all of them are.", panel="Machine"
    )


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The sizes and the dropout that a preset's name stands for."""

    num_layers: int
    hidden_size: int
    embedding_size: int
    dropout: float


PRESETS: dict[PresetName, Preset] = {
    "tiny": Preset(num_layers=1, hidden_size=128, embedding_size=64, dropout=0.1),
    "small": Preset(num_layers=1, hidden_size=320, embedding_size=96, dropout=0.2),
    "medium": Preset(num_layers=1, hidden_size=640, embedding_size=128, dropout=0.3),
    "large": Preset(num_layers=2, hidden_size=1024, embedding_size=256, dropout=0.4),
}

SETTINGS = (TextSettings, CorpusSettings, DataSettings, ModelSettings, TrainingSettings)
LENGTHS = ("steps", "epochs", "time")
UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_SECONDS = 36525 * 86400.0  # a training of a hundred years


def task_of(kind: str) -> TaskName | None:
    """The task that a kind of network is named after; None if it is trained on plain text."""
    return kind if kind in get_args(TaskName) else None  # type: ignore[return-value]


def flag(name: str) -> str:
    """The option of a setting: `--hidden-size` for `hidden_size`."""
    return "--" + name.replace("_", "-")


def without_jargon(message: str) -> str:
    """A message of pydantic's or Typer's, reworded to be part of a sentence, without details of how it was parsed."""
    message = re.sub(r"Value error, |, unable to parse [^,.]*", "", message)
    message = message.replace("Input should be", "it should be").rstrip(".")
    return message[:1].lower() + message[1:]


def check(settings: Any) -> None:
    """Raise UsageError naming the first setting that is out of its range."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        low, high = field.metadata.get("low"), field.metadata.get("high")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not _is_inside(value, low, high):
            raise UsageError(f"{flag(field.name)} {value} is out of range", to_do=f"give a number {_range(low, high)}")


def range_of(kind: type, name: str) -> tuple[float, float]:
    """The lowest and the highest value that a setting of this kind may have."""
    metadata = next(field.metadata for field in dataclasses.fields(kind) if field.name == name)
    low, high = metadata["low"], metadata["high"]
    return -math.inf if low is None else low, math.inf if high is None else high


@cache
def _adapter(kind: type[Any]) -> "TypeAdapter[Any]":
    """What converts values for these settings; making one takes milliseconds."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def fill(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The settings of one kind from a mapping that may have others, with types converted and ranges checked.

    Raises UsageError for a value of the wrong type or out of range.
    """
    from pydantic import ValidationError

    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    own = {name: values[name] for name in names if name in values}
    try:
        settings: Settings = _adapter(kind).validate_python(own)  # type: ignore[arg-type]  # classes can be hashed
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        what = f"{flag(name)} {own[name]!r}: {without_jargon(first['msg'])}"
        raise UsageError(what, to_do=f"charlm train --help explains {flag(name)}") from error
    check(settings)
    return settings


def seconds(duration: str) -> float:
    """The seconds of a duration such as '90', '90s', '5m' or '1.5h', up to a hundred years. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", duration.strip())
    value = float(match[1]) * UNIT_SECONDS[match[2]] if match else 0.0
    if value <= 0:
        raise UsageError(f"--time {duration[:40]} is not a duration", to_do="write it as 90s, 5m or 1h")
    if value > MAX_SECONDS:  # so is a number of 400 digits, which float() makes infinite
        raise UsageError(f"--time {duration[:40]} is out of range", to_do="give at most a hundred years: 36525d")
    return value


def ngram_order(ngram: str) -> int | None:
    """The length of the longest n-grams that `--ngram` asks for: 0 for none, None for auto. Raises UsageError."""
    if ngram in ("auto", "none"):
        return None if ngram == "auto" else 0
    if not (re.fullmatch("[0-9]{1,3}", ngram) and 1 <= int(ngram) <= MAX_NGRAM):
        to_do = f"give auto, none, or a number from 1 to {MAX_NGRAM}"
        raise UsageError(f"--ngram {ngram[:40]} is no length", to_do=to_do)
    return int(ngram)


def _is_inside(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)  # nan is never inside


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"of {low:g} or more" if high is None else f"of {high:g} or less"
    return f"from {low:g} to {high:g}"
