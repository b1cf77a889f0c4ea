"""What a run is trained on: a plain text, or labelled data. Both have the same properties where a run needs them."""

from pathlib import Path

from charlm.corpus.labelled import LabelledCorpus, open_labelled_corpus
from charlm.corpus.prepare import PreparedCorpus, open_prepared
from charlm.settings import TaskName

Corpus = PreparedCorpus | LabelledCorpus


def open_corpus(folder: Path, task: TaskName | None, seal: str) -> Corpus:
    """The corpus in a run's folder, with every byte checked. Raises RunError when it is damaged or another one."""
    return open_labelled_corpus(folder, task, seal) if task else open_prepared(folder, seal)
