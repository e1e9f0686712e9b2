"""One recording as every kind of source that the package supports."""

import io
from types import SimpleNamespace

import numpy as np
import torch


def torchcodec(samples, sampling_rate):
    """Imitate the decoded audio of `datasets`: samples (channels, samples)."""
    found = SimpleNamespace(data=torch.from_numpy(samples)[None], sample_rate=sampling_rate)
    return SimpleNamespace(get_all_samples=lambda: found)


# From the path of a file, its content and its samples (samples,) at 16 kHz. These sources have a sampling rate.
FILES = {
    "str": lambda path, content, samples: str(path),
    "path": lambda path, content, samples: path,
    "bytes": lambda path, content, samples: content,
    "bytearray": lambda path, content, samples: bytearray(content),
    "memoryview": lambda path, content, samples: memoryview(content),
    "BytesIO": lambda path, content, samples: io.BytesIO(content),
    "mapping of bytes": lambda path, content, samples: {"bytes": content, "path": None},
    "mapping of bytes and a name": lambda path, content, samples: {"bytes": content, "path": "nowhere.wav"},
    "mapping of a path": lambda path, content, samples: {"bytes": None, "path": str(path)},
    "mapping of a Path": lambda path, content, samples: {"path": path},
    "mapping of an array": lambda path, content, samples: {"array": samples, "sampling_rate": 16_000, "path": "a.wav"},
    "mapping of a list": lambda path, content, samples: {"array": samples.tolist(), "sampling_rate": 16_000},
    "mapping of raw": lambda path, content, samples: {"raw": samples, "sampling_rate": np.int64(16_000)},
    "torchcodec": lambda path, content, samples: torchcodec(samples, 16_000),
}
# From samples quantized to 8 bits, which every type here stores exactly; channels are averaged.
ARRAYS = {
    "1-D": lambda samples: samples,
    "read-only": lambda samples: np.frombuffer(samples.tobytes(), np.float32),
    "strided": lambda samples: np.repeat(samples, 2)[::2],
    "(1, samples)": lambda samples: samples[None, :],
    "(samples, 1)": lambda samples: samples[:, None],
    "(2, samples)": lambda samples: np.stack([samples * 2, samples * 0]),
    "(samples, 2)": lambda samples: np.stack([samples * 0, samples * 2], axis=1),
    "(samples, 12)": lambda samples: np.repeat(samples[:, None], 12, axis=1),
    "float64": lambda samples: samples.astype(np.float64),
    "big-endian floats": lambda samples: samples.astype(">f4"),
    "float16": lambda samples: samples.astype(np.float16),
    "int16": lambda samples: (samples * 2**15).astype(np.int16),
    "int32": lambda samples: (samples * 2.0**31).astype(np.int32),
    "uint8": lambda samples: (samples * 128 + 128).astype(np.uint8),
    "list": lambda samples: samples.tolist(),
    "tuple": lambda samples: tuple(samples.tolist()),
    "torch": torch.from_numpy,
    "torch (1, samples)": lambda samples: torch.from_numpy(samples)[None],
    "torch (2, samples)": lambda samples: torch.from_numpy(samples).expand(2, -1),
    "torch int16": lambda samples: (torch.from_numpy(samples) * 2**15).to(torch.int16),
    "torch bfloat16": lambda samples: torch.from_numpy(samples).to(torch.bfloat16),
    "torch with gradients": lambda samples: torch.from_numpy(samples.copy()).requires_grad_(),
}
