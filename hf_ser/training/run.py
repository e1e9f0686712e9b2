"""A training run: Trainer, best checkpoint, and the model folder that it leaves."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from transformers import EvalPrediction, PreTrainedModel, Trainer
from transformers.trainer_utils import get_last_checkpoint

from hf_ser.arguments import ConfigError
from hf_ser.evaluation import (
    plot_confusion,
    plot_training_curves,
    score,
    score_split,
    softmax,
    versions,
    write_json,
    write_predictions,
)
from hf_ser.training.arguments import DataArguments, SerTrainingArguments
from hf_ser.training.data import AudioCollator, SplitData, decoded
from hf_ser.training.losses import cross_entropy
from hf_ser.training.modeling import min_samples

RESULTS = "results.json"


def claim_output_dir(args: SerTrainingArguments) -> str | None:
    """Refuse a folder that holds another run, and find the checkpoint to resume from.

    Returns:
        The checkpoint's folder, or None to start anew.

    Raises:
        ConfigError: the folder holds a finished run or checkpoints and neither `overwrite` nor
            `resume_from_checkpoint` is given, or there is no checkpoint to resume from.
    """
    output = Path(str(args.output_dir))
    last = get_last_checkpoint(str(output)) if output.is_dir() else None
    resume = args.resume_from_checkpoint
    if resume and str(resume).lower() != "false":
        found = last if str(resume).lower() == "true" else str(resume)
        if found is None or not Path(found).is_dir():
            raise ConfigError(f"--resume_from_checkpoint {resume}: {output} holds no checkpoint to go on from.")
        return found
    if args.overwrite and args.should_save:
        for path in output.glob("checkpoint-*") if output.is_dir() else ():
            shutil.rmtree(path)
        (output / RESULTS).unlink(missing_ok=True)
    elif not args.overwrite and (last is not None or (output / RESULTS).is_file()):
        state = "a finished run" if (output / RESULTS).is_file() else "the checkpoints of an unfinished run"
        raise ConfigError(
            f"--output_dir {output} holds {state}; choose another folder, or pass --resume_from_checkpoint true to go "
            "on from its last checkpoint, or --overwrite true to replace it."
        )
    return None


def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Scores of a validation pass, under the names that `metric_for_best_model` takes."""
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    probabilities = softmax(np.asarray(logits))
    scores = score(np.asarray(prediction.label_ids), probabilities, [str(i) for i in range(probabilities.shape[1])])
    return {name: value for name, value in scores.items() if isinstance(value, float)}


def make_trainer(
    model: PreTrainedModel, extractor: Any, data: SplitData, args: SerTrainingArguments, data_args: DataArguments
) -> Trainer:
    """Make the Trainer: clips decoded on access, dynamic padding, a loss that no batch layout changes."""
    return Trainer(
        model=model,
        args=args,
        train_dataset=decoded(data.splits["train"], data_args),
        eval_dataset=decoded(data.splits["validation"], data_args),
        processing_class=extractor,
        data_collator=AudioCollator(extractor, min_samples(model.config)),
        compute_loss_func=cross_entropy,
        compute_metrics=compute_metrics,
    )


def finish(trainer: Trainer, data: SplitData, data_args: DataArguments, config_name: str) -> dict[str, Any]:
    """Write the model folder: weights, extractor, predictions, results, history and figures.

    All processes take part in predicting; only the first writes.

    Returns:
        What stands in results.json.
    """
    folder = Path(str(trainer.args.output_dir))
    trainer.save_model(str(folder))
    results = describe_run(trainer, data, data_args, config_name)
    for split in ("validation", "test"):
        clips = data.splits[split]
        if len(clips) == 0:
            continue
        output = trainer.predict(decoded(clips, data_args), metric_key_prefix=split)
        logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
        probabilities = softmax(np.asarray(logits))
        columns = {name: list(clips[name]) for name in ("id", "corpus", "speaker", "gender", "label")}
        results["splits"][split] = score_split(columns, probabilities, data.labels)
        if trainer.is_world_process_zero():
            write_predictions(folder / f"predictions_{split}.parquet", columns, probabilities, data.labels)
    if trainer.is_world_process_zero():
        # The Trainer pickles its arguments; the folder stays free of pickles, and results.json holds them.
        (folder / "training_args.bin").unlink(missing_ok=True)
        _write_figures(trainer, results, folder / "figures")
        write_json(folder / "training_history.json", trainer.state.log_history)
        write_json(folder / RESULTS, results)
    return results


def describe_run(trainer: Trainer, data: SplitData, data_args: DataArguments, config_name: str) -> dict[str, Any]:
    """What a reader needs to judge and repeat the run, before any score."""
    args, state, model = trainer.args, trainer.state, trainer.model
    assert model is not None and trainer.train_dataset is not None
    return {
        "name": config_name,
        "model_type": model.config.model_type,  # type: ignore[union-attr]
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dataset": {
            "name": Path(data_args.dataset).name if Path(data_args.dataset).exists() else data_args.dataset,
            "configuration": data_args.configuration,
            "synthetic": list(data.synthetic),
            "train_clips": len(data.splits["train"]),
            "train_speakers": len(set(data.splits["train"]["speaker"])),
        },
        "protocol": {
            "name": data.protocol,
            "fold": data.assignment.fold,
            "seed": data.assignment.seed,
            "hash": data.assignment.hash,
            "notes": list(data.assignment.notes),
        },
        "preprocessing": {
            "duration_s": data_args.duration_s,
            "trim_db": data_args.trim_db,
            "normalize": data_args.normalize,
            "merge_calm": data_args.merge_calm,
            "channel": data_args.channel,
        },
        "training": {
            "seed": args.seed,
            "epochs": state.epoch,
            "steps": state.global_step,
            "learning_rate": args.learning_rate,
            "batch_size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            "best_metric": args.metric_for_best_model,
            "best_value": state.best_metric,
            "best_step": state.best_global_step,
            "seconds": round(sum(entry.get("train_runtime", 0.0) for entry in state.log_history), 1),
        },
        "versions": versions(),
        "splits": {},
    }


def _write_figures(trainer: Trainer, results: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    plot_training_curves(trainer.state.log_history, folder / "training_curves.png")
    for split, scored in results["splits"].items():
        uar = scored["scores"]["uar"]
        title = f"{split}, {scored['clips']} clips, {results['protocol']['name']}, UAR {uar:.3f}"
        plot_confusion(scored["confusion"], scored["labels"], title, folder / f"confusion_{split}.png")


def summary(results: dict[str, Any]) -> str:
    """A few lines for the terminal."""
    lines = []
    if results["dataset"]["synthetic"]:
        lines.append("Synthetic recordings: these scores say nothing about real speech.")
    for split, scored in results["splits"].items():
        values = scored["scores"]
        lines.append(
            f"{split}: {scored['clips']} clips of {scored['speakers']} speakers, accuracy {values['accuracy']:.3f}, "
            f"weighted F1 {values['f1_weighted']:.3f}, UAR {values['uar']:.3f}{_interval(scored)} "
            f"(largest class {scored['chance']['accuracy_of_the_largest_class']:.3f})"
        )
    return "\n".join(lines)


def _interval(scored: dict[str, Any]) -> str:
    low, high = scored["intervals"][0]["uar"]
    return "" if low is None else f" [{low:.3f}, {high:.3f}]"
