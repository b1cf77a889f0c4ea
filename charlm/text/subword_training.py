"""Training a sentencepiece model that loses no text, from all of a text or from a sample of a huge one."""

import io
import random
from collections import Counter
from collections.abc import Iterable, Iterator

from charlm.errors import TextError
from charlm.settings import SubwordModel
from charlm.text.interface import EOS, UNK
from charlm.text.vocabulary import EOS_ID, UNK_ID

DEFAULT_VOCAB_SIZE = 4_000
NUM_RESERVED = 256 + 2  # bytes and special symbols
MIN_VOCAB_SIZE = 300
MAX_SAMPLE = 10_000_000  # characters
MAX_LENGTH = 1_000  # characters, at most 4,000 bytes: sentencepiece drops lines of more than 4,192 bytes
NOT_LEARNED = str.maketrans("\u2585\0", "  ")  # sentencepiece drops lines with U+2585, and NUL from a line
SEED = 1
NUM_THREADS = 4  # fixed, since the sums in training depend on it


def train_model(chunks: Iterable[str], kind: SubwordModel, vocab_size: int | None, notes: list[str]) -> bytes:
    """A sentencepiece model that gives back every line: it does not normalise, and spells rare characters in bytes.

    What the user should know about it is appended to `notes`. Raises TextError if the text has nothing but line ends.
    """
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    size = vocab_size or DEFAULT_VOCAB_SIZE
    sample = _sample(chunks, notes)
    if not sample:
        raise TextError("the text has nothing but line ends: nothing to learn", to_do="give a text with more symbols")
    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(_without_rare(sample, (size - NUM_RESERVED) // 2, notes)),
        model_writer=written,
        model_type=kind,
        vocab_size=size,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        byte_fallback=True,
        character_coverage=1.0,
        eos_id=EOS_ID,
        eos_piece=EOS,
        unk_id=UNK_ID,
        unk_piece=UNK,
        bos_id=-1,
        pad_id=-1,
        num_threads=NUM_THREADS,
        minloglevel=2,
    )
    found = SentencePieceProcessor(model_proto=written.getvalue()).vocab_size()
    if found < size:
        notes.append(f"the text gives {found:,} subwords, not {size:,}")
    return written.getvalue()


def _sample(chunks: Iterable[str], notes: list[str]) -> list[str]:
    """The lines, long ones in pieces. Whenever they exceed MAX_SAMPLE characters, a random half of them is dropped."""
    generator = random.Random(SEED)
    kept: list[str] = []
    length, share = 0, 1.0
    for line in _lines(chunks):
        if share == 1 or generator.random() < share:
            kept.append(line)
            length += len(line)
        if length > MAX_SAMPLE:
            kept = [line for line in kept if generator.random() < 0.5]
            length, share = sum(map(len, kept)), share / 2
    if share < 1:
        notes.append(f"the subwords were learned from {share:.2%} of the lines")
    return kept


def _lines(chunks: Iterable[str]) -> Iterator[str]:
    for chunk in chunks:
        for line in chunk.translate(NOT_LEARNED).split("\n"):
            for start in range(0, len(line), MAX_LENGTH):
                yield line[start : start + MAX_LENGTH]


def _without_rare(sample: list[str], max_characters: int, notes: list[str]) -> list[str]:
    """The sample with a space in place of all but the `max_characters` most frequent characters.

    sentencepiece makes each different character a subword, and fails if there are more of them than subwords.
    """
    counts: Counter[str] = Counter()
    for line in sample:
        counts.update(line)
    if len(counts) <= max_characters:
        return sample
    notes.append(
        f"of {len(counts):,} characters the {max_characters:,} most frequent are kept, others are spelled in bytes"
    )
    rare = {ord(character): " " for character, _ in counts.most_common()[max_characters:]}
    return [line.translate(rare) for line in sample]
