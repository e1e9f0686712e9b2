"""From the scores of successive windows to a label that does not flicker: smoothing and hysteresis."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from hf_ser.errors import SerError


@dataclass(frozen=True)
class DecisionRule:
    """How the label of a window is chosen.

    Args:
        smooth_windows: number of windows whose scores are averaged; 1 for none.
        smooth_weight: weight of the newest window in an exponential average, above 0 and at most 1; None for none.
        switch_margin: how much a new label's score must exceed that of the present label.
        switch_windows: number of successive windows for which it must do so.

    Raises:
        SerError: a value is out of range, or both averages are chosen.
    """

    smooth_windows: int = 1
    smooth_weight: float | None = None
    switch_margin: float = 0.0
    switch_windows: int = 1

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("smooth_windows", "switch_windows"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise SerError(f"{name}: got {value!r}; expected an integer of at least 1.")
        if self.smooth_weight is not None and not 0 < self.smooth_weight <= 1:
            raise SerError(f"smooth_weight: got {self.smooth_weight}; expected a number above 0 and at most 1.")
        if self.smooth_weight is not None and self.smooth_windows > 1:
            raise SerError("got both smooth_windows and smooth_weight; expected one of them. Remove the other.")
        if not 0 <= self.switch_margin < 1:
            raise SerError(f"switch_margin: got {self.switch_margin}; expected a number from 0, below 1.")


class LabelDecision:
    """The label of a stream, window by window.

    >>> decide = LabelDecision(DecisionRule(switch_windows=2))
    >>> [decide({"sad": sad, "happy": 1 - sad})[0] for sad in (0.9, 0.3, 0.8, 0.3, 0.3)]
    ['sad', 'sad', 'sad', 'sad', 'happy']
    """

    def __init__(self, rule: DecisionRule) -> None:
        self._rule = rule
        self.reset()

    def reset(self) -> None:
        """Forget earlier windows, as after silence, which can separate speakers."""
        self._recent: deque[Mapping[str, float]] = deque(maxlen=self._rule.smooth_windows)
        self._average: Mapping[str, float] = {}
        self._label: str | None = None
        self._rival, self._led = "", 0  # the label that exceeds the present one, and for how many windows

    def __call__(self, scores: Mapping[str, float]) -> tuple[str, float]:
        """Choose the label of the next window.

        Args:
            scores: probabilities by label, best first.

        Returns:
            The label and its smoothed score.
        """
        smoothed = self._smoothed(scores)
        best = max(smoothed, key=lambda label: smoothed[label])  # the first of equal ones, as in the pipeline
        if self._label is None:
            self._label = best
        elif best == self._label or smoothed[best] - smoothed[self._label] < self._rule.switch_margin:
            self._led = 0
        else:
            self._led = self._led + 1 if best == self._rival else 1
            self._rival = best
            if self._led >= self._rule.switch_windows:
                self._label, self._led = best, 0
        return self._label, smoothed[self._label]

    def _smoothed(self, scores: Mapping[str, float]) -> Mapping[str, float]:
        weight = self._rule.smooth_weight
        if weight is not None:
            before = self._average or scores
            self._average = {label: weight * score + (1 - weight) * before[label] for label, score in scores.items()}
            return self._average
        self._recent.append(scores)
        if len(self._recent) == 1:  # exactly the scores
            return scores
        return {label: sum(each[label] for each in self._recent) / len(self._recent) for label in scores}
