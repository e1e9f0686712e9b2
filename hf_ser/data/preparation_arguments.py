"""The settings of a preparation: sources, labels, checks and splits."""

from dataclasses import dataclass, field
from pathlib import Path

from hf_ser.corpora import CORPORA
from hf_ser.corpora.crema_d_votes import MODALITIES
from hf_ser.data.examination import Limits
from hf_ser.data.label_set import check_mapping
from hf_ser.data.protocols import check_ratios
from hf_ser.errors import SerError


class PrepareError(SerError):
    """A dataset that cannot be prepared as requested."""


@dataclass
class PrepareArguments:
    """Recordings to merge, their labels, how to check the clips and how to split them.

    >>> PrepareArguments("data/emotions", ravdess="corpora/ravdess").ratios
    [0.7, 0.15, 0.15]
    """

    output_dir: str = field(metadata={"help": "folder of the prepared dataset; written completely or not at all"})
    ravdess: str | None = field(default=None, metadata={"help": "folder of RAVDESS recordings, searched at any depth"})
    crema_d: str | None = field(default=None, metadata={"help": "folder of CREMA-D recordings, searched at any depth"})
    tess: str | None = field(default=None, metadata={"help": "folder of TESS recordings, searched at any depth"})
    savee: str | None = field(default=None, metadata={"help": "folder of SAVEE recordings, searched at any depth"})
    emodb: str | None = field(default=None, metadata={"help": "folder of EMO-DB recordings, searched at any depth"})
    iemocap: str | None = field(default=None, metadata={"help": "folder of IEMOCAP in the layout of its release"})
    crema_d_votes: str | None = field(
        default=None, metadata={"help": "votes of CREMA-D's raters: processedResults/tabulatedVotes.csv of the corpus"}
    )
    crema_d_votes_modality: str = field(
        default="voice", metadata={"help": "what the raters perceived: voice, face or multimodal"}
    )
    csv: list[str] | None = field(
        default=None, metadata={"help": "CSV files with a row per recording: path, label and optional columns"}
    )
    audio_dir: str | None = field(
        default=None, metadata={"help": "folder of the paths in --csv; default: the folder of the file"}
    )
    audio_folder: list[str] | None = field(
        default=None, metadata={"help": "folders of recordings in folders named by class, or with a metadata.csv"}
    )
    hub_dataset: str | None = field(
        default=None, metadata={"help": "dataset to stream: Hub id or folder; --columns.audio names its audio"}
    )
    hub_configuration: str | None = field(default=None, metadata={"help": "configuration of --hub_dataset"})
    hub_revision: str | None = field(default=None, metadata={"help": "branch, tag or commit of --hub_dataset"})
    hub_split: list[str] | None = field(default=None, metadata={"help": "splits of --hub_dataset; default: all"})
    audformat: str | None = field(default=None, metadata={"help": "folder of an audformat database"})
    audformat_tables: list[str] | None = field(
        default=None, metadata={"help": "tables of --audformat with the labels; default: all"}
    )
    columns: dict | str | None = field(
        default=None, metadata={"help": "names of columns, such as --columns.path wav; null ignores a column"}
    )
    labels: list[str] | None = field(
        default=None,
        metadata={"help": "label set, or all for every label that occurs; default: the eight emotions"},
    )
    label_mapping: dict | str | None = field(
        default=None, metadata={"help": "maps labels of the sources to labels or null, which drops them; YAML only"}
    )
    dimension_range: list[float] = field(
        default_factory=lambda: [0.0, 1.0],
        metadata={"help": "range of the columns arousal, valence and dominance, such as 1 7; scaled to 0 to 1"},
    )
    licence: str = field(default="unknown", metadata={"help": "licence of your own recordings, such as cc-by-4.0"})
    seed: int = field(default=0, metadata={"help": "random seed of the splits"})
    ratios: list[float] = field(
        default_factory=lambda: [0.70, 0.15, 0.15], metadata={"help": "train, validation and test fractions"}
    )
    min_duration_s: float = field(default=0.3, metadata={"help": "quarantine clips shorter than this (seconds)"})
    silence_dbfs: float = field(
        default=-60.0, metadata={"help": "quarantine clips whose peak level is below this (dBFS)"}
    )
    num_proc: int | None = field(default=None, metadata={"help": "worker processes; default: one per CPU core"})
    max_shard_size: str = field(default="500MB", metadata={"help": "maximum size of a Parquet file"})
    overwrite: bool = field(
        default=False, metadata={"help": "replace a dataset prepared from other files or settings"}
    )

    def __post_init__(self) -> None:
        from datasets.utils.py_utils import convert_file_size_to_int  # here: datasets takes long to import

        if not self.folders and not (self.csv or self.audio_folder or self.hub_dataset or self.audformat):
            names = ", ".join(f"--{name}" for name in CORPORA)
            raise PrepareError(
                f"no recordings given; expected at least one of {names} DIR, --csv FILE, --audio_folder DIR, "
                "--hub_dataset ID, --audformat DIR."
            )
        if self.audio_dir is not None and not self.csv:
            raise PrepareError(f"--audio_dir is {self.audio_dir} but --csv is not given; pass --csv FILE.")
        for name in ("hub_configuration", "hub_revision", "hub_split"):
            self._needs(name, "hub_dataset")
        self._needs("audformat_tables", "audformat")
        self._check_votes()
        if isinstance(self.columns, str):
            raise PrepareError(f"--columns is {self.columns}; expected names of columns, such as --columns.path wav.")
        check_mapping(self.label_mapping)
        if self.num_proc is not None and self.num_proc < 1:
            raise PrepareError(f"--num_proc is {self.num_proc}; expected at least 1.")
        check_ratios(self.ratios)
        if len(self.dimension_range) != 2 or not self.dimension_range[0] < self.dimension_range[1]:
            given = " ".join(f"{value:g}" for value in self.dimension_range)
            raise PrepareError(
                f"--dimension_range is {given}; expected the lowest and the highest value, such as 1 7."
            )
        self.limits  # noqa: B018 - checks the two fields
        try:
            convert_file_size_to_int(self.max_shard_size)
        except ValueError:
            raise PrepareError(f"--max_shard_size is {self.max_shard_size}; expected a size such as 500MB.") from None

    def _check_votes(self) -> None:
        self._needs("crema_d_votes", "crema_d")
        if self.crema_d_votes_modality not in MODALITIES:
            raise PrepareError(
                f"--crema_d_votes_modality is {self.crema_d_votes_modality}; expected one of {', '.join(MODALITIES)}."
            )
        if self.crema_d_votes_modality != "voice" and self.crema_d_votes is None:
            raise PrepareError(
                f"--crema_d_votes_modality is {self.crema_d_votes_modality} but --crema_d_votes is not given; "
                "expected both. Add --crema_d_votes FILE."
            )

    def _needs(self, name: str, source: str) -> None:
        if getattr(self, name) is not None and getattr(self, source) is None:
            raise PrepareError(f"--{name} is given but --{source} is not; expected both. Add --{source}.")

    @property
    def limits(self) -> Limits:
        """The limits that a clip must meet."""
        return Limits(self.min_duration_s, self.silence_dbfs)

    @property
    def folders(self) -> dict[str, Path]:
        """Corpus name -> folder, for the corpora that are given."""
        given = {name: getattr(self, name, None) for name in CORPORA}
        return {name: Path(folder).resolve() for name, folder in given.items() if folder}
