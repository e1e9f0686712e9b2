"""A Space of the demo: the page, this package's source, example recordings, and models pinned to commits."""

import importlib.metadata
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi, SpaceCardData
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from packaging.requirements import Requirement

import hf_ser
from hf_ser import markdown
from hf_ser.default_model import FOLDER, LICENCE, NAME, default_model, description
from hf_ser.demo.demo_errors import DemoError
from hf_ser.demo.examples import CLIPS, NOTICES, example_clips
from hf_ser.demo.words import EXAMPLES
from hf_ser.hub.card import check_card
from hf_ser.hub.push_checks import Outgoing, check_contents
from hf_ser.hub.push_plan import Plan, PushArguments
from hf_ser.local_or_hub import id_and_revision
from hf_ser.page_words import LIMITS, SENTENCE, SPACE_LOOK, TITLE

_PACKAGE = Path(hf_ser.__file__).parent
_LEFT_OUT = "corpora/download/"  # the page does not download corpora
_NEEDED = ("config.json", "preprocessor_config.json")

_APP = '''"""A demo of hf_ser: which emotion a voice expresses. Written by recipes/push.py."""

from pathlib import Path

from hf_ser.demo import serve

MODELS = {models}

if __name__ == "__main__":
    serve(MODELS, examples=Path(__file__).parent / "examples")
'''


def plan_space(args: PushArguments, token: str | None = None) -> Plan:
    """Collect and check the files of a Space.

    Args:
        args: `models` are Hub ids, with `@REVISION` for another revision than main; if there are none, the Space
            contains the model that comes with the package.
        token: pins the models to their commits on the Hub; None for a dry run, which makes no request.

    Raises:
        SerError: a model does not exist or is not a complete classifier, or a file contains a secret.

    >>> plan = plan_space(PushArguments("owner/demo", models=["owner/tiny"]))
    >>> [file.path for file in plan.files[:3]]
    ['README.md', 'app.py', 'requirements.txt']
    """
    revisions = _revisions(args)
    ships_model = not revisions
    if ships_model:
        default_model("--models")  # raises if there is none
        models, notes = {}, [f"the Space contains {NAME}, whose licence is {LICENCE}."]
    elif token is None:
        models, notes = revisions, ["the models' revisions are replaced by commits when the Space is pushed."]
    else:
        models, notes = pin_models(revisions, token)
    files = [
        Outgoing("README.md", _card(args.repository, models).encode()),
        Outgoing("app.py", _APP.format(models=json.dumps(models, indent=4)).encode()),
        Outgoing("requirements.txt", "".join(f"{line}\n" for line in _requirements()).encode()),
        *_source(),
        *(Outgoing(f"examples/{name}", CLIPS / name) for name in NOTICES if example_clips()),
    ]
    message = Outgoing("--message", (args.message or "").encode())
    check_contents([*files, message], {"your Hub token": token or ""})
    # Not checked for secrets: compressed sound and weights can match any pattern.
    files += [Outgoing(f"examples/{path.name}", path) for path in example_clips()]
    if ships_model:
        files += [Outgoing(f"{NAME}/{path.name}", path) for path in sorted(FOLDER.iterdir())]
    line = (
        "from huggingface_hub import snapshot_download\n"
        f'snapshot_download("{args.repository}", repo_type="space", revision="{{revision}}")'
    )
    plan = Plan("space", files, [], notes, line)
    check_card(plan.card, "space")
    return plan


def pin_models(models: Mapping[str, str], token: str) -> tuple[dict[str, str], list[str]]:
    """Resolve revisions to commits.

    Returns:
        Commits by Hub id, and notes for the person.

    Raises:
        DemoError: the Hub cannot be reached, or a model or revision does not exist or is not a complete classifier.
    """
    api, pinned, notes = HfApi(token=token), {}, []
    for name, revision in models.items():
        try:
            info = api.model_info(name, revision=revision)
        except GatedRepoError:
            raise DemoError(f"--models {name}: the model is gated. Accept its terms on the Hub first.") from None
        except RepositoryNotFoundError:
            raise DemoError(
                f"--models {name}: the Hub has no such model, or your token has no access to it. Push it first with "
                "recipes/push.py. Nothing was sent."
            ) from None
        except RevisionNotFoundError:
            raise DemoError(
                f"--models {name}@{revision}: the model has no such revision; expected a commit, tag or branch of it."
            ) from None
        except (HTTPError, OSError, OfflineModeIsEnabled) as error:  # its message may contain a URL with a secret
            raise DemoError(
                f"--models {name}: the Hub cannot be reached ({type(error).__name__}). Nothing was sent."
            ) from None
        there = {file.rfilename for file in info.siblings or []}
        missing = [name for name in _NEEDED if name not in there]
        if missing or not any(path.endswith(".safetensors") for path in there):
            raise DemoError(
                f"--models {name}@{revision} has no {', '.join(missing) or 'model.safetensors'}; expected a complete "
                "classifier, as recipes/push.py pushes it."
            )
        pinned[name] = str(info.sha)
        if info.private:
            notes.append(
                f"{name} is private: give the Space a secret HF_TOKEN with read access (Settings > Variables and "
                "secrets), or it cannot start."
            )
    return pinned, notes


def _revisions(args: PushArguments) -> dict[str, str]:
    found: dict[str, str] = {}
    for model in args.models:
        name, revision = id_and_revision(model)
        if name in found:
            raise DemoError(f"--models names {name} twice; expected each model once.")
        found[name] = revision
    return found


def _requirements() -> list[str]:
    """List the requirements of `hf-ser[demo]`; the Space contains the package itself."""
    every = [Requirement(text) for text in importlib.metadata.requires("hf-ser") or []]
    extras, lines = ["demo"], set()
    for extra in extras:  # grows while it is read: an extra can consist of other extras
        for requirement in every:
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            if requirement.name == "hf-ser":
                extras += sorted(requirement.extras - set(extras))
            elif not requirement.url:
                lines.add(f"{requirement.name}{requirement.specifier}")
    return sorted(lines)


def _source() -> list[Outgoing]:
    places = {path.relative_to(_PACKAGE).as_posix(): path for path in _PACKAGE.rglob("*")}
    return [
        Outgoing(f"hf_ser/{place}", path)
        for place, path in sorted(places.items())
        if path.suffix in (".py", ".json")
        and not place.startswith(_LEFT_OUT)
        and "__pycache__" not in path.parts
        and path.parent != FOLDER  # pushed if it is the Space's model
    ]


def _card(repository: str, models: Mapping[str, str]) -> str:
    title = repository.partition("/")[2]
    data: dict[str, Any] = SpaceCardData(
        title=title,
        sdk="gradio",
        sdk_version=importlib.metadata.version("gradio"),
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file="app.py",
        license="apache-2.0" if models else "cc-by-nc-sa-4.0",
        models=list(models) or None,
        tags=["speech-emotion-recognition", "audio-classification"],
        **SPACE_LOOK,
        short_description="Which emotion a voice expresses",
    ).to_dict()
    head = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    rows = [(f"`{name}`", f"`{revision}`") for name, revision in models.items()]
    table = markdown.table(("model", "revision"), rows)
    shown = f"Each model is loaded at this revision and has its own licence:\n\n{table}"
    if not models:
        shown = f"The model that comes with hf_ser, in `{NAME}/`: {description()}."
    limits = "\n".join(f"- {limit}" for limit in LIMITS)
    parts = [
        f"# {title}\n\n{TITLE} {SENTENCE}",
        f"## Models\n\n{shown}",
        f"## Limits\n\n{limits}",
        f"## Files\n\nThe page is `hf_ser.demo` of hf_ser {hf_ser.__version__}, whose source is in `hf_ser/` "
        f"(Apache-2.0).{f' {EXAMPLES}' if example_clips() else ''}",
    ]
    return re.sub(r"\n{3,}", "\n\n", f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n")
