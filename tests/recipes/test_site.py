"""The reference pages of the site name every field and every exported name; its pages link to each other."""

import importlib.util
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs/hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_field_of_the_recipes_is_in_the_reference(hooks):
    page = hooks.fields()
    for module, name in hooks.ARGUMENTS.values():
        cls = getattr(importlib.import_module(module), name)
        own = [field for field in fields(cls) if field.name in hooks._declared(cls)]
        assert own
        for field in own:
            assert f"| `{field.name}` |" in page and field.metadata["help"]


def test_every_field_of_the_companions_is_in_the_reference(hooks):
    page = hooks.models()
    for module, name in hooks.MODELS.values():
        cls = getattr(importlib.import_module(module), name)
        own = set(cls.__dict__["__annotations__"])
        assert own
        for field in own - {"model_type"}:
            assert re.search(rf"^\| `{field}` \|", page, re.MULTILINE), field


def test_every_arguments_class_of_a_recipe_is_in_the_reference(hooks):
    listed = {name for _, name in hooks.ARGUMENTS.values()}
    used = set()
    for recipe in (ROOT / "recipes").glob("*.py"):
        used |= set(re.findall(r"\b([A-Z]\w+Arguments)\b", recipe.read_text(encoding="utf-8")))
    assert used - {"ExploreArguments", "GenerateArguments"} <= listed  # which these recipes declare themselves


def test_every_exported_name_is_in_the_reference(hooks):
    page = hooks.api()
    for name in ("load_audio", "load_classifier", "SpeechEmotionPipeline", "load_splits", "build_model", "score"):
        assert re.search(rf"^::: \S+\.{name}$", page, re.MULTILINE)


def test_the_schema_page_names_every_part(hooks):
    page = hooks.schema()
    for name in ("schema_version", "splits", "intervals", "calibration", "per_class"):
        assert f"`{name}`" in page


def test_help_of_the_command_line_is_shown(hooks):
    assert "--recordings_from FILE" in hooks.help_text("hf-ser predict")


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"[\w/-]+\.md", text))
    assert listed == {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert yaml.safe_load(text)["strict"] is True


def test_links_of_the_readme_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = ["".join(found).partition("#")[0] for found in re.findall(r"\]\((?!http)(.+?)\)|src=\"(.+?)\"", text)]
    assert links and [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.slow
def test_the_site_is_built(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "site/reference/configuration.html").is_file()
