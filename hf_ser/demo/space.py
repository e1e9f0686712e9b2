"""A Space of the demo: the page, this package's source, generated examples, and models pinned to commits."""

import importlib.metadata
import json
import re
import sys
import tempfile
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
from hf_ser.demo.demo_errors import DemoError
from hf_ser.demo.examples import make_examples
from hf_ser.demo.words import EXAMPLES, LIMITS, SENTENCE, TITLE
from hf_ser.hub.card import check_card
from hf_ser.hub.push_checks import Outgoing, check_contents
from hf_ser.hub.push_plan import Plan, PushArguments

_PACKAGE = Path(hf_ser.__file__).parent
_LEFT_OUT = "corpora/download/"  # the page downloads no corpora
_NEEDED = ("config.json", "preprocessor_config.json")

_APP = '''"""A demo of hf_ser: which emotion a recorded voice carries. Written by recipes/push.py."""

from pathlib import Path

from hf_ser.demo import serve

MODELS = {models}

if __name__ == "__main__":
    serve(MODELS, examples=Path(__file__).parent / "examples")
'''


def plan_space(args: PushArguments, token: str | None = None) -> Plan:
    """Choose what goes into a Space and check it.

    Args:
        args: whose `models` are Hub ids, each with `@REVISION` where it is not main.
        token: with it, the models are pinned to their commits on the Hub; without one there is no request, as in a dry
            run.

    Raises:
        SerError: a model is not there or no whole classifier, or a file holds what must not go.

    >>> plan = plan_space(PushArguments("owner/demo", models=["owner/tiny"]))
    >>> [file.path for file in plan.files[:3]]
    ['README.md', 'app.py', 'requirements.txt']
    """
    revisions = _revisions(args)
    if token is None:
        models, notes = revisions, ["the models' revisions are replaced by commits when this is pushed."]
    else:
        models, notes = pin_models(revisions, token)
    files = [
        Outgoing("README.md", _card(args.repository, models).encode()),
        Outgoing("app.py", _APP.format(models=json.dumps(models, indent=4)).encode()),
        Outgoing("requirements.txt", "".join(f"{line}\n" for line in _requirements()).encode()),
        *_source(),
    ]
    message = Outgoing("--message", (args.message or "").encode())
    check_contents([*files, message], {"your Hub token": token or ""})
    with tempfile.TemporaryDirectory() as work:
        # Unchecked: sound may look like anything, and this has just been computed.
        files += [Outgoing(f"examples/{path.name}", path.read_bytes()) for path in make_examples(Path(work))]
    line = (
        "from huggingface_hub import snapshot_download\n"
        f'snapshot_download("{args.repository}", repo_type="space", revision="{{revision}}")'
    )
    plan = Plan("space", files, [], notes, line)
    check_card(plan.card, "space")
    return plan


def pin_models(models: Mapping[str, str], token: str) -> tuple[dict[str, str], list[str]]:
    """Find the commits of revisions -> commits by Hub id, and what a person must know.

    Raises:
        DemoError: the Hub cannot be reached, a model or revision is not there, or it is no whole classifier.
    """
    api, pinned, notes = HfApi(token=token), {}, []
    for name, revision in models.items():
        try:
            info = api.model_info(name, revision=revision)
        except GatedRepoError:
            raise DemoError(f"--models {name}: its owners ask for an agreement; accept it on the Hub first.") from None
        except RepositoryNotFoundError:
            raise DemoError(
                f"--models {name}: the Hub has no such model, or your token may not see it; expected OWNER/NAME of a "
                "model that was pushed. Push it first with recipes/push.py. Nothing was sent."
            ) from None
        except RevisionNotFoundError:
            raise DemoError(
                f"--models {name}@{revision}: the model has no such revision; expected a commit, tag or branch of it."
            ) from None
        except (HTTPError, OSError, OfflineModeIsEnabled) as error:  # an address in its words may hold a secret
            raise DemoError(
                f"--models {name}: the Hub cannot be reached ({type(error).__name__}); expected a way to it. Nothing "
                "was sent."
            ) from None
        there = {file.rfilename for file in info.siblings or []}
        missing = [name for name in _NEEDED if name not in there]
        if missing or not any(path.endswith(".safetensors") for path in there):
            raise DemoError(
                f"--models {name}@{revision} holds no {', '.join(missing) or 'model.safetensors'}; expected a whole "
                "classifier, as recipes/push.py pushes it."
            )
        pinned[name] = str(info.sha)
        if info.private:
            notes.append(
                f"{name} is private: give the Space a secret HF_TOKEN that may read it (Settings > Variables and "
                "secrets), or it cannot start."
            )
    return pinned, notes


def _revisions(args: PushArguments) -> dict[str, str]:
    found: dict[str, str] = {}
    for model in args.models:
        name, _, revision = model.partition("@")
        if name in found:
            raise DemoError(f"--models names {name} twice; expected each model once.")
        found[name] = revision or "main"
    return found


def _requirements() -> list[str]:
    """What `pip install "hf-ser[demo]"` asks for; the package itself lies in the Space."""
    every = [Requirement(text) for text in importlib.metadata.requires("hf-ser") or []]
    extras, lines = ["demo"], set()
    for extra in extras:  # which grows by the extras that an extra consists of
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
        if path.suffix in (".py", ".json") and not place.startswith(_LEFT_OUT) and "__pycache__" not in path.parts
    ]


def _card(repository: str, models: Mapping[str, str]) -> str:
    title = repository.partition("/")[2]
    data: dict[str, Any] = SpaceCardData(
        title=title,
        sdk="gradio",
        sdk_version=importlib.metadata.version("gradio"),
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file="app.py",
        license="apache-2.0",
        models=list(models),
        tags=["speech-emotion-recognition", "audio-classification"],
        emoji="🗣️",
        colorFrom="indigo",
        colorTo="pink",
        pinned=False,
        short_description="Which emotion a recorded voice carries",
    ).to_dict()
    head = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    rows = [(f"`{name}`", f"`{revision}`") for name, revision in models.items()]
    table = markdown.table(("model", "revision"), rows)
    limits = "\n".join(f"- {limit}" for limit in LIMITS)
    parts = [
        f"# {title}\n\n{TITLE} {SENTENCE}",
        f"## Models\n\nEach is loaded at this very revision, under its own licence:\n\n{table}",
        f"## Limits\n\n{limits}",
        f"## Files\n\nThe page is `hf_ser.demo` of hf_ser {hf_ser.__version__}, whose source (Apache-2.0) lies in "
        f"`hf_ser/`. {EXAMPLES}",
    ]
    return re.sub(r"\n{3,}", "\n\n", f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n")
