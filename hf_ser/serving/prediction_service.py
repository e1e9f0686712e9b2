"""From a request to its answer: read, check, decode, classify."""

import asyncio
import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from hf_ser.batch.loaded_model import LoadedModel
from hf_ser.remote_code.call_options import chosen_threshold
from hf_ser.remote_code.reading_ahead import available_processors
from hf_ser.remote_code.windows import WindowPlan
from hf_ser.serving.batching_worker import BatchingWorker
from hf_ser.serving.clip_decoding import decode_clip
from hf_ser.serving.request_content import Clip, read_content
from hf_ser.serving.request_schemas import Parameters
from hf_ser.serving.serving_limits import RequestError, ServingLimits, UploadMemory, busy
from hf_ser.serving.serving_metrics import ServingMetrics

_MOST_OVERLAP = 10  # windows that a moment of a clip is in: more would multiply the work of a small request
CLIENT_GONE = 499  # as in nginx; only for logs and metrics, because nobody receives it


@dataclass(frozen=True)
class Answered:
    """The answer to a request, and how many clips it had."""

    content: Any
    clips: int


class PredictionService:
    """Answers requests with one model.

    Args:
        model: loaded and tested.
        limits: of requests.
        batch_size: clips per call of the model.
        max_wait_s: seconds that a clip waits for others, to be classified together.
    """

    def __init__(self, model: LoadedModel, limits: ServingLimits, batch_size: int, max_wait_s: float) -> None:
        self.model, self.limits, self.metrics = model, limits, ServingMetrics()
        self.worker = BatchingWorker(model.classify, batch_size, max_wait_s, limits, self.metrics)
        self._memory = UploadMemory(limits)
        self._max_input_s = _max_input_s(model.classify)
        self._decoders = ThreadPoolExecutor(available_processors(), thread_name_prefix="hf-ser serve: decoder")

    def start(self) -> None:
        """Start to classify."""
        self.worker.start()

    def close(self) -> None:
        """End after the clips that are in the queue."""
        self._decoders.shutdown(cancel_futures=True)
        self.worker.close()

    async def answer(self, request: Request) -> Answered:
        """Answer one request.

        Raises:
            RequestError: the request cannot be answered.
        """
        if not self.worker.is_alive:
            raise RequestError(503, "the model has stopped; expected it to run. Restart the server.")
        self.worker.check_room()  # before the upload
        with self._memory.of_request() as held:
            content = await read_content(request, self.limits, held, self._decoders)
            options = self._options(content.parameters)
            with self.worker.places(len(content.clips)):
                answers = await self._unless_gone(request, self._answers(content.clips, options, content.is_list))
        return Answered(answers if content.is_list else answers[0], len(content.clips))

    def _options(self, parameters: Parameters) -> dict[str, Any]:
        """Check parameters that depend on each other or on the model -> the options of a call."""
        options = parameters.options()
        try:
            chosen_threshold(parameters.abstain, self.model.abstention_threshold)
            plan = WindowPlan.for_model(self._max_input_s, parameters.window_s, parameters.stride_s)
        except ValueError as error:
            raise RequestError(422, str(error)) from None
        if plan.window_s > _MOST_OVERLAP * plan.stride_s:
            raise RequestError(
                422,
                f"stride_s: got {plan.stride_s:g} with windows of {plan.window_s:g} s; expected at least a tenth of "
                "the window. Choose a longer stride.",
            )
        return options

    async def _answers(self, clips: list[Clip], options: Mapping[str, Any], is_list: bool) -> list[Any]:
        """Decode and classify clips. In a list, a clip that cannot be used has an entry with the error."""
        try:
            async with asyncio.timeout(self.limits.queue_timeout_s):
                return await asyncio.gather(*(self._answer_clip(clip, options, is_list) for clip in clips))
        except TimeoutError:
            raise busy(f"no answer within {self.limits.queue_timeout_s:g} s") from None

    async def _answer_clip(self, clip: Clip, options: Mapping[str, Any], is_list: bool) -> Any:
        loop = asyncio.get_running_loop()
        try:
            waveform = await loop.run_in_executor(self._decoders, decode_clip, clip, self.limits.max_duration_s)
        except RequestError as error:
            if is_list and "reason" in error.details:
                return {"error": str(error), **error.details}
            raise
        answer = await asyncio.wrap_future(self.worker.submit(waveform, clip.name, options))
        if not is_list and "error" in answer:  # the clip was decoded: the model is the cause
            raise RequestError(500, answer["error"], reason=answer["reason"])
        return answer

    async def _unless_gone(self, request: Request, coroutine: Any) -> Any:
        """Wait for answers; cancel them if the client disconnects, so that nobody waits for an unread answer."""
        answers = asyncio.ensure_future(coroutine)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({answers, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answers.done():
                raise RequestError(CLIENT_GONE, "the client disconnected")
            return answers.result()
        finally:
            for task in (answers, gone):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone


async def _disconnected(request: Request) -> None:
    """Return when the client disconnects; the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _max_input_s(classify: Any) -> float | None:
    """Seconds at the start of a clip that the model uses; None if it uses whole clips."""
    if hasattr(classify, "metadata"):  # a graph
        return classify.metadata.max_input_s
    from hf_ser.remote_code.encoder_inputs import max_input_s

    return max_input_s(classify.model, classify.preprocessing)
