"""The dataset card: YAML with the configurations, then tables of clips, splits, excluded files and licences."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from hf_ser import markdown
from hf_ser.corpora import CORPORA
from hf_ser.data.clip_dimensions import present_dimensions
from hf_ser.data.label_set import LabelSet
from hf_ser.data.protocols import SPLITS, Assignment
from hf_ser.data.scan import Clip

DEFAULT_PROTOCOL = "speaker_disjoint"
_MEANINGS = {
    "given": "the splits of the source",
    "speaker_disjoint": "test speakers are held out of training and validation",
    "random": "clips are split at random, stratified by corpus and label",
}
_MOST_COLUMNS = 10  # classes as columns of a table; more are rows
# Licences of the Hub's list that recordings commonly have; others are named in the card.
_HUB_LICENCE = re.compile(r"unknown|cc0-1\.0|cc-by(-nc)?(-nd|-sa)?-[234]\.0|odbl|odc-by|pddl|mit|apache-2\.0|c-uda")


@dataclass(frozen=True)
class CardFacts:
    """What the card of a dataset reports in addition to its clips and splits.

    Args:
        labels: the label set and the mapping that was applied.
        quarantined: corpus -> reason -> number of excluded files.
        synthetic: corpora with generated recordings.
        own: corpora from lists and folders of the user.
        licence: licence of the user's recordings.
    """

    labels: LabelSet = field(default_factory=LabelSet)
    quarantined: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    synthetic: Sequence[str] = ()
    own: Collection[str] = ()
    licence: str = "unknown"

    def title(self, corpus: str) -> str:
        """The title of a corpus, as Markdown."""
        return str(markdown.plain(corpus)) if corpus in self.own else CORPORA[corpus].title


def config_name(corpus: str, protocol: str, default: str = DEFAULT_PROTOCOL) -> str:
    """Name a configuration: "ravdess" for the default protocol of the dataset, "ravdess-random" for another."""
    return corpus if protocol == default else f"{corpus}-{protocol}"


def cell_name(corpus: str, splits: Mapping[str, str]) -> str:
    """Name the files of a cell: "ravdess.speaker_disjoint=train.random=test"."""
    return ".".join([corpus, *(f"{protocol}={split}" for protocol, split in splits.items())])


def configurations(clips: Sequence[Clip], assignments: Mapping[str, Assignment]) -> list[dict[str, Any]]:
    """The card's `configs`: each corpus and all corpora together, under each stored protocol, over the same files.

    `datasets` caches a local folder by its name and these entries. Their descriptions differ with the content, so that
    a new version of a dataset, or another folder of the same name, is not read from an old cache.
    """
    content = _fingerprint(clips, assignments)
    default = next(iter(assignments))
    configs: list[dict[str, Any]] = []
    for protocol, assignment in assignments.items():
        for corpus, sizes in _sizes(clips, assignment).items():
            files = "*" if corpus == "all" else f"{corpus}.*"
            config: dict[str, Any] = {
                "config_name": config_name(corpus, protocol, default),
                "description": f"content {content}",
                "data_files": [
                    {"split": split, "path": f"data/{files}{protocol}={split}*.parquet"}
                    for split in SPLITS
                    if sizes[split]
                ],
            }
            if config["config_name"] == "all":
                config["default"] = True
            configs.append(config)
    return configs


def _sizes(clips: Sequence[Clip], assignment: Assignment) -> dict[str, Counter[str]]:
    """Clips per split, of all corpora and of each corpus."""
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        sizes[clip.utterance.corpus][assignment.splits[clip.utterance.id]] += 1
    return {"all": sum(sizes.values(), Counter()), **dict(sorted(sizes.items()))}


def _fingerprint(clips: Sequence[Clip], assignments: Mapping[str, Assignment]) -> str:
    """A short hash of all samples, labels and splits."""
    rows = sorted((clip.utterance.id, clip.sha256, clip.utterance.emotion) for clip in clips)
    splits = sorted((name, assignment.hash) for name, assignment in assignments.items())
    return hashlib.sha256(json.dumps([rows, splits]).encode()).hexdigest()[:16]


def render_card(clips: Sequence[Clip], assignments: Mapping[str, Assignment], facts: CardFacts) -> str:
    """Render the README.md of a prepared dataset.

    Args:
        clips: the clips of the dataset.
        assignments: protocol name -> its assignment of clips to splits; the default protocol first.
        facts: label set, excluded files and licence.
    """
    corpora = sorted({clip.utterance.corpus for clip in clips})
    synthetic = sorted(facts.synthetic)
    kind = "Emotional speech" if facts.own else "Acted emotional speech"
    name = f"{kind}: " + ", ".join(facts.title(corpus) for corpus in corpora)
    metadata = {
        "pretty_name": name + (" (synthetic)" if synthetic else ""),
        "language": sorted({clip.utterance.language for clip in clips if clip.utterance.language}),
        **_licence_metadata(corpora, facts),
        "task_categories": ["audio-classification"],
        "tags": ["speech-emotion-recognition", "audio", *corpora, *(["synthetic"] if synthetic else [])],
        "size_categories": [_size_category(len(clips))],
        "configs": configurations(clips, assignments),
    }
    if not metadata["language"]:
        del metadata["language"]
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    parts = [f"---\n{front}---\n\n# {name}"]
    if synthetic:
        parts.append(
            f"**The recordings of {', '.join(synthetic)} in this dataset are synthetic.** They were generated in the "
            "file layout of the corpora and contain no human speech. Scores on them say nothing about real speech."
        )
    parts += [_usage(assignments), _labels(facts.labels), _counts(clips, corpora, facts)]
    parts += [_splits(clips, assignments), _protocols(assignments), _kept_out(facts.quarantined)]
    parts += [_columns(clips), _licences(corpora, facts)]
    return "\n\n".join(parts) + "\n"


def _licence_metadata(corpora: Sequence[str], facts: CardFacts) -> dict[str, str]:
    if not set(corpora) <= set(facts.own):
        return {"license": "other", "license_name": "see-each-corpus"}
    if _HUB_LICENCE.fullmatch(facts.licence.lower()):
        return {"license": facts.licence.lower()}
    return {"license": "other", "license_name": re.sub(r"\W+", "-", facts.licence.lower()).strip("-")}


def _size_category(number: int) -> str:
    for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K")):
        if number < limit:
            return name
    return "100K<n<1M"


def _usage(assignments: Mapping[str, Assignment]) -> str:
    others = "".join(f', or "all-{protocol}"' for protocol in list(assignments)[1:])
    return (
        "```python\nfrom datasets import load_dataset\n\n"
        f'dataset = load_dataset("PATH_OR_ID", "all")  # or one corpus{others}, ...\n```\n\n'
        "Audio is stored as 16 kHz mono 16-bit FLAC and is not decoded on loading (`Audio(decode=False)`). Decode the "
        'bytes with soundfile, or use `cast_column("audio", datasets.Audio())` if torchcodec and FFmpeg are installed.'
    )


def _labels(labels: LabelSet) -> str:
    names = ", ".join(f"{number} {markdown.plain(name)}" for number, name in enumerate(labels.names))
    text = f"## Labels\n\n{names}."
    if labels.mapping:
        rows = [markdown.plain([label, target or "(excluded)"]) for label, target in sorted(labels.mapping.items())]
        text += "\n\nLabels of the sources were mapped:\n\n" + markdown.table(["label of the source", "label"], rows)
    return text


def _counts(clips: Sequence[Clip], corpora: Sequence[str], facts: CardFacts) -> str:
    names = facts.labels.names
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    speakers: dict[str, set[str]] = defaultdict(set)
    seconds: Counter[str] = Counter()
    for clip in clips:
        for corpus in (clip.utterance.corpus, "all"):
            classes[corpus][clip.utterance.emotion] += 1
            speakers[corpus].add(clip.utterance.speaker)
            seconds[corpus] += clip.duration  # type: ignore[assignment]
    columns = []
    for corpus in (*corpora, "all"):
        known = "unknown" if "" in speakers[corpus] else len(speakers[corpus])
        hours = f"{seconds[corpus] / 3600:.2f}"
        title = corpus if corpus == "all" else facts.title(corpus)
        numbers = [classes[corpus][name] or "-" for name in names]
        columns.append([title, *numbers, classes[corpus].total(), hours, known])
    header = ["corpus", *markdown.plain(list(names)), "total", "hours", "speakers"]
    if len(names) > _MOST_COLUMNS:  # one row per class
        rows = list(zip(header, *columns, strict=True))
        return "## Clips\n\n" + markdown.table([str(cell) for cell in rows[0]], rows[1:])
    return "## Clips\n\n" + markdown.table(header, columns)


def _splits(clips: Sequence[Clip], assignments: Mapping[str, Assignment]) -> str:
    default = next(iter(assignments))
    rows = [
        [f"`{config_name(corpus, protocol, default)}`", *(sizes[split] for split in SPLITS)]
        for protocol, assignment in assignments.items()
        for corpus, sizes in _sizes(clips, assignment).items()
    ]
    return "## Configurations\n\n" + markdown.table(["configuration", *SPLITS], rows)


def _protocols(assignments: Mapping[str, Assignment]) -> str:
    lines = ["## Protocols", ""]
    for protocol, made in assignments.items():
        shares = "/".join(f"{100 * ratio:g}" for ratio in made.ratios)
        drawn = "" if protocol == "given" else f"Train/validation/test {shares} %, seed {made.seed}, assignment "
        lines.append(f"- `{protocol}`: {_MEANINGS[protocol]}. {drawn or 'Assignment '}hash `{made.hash[:16]}`.")
        lines += [f"    - {markdown.plain(note)}." for note in made.notes]
    return "\n".join(lines)


def _kept_out(quarantined: Mapping[str, Mapping[str, int]]) -> str:
    rows = [[corpus, reason, number] for corpus, why in sorted(quarantined.items()) for reason, number in why.items()]
    if not rows:
        return "## Excluded files\n\nNo files were excluded."
    table = markdown.table(["corpus", "reason", "files"], rows)
    return f"## Excluded files\n\n{table}\n\n`quarantine.csv` lists each file with its reason."


def _columns(clips: Sequence[Clip]) -> str:
    votes = ", `votes` (number of raters per label)" if any(clip.utterance.votes for clip in clips) else ""
    found = present_dimensions(clip.utterance for clip in clips)
    dimensions = f", {' and '.join(f'`{name}`' for name in found)} (from 0 to 1)" if found else ""
    return (
        "## Columns\n\n`id` (corpus/stem), `audio`, `label`, `corpus`, `speaker`, `gender`, `age` (years), "
        "`intensity`, `channel` (speech or song), `text`, `language`, `duration` (seconds), `sha256` (of the mono "
        f"16-bit samples at the original sampling rate){votes}{dimensions}. "
        "Fields that a corpus does not publish are null."
    )


def _licences(corpora: Sequence[str], facts: CardFacts) -> str:
    rows = []
    for name in corpora:
        if name in facts.own:
            rows.append([facts.title(name), markdown.plain(facts.licence), "-", "-"])
        else:
            corpus = CORPORA[name]
            rows.append([corpus.title, corpus.licence, corpus.licence_url, corpus.citation])
    return "## Licences and citations\n\n" + markdown.table(["corpus", "licence", "terms", "cite"], rows)
