"""The card of a model of dimensions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import ModelCardData

from hf_ser import markdown
from hf_ser.recipe_file import RECIPE
from hf_ser.results_file import bounds, clips_and_speakers, number

METRIC = "ccc"  # the Hub's list of metrics has no concordance, and it accepts other names
_LIMITS = """\
The model is meant for research. Its values are those that raters of the training clips would give: they describe
how a voice sounds to others, not what a person feels. Expect lower scores on recordings that differ from the
training data in language, speaking style or recording conditions, and on ratings that were made with other
instructions. Do not use the model on people without their consent: a voice is personal data. In the European
Union, inferring emotions at work or in education is prohibited (Regulation 2024/1689, article 5), and elsewhere
people must be informed that such a system is used on them (article 50). Do not use its output to make decisions
about people."""
_SHARED = {
    "all": "The other clips of the test speakers are in the training data.",
    "some": "Some of the test speakers are in the training data too.",
    "": "No test speaker is in the training data.",
}


@dataclass(frozen=True)
class DimensionCard:
    """What the card of a model of dimensions shows.

    Args:
        data: the metadata.
        results: the contents of results.json.
        place: folder or Hub id of the model, for the examples.
        needs_code: whether the folder ships the code of its architecture.
        has_steps: whether the model has preprocessing of its own.
        shares_speakers: "all" or "some" if train and test share speakers, or "".
        corpora: those that the model was trained on: name, title, licence, licence_url and bibtex.
        figures: names, without suffix, of the figures in the folder.
        commands: those that repeat the run; empty without recipe.yaml.
        reservations: what the commands cannot repeat.
    """

    data: ModelCardData
    results: Mapping[str, Any]
    place: str
    needs_code: bool
    has_steps: bool
    shares_speakers: str
    corpora: Sequence[Mapping[str, Any]]
    figures: Sequence[str]
    commands: Sequence[str]
    reservations: Sequence[str]

    def render(self) -> str:
        """Render the README.md of a model folder."""
        synthetic = self.results["dataset"]["synthetic"]
        parts = [f"---\n{self.data.to_yaml()}\n---\n# {self.data.model_name}"]
        if synthetic:
            parts.append("> **Trained on generated voices.** The scores say nothing about real speech.")
        parts += [self._about(), "## Use", self._use(), "## Results", *self._scores(), *self._figures()]
        parts += ["## Intended use and limits", _LIMITS, "## Training", *self._training(), *self._reproduction()]
        parts += ["## Citation", self._citation()]
        return "\n\n".join(parts) + "\n"

    @property
    def _names(self) -> list[str]:
        return list(next(iter(self.results["dimensions"].values()))["per_dimension"])

    def _about(self) -> str:
        dataset, training = self.results["dataset"], self.results["training"]
        trained = clips_and_speakers(dataset["train_clips"], dataset["train_speakers"])
        titles = ", ".join(corpus["title"] for corpus in self.corpora)
        base = training.get("base_model")
        origin = f"fine-tuned from {base}" if base else f"of type {self.results['model_type']}, trained from scratch"
        return (
            f"This model predicts dimensions of emotion from a voice recording: {', '.join(self._names)}. Its values "
            "are in the range of the annotations, scaled to 0 to 1, and may lie a little outside it. It is "
            f"{origin} on {trained}{f' from {titles}' if titles else ''}, with "
            f"{self.results['parameters']:,} parameters."
        )

    def _use(self) -> str:
        lines = [f"```bash\nhf-ser predict recording.wav --model {self.place}\n```\n\n```python"]
        if self.needs_code:
            arguments = f'"audio-classification", model="{self.place}", trust_remote_code=True'
            after = "The scores are the values of the dimensions, in the order of the model's outputs."
        elif self.has_steps:
            lines.append("import hf_ser.models  # applies the model's preprocessing")
            arguments = f'"speech-emotion-recognition", model="{self.place}"'
            after = (
                "The scores are the values of the dimensions. The stock pipeline would not apply the preprocessing."
            )
        else:
            arguments = f'"audio-classification", model="{self.place}", function_to_apply="none"'
            after = (
                "The scores are the values of the dimensions, largest first. Without `function_to_apply`, older "
                "releases of transformers apply a softmax."
            )
        lines += ["from transformers import pipeline\n", f"predict = pipeline({arguments})"]
        lines += ['predict("recording.wav")\n```', f"\n{after} They are no probabilities."]
        return "\n".join(lines)

    def _scores(self) -> list[str]:
        protocol, splits = self.results["protocol"], self.results["dimensions"]
        fold = f", fold {protocol['fold']}" if protocol["fold"] else ""
        rows = []
        for split in sorted(splits, key=lambda split: split != "test"):
            scored, interval = splits[split], splits[split]["intervals"][0]
            counted = clips_and_speakers(scored["clips"], scored["speakers"])
            rows += [
                (split, name, number(each["ccc"]), bounds(interval["per_dimension"][name]), number(each["rmse"]))
                for name, each in scored["per_dimension"].items()
            ]
            rows.append((f"{split}: {counted}", "mean", number(scored["ccc"]), bounds(interval["ccc"]), ""))
        method = next(iter(splits.values()))["intervals"][0]["method"]
        known = "test" in splits and splits["test"]["speakers"] is not None
        shared = f" {_SHARED[self.shares_speakers]}" if known else ""
        text = (
            f"Protocol {protocol['name']}{fold}.{shared} CCC is the concordance correlation coefficient (1 for equal "
            f"values), with its 95 % interval from a bootstrap ({method}). Test clips were used only for these scores."
        )
        return [
            text,
            markdown.table(("split", "dimension", "CCC", "95 % interval", "root mean square error"), rows),
            "[report.md](report.md) and [results.json](results.json) have all scores.",
        ]

    def _figures(self) -> list[str]:
        images = [f"![{name.replace('_', ' ').capitalize()}](figures/{name}.png)" for name in self.figures]
        return ["\n".join(["<details>\n<summary>Figures</summary>\n", *images, "\n</details>"])] if images else []

    def _training(self) -> list[str]:
        training, dataset = self.results["training"], self.results["dataset"]
        loss = {"ccc": "1 minus the CCC of a batch", "mse": "the mean square error"}[training["loss"]]
        names = ("learning_rate", "batch_size", "steps", "optimizer", "schedule", "precision", "seed")
        settings = ", ".join(f"{name.replace('_', ' ')} {training[name]}" for name in names)
        notes = "".join(f" Note: {note}." for note in self.results["protocol"]["notes"])
        kept = (
            f" The checkpoint of step {training['best_step']} had the best {training['best_metric']} on validation "
            f"({number(training['best_value'])}) and was kept."
        )
        text = (
            f"The loss is {loss}. Settings: {training['epochs']:g} epochs, {settings}."
            f"{kept if training['best_step'] else ''} The dataset is "
            f"`{dataset['name']}`, configuration `{dataset['configuration']}`.{notes}"
        )
        if not self.corpora:
            return [text, "The training corpora are unknown."]
        rows = [(corpus["title"], _licence(corpus)) for corpus in self.corpora]
        comply = "Users of this model must comply with these licences, including attribution."
        return [text, markdown.table(("corpus", "licence"), rows), comply]

    def _reproduction(self) -> list[str]:
        if not self.commands:
            return []
        lines = "\n".join(self.commands)
        text = (
            f"[{RECIPE}]({RECIPE}) has the settings of the run. In a checkout of hf_ser, after preparing the dataset:"
        )
        return ["## Reproduce", f"{text}\n\n```bash\n{lines}\n```", *(f"- {line}" for line in self.reservations)]

    def _citation(self) -> str:
        entries = [corpus["bibtex"] for corpus in self.corpora if corpus["bibtex"]]
        software = [
            "@software{hf_ser,",
            "  title = {hf_ser: speech emotion recognition with the Hugging Face libraries},",
            "  author = {{The hf_ser developers}},",
            f"  version = {{{self.results['versions']['hf_ser']}}}",
            "}",
        ]
        return "\n".join(["```bibtex", *entries, *software, "```"])


def _licence(corpus: Mapping[str, Any]) -> str:
    return f"[{corpus['licence']}]({corpus['licence_url']})" if corpus["licence_url"] else str(corpus["licence"])
