"""The kinds of errors, each with its exit code. A message says what went wrong, where, and what to do."""

EXIT_UNEXPECTED = 1
EXIT_INTERRUPTED = 130


class CharlmError(Exception):
    """An error for people: `what` went wrong, `where`, and what `to_do` about it."""

    exit_code = EXIT_UNEXPECTED

    def __init__(self, what: str, where: str = "", to_do: str = "") -> None:
        super().__init__("\n".join(line for line in (what, where, to_do) if line))
        self.what, self.where, self.to_do = what, where, to_do


class UsageError(CharlmError):
    """An option out of range, options that contradict each other, a lock held by another process."""

    exit_code = 2


class TextError(CharlmError):
    """The input text: missing, empty, of one symbol only, or not decodable."""

    exit_code = 3


class RunError(CharlmError):
    """No run, a wrong one, or a damaged one."""

    exit_code = 4


class DivergedError(CharlmError):
    """Training diverged: the loss or the gradient is not finite."""

    exit_code = 5


class ResourceError(CharlmError):
    """Too little memory or disk space, or a file or folder that cannot be written."""

    exit_code = 6
