"""Knowledge distillation: trained models, the teachers, give each training clip probabilities to learn."""

import logging
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_ser.arguments import ConfigError
from hf_ser.data.run_locations import fill_in_location
from hf_ser.data.seen import TRAINED, Record, find_seen, marks_of_split, some
from hf_ser.data.splits import SplitData
from hf_ser.data.splits_file import SPLITS_FILE
from hf_ser.evaluation.clip_sources import predict_split
from hf_ser.inference import label_names, load_classifier
from hf_ser.local_or_hub import refuse_missing
from hf_ser.remote_code.preprocessing import file_beside, stored_preprocessing
from hf_ser.training.losses import Loss
from hf_ser.training.numbered_clips import NumberedLoss
from hf_ser.training.training_arguments import SerTrainingArguments

logger = logging.getLogger(__name__)
_LEAKS = (
    ("validation", "train", "trained on"),
    ("test", "train", "trained on"),
    ("test", "validation", "selected on"),
)


class Distillation(NumberedLoss):
    """The loss of the labels, and the cross entropy with the teachers' probabilities.

    Both logits and the teachers' probabilities are softened with a temperature, and the second loss is multiplied by
    its square, so that the sizes of the gradients do not depend on it (Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531).

    Args:
        loss: of the labels, see `make_loss`.
        probabilities: of the teachers, (clips, classes).
        weight: share of the second loss, above 0 to 1.
        temperature: above 0; 1 leaves probabilities unchanged.
    """

    numbers = "clips"  # the input of a batch with the numbers of its clips

    def __init__(self, loss: Loss, probabilities: np.ndarray, weight: float, temperature: float) -> None:
        self.loss, self.weight, self.temperature = loss, weight, temperature
        logs = torch.from_numpy(np.log(np.maximum(probabilities, 1e-12))).float()
        self.targets = (logs / temperature).softmax(dim=1)

    def _loss(
        self, logits: torch.Tensor, labels: torch.Tensor, numbers: torch.Tensor, count: torch.Tensor | int
    ) -> torch.Tensor:
        """The weighted sum of both losses."""
        targets = self.targets[numbers.cpu()].to(logits.device)
        soft = functional.cross_entropy(logits.float() / self.temperature, targets, reduction="sum")
        hard = self.loss(SequenceClassifierOutput(logits=logits), labels, num_items_in_batch=count)
        return (1 - self.weight) * hard + self.weight * soft * self.temperature**2 / count


def distillation(args: SerTrainingArguments, data: SplitData, loss: Loss) -> Distillation | None:
    """Predict the training clips with the teachers, and make the loss; None without teachers.

    Args:
        args: teachers, distillation_weight and distillation_temperature.
        data: splits with audio.
        loss: of the labels.

    Raises:
        ConfigError: a teacher has other classes.
    """
    if not args.teachers:
        return None
    given = [_probabilities(text, data, args) for text in args.teachers]
    return Distillation(loss, np.mean(given, axis=0), args.distillation_weight, args.distillation_temperature)


def _probabilities(text: str, data: SplitData, args: SerTrainingArguments) -> np.ndarray:
    name = fill_in_location(text, data.args, "teacher")
    model, extractor = load_classifier(name)
    if label_names(model.config) != list(data.labels):
        raise ConfigError(
            f"teacher {name} has the classes {', '.join(label_names(model.config))}; expected "
            f"{', '.join(data.labels)}, in this order."
        )
    steps = stored_preprocessing(name)
    (data.args.steps if steps is None else steps).store(extractor)
    probabilities = predict_split(
        model,
        extractor,
        data.splits["train"],
        batch_size=args.per_device_eval_batch_size,
        device=str(args.device),
        precision=args.precision_choice.precision,
    )
    right = float(np.mean(probabilities.argmax(axis=1) == np.asarray(data.splits["train"]["label"])))
    if args.should_log:
        logger.info("Teacher %s: accuracy %.3f on the training clips", name, right)
    return probabilities


def check_teachers(args: SerTrainingArguments, data: SplitData) -> SplitData:
    """Reject teachers that do not exist, or that know the validation or test clips, before anything is trained.

    Args:
        args: teachers.
        data: the splits of the run.

    Returns:
        The splits with the training clips of the teachers, which the run writes into its own splits.csv, so that later
        evaluations find these clips too.

    Raises:
        ConfigError: naming the clips and the remedy.

    >>> from hf_ser.data import DataArguments, load_splits
    >>> data = load_splits(DataArguments("data/emotions", "ravdess"))
    >>> check_teachers(SerTrainingArguments("runs/new"), data) is data  # no teachers
    True
    """
    if args.teachers and data.stream is not None:
        raise ConfigError("teachers are given and streaming is true; streaming does not support them. Remove one.")
    for text in args.teachers:
        name = fill_in_location(text, data.args, "teacher")
        refuse_missing(name, "teacher:", ConfigError)
        path = file_beside(name, SPLITS_FILE, "main")
        if path is None:
            raise ConfigError(
                f"teacher {name} has no {SPLITS_FILE}, so its training clips are unknown; expected the folder of a "
                "model that was trained with a recipe of this package."
            )
        record = Record.read(path)
        for split, part, did in _LEAKS:
            marks = marks_of_split(data.splits[split]) if split in data.splits else None
            seen = find_seen(record, marks, part) if marks is not None else []
            if seen:
                raise ConfigError(
                    f"teacher {name} was {did} {len(seen)} of the {len(data.splits[split])} {split} clips "
                    f"({some(seen)}); expected none. Pass the model of the same protocol, fold and seed."
                )
        own = set(data.splits["train"]["id"])
        more = {clip: record.hashes.get(clip, "") for clip, split in record.splits.items() if split in TRAINED}
        data = replace(data, pretraining={**data.pretraining, **{k: v for k, v in more.items() if k not in own}})
    return data
