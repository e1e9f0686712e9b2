"""Classify one recording with a model folder or Hub id.

python recipes/predict.py --model runs/quickstart --audio recording.wav
"""

from dataclasses import dataclass, field

from transformers import pipeline

from hf_ser.arguments import parse, run
from hf_ser.audio import SAMPLING_RATE, load_audio
from hf_ser.data.splits import AUDIO_OPTIONS
from hf_ser.evaluation import load_classifier, model_results


@dataclass
class PredictArguments:
    """What this recipe takes."""

    model: str = field(metadata={"help": "model folder or Hub id"})
    audio: str = field(metadata={"help": "recording: WAV, FLAC, MP3, OGG or AIFF"})


def main() -> None:
    (args,) = parse(PredictArguments, description=__doc__)
    model, extractor = load_classifier(args.model)
    trained = (model_results(args.model) or {}).get("preprocessing", {})
    # Cut as in the model's training.
    waveform = load_audio(args.audio, **{key: trained[key] for key in AUDIO_OPTIONS if key in trained})
    classifier = pipeline("audio-classification", model=model, feature_extractor=extractor)
    scores = classifier({"raw": waveform, "sampling_rate": SAMPLING_RATE}, top_k=None)
    print(f"\n{args.audio}")
    for entry in scores:
        print(f"  {entry['label']:<10} {entry['score']:.3f} {'#' * round(40 * entry['score'])}")


if __name__ == "__main__":
    run(main, after_interrupt="nothing was written")
