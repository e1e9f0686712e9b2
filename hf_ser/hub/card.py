"""Cards: of a model, from the template `model_card.md` and the results of its run, and of a pushed dataset."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml
from huggingface_hub import DatasetCard, EvalResult, ModelCard, ModelCardData, RepoCard, SpaceCard

from hf_ser.corpora import CORPORA
from hf_ser.data.protocols import SHARES_SPEAKERS
from hf_ser.data.splits_file import SPLITS_FILE, read_assignment
from hf_ser.errors import SerError
from hf_ser.hub import reproduction
from hf_ser.hub.card_robustness import copy_robustness, robustness_section
from hf_ser.hub.dimension_card import METRIC, DimensionCard
from hf_ser.hub.evaluation_results import FOLDER, evaluation_file
from hf_ser.hub.licences import UNKNOWN, data_licence, model_licence
from hf_ser.hub.reproduction import is_hybrid
from hf_ser.markdown import plain
from hf_ser.recipe_file import read_recipe
from hf_ser.reporting.answered_clips import abstention_text
from hf_ser.reporting.dimension_report import CONCORDANCE, CURVES
from hf_ser.reporting.run_report import SCORES
from hf_ser.reporting.vote_report import votes_text
from hf_ser.results_file import read_results
from hf_ser.scoring.corpus_mean import UAR_BY_CORPUS
from hf_ser.scoring.results import write_text

PLACEHOLDER = "PATH_OR_ID"  # of a folder that is not below the working directory
_ARCHITECTURES = {
    "ser-mel-cnn": "a MelCNN",
    "ser-audio-cnn": "an AudioCNN",
    "ser-audio-lstm": "an AudioLSTM",
    "ser-cnn-rnn": "a convolutional recurrent network",
    "data2vec-audio": "a data2vec model",
    "hubert": "a HuBERT model",
    "sew": "an SEW model",
    "unispeech": "a UniSpeech model",
    "unispeech-sat": "a UniSpeech-SAT model",
    "wav2vec2": "a wav2vec 2.0 model",
    "wav2vec2-bert": "a wav2vec2-BERT model",
    "wav2vec2-conformer": "a wav2vec 2.0 conformer model",
    "wavlm": "a WavLM model",
}
_ACTED_ENGLISH = ("crema_d", "ravdess", "savee", "tess")
_HERE = Path(__file__).parent
# The template is at the top level of a checkout, and next to this file in an installed wheel.
_TEMPLATES = (_HERE.parents[1] / "model_card.md", _HERE / "model_card.md")
_FIGURES = ("training_curves", "importances", "confusion_{}", "reliability_{}", "risk_coverage_{}", "roc_{}")
_VOTE_FIGURES = ("intended_perceived_{}", "agreement_{}")


class CardError(SerError):
    """A card whose metadata the Hub would reject."""


def render_model_card(
    results: dict[str, Any],
    *,
    corpora: Collection[str] | None = None,
    figures: Collection[str] | None = None,
    recipe: Mapping[str, Any] | None = None,
    folder: str | None = None,
    repository: str | None = None,
    package: Mapping[str, Any] | None = None,
    robustness: str = "",
) -> str:
    """Render the README.md of a model folder from its results.

    Args:
        results: the contents of results.json.
        corpora: those that the model was trained on; default: those in the results.
        figures: names, without suffix, of the figures in the folder; default: all that a run of this kind draws.
        recipe: the settings in recipe.yaml; None if the folder has no such file.
        folder: the model's folder, for the examples of a model that is not on the Hub.
        repository: the Hub id of the model; default: none yet.
        package: for the model that comes with this package: its held-out speakers, dtype and licence.
        robustness: the section on robustness, see `robustness_section`.

    Raises:
        CardError: results.json follows its schema, but has values that a card cannot show, such as text for a number.
    """
    results = plain(results)  # a file from elsewhere may contain markup
    try:
        corpora = sorted(trained_on(results) if corpora is None else corpora)
        place = repository or folder or PLACEHOLDER
        return _render(results, corpora, _drawn(results, figures), recipe, place, repository, package, robustness)
    except (TypeError, ValueError, LookupError, AttributeError, StopIteration, jinja2.TemplateError) as error:
        if isinstance(error, SerError):
            raise
        cause = " ".join(str(error).split())[:200]
        raise CardError(
            f"results.json has values that the card cannot show ({cause}). Evaluate the model again."
        ) from error


def _render(
    results: dict[str, Any],
    corpora: Sequence[str],
    figures: Sequence[str],
    recipe: Mapping[str, Any] | None,
    place: str,
    repository: str | None,
    package: Mapping[str, Any] | None,
    robustness: str,
) -> str:
    if results.get("dimensions"):
        return DimensionCard(
            data=_metadata(results, corpora, repository),
            results=results,
            place=place,
            needs_code=needs_code(results),
            has_steps=bool(_steps(results)),
            shares_speakers=shares_speakers(results),
            corpora=[
                vars(CORPORA[corpus]) if corpus in CORPORA else _own_corpus(corpus, results["dataset"].get("licence"))
                for corpus in corpora
            ],
            figures=figures,
            commands=[] if recipe is None else reproduction.commands(results, corpora, place, repository is not None),
            reservations=reproduction.limits(results, recipe or {}),
        ).render()
    template = next(path for path in _TEMPLATES if path.is_file())
    used = reproduction.prepared_corpora(results, corpora)
    dataset = results["dataset"]
    data = _metadata(results, corpora, repository)
    card = ModelCard.from_template(
        data,
        template_path=str(template),
        name=data.model_name,
        place=place,
        on_hub=repository is not None,
        results=results,
        training=results["training"],
        synthetic=_synthetic(results, used),
        labels=next(iter(results["splits"].values()))["labels"],
        outputs=dataset.get("labels"),
        mapped=_mapped(dataset.get("label_mapping") or {}),
        languages=dataset.get("languages") or [],
        architecture=_ARCHITECTURES.get(results["model_type"], f"a model of type {results['model_type']}"),
        hybrid=is_hybrid(results),
        test=results["splits"].get("test"),
        metrics=SCORES,
        selected_by=SCORES | {UAR_BY_CORPUS: "UAR as a mean over corpora"},
        abstention_text=abstention_text,
        votes_text=votes_text,
        shares_speakers=shares_speakers(results),
        needs_code=needs_code(results),
        steps=_steps(results),
        corpora=[CORPORA.get(corpus) or _own_corpus(corpus, dataset.get("licence")) for corpus in corpora],
        acted=set(corpora) <= set(_ACTED_ENGLISH),
        figures=figures,
        reproducible=recipe is not None,
        commands=reproduction.commands(results, corpora, place, repository is not None),
        prepared=[reproduction.folder_name(corpus) for corpus in used],
        on_the_hub="/" in results["dataset"]["name"],
        reservations=reproduction.limits(results, recipe or {}),
        package=package,
        robustness=robustness,
    )
    return str(card)


def _metadata(results: dict[str, Any], corpora: Sequence[str], repository: str | None) -> ModelCardData:
    synthetic, dataset = results["dataset"]["synthetic"], results["dataset"]["name"]
    training = results["training"]
    bases = [training.get("base_model", ""), *(base.get("repository", "") for base in training.get("bases") or ())]
    on_hub = [base for base in bases if "/" in base]  # others are names of folders, which the Hub would look up
    return ModelCardData(
        language=_language(results["dataset"].get("languages"), corpora),
        **model_licence(corpora, synthetic, results["dataset"].get("licence") or UNKNOWN),
        base_model=(on_hub[0] if len(on_hub) == 1 else on_hub) or None,
        datasets=[dataset] if "/" in dataset else None,
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=["speech-emotion-recognition", *corpora, *(["synthetic"] if synthetic else [])],
        metrics=[METRIC] if results.get("dimensions") else ["accuracy", "f1", "recall"],
        model_name=results["name"] if repository is None else repository.partition("/")[2],
        eval_results=_eval_results(results),
    )


def shares_speakers(results: Mapping[str, Any]) -> str:
    """Whether train and test share speakers: "all" by the protocol, "some" in given splits, or "" for none."""
    if results["protocol"]["name"].partition("+")[0] in SHARES_SPEAKERS:  # without its transductive normalisation
        return "all"
    return "some" if any(note.startswith("train and test share") for note in results["protocol"]["notes"]) else ""


def _language(languages: Sequence[str] | None, corpora: Sequence[str]) -> str | list[str] | None:
    """The languages of the training clips for the metadata; None if they are unknown."""
    if languages:
        return languages[0] if len(languages) == 1 else list(languages)
    return "en" if set(corpora) <= set(_ACTED_ENGLISH) else None


def _own_corpus(name: str, licence: str | None) -> dict[str, Any]:
    """The user's own recordings, with the fields of a `Corpus` that the card shows."""
    return {"name": name, "title": name, "licence": licence or "unknown", "licence_url": None, "bibtex": None}


def _mapped(mapping: Mapping[str, str | None]) -> list[str]:
    """A label mapping as words."""
    return [f"{label} as {name}" if name is not None else f"{label} left out" for label, name in mapping.items()]


def _synthetic(results: dict[str, Any], used: Sequence[str]) -> list[str]:
    """Titles of the generated corpora: those that the run used, of a dataset that may hold more."""
    generated = results["dataset"]["synthetic"]
    named = [corpus for corpus in used if corpus in generated] or generated
    return [CORPORA[corpus].title if corpus in CORPORA else corpus for corpus in named]


def write_model_card(folder: Path, results: dict[str, Any]) -> None:
    """Write the card into a model folder, and the test score in the Hub's format if the dataset is on the Hub.

    >>> from hf_ser.scoring import read_results
    >>> write_model_card(Path("runs/audio_cnn"), read_results(Path("runs/audio_cnn")))
    >>> "library_name: transformers" in Path("runs/audio_cnn/README.md").read_text()
    True
    """
    write_text(folder / "README.md", folder_card(folder, results))
    for path in (folder / FOLDER).glob("*.yaml"):  # of an earlier run
        path.unlink()
    found = evaluation_file(results, read_recipe(folder))
    if found is not None:
        (folder / FOLDER).mkdir(exist_ok=True)
        write_text(folder / found[0], found[1])


def folder_card(folder: Path, results: dict[str, Any], repository: str | None = None) -> str:
    """Render the card of a run's folder; `repository` is the Hub id that it is pushed to."""
    path = folder.resolve()
    return render_model_card(
        results,
        corpora=trained_on(results, folder),
        figures={path.stem for path in (folder / "figures").glob("*.png")},
        recipe=read_recipe(folder),
        folder=path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else None,
        repository=repository,
        robustness=robustness_section(path),
    )


def add_robustness(folder: Path, report_folder: Path) -> None:
    """Copy a robustness report into the folder of its model, and write the card again with a section on it.

    Args:
        folder: of the model, with results.json.
        report_folder: written by recipes/robustness.py.
    """
    copy_robustness(folder, report_folder)
    write_model_card(folder, read_results(folder))


def trained_on(results: dict[str, Any], folder: Path | None = None) -> list[str]:
    """The corpora whose clips trained or selected a model.

    If the run is too old to record them, they are those in the folder's splits.csv, or else those that were scored.
    """
    recorded = results["training"].get("corpora")
    if recorded is not None:
        return list(recorded)
    if folder is not None and (folder / SPLITS_FILE).is_file():
        splits = read_assignment(folder / SPLITS_FILE)
        return sorted({clip.partition("/")[0] for clip, split in splits.items() if split in ("train", "validation")})
    return sorted({corpus for scored in results["splits"].values() for corpus in scored["groups"]["corpus"]["groups"]})


def _steps(results: dict[str, Any]) -> dict[str, Any]:
    """The preprocessing steps that are active."""
    steps = results["preprocessing"]
    names = ("trim_db", "normalize", "duration_s")
    return {name: steps[name] for name in names if steps.get(name) not in (None, False)}


def needs_code(results: dict[str, Any]) -> bool:
    """Whether a model folder ships the code of its architecture."""
    return results["model_type"].startswith("ser-") or is_hybrid(results)


def dataset_card(text: str, corpora: Sequence[str], repository: str, *, with_audio: bool, own: str = UNKNOWN) -> str:
    """The card of a prepared dataset on the Hub, with its name, its licence, and whether it includes the audio.

    Args:
        text: the README.md that preparation wrote.
        corpora: those with recordings in it.
        repository: the Hub id.
        with_audio: whether the audio is pushed.
        own: licence of the recordings that are in none of the corpora of this package.
    """
    front, body = _parts(text)
    front = {key: value for key, value in front.items() if key not in ("license", "license_name")}
    front |= data_licence(corpora, own)
    if not with_audio:
        front["tags"] = [*front.get("tags", []), "metadata-only"]
        heading, rest = body.split("\n\n", 1)
        body = f"{heading}\n\n{_WITHOUT_AUDIO}\n\n{rest}"
        body = body.replace("(corpus/stem), `audio`, `label`", "(corpus/stem), `label`")
        body = re.sub(r"Audio is stored as 16 kHz mono.*?are installed\.\n\n", "", body, flags=re.DOTALL)
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n" + body.replace(PLACEHOLDER, repository)


_WITHOUT_AUDIO = (
    "**Metadata only, without audio**, since the licence of at least one corpus forbids redistribution. If you have "
    "the corpora, make the same clips with `recipes/prepare.py` and join these rows by `sha256` (of the mono samples) "
    "and `id`. The columns `split_...` have the split of each clip under each protocol."
)


def check_card(text: str, kind: str) -> None:
    """Check a card with the parser of huggingface_hub.

    Raises:
        CardError: its metadata is invalid or has no licence.
    """
    reader: type[RepoCard] = {"model": ModelCard, "dataset": DatasetCard, "space": SpaceCard}[kind]
    try:
        data = reader(text).data.to_dict()
    except (ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise CardError(
            f"README.md: {' '.join(str(error).split())}; expected metadata that the Hub accepts."
        ) from error
    if "license" not in data:
        raise CardError("README.md has no licence in its metadata; expected a card written by a recipe.")


def _parts(text: str) -> tuple[dict[str, Any], str]:
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    try:
        front = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as error:
        raise CardError(f"README.md: {' '.join(str(error).split())}; expected valid YAML at the top.") from error
    if found is None or not isinstance(front, dict):
        raise CardError("README.md has no metadata at the top; expected a card written by recipes/prepare.py.")
    return front, text[found.end() :]


def _drawn(results: dict[str, Any], figures: Collection[str] | None) -> list[str]:
    if results.get("dimensions"):
        names = [CURVES, *(CONCORDANCE.format(split) for split in results["dimensions"])]
        return [name for name in names if figures is None or name in figures]
    every = (*_FIGURES, *_VOTE_FIGURES)
    names = [name.format(split) for name in every for split in (results["splits"] if "{}" in name else [""])]
    splits = results["splits"].items()
    without = {f"risk_coverage_{split}" for split, scored in splits if not scored.get("abstention")}
    without |= {name.format(split) for name in _VOTE_FIGURES for split, scored in splits if not scored.get("votes")}
    names = [name for name in names if name not in without]
    if figures is None:
        return [name for name in names if name != ("training_curves" if is_hybrid(results) else "importances")]
    return [name for name in names if name in figures]


def _eval_results(results: dict[str, Any]) -> list[EvalResult]:
    dataset, protocol = results["dataset"], results["protocol"]
    return [
        EvalResult(
            task_type="audio-classification",
            task_name="Speech emotion recognition",
            dataset_type=dataset["name"],
            dataset_name=f"{dataset['name']} ({dataset['configuration']}, {protocol['name']})",
            dataset_config=dataset["configuration"],
            dataset_split="test",
            metric_type=metric,
            metric_name=name,
            metric_value=value,
        )
        for metric, name, value in _test_scores(results)
        if value is not None
    ]


def _test_scores(results: dict[str, Any]) -> list[tuple[str, str, float | None]]:
    """Type, name and value of each test score; the headline comes first."""
    dimensions = (results.get("dimensions") or {}).get("test")
    if dimensions:
        each = dimensions["per_dimension"].items()
        return [(METRIC, "mean CCC", dimensions["ccc"])] + [
            (METRIC, f"CCC of {name}", scores["ccc"]) for name, scores in each
        ]
    test = results["splits"].get("test")
    if not test:
        return []
    kinds = {metric: "recall" if metric == "uar" else metric.partition("_")[0] for metric in SCORES}
    by_corpus = test.get("by_corpus")
    found = [(kinds[metric], name, test["scores"][metric]) for metric, name in SCORES.items()]
    if by_corpus:  # the headline of a merged set
        means = by_corpus["scores"]
        found = [(kinds[key], f"{name}, mean over corpora", means[key]) for key, name in SCORES.items()] + found
    return found
