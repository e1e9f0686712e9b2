"""Augmentation of training clips by the waveform transforms of audiomentations.

Source: https://iver56.github.io/audiomentations/
"""

import inspect
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback

from hf_ser.arguments import ConfigError, did_you_mean
from hf_ser.audio import SAMPLING_RATE, Preprocessing
from hf_ser.errors import SerError
from hf_ser.extras import needs_extra
from hf_ser.training.copy_paste import CopyPaste
from hf_ser.training.speed import at_drawn_speed

_WHOLE = Preprocessing()  # no preprocessing
_FILE_LISTS = ("ir_files", "sound_file_paths")  # attributes with the files that a transform found in a folder


class AugmentationError(SerError):
    """A transform that returned no samples, or samples that are not finite."""


def make_transforms(entries: Any) -> list[Any]:
    """Make the transforms in `augmentation`, in this order, and test each on noise.

    Args:
        entries: mappings of `transform`, a class of audiomentations, and its parameters.

    Raises:
        ConfigError: not a list of such mappings, an unknown transform or parameter, an invalid value, a file or folder
            that does not exist, a missing package of the transform, or draws that a seed does not determine.
    """
    if not isinstance(entries, list):
        raise ConfigError(
            f"augmentation is {entries!r}; expected a list of transforms, in the YAML file, such as "
            "- {transform: Gain, min_gain_db: -6, max_gain_db: 6, p: 0.5}."
        )
    return [_make(entry) for entry in entries]


def _make(entry: Any) -> Any:
    if not isinstance(entry, dict) or not isinstance(entry.get("transform"), str):
        raise ConfigError(
            f"augmentation: got {entry!r}; expected a mapping with a transform, such as "
            "{transform: Gain, min_gain_db: -6, max_gain_db: 6, p: 0.5}."
        )
    name, known = entry["transform"], _known_transforms()
    if name not in known:
        hint = did_you_mean(name, known) or f"; expected one of {', '.join(known)}"
        raise ConfigError(f"augmentation: audiomentations has no waveform transform {name!r}{hint}.")
    parameters = {key: value for key, value in entry.items() if key != "transform"}
    taken = [key for key in inspect.signature(known[name].__init__).parameters if key != "self"]
    for key, value in parameters.items():
        if key not in taken:
            hint = did_you_mean(str(key), taken) or f"; expected {', '.join(taken)}"
            raise ConfigError(f"augmentation: {name} has no parameter {key!r}{hint}.")
        if key.endswith("_path"):
            missing = [path for path in (value if isinstance(value, list) else [value]) if not Path(path).exists()]
            if missing:
                raise ConfigError(
                    f"augmentation: {key} of {name} is {missing[0]}; expected an existing file or folder."
                )
    try:
        transform = known[name](**parameters)
        _check_repeatable(name, transform)
        _try(transform)
    except ConfigError:
        raise
    except ModuleNotFoundError as error:  # optional packages of audiomentations, such as pyroomacoustics
        package = (error.name or "").partition(".")[0].replace("_", "-")
        raise ConfigError(
            f"augmentation: {name} needs {package}, which is not installed. Install it with: pip install {package}"
        ) from error
    except Exception as error:  # of any type: transforms raise different errors, some only when called
        given = ", ".join(f"{key}={value!r}" for key, value in parameters.items())
        raise ConfigError(
            f"augmentation: {name}({given}) is invalid: {str(error) or type(error).__name__}; its parameters are "
            f"{', '.join(taken)}. p is a probability."
        ) from error
    return transform


def _check_repeatable(name: str, transform: Any) -> None:
    """Raise `ConfigError` for settings with random numbers of their own, which a seed does not determine."""
    if name == "TimeStretch" and transform.method == "signalsmith_stretch" and transform.min_rate < 0.5:
        raise ConfigError(
            f"augmentation: TimeStretch with min_rate {transform.min_rate} is not reproducible with a seed; expected "
            "at least 0.5, or method: librosa_phase_vocoder."
        )
    if name == "RoomSimulator" and transform.use_ray_tracing:
        raise ConfigError(
            "augmentation: RoomSimulator with use_ray_tracing (the default) is not reproducible with a seed; expected "
            "use_ray_tracing: false, with a max_order such as 3."
        )


def _known_transforms() -> dict[str, Any]:
    with needs_extra():  # here: the import takes a second
        import audiomentations
        from audiomentations.core.transforms_interface import BaseWaveformTransform
    classes = {name: value for name, value in vars(audiomentations).items() if isinstance(value, type)}
    # Lambda takes a function, and YAML holds no code.
    return {name: cls for name, cls in classes.items() if issubclass(cls, BaseWaveformTransform) and name != "Lambda"}


def _try(transform: Any) -> None:
    for name in _FILE_LISTS:
        if hasattr(transform, name):  # the order of the file system must not decide the draws
            setattr(transform, name, sorted(getattr(transform, name)))
    probability, transform.p = transform.p, 1.0
    with seeded(0):
        apply_transforms(np.random.normal(0.0, 0.1, SAMPLING_RATE), [transform])
    transform.p = probability


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed `random` and `numpy.random`, which audiomentations uses, and restore their states at the end."""
    states = random.getstate(), np.random.get_state()
    words = np.random.SeedSequence(numbers).generate_state(4)
    random.seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2:])
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def apply_transforms(waveform: np.ndarray, transforms: Sequence[Any]) -> np.ndarray:
    """Apply the transforms to a waveform (samples,) at 16 kHz -> (samples,) float32, possibly of another length.

    Raises:
        AugmentationError: a transform returns no samples, or samples that are not finite.
    """
    samples = np.array(waveform, dtype=np.float32)  # a copy: some transforms modify their input
    for transform in transforms:
        samples = np.ascontiguousarray(transform(samples, SAMPLING_RATE), dtype=np.float32)
        if not len(samples) or not np.isfinite(samples).all():
            what = "samples that are not finite" if len(samples) else "no samples"
            raise AugmentationError(
                f"augmentation: {type(transform).__name__} returned {what} for a clip of {len(waveform)} samples; "
                "expected finite samples. Use milder parameters, or leave the transform out."
            )
    return samples


def augment_clip(waveform: np.ndarray, transforms: Sequence[Any], *, seed: int, epoch: int, number: int) -> np.ndarray:
    """Augment a clip with draws that depend only on seed, epoch and number.

    Args:
        waveform: (samples,) at 16 kHz.
        transforms: what `make_transforms` returns.
        seed: of the training.
        epoch: from 0.
        number: position of the clip among the training clips.

    Returns:
        (samples,) float32, possibly of another length.

    Raises:
        AugmentationError: a transform returns no samples, or samples that are not finite.
    """
    with seeded(seed, epoch, number):
        return apply_transforms(waveform, transforms)


class AugmentedDataset(Dataset[dict[str, Any]]):
    """Decoded clips (see `decoded`), augmented anew in every epoch.

    Items are `{"waveform": (samples,) float32, "label": id}`. The augmentation of a clip depends only on seed, epoch
    and its number, not on batches, workers or processes.

    Args:
        clips: returned by `decoded`.
        transforms: returned by `make_transforms`.
        seed: of the draws.
        speed_factors: see `at_drawn_speed`; the speed is changed first.
        paste: joins clips with others, after their speed is changed; None to leave them alone.
        length: applied before the transforms, to cut or pad to a fixed duration.
        speakers: number of each clip's speaker, to be added to the items; empty for none.
    """

    def __init__(
        self,
        clips: Any,
        transforms: Sequence[Any],
        seed: int,
        *,
        speed_factors: Sequence[float] = (),
        paste: CopyPaste | None = None,
        length: Preprocessing = _WHOLE,
        speakers: Sequence[int] = (),
    ) -> None:
        self.clips, self.transforms, self.seed = clips, transforms, seed
        self.speed_factors, self.paste, self.length, self.speakers = speed_factors, paste, length, speakers
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # persistent workers read it too

    def set_epoch(self, epoch: int) -> None:
        """Use the draws of this epoch from the next item on."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        numbers = [range(len(self))[index] for index in indices]  # -1 is the last clip
        epoch, paste = int(self._epoch), self.paste
        drawn = [None if paste is None else paste.draw(epoch=epoch, number=number) for number in numbers]
        partners = [pasted.partner for pasted in drawn if pasted is not None]
        # Clips first, then their partners in the same order.
        clips = self.clips.__getitems__([*numbers, *partners])
        others = iter(clips[len(numbers) :])
        items = []
        for clip, number, pasted in zip(clips, numbers, drawn, strict=False):
            waveform = self._at_speed(clip["waveform"], epoch, number)
            if paste is not None and pasted is not None:
                other = self._at_speed(next(others)["waveform"], epoch, pasted.partner)
                waveform = paste.join(waveform, other, pasted.draws)
            waveform = augment_clip(self.length(waveform), self.transforms, seed=self.seed, epoch=epoch, number=number)
            items.append({**clip, "waveform": waveform, **self._speaker(number)})
        return items

    def _speaker(self, number: int) -> dict[str, int]:
        return {"speaker": self.speakers[number]} if self.speakers else {}

    def _at_speed(self, waveform: np.ndarray, epoch: int, number: int) -> np.ndarray:
        return at_drawn_speed(waveform, self.speed_factors, seed=self.seed, epoch=epoch, number=number)


class EpochSetter(TrainerCallback):
    """Call `set_epoch` of a dataset at the start of every epoch.

    accelerate's `DataLoaderShard.set_epoch` does this too, but not with several processes or in an epoch that is
    resumed in the middle: the batch sampler is then wrapped, and only the inner sampler gets the epoch.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """`state.epoch` has a fraction if an epoch is resumed."""
        self.dataset.set_epoch(int(state.epoch or 0))
