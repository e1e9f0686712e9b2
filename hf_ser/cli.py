"""`hf-ser`: speech emotion recognition for people who only use models.

hf-ser predict recording.wav FOLDER --model MODEL
hf-ser info MODEL
hf-ser demo --model MODEL MODEL
"""

import argparse
import csv
import io
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from tabulate import tabulate
from tqdm import tqdm

from hf_ser.errors import SerError
from hf_ser.evaluation import label_names, load_classifier, model_results, stored_temperature
from hf_ser.evaluation.report import bounds, number
from hf_ser.models import SpeechEmotionPipeline

FORMATS = ("table", "json", "csv")
SUFFIXES = (".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav")
SOME_FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130
_WIDTH = 24  # of the bars


class UsageError(SerError):
    """A command line that cannot be followed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        0; 1 where some recordings could not be used; 2 for a command or model that cannot be; 130 after Ctrl-C.
    """
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    transformers.utils.logging.disable_progress_bar()  # of the weights, which load in a moment
    try:
        return args.command(args)
    except SerError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return WRONG_USE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:  # such as `| head`
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hf-ser", description="Speech emotion recognition.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser("predict", help="which emotions recordings carry")
    predict.add_argument("recordings", nargs="+", metavar="RECORDING", help="recordings, folders of them, or URLs")
    predict.add_argument("--model", required=True, help="model folder or Hub id")
    predict.add_argument("--revision", default="main", help="revision of the model on the Hub")
    predict.add_argument("--format", choices=FORMATS, default="table", help="what is printed (default: table)")
    predict.add_argument("--timeline", action="store_true", help="scores of overlapping windows, too")
    predict.add_argument(
        "--window_s", type=float, help="seconds of a window (default: the whole, of long ones what the model hears)"
    )
    predict.add_argument("--stride_s", type=float, help="seconds between windows (default: half a window)")
    predict.add_argument("--top_k", type=int, help="emotions per recording (default: all)")
    predict.add_argument("--batch_size", type=int, default=8, help="windows per forward pass (default: 8)")
    predict.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    predict.set_defaults(command=_predict)
    info = commands.add_parser("info", help="what a model is, what it was trained on, and how well it does")
    info.add_argument("model", help="model folder or Hub id")
    info.add_argument("--revision", default="main", help="revision of the model on the Hub")
    info.set_defaults(command=_info)
    demo = commands.add_parser("demo", help="a page in the browser: microphone or file in, emotions out")
    demo.add_argument("--model", required=True, nargs="+", help="model folders or Hub ids to choose from on the page")
    demo.add_argument("--revision", default="main", help="revision of the models on the Hub")
    demo.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    demo.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine)")
    demo.add_argument("--port", type=int, help="port to listen at (default: the first free one from 7860)")
    demo.set_defaults(command=_demo)
    return parser


def _predict(args: argparse.Namespace) -> int:
    files = [file for place in args.recordings for file in _find(place)]
    if args.batch_size < 1:
        raise UsageError(f"--batch_size {args.batch_size}; expected at least 1.")
    model, extractor = load_classifier(args.model, args.revision)
    try:
        classify: Any = SpeechEmotionPipeline(
            model=model, feature_extractor=extractor, device=args.device, task="audio-classification"
        )
        answers = classify(
            iter(files),
            batch_size=args.batch_size,
            top_k=args.top_k,
            window_s=args.window_s,
            stride_s=args.stride_s,
            return_timeline=args.timeline,
        )
        rows = []
        with tqdm(total=len(files), unit="recording", disable=len(files) < 2 or not sys.stderr.isatty()) as bar:
            for file, answer in zip(files, answers, strict=True):
                rows.append({"file": file, **(answer if isinstance(answer, dict) else {"scores": answer})})
                bar.update()
    except (ValueError, RuntimeError) as error:
        raise UsageError(str(error)) from error
    print(_RENDER[args.format](rows, label_names(model.config)))  # noqa: T201
    failed = [row for row in rows if "error" in row]
    for row in failed if args.format == "table" else ():
        print(f"error: {row['error']}", file=sys.stderr)  # noqa: T201
    return SOME_FAILED if failed else 0


def _demo(args: argparse.Namespace) -> int:
    from hf_ser.demo import serve  # gradio is an extra, and takes seconds to import

    repeated = [model for number, model in enumerate(args.model) if model in args.model[:number]]
    if repeated:
        raise UsageError(f"--model names {repeated[0]} twice; expected each model once.")
    serve(dict.fromkeys(args.model, args.revision), device=args.device, host=args.host, port=args.port)
    return 0


def _find(place: str) -> list[str]:
    """The recordings of a folder at any depth, or the place itself."""
    folder = Path(place)
    if place.startswith(("http://", "https://")) or not folder.is_dir():
        return [place]
    found = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        known = ", ".join(SUFFIXES)
        raise UsageError(f"{place}: got a folder without recordings; expected files that end in one of {known}.")
    return found


def _table(rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> str:
    lines = []
    for row in rows:
        lines.append(row["file"])
        lines += [_bar(score) for score in row.get("scores", ())] or ["  cannot be used"]
        for window in row.get("timeline", ()):
            best = "silence" if window["silent"] else "{label} {score:.3f}".format(**window["scores"][0])
            lines.append(f"  {window['start']:8.1f} to {window['end']:8.1f} s  {best}")
    return "\n".join(lines)


def _bar(score: dict[str, Any]) -> str:
    return f"  {score['label']:<10} {score['score']:.3f} {'#' * round(_WIDTH * score['score'])}".rstrip()


def _json(rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> str:
    return json.dumps(list(rows), indent=1, ensure_ascii=False)


def _csv(rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> str:
    """A row per recording, and per window where there are some, with a column for every label."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["file", "start", "end", "emotion", *(f"p_{label}" for label in labels), "error"])
    for row in rows:
        windows = row.get("timeline", ())
        for part in ({"start": "", "end": "", **row}, *windows):
            scores = {score["label"]: score["score"] for score in part.get("scores") or ()}
            best = max(scores, key=lambda label: scores[label]) if scores else ""
            cells = [f"{scores[label]:.6f}" if label in scores else "" for label in labels]
            said = part.get("error") or ("silence" if part.get("silent") else "")
            writer.writerow([row["file"], part["start"], part["end"], best, *cells, said])
    return out.getvalue().rstrip("\n")


_RENDER = {"table": _table, "json": _json, "csv": _csv}


def _info(args: argparse.Namespace) -> int:
    model, _ = load_classifier(args.model, args.revision)
    config = model.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rows = [("model", args.model), ("type", config.model_type), ("parameters", f"{parameters:,}")]
    rows.append(("emotions", ", ".join(label_names(config))))
    if getattr(config, "calibration_temperature", None):
        rows.append(("calibrated", f"by the temperature {stored_temperature(config):.3f}"))
    results = model_results(args.model, args.revision)
    if results is None:
        rows.append(("trained on", "not told: there is no results.json beside it"))
    else:
        rows += _training(results)
    print(tabulate(rows, tablefmt="plain"))  # noqa: T201
    return 0


def _training(results: dict[str, Any]) -> list[tuple[str, str]]:
    dataset, protocol = results["dataset"], results["protocol"]
    rows = [
        ("trained on", f"{dataset['train_clips']} clips of {dataset['train_speakers']} speakers, {dataset['name']}")
    ]
    if dataset["synthetic"]:
        rows.append(("", "synthetic recordings: these scores say nothing about real speech"))
    fold = f", fold {protocol['fold']}" if protocol["fold"] else ""
    rows.append(("protocol", f"{protocol['name']}{fold}, seed {protocol['seed']}"))
    rows += [("note", note) for note in protocol["notes"]]
    for split, scored in results["splits"].items():
        interval = bounds(scored["intervals"][0].get("uar"))
        scores = scored["scores"]
        rows.append(
            (
                split,
                f"{scored['clips']} clips of {scored['speakers']} speakers: accuracy {number(scores['accuracy'])}, "
                f"weighted F1 {number(scores['f1_weighted'])}, UAR {number(scores['uar'])} (95 % {interval})",
            )
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
