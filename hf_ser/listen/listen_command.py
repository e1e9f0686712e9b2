"""`hf-ser listen`: from the options to the summary."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hf_ser.batch.escaped_names import one_line
from hf_ser.batch.interrupts import Interrupts
from hf_ser.batch.loaded_model import LoadedModel, load_model
from hf_ser.listen.answer_lines import AnswerFile, StreamMeter, answer_line
from hf_ser.listen.file_sources import STDIN, file_blocks, paced, raw_blocks, wave_blocks
from hf_ser.listen.listen_error import ListenError
from hf_ser.listen.microphone_source import Microphone
from hf_ser.listen.sound_block import SoundBlock
from hf_ser.live import StreamingRecognizer
from hf_ser.remote_code.audio_errors import AudioError
from hf_ser.remote_code.windows import SILENCE_DBFS
from hf_ser.runtime.graph_file import is_graph
from hf_ser.terminal import display_width


@dataclass(frozen=True)
class ListenArguments:
    """The options of `hf-ser listen`; `hf-ser listen --help` describes them.

    >>> ListenArguments(model="runs/audio_cnn", input="voice.wav", raw_channels=2)
    Traceback (most recent call last):
        ...
    hf_ser.listen.listen_error.ListenError: --raw_channels needs --raw_rate. Remove it or pass --raw_rate.

    Raises:
        ListenError: options contradict each other.
    """

    model: str
    revision: str = "main"
    input: str | None = None  # a recording, or - for standard input; None for the microphone
    microphone: str | None = None
    raw_rate: int | None = None
    raw_channels: int = 1
    realtime: bool = False
    output: str | None = None
    window_s: float = 3.0
    hop_s: float = 1.0
    gate_dbfs: float = SILENCE_DBFS
    min_active_s: float = 0.0
    smooth_windows: int = 1
    smooth_weight: float | None = None
    switch_margin: float = 0.0
    switch_windows: int = 1
    device: str | None = None
    precision: str = "auto"
    abstain: str | None = None  # a threshold or "off"; None for the threshold of the model, if it has one

    def __post_init__(self) -> None:
        """Reject contradictory options."""
        if self.input is not None and self.microphone is not None:
            raise ListenError("got both --input and --microphone; expected one of them. Remove the other.")
        if self.input is None and (self.raw_rate is not None or self.realtime):
            named = "--realtime" if self.raw_rate is None else "--raw_rate"
            raise ListenError(f"{named} needs --input. Remove it or pass --input.")
        if self.raw_rate is None and self.raw_channels != 1:
            raise ListenError("--raw_channels needs --raw_rate. Remove it or pass --raw_rate.")
        if is_graph(self.model) and (self.device is not None or self.precision != "auto"):
            named = "--device" if self.device is not None else "--precision"
            raise ListenError(f"{named} has no effect on a graph. Remove it.")

    def recognizer(self, loaded: LoadedModel) -> StreamingRecognizer:
        """The recognizer with these options.

        Raises:
            SerError: an option is invalid.
        """
        names = ("window_s", "hop_s", "gate_dbfs", "min_active_s", "smooth_windows", "smooth_weight")
        options = {name: getattr(self, name) for name in (*names, "switch_margin", "switch_windows")}
        return StreamingRecognizer(loaded.classify, **options, abstain=self._abstain(loaded.abstention_threshold))

    def _abstain(self, stored: float | None) -> bool | float:
        if self.abstain is None:
            return stored is not None
        if self.abstain == "off":
            return False
        try:
            return float(self.abstain)
        except ValueError:
            raise ListenError(f"--abstain {self.abstain}; expected a number from 0 to 1, or off.") from None


def listen(args: ListenArguments) -> StreamMeter:
    """Classify a stream, and print and store every answer as soon as it is known.

    Ctrl-C ends the stream: the windows that remain are answered, and the summary is printed.

    >>> meter = listen(ListenArguments(model="runs/audio_cnn", input="voice.wav", window_s=1.0, hop_s=0.5))
    0.0 to 0.6 s ...
    >>> meter.windows
    1

    Returns:
        The latencies and the real-time factor.

    Raises:
        SerError: an option is invalid, or the model or the source of sound cannot be used.
    """
    with ExitStack() as stack:
        output = None
        if args.output is not None:
            started = datetime.now(UTC).isoformat(timespec="seconds")
            output = AnswerFile(args.output, source=args.input or "microphone", started=started)
            stack.callback(output.close)
        microphone = Microphone(args.microphone) if args.input is None else None
        blocks = _file_source(args) if microphone is None else iter(microphone)  # before the model, which takes longer
        loaded = load_model(args.model, args.revision, args.device, args.precision, {})
        stream = _Stream(args.recognizer(loaded), output)
        if loaded.warning:
            _say(f"warning: {loaded.warning}")
        if microphone is not None:
            _say(f"Listening to {microphone.name} at {microphone.sampling_rate} Hz (press Ctrl-C to stop)")
        stream.run(blocks)
    _say(stream.meter.summary())
    if microphone is not None and microphone.dropped_s:
        _say(
            f"warning: {microphone.dropped_s:.1f} s of sound were lost, because the model is slower than the "
            "microphone. Pass a larger --hop_s, or use a smaller model."
        )
    return stream.meter


class _Stream:
    """A recognizer, and where its answers go."""

    def __init__(self, recognizer: StreamingRecognizer, output: AnswerFile | None) -> None:
        self.meter = StreamMeter()
        self._recognizer, self._output = recognizer, output
        self._width = max(map(display_width, recognizer.labels))

    def run(self, blocks: Iterator[SoundBlock]) -> None:
        """Answer all windows of a source.

        Raises:
            AudioError: a block cannot be used; the windows before it are answered.
        """
        error = None
        with Interrupts() as interrupts:
            try:
                for block in blocks:
                    with interrupts.held():  # so that Ctrl-C loses no answer
                        self._feed(block)
            except KeyboardInterrupt:
                _say("")  # after the ^C of the terminal
            except AudioError as caught:
                error = caught
        started_s = time.perf_counter()
        self._put(self._recognizer.finish(), 0.0, started_s, started_s)
        if error is not None:
            raise ListenError(one_line(str(error))) from error

    def _feed(self, block: SoundBlock) -> None:
        started_s = time.perf_counter()
        answers = self._recognizer.feed(block.samples, block.sampling_rate)
        self._put(answers, len(block.samples) / block.sampling_rate, started_s, block.arrived_s)

    def _put(self, answers: list[dict[str, Any]], duration_s: float, started_s: float, arrived_s: float) -> None:
        now_s = time.perf_counter()
        self.meter.add(duration_s, now_s - started_s, [now_s - arrived_s] * len(answers))
        for answer in answers:
            if self._output is not None:
                self._output.write(answer)
            print(one_line(answer_line(answer, self._width)), flush=True)  # noqa: T201


def _file_source(args: ListenArguments) -> Iterator[SoundBlock]:
    path = str(args.input)
    try:
        if args.raw_rate is not None:
            blocks = raw_blocks(path, args.raw_rate, args.raw_channels)
        else:
            blocks = wave_blocks() if path == STDIN else file_blocks(path)
    except AudioError as error:
        raise ListenError(one_line(str(error))) from error
    return paced(blocks) if args.realtime else blocks


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr, flush=True)  # noqa: T201
