"""Training clips from a stream: selected, shuffled, and decoded when they are needed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from hf_ser.arguments import ConfigError
from hf_ser.audio import Preprocessing, load_audio
from hf_ser.data.dataset_error import DatasetError
from hf_ser.data.splits import SplitData
from hf_ser.training.augmentation import augment_clip, make_transforms
from hf_ser.training.batches import AudioCollator
from hf_ser.training.speed import at_drawn_speed
from hf_ser.training.training_arguments import SerTrainingArguments

_READ_TOGETHER = 32  # clips read from Arrow at a time


class ClipStream(IterableDataset[dict[str, Any]]):
    """Training clips, each once per epoch in another order: items are {"audio", "label", "number", "epoch"}.

    Audio stays as stored; `StreamCollator` decodes it after accelerate has selected the process's part of each batch.
    The order depends only on seed and epoch, so that all processes and a resumed run use the same one. The workers of
    a DataLoader take whole batches in turn: their number does not change the batches, but each reads the whole stream.

    Args:
        clips: id and audio, possibly of other clips too.
        metadata: id and label of the training clips; `number` is the position in it.
        seed: of the order.
        buffer_size: number of clips from which the next is drawn.
        batch_size: clips per batch over all processes.
        drop_last: whether to drop an incomplete last batch.

    Raises:
        DatasetError: an id occurs twice.
    """

    def __init__(
        self,
        clips: datasets.IterableDataset,
        metadata: datasets.Dataset,
        *,
        seed: int,
        buffer_size: int,
        batch_size: int,
        drop_last: bool = False,
    ) -> None:
        self.clips, self.seed, self.buffer_size, self.batch_size = clips, seed, buffer_size, batch_size
        self._numbers = {clip: number for number, clip in enumerate(metadata["id"])}
        self._labels = list(metadata["label"])
        if len(self._numbers) != len(self._labels):
            raise DatasetError(
                f"{len(self._labels)} training clips have {len(self._numbers)} different ids; expected "
                "one for each clip. Prepare the dataset again, or leave streaming out."
            )
        self._length = len(self._labels) // batch_size * batch_size if drop_last else len(self._labels)
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # persistent workers read it too

    def set_epoch(self, epoch: int) -> None:
        """Use the order and the augmentation of this epoch from the next iteration on."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch, worker, read = int(self._epoch), get_worker_info(), 0
        share, shares = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for clip, audio in self._shuffled(epoch):
            number = self._numbers.get(clip)
            if read == self._length:
                return
            if number is None:
                continue
            if read // self.batch_size % shares == share:
                yield {"audio": audio, "label": self._labels[number], "number": number, "epoch": epoch}
            read += 1
        if read < self._length:
            raise DatasetError(
                f"the stream has {read} of {self._length} training clips; the dataset changed, or its files are "
                "incomplete. Start again, or leave streaming out."
            )

    def _shuffled(self, epoch: int) -> Iterator[tuple[str, Any]]:
        # One shard at a time: datasets reads several in threads, which sleep for seconds at the end of an epoch.
        shuffled = self.clips.shuffle(
            generator=np.random.default_rng([self.seed, epoch]),
            buffer_size=self.buffer_size,
            max_buffer_input_shards=1,
        )
        for batch in shuffled.iter(_READ_TOGETHER):  # unlike __iter__, it reads the whole stream in workers too
            yield from zip(batch["id"], batch["audio"], strict=True)


class StreamCollator:
    """Items of a `ClipStream` -> padded batch with labels. Clips that are already decoded are not changed.

    Args:
        collator: pads the waveforms.
        steps: preprocessing of the clips.
        transforms: returned by `make_transforms`; empty for no augmentation.
        seed: of the augmentation.
        speed_factors: see `at_drawn_speed`; the speed is changed before clips are cut or padded to a fixed duration.
        speakers: number of each clip's speaker, to be added to the examples; empty for none.
    """

    def __init__(
        self,
        collator: AudioCollator,
        steps: Preprocessing,
        transforms: Sequence[Any],
        seed: int,
        *,
        speed_factors: Sequence[float] = (),
        speakers: Sequence[int] = (),
    ) -> None:
        self.collator, self.transforms, self.seed, self.speed_factors = collator, transforms, seed, speed_factors
        self.steps, self.length = replace(steps, duration_s=None), Preprocessing(duration_s=steps.duration_s)
        self.speakers = speakers

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return the batch of the collator."""
        return self.collator([clip if "waveform" in clip else self._decoded(clip) for clip in examples])

    def _decoded(self, example: dict[str, Any]) -> dict[str, Any]:
        place = {"seed": self.seed, "epoch": example["epoch"], "number": example["number"]}
        waveform = self.steps(load_audio(example["audio"]))
        waveform = self.length(at_drawn_speed(waveform, self.speed_factors, **place))
        if self.transforms:
            waveform = augment_clip(waveform, self.transforms, **place)
        speaker = {"speaker": self.speakers[example["number"]]} if self.speakers else {}
        return {"waveform": waveform, "label": example["label"], **speaker}


def streamed(
    data: SplitData, args: SerTrainingArguments, collator: AudioCollator, speakers: Sequence[int] = ()
) -> tuple[ClipStream, StreamCollator]:
    """Make the training dataset and the collator of a Trainer that trains from `data.stream`.

    Args:
        data: loaded with streaming.
        args: of the training.
        collator: pads the waveforms.
        speakers: number of each clip's speaker, to be added to the examples; empty for none.

    Raises:
        ConfigError: arguments that need all clips in memory, or one process that reads for all.
    """
    if data.stream is None:
        raise ConfigError("the dataset was loaded without streaming; expected streaming true.")
    if args.train_sampling_strategy != "random":
        raise ConfigError(
            f"train_sampling_strategy is {args.train_sampling_strategy} and streaming is true; a stream has "
            "its own shuffled order. Leave one of them out."
        )
    if args.copy_paste:
        raise ConfigError(
            f"copy_paste is {args.copy_paste} and streaming is true; the clips to join cannot be read from a stream. "
            "Leave one of them out."
        )
    config: Any = args.accelerator_config
    if config.dispatch_batches:
        raise ConfigError(
            "dispatch_batches is true and streaming is true; each process decodes its share of a stream. Leave "
            "dispatch_batches out."
        )
    config.dispatch_batches = False  # accelerate's default: the first process reads and decodes for all
    seed = args.seed if args.data_seed is None else args.data_seed
    clips = ClipStream(
        data.stream,
        data.splits["train"],
        seed=seed,
        buffer_size=data.args.stream_buffer,
        batch_size=args.train_batch_size * args.world_size,
        drop_last=args.dataloader_drop_last,
    )
    transforms = make_transforms(args.augmentation) if args.augmentation else []
    collate = StreamCollator(
        collator, data.args.steps, transforms, seed, speed_factors=args.speed_factors or (), speakers=speakers
    )
    return clips, collate
