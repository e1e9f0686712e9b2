"""The card of a pretrained encoder."""

from typing import Any

import yaml

from hf_ser.markdown import plain, table

_USE = """This is an encoder for fine-tuning. It has no classification head and predicts no emotions. Fine-tune it on
labelled recordings first:

```bash
python recipes/finetune.py --model_name_or_path {name} --dataset DATASET --output_dir FOLDER
```

It loads in every program that takes `facebook/wav2vec2-base`, such as
`AutoModelForAudioClassification.from_pretrained`."""


def encoder_summary(content: dict[str, Any]) -> str:
    """Two lines on a finished pretraining, from the contents of pretraining.json."""
    scores, hours, groups = content["scores"], content["hours"], content["groups"]
    lines = ["Synthetic recordings: this encoder is of no use for real speech."] if content["synthetic"] else []
    lines.append(
        f"pretraining: {hours['train']:.2f} hours of {groups['train']} {groups['of']}; validation on "
        f"{groups['validation']} others: loss {scores['loss']:.3f}, contrastive accuracy "
        f"{scores['contrastive_accuracy']:.3f}, codevector perplexity {scores['codevector_perplexity']:.1f}"
    )
    return "\n".join(lines)


def encoder_card(content: dict[str, Any]) -> str:
    """Write the card from the contents of pretraining.json.

    Args:
        content: see `write_pretraining`.
    """
    content = plain(content)
    training, scores, groups = content["training"], content["scores"], content["groups"]
    base = content["base_model"]
    metadata: dict[str, Any] = {"library_name": "transformers", "tags": ["speech", "wav2vec2", "pretraining"]}
    if base and "/" in base:
        metadata["base_model"] = base
    start = f"continued from {base}" if base else "from scratch"
    lines = [
        "---",
        yaml.safe_dump(metadata, sort_keys=False).strip(),
        "---",
        f"# {content['name']}",
        "",
        f"A wav2vec 2.0 encoder, pretrained {start} on {content['hours']['train']:.2f} hours of unlabelled speech.",
        "",
        *(_synthetic(content["synthetic"])),
        _USE.format(name=content["name"]),
        "",
        "## Training",
        "",
        f"Contrastive and diversity loss of [wav2vec 2.0](https://arxiv.org/abs/2006.11477) with masked spans of "
        f"{training['mask_time_length']} frames: {_epochs(training['epochs'])}, {training['steps']} steps of "
        f"{training['batch_size']} segments, learning rate {training['learning_rate']:g}, seed {training['seed']}, "
        f"{training['precision']}. `recipe.yaml` has the settings.",
        "",
        table(
            ["", "train", "validation"],
            [
                [groups["of"], groups["train"], groups["validation"]],
                ["clips", content["clips"]["train"], content["clips"]["validation"]],
                ["segments", content["segments"]["train"], content["segments"]["validation"]],
                ["hours", *(f"{content['hours'][split]:.2f}" for split in ("train", "validation"))],
            ],
        ),
        "",
        f"`splits.csv` lists the clips. {content['unusable_files']} files could not be used.",
        "",
        "## Scores",
        "",
        f"On held-out {groups['of']}, per masked frame. They measure the pretraining task, not emotion recognition.",
        "",
        table(["score", "value"], [[_TITLES[name], f"{scores[name]:.3f}"] for name in _TITLES if name in scores]),
        "",
        "## Licence",
        "",
        "The terms of the recordings and of the base model apply.",
        "",
    ]
    return "\n".join(lines)


_TITLES = {
    "loss": "loss",
    "contrastive_loss": "contrastive loss",
    "diversity_loss": "diversity loss",
    "codevector_perplexity": "codevector perplexity",
    "contrastive_accuracy": "accuracy of picking the true frame among the negatives",
}


def _epochs(number: float) -> str:
    return f"{number:g} epoch{'' if number == 1 else 's'}"


def _synthetic(names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"**Trained on synthetic recordings ({', '.join(names)}): it is of no use for real speech.**", ""]
