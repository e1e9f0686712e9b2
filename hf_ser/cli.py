"""`hf-ser`: classify recordings or live speech, describe or export a model, run the demo or a server, check files.

hf-ser predict recording.wav FOLDER
hf-ser predict FOLDER --model MODEL --output answers.csv
hf-ser listen
hf-ser info
hf-ser demo --model MODEL MODEL
hf-ser serve --model MODEL --port 8000
hf-ser export MODEL --output DIR
hf-ser check RECORDINGS.csv

Without a model, the commands use the one that comes with the package.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

# Commands import everything else when they need it, so that --help and errors in options are fast.
from hf_ser.default_model import chosen_model
from hf_ser.errors import SerError
from hf_ser.extras import missing_extra, needs_extra
from hf_ser.terminal import tolerate_any_character

FORMATS = ("table", "json", "jsonl", "csv")
_MODEL = "model folder or Hub id (default: the model that comes with hf_ser)"
_MODEL_OR_GRAPH = f"exported graph (.onnx), {_MODEL}"
_PRECISION = "bf16, fp16 or fp32 (default: bf16 if the hardware computes it natively, else fp16 on CUDA, else fp32)"
_SERVE_OPTIONS = (
    ("batch_size", int, 8, "clips and windows that are classified together"),
    ("max_wait_ms", float, 5.0, "milliseconds that a clip waits for others that are being decoded"),
    ("max_body_mb", float, 25.0, "largest request in megabytes"),
    ("max_duration_s", float, 600.0, "longest clip in seconds"),
    ("max_clips", int, 32, "most clips in a request"),
    ("queue_size", int, 64, "most clips in the server; further requests are answered with 503"),
    ("upload_timeout_s", float, 30.0, "seconds that an upload may take"),
    ("queue_timeout_s", float, 30.0, "seconds from the upload to the answer"),
)
_ABSTAIN = (
    'mark answers whose top probability is below THRESHOLD as "not sure"; off for no threshold (default: the '
    "model's threshold, if it has one)"
)
SOME_FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        0 for success, 1 if some recordings failed, 2 for wrong use or an unusable model, 130 after Ctrl-C.
    """
    tolerate_any_character()
    words = list(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(words[:1] if words[:1] == ["check"] else words)
    args.words = words[1:]  # options of check are those of recipes/prepare.py
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return args.command(args)
    except (SerError, ModuleNotFoundError) as error:
        shown = error if isinstance(error, SerError) else missing_extra(error)
        if shown is None:
            raise
        print(f"error: {shown}", file=sys.stderr)  # noqa: T201
        return WRONG_USE
    except KeyboardInterrupt as stop:
        print(str(stop) or "interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:  # such as `| head`; without this, Python would raise again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hf-ser", description="Speech emotion recognition.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser("predict", help="classify recordings")
    predict.add_argument(
        "recordings",
        nargs="*",
        metavar="RECORDING",
        help="recordings, folders, URLs, or - for standard input",
    )
    predict.add_argument(
        "--recordings_from", metavar="FILE", help="text file with one recording per line (- for standard input)"
    )
    predict.add_argument("--model", help=_MODEL_OR_GRAPH)
    predict.add_argument("--revision", default="main", help="revision of the model on the Hub")
    predict.add_argument("--format", choices=FORMATS, help="output format (default: table)")
    predict.add_argument(
        "--output",
        metavar="FILE",
        help="write to FILE.csv, FILE.jsonl or FILE.parquet; run the same command again to resume",
    )
    predict.add_argument("--overwrite", action="store_true", help="replace the content of --output")
    predict.add_argument("--timeline", action="store_true", help="add the scores of overlapping windows")
    predict.add_argument(
        "--window_s",
        type=float,
        help="window length in seconds (default: the whole recording, or several windows if it is long)",
    )
    predict.add_argument("--stride_s", type=float, help="step between windows in seconds (default: half a window)")
    predict.add_argument("--top_k", type=int, help="number of classes per recording (default: all)")
    predict.add_argument("--batch_size", type=int, default=8, help="windows per forward pass (default: 8)")
    predict.add_argument(
        "--num_threads",
        type=int,
        metavar="N",
        help="CPU threads that compute a batch (default: OMP_NUM_THREADS if set, else the available CPUs)",
    )
    predict.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    predict.add_argument("--precision", default="auto", help=_PRECISION)
    predict.add_argument(
        "--abstain",
        metavar="THRESHOLD",
        help=_ABSTAIN,
    )
    predict.set_defaults(command=_predict)
    _add_listen(commands)
    info = commands.add_parser("info", help="describe a model: type, training data, scores")
    info.add_argument("model", nargs="?", help=_MODEL_OR_GRAPH)
    info.add_argument("--revision", default="main", help="revision of the model on the Hub")
    info.set_defaults(command=_info)
    demo = commands.add_parser("demo", help="classify recordings in the browser")
    demo.add_argument(
        "--model",
        nargs="+",
        help="model folders or Hub ids to choose from on the page (default: the model that comes with hf_ser)",
    )
    demo.add_argument("--revision", default="main", help="revision of the models on the Hub")
    demo.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    demo.add_argument("--precision", default="auto", help=_PRECISION)
    demo.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, only this machine)"
    )
    demo.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    demo.set_defaults(command=_demo)
    _add_serve(commands)
    export = commands.add_parser("export", help="write a model as one graph, from waveforms to probabilities")
    export.add_argument("model", nargs="?", help=_MODEL)
    export.add_argument("--revision", default="main", help="revision of the model on the Hub")
    export.add_argument("--output", required=True, metavar="DIR", help="folder for the graph and its report")
    export.add_argument(
        "--format", default="onnx", help="onnx (default), torch, openvino, transformers.js, or web for a page"
    )
    export.add_argument("--float16", action="store_true", help="store weights in half precision (onnx)")
    export.add_argument(
        "--int8",
        action="store_true",
        help="quantize, if UAR on the validation clips of the model's training falls by less than 0.01 (onnx)",
    )
    export.add_argument("--dataset", help="for --int8: the dataset of the model's training (default: in recipe.yaml)")
    export.add_argument(
        "--onnxruntime_web", metavar="FOLDER", help="for --format web: the unpacked npm package (default: from npm)"
    )
    export.add_argument(
        "--verify",
        nargs="+",
        default=[],
        metavar="RECORDING",
        help="recordings on which graph and model are compared (default: generated voices)",
    )
    export.set_defaults(command=_export)
    check = commands.add_parser("check", help="check recordings and labels before training (CSV file or folder)")
    check.set_defaults(command=_check)
    return parser


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser("serve", help="classify recordings over HTTP")
    serve.add_argument("--model", help=_MODEL_OR_GRAPH)
    serve.add_argument("--revision", default="main", help="revision of the model on the Hub")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)")
    serve.add_argument("--port", type=int, default=8000, help="port to listen on; 0 for a free one (default: 8000)")
    serve.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    serve.add_argument("--precision", default="auto", help=_PRECISION)
    for name, kind, default, text in _SERVE_OPTIONS:
        serve.add_argument(f"--{name}", type=kind, default=default, help=f"{text} (default: {default:g})")
    serve.set_defaults(command=_serve)


def _serve(args: argparse.Namespace) -> int:
    with needs_extra("serve"):
        from hf_ser.serving import ServeArguments, ServingLimits, serve

    limits = ServingLimits(**{field.name: getattr(args, field.name) for field in fields(ServingLimits)})
    given = {field.name: getattr(args, field.name) for field in fields(ServeArguments) if field.name != "limits"}
    given["model"] = chosen_model(args.model, args.revision)
    serve(ServeArguments(**given, limits=limits))
    return 0


def _add_listen(commands: Any) -> None:
    listen = commands.add_parser("listen", help="classify live speech from a microphone, a file or a pipe")
    listen.add_argument("--model", help=_MODEL_OR_GRAPH)
    listen.add_argument("--revision", default="main", help="revision of the model on the Hub")
    listen.add_argument(
        "--input", metavar="FILE", help="a recording, or - for a WAV file on standard input (default: the microphone)"
    )
    listen.add_argument("--microphone", metavar="NAME", help="number or part of the name of an input device")
    listen.add_argument(
        "--raw_rate", type=int, metavar="HZ", help="--input has raw 16-bit little-endian samples at this rate"
    )
    listen.add_argument("--raw_channels", type=int, default=1, help="channels of raw samples (default: 1)")
    listen.add_argument("--realtime", action="store_true", help="read --input at the speed of a microphone")
    listen.add_argument("--output", metavar="FILE", help="append the answers to FILE.jsonl")
    listen.add_argument("--window_s", type=float, default=3.0, help="window length in seconds (default: 3)")
    listen.add_argument("--hop_s", type=float, default=1.0, help="step between windows in seconds (default: 1)")
    listen.add_argument(
        "--gate_dbfs", type=float, default=-60.0, help="windows with a lower peak are silence (default: -60)"
    )
    listen.add_argument(
        "--min_active_s", type=float, default=0.0, help="seconds above that level that a window needs (default: 0)"
    )
    listen.add_argument(
        "--smooth_windows", type=int, default=1, help="average scores over so many windows (default: 1)"
    )
    listen.add_argument("--smooth_weight", type=float, help="weight of the newest window in an exponential average")
    listen.add_argument(
        "--switch_margin", type=float, default=0.0, help="lead that a new label needs to be shown (default: 0)"
    )
    listen.add_argument(
        "--switch_windows", type=int, default=1, help="windows for which a new label must lead (default: 1)"
    )
    listen.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    listen.add_argument("--precision", default="auto", help=_PRECISION)
    listen.add_argument("--abstain", metavar="THRESHOLD", help=_ABSTAIN)
    listen.set_defaults(command=_listen)


def _listen(args: argparse.Namespace) -> int:
    from hf_ser.listen import ListenArguments, listen

    given = {field.name: getattr(args, field.name) for field in fields(ListenArguments)}
    given["model"] = chosen_model(args.model, args.revision)
    listen(ListenArguments(**given))
    return 0


def _predict(args: argparse.Namespace) -> int:
    from hf_ser.batch import PredictArguments, predict

    given = {field.name: getattr(args, field.name) for field in fields(PredictArguments)}
    given["model"] = chosen_model(args.model, args.revision)
    return SOME_FAILED if predict(PredictArguments(**given)) else 0


def _check(args: argparse.Namespace) -> int:
    with needs_extra():
        from hf_ser.data.check import main as check

    check(args.words)
    return 0


def _export(args: argparse.Namespace) -> int:
    import transformers

    with needs_extra("export"):
        from hf_ser.export import ExportArguments, export

    transformers.utils.logging.disable_progress_bar()
    given = {field.name: getattr(args, field.name) for field in fields(ExportArguments)}
    given["model"] = chosen_model(args.model, args.revision)
    print(export(ExportArguments(**given)))  # noqa: T201
    return 0


def _demo(args: argparse.Namespace) -> int:
    import transformers

    with needs_extra("demo"):
        from hf_ser.demo import serve  # takes seconds

    transformers.utils.logging.disable_progress_bar()
    models = args.model or [chosen_model(None, args.revision)]
    repeated = [model for number, model in enumerate(models) if model in models[:number]]
    if repeated:
        raise SerError(f"--model names {repeated[0]} twice; expected each model once.")
    options = {"device": args.device, "precision": args.precision, "host": args.host, "port": args.port}
    serve(dict.fromkeys(models, args.revision), **options)
    return 0


def _info(args: argparse.Namespace) -> int:
    from hf_ser.runtime.graph_description import describe_graph_file
    from hf_ser.runtime.graph_file import is_graph

    graph = args.model is not None and is_graph(args.model)
    rows = describe_graph_file(args.model) if graph else _model_rows(args.model, args.revision)
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in rows))  # noqa: T201
    return 0


def _model_rows(given: str | None, revision: str) -> list[tuple[str, str]]:
    import transformers

    from hf_ser.audio import Preprocessing
    from hf_ser.inference import choose_device, label_names, load_classifier
    from hf_ser.remote_code.dimensions import is_dimensional
    from hf_ser.remote_code.forward_precision import choose_precision
    from hf_ser.results_file import model_results

    transformers.utils.logging.disable_progress_bar()
    name = chosen_model(given, revision)
    model, extractor = load_classifier(name, revision, dimensions=True)
    config = model.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rows = [("model", name), ("type", config.model_type), ("parameters", f"{parameters:,}")]
    kind = "dimensions" if is_dimensional(config) else "labels"
    rows.append((kind, ", ".join(label_names(config))))
    temperature = getattr(config, "calibration_temperature", None)
    if temperature:
        rows.append(("calibrated", f"temperature {temperature:.3f}"))
    threshold = getattr(config, "abstention_threshold", None)
    if threshold is not None:
        rows.append(("abstains", f"below a top probability of {threshold:.3f}"))
    steps = Preprocessing.of(extractor).steps
    if steps:
        rows.append(("preprocessing", ", ".join(f"{name} {value}" for name, value in steps.items())))
    rows.append(("precision here", str(choose_precision(model, "auto", choose_device(None))).partition(" ")[2]))
    results = model_results(name, revision)
    return rows + (
        [("trained on", "unknown: the model has no results.json")] if results is None else _training(results)
    )


def _training(results: dict[str, Any]) -> list[tuple[str, str]]:
    from hf_ser.results_file import bounds, clips_and_speakers, number

    dataset, protocol = results["dataset"], results["protocol"]
    trained_on = clips_and_speakers(dataset["train_clips"], dataset["train_speakers"])
    rows = [("trained on", f"{trained_on}, {dataset['name']}")]
    if dataset["synthetic"]:
        rows.append(("", "synthetic recordings: these scores say nothing about real speech"))
    fold = f", fold {protocol['fold']}" if protocol["fold"] else ""
    rows.append(("protocol", f"{protocol['name']}{fold}, seed {protocol['seed']}"))
    rows += [("note", note) for note in protocol["notes"]]
    for split, scored in (results.get("dimensions") or {}).items():
        each = ", ".join(f"CCC of {name} {number(values['ccc'])}" for name, values in scored["per_dimension"].items())
        rows.append((split, f"{clips_and_speakers(scored['clips'], scored['speakers'])}: {each}"))
    for split, scored in results["splits"].items():
        interval = bounds(scored["intervals"][0].get("uar"))
        scores = scored["scores"]
        rows.append(
            (
                split,
                f"{clips_and_speakers(scored['clips'], scored['speakers'])}: accuracy {number(scores['accuracy'])}, "
                f"weighted F1 {number(scores['f1_weighted'])}, UAR {number(scores['uar'])} (95 % {interval})",
            )
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
