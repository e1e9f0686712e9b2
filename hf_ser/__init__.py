"""Speech emotion recognition the Hugging Face way.

The public names are imported when they are first used, so that `import hf_ser` brings neither torch nor transformers.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_MODULES = {
    "AudioError": "hf_ser.audio",
    "EMOTIONS": "hf_ser.labels",
    "ID2LABEL": "hf_ser.labels",
    "LABEL2ID": "hf_ser.labels",
    "OnnxPipeline": "hf_ser.runtime",
    "SerError": "hf_ser.errors",
    "SpeechEmotionPipeline": "hf_ser.models",
    "load_audio": "hf_ser.audio",
    "load_classifier": "hf_ser.inference",
}

__all__ = ["__version__", *_MODULES]

if TYPE_CHECKING:
    from hf_ser.audio import AudioError as AudioError
    from hf_ser.audio import load_audio as load_audio
    from hf_ser.errors import SerError as SerError
    from hf_ser.inference import load_classifier as load_classifier
    from hf_ser.labels import EMOTIONS as EMOTIONS
    from hf_ser.labels import ID2LABEL as ID2LABEL
    from hf_ser.labels import LABEL2ID as LABEL2ID
    from hf_ser.models import SpeechEmotionPipeline as SpeechEmotionPipeline
    from hf_ser.runtime import OnnxPipeline as OnnxPipeline
else:  # type checkers would accept any name of a module that has this function

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(_MODULES[name]), name)
        globals()[name] = found  # so that the next use does not come here
        return found


def __dir__() -> list[str]:
    return sorted(__all__)
