"""`hf-ser serve`: from the options to the last answer."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from hf_ser.batch.loaded_model import LoadedModel, check_graph_options, load_model
from hf_ser.default_model import NAME, is_default
from hf_ser.remote_code.dimensions import are_dimensions
from hf_ser.serving.http_app import LOGGER, make_app
from hf_ser.serving.http_protocol import TimedHeadersProtocol
from hf_ser.serving.prediction_service import PredictionService
from hf_ser.serving.serving_limits import ServingError, ServingLimits

_MOST_CONNECTIONS = 512
_SHUTDOWN_S = 60  # then requests that are still being answered are dropped


@dataclass(frozen=True)
class ServeArguments:
    """The options of `hf-ser serve`; `hf-ser serve --help` describes them.

    >>> ServeArguments(model="runs/audio_cnn", port=8080).limits.max_clips
    32
    """

    model: str
    revision: str = "main"
    host: str = "127.0.0.1"
    port: int = 8000
    device: str | None = None
    precision: str = "auto"
    batch_size: int = 8
    max_wait_ms: float = 5.0
    limits: ServingLimits = field(default_factory=ServingLimits)

    def __post_init__(self) -> None:
        """Reject invalid options.

        Raises:
            SerError: the message names the option.
        """
        if not 0 <= self.port <= 65_535:
            raise ServingError(f"--port {self.port}; expected a number from 1 to 65535, or 0 for a free port.")
        if self.batch_size < 1:
            raise ServingError(f"--batch_size {self.batch_size}; expected at least 1.")
        if not 0 <= self.max_wait_ms <= 1000:
            raise ServingError(f"--max_wait_ms {self.max_wait_ms:g}; expected a number from 0 to 1000.")
        check_graph_options(self.model, self.device, self.precision)


def serve(args: ServeArguments) -> None:
    """Load a model and serve it until Ctrl-C or SIGTERM; requests that are being answered are finished.

    Raises:
        SerError: the model, the device, the address or the port is not usable.

    >>> serve(ServeArguments(model="runs/audio_cnn", port=8080))  # doctest: +SKIP
    Serving audio_cnn at http://127.0.0.1:8080 in fp32 (press Ctrl-C to stop)
    """
    with _bound(args.host, args.port) as listener:  # before the model, which takes longer
        model = load_model(args.model, args.revision, args.device, args.precision, {"batch_size": args.batch_size})
        if are_dimensions(model.labels):
            raise ServingError(
                f"--model {args.model} predicts {', '.join(model.labels)}; expected a classifier of emotions, since "
                "answers are probabilities. hf-ser predict prints these values."
            )
        service = PredictionService(model, args.limits, args.batch_size, args.max_wait_ms / 1000)
        name = shown_name(args.model)
        host, port = listener.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        started = f"Serving {name} at {address} {_computes(model)} (press Ctrl-C to stop)"
        server = http_server(service, name, started)
        _log_to_stderr()
        if model.warning:
            LOGGER.warning("warning: %s", model.warning)
        with _quiet_signals():
            asyncio.run(server.serve(sockets=[listener]))


class _Server(uvicorn.Server):
    """Prints a line as soon as clients can connect."""

    line = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.line:
            print(self.line, flush=True)  # noqa: T201


def http_server(service: PredictionService, name: str, started: str = "") -> uvicorn.Server:
    """The server of a service, which logs nothing itself.

    Args:
        service: is started and closed by the server.
        name: of the model, as clients see it.
        started: line to print when clients can connect.
    """
    config = uvicorn.Config(
        make_app(service, name),
        http=TimedHeadersProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    server = _Server(config)
    server.line = started
    return server


def shown_name(model: str) -> str:
    """What clients see of the name of a model: no folders of this machine.

    >>> shown_name("runs/audio_cnn")
    'audio_cnn'
    """
    if is_default(model):
        return NAME
    return Path(model).resolve().name if os.path.exists(model) else model


def _computes(model: LoadedModel) -> str:
    precision = getattr(model.classify, "precision", None)
    return "as a graph" if precision is None else f"in {precision.precision}"


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound to an address. It does not listen yet: clients are refused until the model is loaded."""
    where = f"--host {host} --port {port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ServingError(f"{where}: no such address; expected one of this machine. Check --host.") from error
    with socket.socket(family, kind, protocol) as listener:
        if os.name == "posix":  # on Windows, this would allow two servers at the same port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise ServingError(
                f"{where}: cannot listen there ({os.strerror(error.errno or 0)}); expected an address of this machine "
                "and a free port. Choose another --port, or end the program that uses it."
            ) from error
        yield listener


def _log_to_stderr() -> None:
    """Log requests with the time, independently of how other loggers are configured."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """End normally after Ctrl-C and SIGTERM: uvicorn finishes its requests, and then raises the signal once more."""
    kept = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
