"""`recipes/explore.py`, and what it draws, on generated recordings."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib import image

from hf_ser.corpora.synthetic import generate
from hf_ser.data import DataArguments, PrepareArguments, load_splits, prepare
from hf_ser.labels import EMOTIONS
from hf_ser.reporting import exploration as module
from hf_ser.reporting.exploration import explore
from hf_ser.system_errors import SystemTroubleError

NAMES = ["clip", "emotions", "classes", "classes_by_split", "classes_by_gender", "classes_by_corpus", "genders"]


@pytest.fixture
def recipe(load_recipe):
    return load_recipe("explore")


@pytest.fixture(scope="module")
def with_song(tmp_path_factory):
    """RAVDESS in speech and song, and CREMA-D, which has speech only."""
    root = tmp_path_factory.mktemp("song")
    corpora, sizes = ("ravdess", "crema_d"), {"clips_per_class": 1, "speakers_per_corpus": 3}
    folders = generate(root / "corpora", corpora=corpora, **sizes, duration_s=(0.5, 0.6), include_song=True)
    paths = {name: str(path) for name, path in folders.items()}
    arguments = PrepareArguments(str(root / "dataset"), **paths, num_proc=1)
    prepare(arguments, progress=False)
    return root / "dataset"


@pytest.fixture
def calls(monkeypatch):
    """What explore would draw, by figure, and the clips that it read."""
    seen = {"read": []}
    for name in ("plot_clip", "plot_emotions", "plot_class_distribution", "plot_gender_distribution"):

        def spy(*args):
            seen[next(arg for arg in args if isinstance(arg, Path)).name] = args

        monkeypatch.setattr(module, name, spy)
    load_audio = module.load_audio
    monkeypatch.setattr(module, "load_audio", lambda *a, **k: seen["read"].append(k) or load_audio(*a, **k))
    return seen


def test_the_recipe_writes_every_figure_and_lists_it(recipe, dataset_dir, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "new" / "figures"
    monkeypatch.setattr(sys, "argv", ["explore.py", "--dataset", str(dataset_dir), "--output_dir", str(folder)])
    recipe.main()
    assert f"Wrote 7 figures, each as PNG and SVG, and {folder / 'explore.md'}." in capsys.readouterr().out
    names = [f"{name}.{suffix}" for name in NAMES for suffix in ("png", "svg")]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "explore.md"])
    assert all(image.imread(folder / f"{name}.png").std() > 0 for name in NAMES)
    report = (folder / "explore.md").read_text()
    assert re.findall(r"\]\((.+?)\.png\)", report) == NAMES
    assert "synthetic" in report and "Clips per emotion (112 in total)." in report


def test_the_docstring_opens_with_a_command_that_parses(recipe):
    words = recipe.__doc__.splitlines()[2].split()
    assert words[:2] == ["python", "recipes/explore.py"]
    data_args, args = recipe.parse(DataArguments, recipe.ExploreArguments, argv=words[2:])
    assert (data_args.dataset, args.output_dir) == ("data/emotions", "runs/explore")


def test_a_file_in_the_way_is_rejected(recipe, tmp_path):
    (tmp_path / "figures").write_text("")
    words = ["--dataset", "data/emotions", "--output_dir", str(tmp_path / "figures")]
    with pytest.raises(SystemTroubleError, match="--output_dir .*figures is a file; expected a folder"):
        recipe.parse(DataArguments, recipe.ExploreArguments, argv=words)


def test_few_clips_are_read_and_counts_are_of_all(dataset_dir, tmp_path, calls):
    data_args = DataArguments(str(dataset_dir), duration_s=0.25)
    dataset = load_splits(data_args)
    *figures, report = explore(dataset, tmp_path)
    assert [path.name for path in figures] == [f"{name}.png" for name in NAMES] and report.name == "explore.md"
    assert len(calls["read"]) == 8
    waveforms = calls["emotions"][0]
    assert list(waveforms) == list(EMOTIONS) and {wave.shape for wave in waveforms.values()} == {(4000,)}
    assert "by speaker ravdess_" in report.read_text()  # the corpus that has all eight

    by_split = calls["classes_by_split"][0]
    assert list(by_split) == ["train", "validation", "test"]
    assert {split: sum(counts.values()) for split, counts in by_split.items()} == {
        split: len(part) for split, part in dataset.splits.items()
    }
    assert sum(calls["classes"][0]["all"].values()) == 112
    assert list(calls["classes_by_corpus"][0]) == ["crema_d", "ravdess"]
    clips, speakers, *_ = calls["genders"]
    assert sum(sum(by_gender.values()) for by_gender in clips.values()) == 112
    assert {corpus: sum(by_gender.values()) for corpus, by_gender in speakers.items()} == {"crema_d": 4, "ravdess": 4}


def test_speech_and_song_are_drawn_apart(with_song, tmp_path, calls):
    dataset = load_splits(DataArguments(str(with_song)))
    report = explore(dataset, tmp_path)[-1].read_text()
    by_channel, by_corpus = (calls[f"classes_by_{name}"][0] for name in ("channel", "corpus"))
    sizes = {name: sum(counts.values()) for name, counts in by_channel.items()}
    assert list(sizes) == ["speech", "song"] and min(sizes.values()) > 0
    assert list(by_corpus) == ["crema_d", "ravdess, song", "ravdess, speech"]
    assert sum(by_corpus["ravdess, song"].values()) == sizes["song"]
    assert f"Clips per emotion and vocal channel ({sizes['speech']} speech, {sizes['song']} song)." in report
    assert report.count(", speech and song") == 2 * 5  # counts of clips: alternative text and caption
    assert all("speech and song" in calls[name][-1] for name in ("classes", "classes_by_gender", "genders"))
    assert not any("song" in name for name in calls["emotions"][0])  # one speaker has every emotion in speech


def test_a_dataset_of_song_says_so(with_song, tmp_path, calls):
    dataset = load_splits(DataArguments(str(with_song), "ravdess", channel="song"))
    report = explore(dataset, tmp_path)[-1].read_text()
    assert "classes_by_channel" not in calls and list(calls["classes_by_corpus"][0]) == ["ravdess"]
    assert ", song" in calls["classes"][-1] and "speech" not in calls["classes"][-1] + report
    assert list(calls["emotions"][0])[0] == "neutral, song" and re.search(r"\(neutral, song\)", report)


def test_what_one_speaker_lacks_comes_from_others(dataset_dir, tmp_path, calls):
    data_args = DataArguments(str(dataset_dir), merge_calm=True)
    dataset = load_splits(data_args)
    train = dataset.splits["train"]
    surprised = dataset.labels.index("surprised")
    keep = [
        index
        for index, (corpus, label) in enumerate(zip(train["corpus"], train["label"], strict=True))
        if corpus == "crema_d" or label == surprised
    ]
    small = replace(dataset, splits=dataset.splits | {"train": train.select(keep)})
    report = explore(small, tmp_path)[-1].read_text()
    assert list(calls["emotions"][0]) == list(dataset.labels)
    assert re.search(r"by 2 speakers \(crema_d_\w+, ravdess_\w+\)", report)


def test_one_clip_and_empty_splits(dataset_dir, tmp_path):
    data_args = DataArguments(str(dataset_dir))
    dataset = load_splits(data_args)
    empty = {split: part.select([]) for split, part in dataset.splits.items()}
    one = replace(dataset, splits=empty | {"train": dataset.splits["train"].select([0])})
    report = explore(one, tmp_path)[-1].read_text()
    assert "Clips per emotion (1 in total)." in report and "of 1 emotion " in report
