"""The metrics of `hf-ser serve`, in the format of Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ServingMetrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, processor time, open files
        self.requests = Counter(
            "hf_ser_requests", "Requests to /predict by HTTP status.", ["status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "hf_ser_request_seconds",
            "Seconds from the first byte of a request to its answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.queue = Gauge(
            "hf_ser_queue_clips", "Clips that are decoded, wait or are classified.", registry=self.registry
        )
        self._batch_clips = Histogram(
            "hf_ser_batch_clips", "Clips per call of the model.", buckets=_BATCHES, registry=self.registry
        )
        self._audio_seconds = Counter("hf_ser_audio_seconds", "Seconds of classified audio.", registry=self.registry)
        self._model_seconds = Counter("hf_ser_model_seconds", "Seconds that the model took.", registry=self.registry)

    def count_batch(self, clips: int, audio_s: float, model_s: float) -> None:
        """Count one call of the model."""
        self._batch_clips.observe(clips)
        self._audio_seconds.inc(audio_s)
        self._model_seconds.inc(model_s)

    def count_request(self, status: int, duration_s: float) -> None:
        """Count one request to /predict."""
        self.requests.labels(str(status)).inc()
        self.request_seconds.observe(duration_s)

    def text(self) -> bytes:
        """All metrics as text."""
        return generate_latest(self.registry)
