"""The seconds that a training takes, over all its interruptions."""

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

SECONDS = "total_runtime"


class TrainingClock(TrainerCallback):
    """Keep the seconds so far in the log history, which every checkpoint stores and a resumed training brings along.

    The Trainer's own `train_runtime` counts from the last start, and its `train_loss` is 0 where a finished training
    is resumed.
    """

    def __init__(self) -> None:
        self._since_s = 0.0
        self._before_s = 0.0
        self.first_step = 0  # of this process

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start."""
        self._since_s = time.perf_counter()
        self._before_s = elapsed(state)
        self.first_step = state.global_step

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Note the time before a checkpoint is saved."""
        if control.should_save:
            self._note(state)

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Note the time before a checkpoint is saved."""
        if control.should_save:
            self._note(state)

    def seconds(self) -> float:
        """Seconds of training so far."""
        return round(self._before_s + time.perf_counter() - self._since_s, 2)

    def _note(self, state: TrainerState) -> None:
        state.log_history.append({SECONDS: self.seconds(), "step": state.global_step})


def elapsed(state: TrainerState) -> float:
    """Seconds of training that the state's history knows of."""
    return max((entry[SECONDS] for entry in state.log_history if SECONDS in entry), default=0.0)
