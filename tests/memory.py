"""How much memory a command takes, measured in a process of its own."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

from charlm.corpus.reader import open_text
from charlm.settings import CorpusSettings

# The system's figure for the peak: other than tracemalloc's it has sentencepiece's memory in it.
PREPARE = """
import json, resource, sys
from pathlib import Path
import numpy, regex, sentencepiece
from charlm.settings import CorpusSettings, TextSettings
from charlm.corpus.prepare import prepare
from charlm.text.tokenizer import load_tokenizer

corpus, folder, warm, kind, given = sys.argv[1:]
settings, tokenizer = TextSettings(**json.loads(kind)), load_tokenizer(Path(given)) if given else None
peaks = []
for path in (warm, corpus):
    prepare(Path(path), Path(folder), settings, CorpusSettings(valid_fraction=0.0), tokenizer=tokenizer)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((peaks[1] - peaks[0]) * 1024)
"""


def growth_of_preparing(small: Path, large: Path, folder: Path, kind: str, tokenizer: str = "") -> int:
    """By how many bytes more the process grows for a large text than for a small one before it."""
    command = [sys.executable, "-c", PREPARE, str(large), str(folder), str(small), kind, tokenizer]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def peak_of_reading(path: Path) -> int:
    """Bytes of Python's memory."""
    tracemalloc.start()
    try:
        with open_text(path, CorpusSettings(), raw=True):
            return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
