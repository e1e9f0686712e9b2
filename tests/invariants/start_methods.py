"""Prepare, train, stream, cross-validate and search with workers, as a person's own script would.

test_start_methods.py calls `run`, or runs start_methods.py SETTING_DIR OUTPUT_DIR WORKERS; both write
OUTPUT_DIR/results.json. A spawned worker imports this module too, so that imports which take seconds are in functions;
the recipe of the cross-validation has them at its beginning.
"""

import json
import multiprocessing
import runpy
import sys
from pathlib import Path

from hf_ser.arguments import parse
from hf_ser.data import DataArguments, PrepareArguments, load_rows, load_splits, prepare

RECIPE = Path(__file__).parents[2] / "recipes" / "finetune.py"
UNWATCHED = ["--eval_strategy=no", "--save_strategy=no", "--load_best_model_at_end=false"]
STREAM = ["--streaming=true", *UNWATCHED]


def parsed(words: list[str]) -> tuple:
    from hf_ser.training import ModelArguments, SerTrainingArguments

    return parse(ModelArguments, DataArguments, SerTrainingArguments, argv=words)


def losses(words: list[str]) -> list[float]:
    from transformers import set_seed

    from hf_ser.training import build_model, make_trainer

    model_args, data_args, args = parsed(words)
    set_seed(args.seed)
    data = load_splits(data_args)
    model, extractor = build_model(model_args, data.labels)
    trainer = make_trainer(model, extractor, data, args)
    trainer.train()
    return logged(trainer.state.log_history)


def logged(history: list[dict]) -> list[float]:
    return [entry["loss"] for entry in history if "loss" in entry]


def cross_validated(setting: Path, folder: Path, dataset: Path, workers: list[str]) -> list[float]:
    """The losses of one fold, which the recipe trains in a process of its own; the search shows validation."""
    from hf_ser.evaluation import CrossValidationArguments, cross_validate

    overrides = [word.removeprefix("--") for word in (*workers, *UNWATCHED)]
    args = CrossValidationArguments(str(RECIPE), str(setting / "config.yaml"), overrides)
    data_args = DataArguments(str(dataset), protocol="speaker_disjoint")
    cross_validate(load_rows(data_args), args, data_args, folder, overwrite=False, figures=False)
    return logged(json.loads((folder / "seed_0" / "training_history.json").read_text(encoding="utf-8")))


def run(setting: Path, output: Path, number: int) -> None:
    from hf_ser.search.hyperparameter_search import SearchArguments, search

    dataset = output / "dataset"
    corpora = {name: str(setting / "corpora" / name) for name in ("ravdess", "savee")}
    prepare(PrepareArguments(str(dataset), **corpora, num_proc=number or 1), progress=False)
    workers = [
        f"--dataloader_num_workers={number}",
        f"--dataloader_persistent_workers={'true' if number else 'false'}",
    ]
    # A worker that is not forked imports everything anew, which takes seconds: one does where one shows as much.
    single = [f"--dataloader_num_workers={min(number, 1)}", workers[1]]
    config = ["--config", str(setting / "config.yaml"), "--dataset", str(dataset), "--output_dir"]
    one = ["--num_train_epochs", "1", single[0], "--metric_for_best_model", "loss"]
    search(
        *parsed([*config, str(output / "search"), *one]),
        SearchArguments(str(setting / "space.yaml"), n_trials=1),
    )
    study = (output / "search" / "trials.csv").read_text(encoding="utf-8").splitlines()[1].split(",")
    found = {
        "start_method": multiprocessing.get_start_method(),
        "streamed": losses([*config, str(output / "stream"), *STREAM, *workers]),
        "cross_validated": cross_validated(setting, output / "folds", dataset, single),
        "searched": float(study[2]),
    }
    (output / "results.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    setting = Path(sys.argv[1])
    runpy.run_path(str(setting / "sitecustomize.py"))  # this process was forked from one with another method
    run(setting, Path(sys.argv[2]), int(sys.argv[3]))
