"""The `datasets` builder: checked clips -> Parquet, one file group per (corpus, split under each protocol).

`datasets` no longer runs loading scripts. The Parquet files and the YAML of the dataset card replace them:
`load_dataset(folder, "all")` does not need this package.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets

from hf_ser.audio import SAMPLING_RATE
from hf_ser.data.scan import Clip
from hf_ser.labels import EMOTIONS
from hf_ser.remote_code.dimensions import DIMENSIONS

# Rows held in memory at a time: about 4 MB of FLAC.
_ROWS_PER_WRITE = 64


class EncodedFeatures(datasets.Features):
    """Columns whose values are already encoded.

    `datasets.Audio.encode_example` imports torchcodec, which needs the FFmpeg libraries, even if it only stores bytes.
    """

    def encode_example(self, example: dict[str, Any]) -> dict[str, Any]:
        """Return the example unchanged."""
        return example


class EncodedAudio(datasets.Audio):
    """A column of audio files, as bytes or paths, in a stream that is not of Parquet files; see `EncodedFeatures`."""

    def encode_example(self, value: Any) -> Any:
        """Return the value unchanged."""
        return value


def features(
    labels: Sequence[str] = EMOTIONS, *, with_votes: bool = False, dimensions: Sequence[str] = ()
) -> EncodedFeatures:
    """The columns of the dataset. Audio is not decoded, so reading needs neither torchcodec nor FFmpeg.

    Args:
        labels: names of the classes, in the order of their ids.
        with_votes: whether to add the column `votes`: a list of {"label", "count"} per clip, null without votes.
        dimensions: of arousal, valence and dominance; adds a column of values from 0 to 1 for each, null without one.
    """
    text = datasets.Value("string")
    values = {name: datasets.Value("float32") for name in dimensions}
    votes = {"votes": datasets.List({"label": text, "count": datasets.Value("int32")})} if with_votes else {}
    return EncodedFeatures(
        {
            "id": text,
            "audio": datasets.Audio(sampling_rate=SAMPLING_RATE, decode=False),
            "label": datasets.ClassLabel(names=list(labels)),
            "corpus": text,
            "speaker": text,
            "gender": text,
            "age": datasets.Value("int32"),
            "intensity": text,
            "channel": text,
            "text": text,
            "language": text,
            "duration": datasets.Value("float32"),
            "sha256": text,
            **votes,
            **values,
        }
    )


class EmotionCorpora(datasets.GeneratorBasedBuilder):
    """Writes checked clips. Each cell (a group of clips that no protocol splits further) is a split of the builder."""

    VERSION = datasets.Version("1.0.0")
    DEFAULT_WRITER_BATCH_SIZE = _ROWS_PER_WRITE

    def __init__(
        self,
        cells: dict[str, list[Clip]],
        packs_dir: Path,
        cache_dir: Path,
        columns: EncodedFeatures | None = None,
    ) -> None:
        self._cells, self._packs_dir = cells, packs_dir
        self._columns = columns or features()
        super().__init__(cache_dir=str(cache_dir))

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(description="Emotional speech under one label set.", features=self._columns)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        return [
            datasets.SplitGenerator(name=datasets.NamedSplit(cell), gen_kwargs={"clips": clips})
            for cell, clips in self._cells.items()
        ]

    def _generate_examples(self, clips: list[Clip]) -> Iterator[tuple[str, dict[str, Any]]]:
        ids = {label: number for number, label in enumerate(self._columns["label"].names)}
        for clip in clips:
            said = clip.utterance
            with open(self._packs_dir / clip.pack, "rb") as pack:
                pack.seek(clip.offset)
                flac = pack.read(clip.size)
            votes = {}
            if "votes" in self._columns:
                votes = {"votes": [{"label": label, "count": count} for label, count in said.votes] or None}
            yield (
                said.id,
                {
                    "id": said.id,
                    "audio": {"bytes": flac, "path": f"{said.stem}.flac"},
                    "label": ids[said.emotion],
                    "corpus": said.corpus,
                    "speaker": said.speaker or None,
                    "gender": said.gender,
                    "age": said.age,
                    "intensity": said.intensity,
                    "channel": said.vocal_channel,
                    "text": said.text,
                    "language": said.language,
                    "duration": clip.duration,
                    "sha256": clip.sha256,
                    **votes,
                    **{name: dict(said.dimensions).get(name) for name in DIMENSIONS if name in self._columns},
                },
            )
