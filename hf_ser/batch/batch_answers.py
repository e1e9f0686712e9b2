"""Run the pipeline over many recordings; a recording that makes it fail costs only its own answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hf_ser.batch.escaped_names import escaped_name

_SAMPLING_RATE = 16_000


def check_pipeline(classify: Any, options: Mapping[str, Any]) -> None:
    """Classify noise, which fails only because of the options, the model or the device."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, _SAMPLING_RATE // 2).astype(np.float32)
    classify(noise, **options)


def batch_answers(
    classify: Any,
    names: Sequence[str],
    options: Mapping[str, Any],
    *,
    source_of: Callable[[str], Any] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[str, Any]]:
    """Classify recordings in order.

    Args:
        classify: a `SpeechEmotionPipeline`.
        names: of the recordings.
        options: of the call.
        source_of: function of a name that returns what the pipeline reads; None if the name is the path or URL.
        is_stopped: called before each recording is opened; no more are opened once it returns True.

    Yields:
        The name, and the answer or error entry of the pipeline.

    Raises:
        Exception: an error that the pipeline also raises for noise.
    """
    opened = answered = 0
    source_of = source_of or str

    def sources() -> Iterator[Any]:
        nonlocal opened
        while opened < len(names) and not is_stopped():
            opened += 1
            yield source_of(names[opened - 1])

    while answered < len(names):
        try:
            for answer in classify(sources(), **options):
                yield names[answered], answer
                answered += 1
        except Exception:
            # The pipeline decodes ahead, so any of the open recordings can be the cause.
            if answered == opened:
                raise
            for name in names[answered:opened]:
                yield name, _alone(classify, name, source_of(name), options)
                answered += 1
        if is_stopped():
            return
        if answered < opened:
            raise RuntimeError(f"the pipeline returned {answered} answers for {opened} recordings")


def _alone(classify: Any, name: str, source: Any, options: Mapping[str, Any]) -> Any:
    try:
        return classify([source], **options)[0]
    except Exception as error:
        check_pipeline(classify, options)
        said = " ".join(str(error).split())
        got = f"{type(error).__name__} ({said})"
        return {"error": f"{escaped_name(name)}: got {got}; expected a recording.", "reason": "undecodable"}
