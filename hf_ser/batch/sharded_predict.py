"""Steps of recipes/predict.py: the processes of accelerate share the parts of an answer folder."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ser.batch.answer_folder import MERGED, PARTS, AnswerFolder, begin
from hf_ser.batch.clip_listing import DATASET, list_clips, open_rows, reader_of_rows
from hf_ser.batch.loaded_model import load_model
from hf_ser.batch.predict_command import choose_precision, stamp_run
from hf_ser.batch.run_stamp import RunStamp
from hf_ser.batch.sharded_arguments import ShardedPredictArguments
from hf_ser.batch.written_answers import say

if TYPE_CHECKING:
    from accelerate import PartialState

_LONGEST_LISTING = timedelta(days=2)  # the other processes wait while the first one lists the clips


def join_processes(args: ShardedPredictArguments) -> "PartialState":
    """Join the processes that `accelerate launch` has started; without it, there is one.

    Only the first process logs what is the same in all of them.
    """
    import torch
    from accelerate import PartialState

    # Without cpu=True, accelerate ignores its other processes on a machine that has no GPU.
    on_cpu = args.device == "cpu" or not torch.accelerator.is_available()
    state = PartialState(cpu=on_cpu, timeout=_LONGEST_LISTING)
    if not state.is_main_process:
        logging.getLogger("hf_ser").setLevel(logging.ERROR)
    return state


def open_folder(args: ShardedPredictArguments, state: "PartialState") -> AnswerFolder:
    """List the clips in the first process, and open the folder of the answers in all.

    Raises:
        SerError: the model or the clips cannot be used, or the folder belongs to another run.
    """
    path, run = Path(args.output), _stamp(args, state)
    if state.is_main_process:
        listing = list_clips(args.input, args.configuration, args.split)
        for line in listing.notes:
            say(line)
        begin(path, listing, run, args.clips_per_part, args.overwrite)
    state.wait_for_everyone()
    return AnswerFolder.open(path, run)


def _stamp(args: ShardedPredictArguments, state: "PartialState") -> RunStamp:
    tell: Callable[[str], None] = say if state.is_main_process else lambda line: None
    command = args.on(str(state.device))
    return stamp_run(command, choose_precision(command, tell))


def parts_of_process(folder: AnswerFolder, state: "PartialState") -> list[int]:
    """Return the parts that this process answers: every n-th of those without a complete file."""
    unfinished = folder.unfinished_parts()
    state.wait_for_everyone()  # before a process completes a part that another one has not listed yet
    if state.is_main_process:
        clips, parts = folder.manifest["clips"], folder.manifest["parts"]
        resumed = f", {parts - len(unfinished):,} of them finished before" if len(unfinished) < parts else ""
        say(f"{clips:,} clips in {parts:,} parts{resumed}; processes: {state.num_processes}")
    return unfinished[state.process_index :: state.num_processes]


def answer_parts(
    args: ShardedPredictArguments, folder: AnswerFolder, parts: Sequence[int], state: "PartialState"
) -> None:
    """Load the model and answer parts one after the other.

    Args:
        args: the options.
        folder: where the answers are written.
        parts: numbers of the parts of this process.
        state: the processes.

    Raises:
        SerError: the model cannot be used, or an answer cannot be written.
        Interrupted: Ctrl-C; the answers so far have been written.
    """
    reader = None
    if folder.manifest["kind"] == DATASET:
        with state.local_main_process_first():  # the others find the files that it has downloaded
            rows = open_rows(args.input, args.configuration, args.split)

        def reader(first: int, names: Sequence[str]) -> Callable[[str], Any]:
            return reader_of_rows(rows, first, names)

    if not parts:
        return
    command = args.on(str(state.device))
    model = load_model(command.model, command.revision, command.device, command.precision, command.call_options)
    if model.warning and state.is_main_process:
        say(f"warning: {model.warning}")
    options = command.call_options | {"abstain": command.abstains(model.abstention_threshold)}
    for number in parts:
        started_s = time.monotonic()
        clips, failed = folder.answer_part(number, model, options, reader)
        duration_s = time.monotonic() - started_s
        shown = folder.part_path(number).name
        say(f"{shown}: {clips - failed:,} clips answered, {failed:,} failed in {duration_s:.1f} s")


def finish(args: ShardedPredictArguments, folder: AnswerFolder) -> None:
    """Check, count and merge the answers if this process is the last one, and print the counts."""
    finished = folder.finish(args.merge)
    if finished is None:
        return
    answered, failed = finished.manifest["answered"], finished.manifest["failed"]
    place = folder.path / (MERGED if args.merge else PARTS)
    say(f"{place}: {answered:,} clips answered, {failed:,} failed")
