"""Answer recordings one by one and write each answer as soon as it is known."""

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from hf_ser.batch.answer_rows import answer_row
from hf_ser.batch.batch_answers import batch_answers
from hf_ser.batch.batch_error import BatchError, Interrupted
from hf_ser.batch.escaped_names import one_line
from hf_ser.batch.interrupts import Interrupts
from hf_ser.batch.loaded_model import LoadedModel


@dataclass(frozen=True)
class Answers:
    """The recordings to answer.

    Args:
        model: the model with its labels.
        names: paths, URLs or ids, in order.
        options: of the calls of the pipeline.
        source_of: function of a name that returns what the pipeline reads; None if the name is the path or URL.
        answered_before: number of recordings that an earlier run answered, for the progress.
    """

    model: LoadedModel
    names: Sequence[str]
    options: Mapping[str, Any]
    source_of: Callable[[str], Any] | None = None
    answered_before: int = 0

    @property
    def total(self) -> int:
        """Number of recordings, including those answered before."""
        return len(self.names) + self.answered_before

    def rows(self, interrupts: Interrupts) -> Generator[dict[str, Any], None, None]:
        """Yield the answers as mappings, in order."""
        answers = batch_answers(
            self.model.classify,
            self.names,
            self.options,
            source_of=self.source_of,
            is_stopped=lambda: interrupts.stopped,
        )
        for name, answer in answers:
            yield answer_row(name, answer, self.model.warning)


def write_all(output: Any, answers: Answers, *, remedy: str = "", show_bar: bool = True, tell: bool = False) -> int:
    """Write every answer as soon as it is known.

    Args:
        output: has `write` for one answer and `close`.
        answers: the recordings.
        remedy: how to continue, for messages.
        show_bar: whether to show a progress bar on a terminal.
        tell: whether to print the errors of recordings.

    Returns:
        The number of failed recordings.

    Raises:
        BatchError: the model failed; the answers so far have been written.
        Interrupted: Ctrl-C; the answers so far have been written.
    """
    answered, failed = answers.answered_before, 0
    show_bar = show_bar and answers.total > 1 and sys.stderr.isatty()
    with Interrupts() as interrupts, closing(answers.rows(interrupts)) as rows:
        try:
            for row in tqdm(rows, total=answers.total, initial=answered, unit="recording", disable=not show_bar):
                with interrupts.held():
                    output.write(row)
                    answered += 1
                    failed += "error" in row
                    if tell and "error" in row:
                        say(f"error: {row['error']}")
        except KeyboardInterrupt:
            output.close(complete=False)
            shown = f"interrupted: {answered:,} of {answers.total:,} recordings answered"
            raise Interrupted(shown + remedy) from None
        except (ValueError, RuntimeError) as error:
            output.close(complete=False)
            said = " ".join(str(error).split())
            raise BatchError(f"{said} ({answered:,} of {answers.total:,} recordings answered{remedy})") from error
    output.close(complete=True)
    return failed


def say(line: str) -> None:
    """Print a line on stderr, above a progress bar if there is one."""
    tqdm.write(one_line(line), file=sys.stderr)
