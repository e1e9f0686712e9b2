"""One line per epoch of a training, and a progress bar in terminals."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import IntervalStrategy

from hf_ser.training.training_arguments import SerTrainingArguments

NAMES = {"loss": "loss", "f1_weighted": "weighted F1", "f1_macro": "macro F1", "uar": "UAR"}
NAMES |= {"uar_by_corpus": "UAR by corpus", "ccc": "mean CCC"}
NAMES |= {"contrastive_accuracy": "contrastive accuracy", "codevector_perplexity": "perplexity"}  # of a pretraining
# Validation scores, shown with metric_for_best_model.
_SHOWN = ("loss", "f1_weighted", "uar", "contrastive_accuracy", "codevector_perplexity")
_MANY = 1_000_000  # epochs: the Trainer's value for a stream of unknown length


class EpochLines(TrainerCallback):
    """Print a line for each evaluation: losses, scores, seconds, and the best value so far.

    Without evaluation, it prints a line each time the loss is logged. The main process prints the lines on stdout. The
    progress bar is on stderr, if that is a terminal and `disable_tqdm` is false. With `log_level` info or debug, the
    raw scores are printed too.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._loss: float | None = None
        self._since_s = time.perf_counter()

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Open the progress bar."""
        self._loss, self._since_s = None, time.perf_counter()
        if state.is_world_process_zero:
            disable = True if args.disable_tqdm else None  # None: shown on a terminal only
            self._bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc="Training",
                unit=" steps",
                disable=disable,
                leave=False,
                dynamic_ncols=True,
            )

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Update the progress bar."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep the loss for the next line; without evaluation, print the line now."""
        logs = kwargs.get("logs")
        if not state.is_world_process_zero or not logs:
            return
        if args.get_process_log_level() <= logging.INFO:
            _print(str({name: value for name, value in logs.items() if name != "total_flos"}))
        if "loss" in logs:
            self._loss = logs["loss"]
            if args.eval_strategy == IntervalStrategy.NO:
                self._print_line(args, state, {})

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Print the line of an evaluation within a training."""
        if self._bar is not None:
            self._print_line(args, state, kwargs.get("metrics") or {})

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Remove the progress bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _print_line(self, args: Any, state: TrainerState, metrics: dict[str, float]) -> None:
        now_s = time.perf_counter()
        _print(epoch_line(args, state, self._loss, metrics, now_s - self._since_s))
        self._loss, self._since_s = None, now_s


def epoch_line(
    args: SerTrainingArguments, state: TrainerState, loss: float | None, metrics: dict[str, float], seconds: float
) -> str:
    """Write the line.

    Args:
        args: of the training.
        state: of the training; its history includes `metrics`.
        loss: mean training loss since it was last logged; None if it was not logged.
        metrics: validation scores, named `eval_...`; empty without validation.
        seconds: since the last line.
    """
    decisive = str(args.metric_for_best_model).removeprefix("eval_")
    strategy = args.logging_strategy if args.eval_strategy == IntervalStrategy.NO else args.eval_strategy
    count = _count_steps if strategy == IntervalStrategy.STEPS else _count
    parts = [_when(state, count), f"loss {_number(loss)}"]
    if metrics:
        names = [name for name in dict.fromkeys((*_SHOWN, decisive)) if f"eval_{name}" in metrics]
        first, *others = [f"{NAMES.get(name, name)} {_number(metrics[f'eval_{name}'])}" for name in names]
        parts += [f"validation: {first}", *others]
    parts.append(f"| {_seconds(seconds)}")
    best = _best(state, f"eval_{decisive}", bool(args.greater_is_better))
    if best is not None:
        value, epoch = best
        parts.append(f"| best {NAMES.get(decisive, decisive)} {_number(value)} (epoch {count(epoch)})")
    return "  ".join(parts)


def _when(state: TrainerState, count: Callable[[float], str]) -> str:
    epochs = state.num_train_epochs
    if epochs > _MANY:
        return f"step {state.global_step:>{len(str(state.max_steps))}}/{state.max_steps}"
    width = len(count(epochs))
    return f"epoch {count(state.epoch or 0.0):>{width}}/{epochs}"


def _best(state: TrainerState, name: str, greater_is_better: bool) -> tuple[float, float] | None:
    """The best value of a score and its epoch, including those before the training was resumed."""
    entries = [(entry[name], entry["epoch"]) for entry in state.log_history if name in entry]
    if not entries:
        return None
    choose = max if greater_is_better else min
    return choose(entries, key=lambda entry: entry[0])  # the first of equal values, as in the Trainer


def _count(epoch: float) -> str:
    return f"{epoch:.0f}" if float(epoch).is_integer() else f"{epoch:.2f}"


def _count_steps(epoch: float) -> str:
    return f"{epoch:.2f}"


def _number(value: float | None) -> str:
    return "    -" if value is None else f"{value:.3f}" if abs(value) < 1e4 else f"{value:.3g}"


def _seconds(seconds: float) -> str:
    return f"{seconds:4.1f} s" if seconds < 10 else f"{seconds:4.0f} s"


def _print(line: str) -> None:
    tqdm.write(line, file=sys.stdout)  # clears the progress bar first
    sys.stdout.flush()  # so that a log file is up to date
