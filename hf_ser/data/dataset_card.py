"""The dataset card: YAML with the configurations, then tables of clips, splits, excluded files and licences."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from hf_ser import markdown
from hf_ser.corpora import CORPORA
from hf_ser.data.protocols import SPLITS, Assignment
from hf_ser.data.scan import Clip
from hf_ser.labels import EMOTIONS

DEFAULT_PROTOCOL = "speaker_disjoint"
_MEANINGS = {
    DEFAULT_PROTOCOL: "test speakers are held out of training and validation",
    "random": "clips are split at random, stratified by corpus and label",
}


def config_name(corpus: str, protocol: str) -> str:
    """Name a configuration: "ravdess" for the default protocol, "ravdess-random" for another."""
    return corpus if protocol == DEFAULT_PROTOCOL else f"{corpus}-{protocol}"


def cell_name(corpus: str, splits: Mapping[str, str]) -> str:
    """Name the files of a cell: "ravdess.speaker_disjoint=train.random=test"."""
    return ".".join([corpus, *(f"{protocol}={split}" for protocol, split in splits.items())])


def configurations(clips: Sequence[Clip], assignments: Mapping[str, Assignment]) -> list[dict[str, Any]]:
    """The card's `configs`: each corpus and all corpora together, under each stored protocol, over the same files.

    `datasets` caches a local folder by its name and these entries. Their descriptions differ with the content, so that
    a new version of a dataset, or another folder of the same name, is not read from an old cache.
    """
    content = _fingerprint(clips, assignments)
    corpora = sorted({clip.utterance.corpus for clip in clips})
    configs: list[dict[str, Any]] = []
    for protocol, assignment in assignments.items():
        for corpus in ("all", *corpora):
            filled = {
                assignment.splits[clip.utterance.id] for clip in clips if corpus in ("all", clip.utterance.corpus)
            }
            files = "*" if corpus == "all" else f"{corpus}.*"
            config: dict[str, Any] = {
                "config_name": config_name(corpus, protocol),
                "description": f"content {content}",
                "data_files": [
                    {"split": split, "path": f"data/{files}{protocol}={split}*.parquet"}
                    for split in SPLITS
                    if split in filled
                ],
            }
            if config["config_name"] == "all":
                config["default"] = True
            configs.append(config)
    return configs


def _fingerprint(clips: Sequence[Clip], assignments: Mapping[str, Assignment]) -> str:
    """A short hash of all samples, labels and splits."""
    rows = sorted((clip.utterance.id, clip.sha256, clip.utterance.emotion) for clip in clips)
    splits = sorted((name, assignment.hash) for name, assignment in assignments.items())
    return hashlib.sha256(json.dumps([rows, splits]).encode()).hexdigest()[:16]


def render_card(
    clips: Sequence[Clip],
    assignments: Mapping[str, Assignment],
    quarantined: Mapping[str, Mapping[str, int]],
    synthetic: Iterable[str],
) -> str:
    """Render the README.md of a prepared dataset.

    Args:
        clips: the clips of the dataset.
        assignments: protocol name -> its assignment of clips to splits.
        quarantined: corpus -> reason -> number of excluded files.
        synthetic: corpora with generated recordings.
    """
    corpora = sorted({clip.utterance.corpus for clip in clips})
    synthetic = sorted(synthetic)
    name = "Acted emotional speech: " + ", ".join(CORPORA[corpus].title for corpus in corpora)
    metadata = {
        "pretty_name": name + (" (synthetic)" if synthetic else ""),
        "language": ["en"],
        "license": "other",
        "license_name": "see-each-corpus",
        "task_categories": ["audio-classification"],
        "tags": ["speech-emotion-recognition", "audio", *corpora, *(["synthetic"] if synthetic else [])],
        "size_categories": [_size_category(len(clips))],
        "configs": configurations(clips, assignments),
    }
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    parts = [f"---\n{front}---\n\n# {name}"]
    if synthetic:
        parts.append(
            f"**The recordings of {', '.join(synthetic)} in this dataset are synthetic.** They were generated in the "
            "file layout of the corpora and contain no human speech. Scores on them say nothing about real speech."
        )
    parts += [_usage(), _counts(clips, corpora), _splits(clips, assignments), _protocols(assignments)]
    parts += [_kept_out(quarantined), _columns(), _licences(corpora)]
    return "\n\n".join(parts) + "\n"


def _size_category(number: int) -> str:
    for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K")):
        if number < limit:
            return name
    return "10K<n<100K"


def _usage() -> str:
    return (
        "```python\nfrom datasets import load_dataset\n\n"
        'dataset = load_dataset("PATH_OR_ID", "all")  # or one corpus, or "all-random", ...\n```\n\n'
        "Audio is stored as 16 kHz mono 16-bit FLAC and is not decoded on loading (`Audio(decode=False)`). Decode the "
        'bytes with soundfile, or use `cast_column("audio", datasets.Audio())` if torchcodec and FFmpeg are installed.'
    )


def _counts(clips: Sequence[Clip], corpora: Sequence[str]) -> str:
    rows = []
    for corpus in corpora:
        own = [clip for clip in clips if clip.utterance.corpus == corpus]
        classes = Counter(clip.utterance.emotion for clip in own)
        speakers = len({clip.utterance.speaker for clip in own})
        hours = sum(clip.duration for clip in own) / 3600
        rows.append(
            [CORPORA[corpus].title, *(classes[e] or "-" for e in EMOTIONS), len(own), f"{hours:.2f}", speakers]
        )
    totals = Counter(clip.utterance.emotion for clip in clips)
    hours = sum(clip.duration for clip in clips) / 3600
    speakers = len({clip.utterance.speaker for clip in clips})
    rows.append(["all", *(totals[e] or "-" for e in EMOTIONS), len(clips), f"{hours:.2f}", speakers])
    return "## Clips\n\n" + markdown.table(["corpus", *EMOTIONS, "total", "hours", "speakers"], rows)


def _splits(clips: Sequence[Clip], assignments: Mapping[str, Assignment]) -> str:
    rows = []
    for protocol, assignment in assignments.items():
        corpora = sorted({clip.utterance.corpus for clip in clips})
        for corpus in ("all", *corpora):
            own = [clip for clip in clips if corpus in ("all", clip.utterance.corpus)]
            sizes = Counter(assignment.splits[clip.utterance.id] for clip in own)
            rows.append([f"`{config_name(corpus, protocol)}`", *(sizes[split] for split in SPLITS)])
    return "## Configurations\n\n" + markdown.table(["configuration", *SPLITS], rows)


def _protocols(assignments: Mapping[str, Assignment]) -> str:
    lines = ["## Protocols", ""]
    for protocol, made in assignments.items():
        shares = "/".join(f"{100 * ratio:g}" for ratio in made.ratios)
        lines.append(
            f"- `{protocol}`: {_MEANINGS[protocol]}. Train/validation/test {shares} %, seed {made.seed}, assignment "
            f"hash `{made.hash[:16]}`."
        )
        lines += [f"    - {note}." for note in made.notes]
    return "\n".join(lines)


def _kept_out(quarantined: Mapping[str, Mapping[str, int]]) -> str:
    rows = [[corpus, reason, number] for corpus, why in sorted(quarantined.items()) for reason, number in why.items()]
    if not rows:
        return "## Excluded files\n\nNo files were excluded."
    table = markdown.table(["corpus", "reason", "files"], rows)
    return f"## Excluded files\n\n{table}\n\n`quarantine.csv` lists each file with its reason."


def _columns() -> str:
    return (
        "## Columns\n\n`id` (corpus/stem), `audio`, `label`, `corpus`, `speaker`, `gender`, `age` (years), "
        "`intensity`, `channel` (speech or song), `text`, `duration` (seconds), `sha256` (of the mono 16-bit samples "
        "at the original sampling rate). Fields that a corpus does not publish are null."
    )


def _licences(corpora: Sequence[str]) -> str:
    rows = [[CORPORA[c].title, CORPORA[c].licence, CORPORA[c].licence_url, CORPORA[c].citation] for c in corpora]
    return "## Licences and citations\n\n" + markdown.table(["corpus", "licence", "terms", "cite"], rows)
