"""Planning a push: the files and the card, selected and checked without a network."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import RepoCard
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from hf_ser.arguments import ConfigError
from hf_ser.data.prepare import SUMMARY
from hf_ser.hub.card import check_card, dataset_card, folder_card, needs_code, trained_on
from hf_ser.hub.endpoint_files import endpoint_files
from hf_ser.hub.evaluation_results import FOLDER, evaluation_file
from hf_ser.hub.licences import UNKNOWN, LicenceError, check_audio
from hf_ser.hub.push_checks import (
    FolderError,
    Outgoing,
    check_contents,
    check_dataset,
    check_model,
    find_kind,
    sort_files,
    without_audio,
)
from hf_ser.local_or_hub import id_and_revision
from hf_ser.recipe_file import read_recipe
from hf_ser.results_file import RESULTS
from hf_ser.run_folder import refuse_unfinished
from hf_ser.web.static_page import PAGE, page_files

KINDS = ("model", "dataset", "space")
# A file that every repository pushed by a recipe has, by layout.
MARKS = {"model": RESULTS, "dataset": SUMMARY, "space": "hf_ser/demo/app.py", "page": PAGE}


@dataclass
class PushArguments:
    """Arguments of `recipes/push.py`. The token is that of HF_TOKEN or `hf auth login`.

    >>> PushArguments("owner/tiny", folder="runs/audio_cnn").dry_run
    True
    """

    repository: str = field(metadata={"help": "repository on the Hub, as OWNER/NAME"})
    folder: str | None = field(
        default=None, metadata={"help": "folder of a model, of a prepared dataset or of a static page"}
    )
    models: list[str] = field(
        default_factory=list,
        metadata={
            "help": "for a Space: models of the demo, as Hub ids, with @REVISION if it is not main; default with "
            "--kind space: the model that comes with hf_ser"
        },
    )
    kind: str | None = field(default=None, metadata={"help": "model, dataset or space; default: as found"})
    dry_run: bool = field(
        default=True, metadata={"help": "only show what would be pushed, without a network; false: push"}
    )
    private: bool = field(default=True, metadata={"help": "whether a new repository is private"})
    metadata_only: bool = field(default=False, metadata={"help": "for a dataset: push everything except the audio"})
    tag: str | None = field(default=None, metadata={"help": "name for the pushed revision, such as v1"})
    message: str | None = field(default=None, metadata={"help": "commit message; default: the name of the folder"})

    def __post_init__(self) -> None:
        for flag, name in (("repository", self.repository), *(("models", model) for model in self.models)):
            _check_name(flag, id_and_revision(name)[0] if flag == "models" else name)
        if self.kind not in (None, *KINDS):
            raise ConfigError(f"--kind {self.kind}; expected model, dataset or space.")
        if self.folder is not None and self.models:
            raise ConfigError(
                "got both --folder and --models; expected the folder of a model or dataset, or the models of a Space."
            )
        if self.folder is None and not self.is_demo:
            raise ConfigError(
                "got neither --folder nor --models; expected the folder of a model or dataset, or the models of a "
                "Space. For a Space with the model that comes with hf_ser, pass --kind space."
            )
        if self.kind not in (None, "space") and self.folder is None:
            raise ConfigError(f"--kind {self.kind} needs --folder; a Space takes --models, or nothing.")
        if self.is_demo and self.metadata_only:
            raise ConfigError("--metadata_only true is for datasets, but this is a Space. Leave it out.")
        if self.tag is not None and not re.fullmatch(r"(?!.*\.\.)(?!main$)[A-Za-z0-9_][\w.-]*(?<!\.)", self.tag):
            raise ConfigError(
                f"--tag {self.tag}; expected letters, digits, dots and dashes, such as v1, and not main."
            )
        if self.tag is not None and re.fullmatch(r"[0-9a-f]{40}", self.tag):
            raise ConfigError(f"--tag {self.tag} looks like a commit; expected a name such as v1.")
        if self.message is not None and not self.message.strip():
            raise ConfigError("--message is empty; expected text, or leave it out.")

    @property
    def is_demo(self) -> bool:
        """Whether a demo is pushed, with models on the Hub or the one that comes with the package."""
        return bool(self.models) or (self.kind == "space" and self.folder is None)


def _check_name(flag: str, name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"--{flag} {name}: {error}") from error
    if "/" not in name:
        raise ConfigError(f"--{flag} {name} has no owner; expected OWNER/{name}.")


@dataclass(frozen=True)
class Plan:
    """A planned push.

    Args:
        kind: model, dataset or space.
        files: those that are pushed.
        left: files and folders that are not pushed.
        notes: for the person who pushes.
        line: Python code that loads it, with {revision} in it.

    >>> Plan("model", [Outgoing("README.md", b"# Tiny")], left=["checkpoint-5/"], notes=[], line="").card
    '# Tiny'
    """

    kind: str
    files: Sequence[Outgoing]
    left: Sequence[str]
    notes: Sequence[str]
    line: str

    @property
    def card(self) -> str:
        """The text of README.md."""
        return next(file.read().decode() for file in self.files if file.path == "README.md")

    @property
    def sdk(self) -> str | None:
        """Of a Space: gradio or static."""
        return RepoCard(self.card).data.get("sdk") if self.kind == "space" else None

    @property
    def layout(self) -> str:
        """The key of `MARKS` and of the patterns of files: the kind, or page for a Space with a static page."""
        return "page" if self.sdk == "static" else self.kind


def make_plan(args: PushArguments, token: str | None = None) -> Plan:
    """Select the files of a push and check them, without a network.

    Args:
        args: of the push.
        token: must not occur in any file.

    Raises:
        SerError: the folder is incomplete or holds a file that must not be pushed, or a licence forbids the push.

    >>> plan = make_plan(PushArguments("owner/tiny", folder="runs/audio_cnn"))
    >>> plan.kind, plan.files[0].path
    ('model', 'README.md')
    """
    if args.folder is None:
        raise ConfigError("got no --folder; expected the folder of a model or dataset. For a Space, use plan_space.")
    folder = Path(args.folder)
    refuse_unfinished(folder, "--folder")
    layout = find_kind(folder)
    if args.kind not in (None, "space" if layout == "page" else layout):
        raise ConfigError(
            f"--kind {args.kind}, but {folder} holds a {layout}. Leave --kind out, or choose another folder."
        )
    if layout != "dataset" and args.metadata_only:
        raise ConfigError(f"--metadata_only true is for datasets, but this is a {layout}. Leave it out.")
    files, left = sort_files(folder, layout)
    planner = {"model": _plan_model, "dataset": _plan_dataset, "page": _plan_page}[layout]
    plan = planner(args, folder, files, left)
    check_card(plan.card, plan.kind)
    message = Outgoing("--message", (args.message or "").encode())
    check_contents([*plan.files, message], {"your Hub token": token or ""})
    return plan


def _plan_model(args: PushArguments, folder: Path, files: list[Outgoing], left: list[str]) -> Plan:
    results = check_model(folder, [file.path for file in files])
    if needs_code(results) and not any(file.path.endswith(".py") for file in files):  # as in hf_ser/pretrained
        raise FolderError(
            f"{folder} has no code of its architecture, which a model on the Hub needs; expected the files that a "
            "training writes. Push the run's folder, or push a demo with --kind space."
        )
    synthetic = list(results["dataset"]["synthetic"])
    _refuse_public_synthetic(args, synthetic, "a model that was trained on")
    if needs_code(results):
        files = files + endpoint_files([file.path for file in files])
    card = Outgoing("README.md", folder_card(folder, results, args.repository).encode())
    files = [file for file in files if not file.path.startswith(f"{FOLDER}/")]  # regenerated, with its source
    scores = evaluation_file(results, read_recipe(folder), args.repository)
    files = _with_card(card, files + ([Outgoing(scores[0], scores[1].encode())] if scores else []))
    corpora = set(trained_on(results, folder)) - set(synthetic)
    notes = []
    if "savee" in corpora:
        notes.append("SAVEE is for research by registered users. Ask its authors before any other use of this model.")
    trust = ", trust_remote_code=True" if needs_code(results) else ""
    line = (
        "from transformers import pipeline\n"
        f'classifier = pipeline("audio-classification", model="{args.repository}", revision="{{revision}}"{trust})'
    )
    return Plan("model", files, left, notes, line)


def _plan_dataset(args: PushArguments, folder: Path, files: list[Outgoing], left: list[str]) -> Plan:
    summary, corpora = check_dataset(folder)
    synthetic = list(summary.get("synthetic", ()))
    real = [corpus for corpus in corpora if corpus not in synthetic]
    own = summary.get("licence") or UNKNOWN
    notes = [] if args.metadata_only else check_audio(real, args.private, own)
    _refuse_public_synthetic(args, synthetic, "a dataset of")
    if args.metadata_only:
        tables = [Outgoing(file.path, without_audio(file)) for file in files if file.path.endswith(".parquet")]
        summary |= {"metadata_only": True, "files": {Path(table.path).name: table.size for table in tables}}
        tables.append(Outgoing(SUMMARY, json.dumps(summary, indent=2).encode()))
        files = [*tables, *(file for file in files if file.path not in {table.path for table in tables})]
    text = (folder / "README.md").read_text(encoding="utf-8")
    card = dataset_card(text, real, args.repository, with_audio=not args.metadata_only, own=own)
    files = _with_card(Outgoing("README.md", card.encode()), files)
    line = (
        "from datasets import load_dataset\n"
        f'dataset = load_dataset("{args.repository}", "all", revision="{{revision}}")'
    )
    return Plan("dataset", files, left, notes, line)


def _plan_page(args: PushArguments, folder: Path, files: list[Outgoing], left: list[str]) -> Plan:
    """A static Space: the page as it is, whose README.md has the settings of the Space."""
    settings, names = page_files(folder) or ({}, [])
    missing = sorted(set(names) - {file.path for file in files})
    if missing:
        raise FolderError(f"{folder} has no {missing[0]}; expected a complete page. Write it again.")
    left = sorted({*left, *(file.path for file in files if file.path not in names)})
    files = [file for file in files if file.path in names]
    if settings["model"]["synthetic"] and not args.private:
        raise LicenceError(
            "--private false would publish a page with a model that was trained on synthetic recordings; expected one "
            "trained on real recordings. Push privately."
        )
    licence = settings["model"].get("licence") or UNKNOWN
    line = (
        "from huggingface_hub import snapshot_download\n"
        f'snapshot_download("{args.repository}", repo_type="space", revision="{{revision}}")'
    )
    return Plan("space", files, left, [f"the page contains the model, whose licence is {licence}."], line)


def _with_card(card: Outgoing, files: Sequence[Outgoing]) -> list[Outgoing]:
    return [card, *sorted((file for file in files if file.path != card.path), key=lambda file: file.path)]


def _refuse_public_synthetic(args: PushArguments, synthetic: Sequence[str], what: str) -> None:
    if synthetic and not args.private:
        raise LicenceError(
            f"--private false would publish {what} synthetic recordings ({', '.join(synthetic)}) under the names of "
            "real corpora; expected real recordings. Push privately."
        )


def describe(plan: Plan, args: PushArguments) -> str:
    """The plan as text: files with sizes, files that are not pushed, notes, and the card.

    >>> args = PushArguments("owner/tiny", folder="runs/audio_cnn")
    >>> print(describe(make_plan(args), args))
    owner/tiny: model, private, ... files, ... kB
    ...
    """
    total = sum(file.size for file in plan.files)
    seen = "private" if args.private else "PUBLIC"
    rows = [f"  {_size(file.size):>10}  {file.path}" for file in plan.files]
    parts = [f"{args.repository}: {plan.kind}, {seen}, {len(plan.files)} files, {_size(total)}", *rows]
    if plan.left:
        parts.append(f"Not pushed: {', '.join(plan.left)}")
    parts += [f"Note: {note}" for note in plan.notes]
    return "\n".join([*parts, "", "README.md:", "", plan.card])


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
