"""A tiny model, the page that it answers on, and a browser to look at it with."""

import numpy as np
import pytest
import soundfile as sf
import torch


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    """A tiny AudioCNN with random weights and all eight emotions."""
    from hf_ser.labels import ID2LABEL
    from hf_ser.models import AudioCNNConfig, AudioCNNForAudioClassification, make_feature_extractor

    folder = tmp_path_factory.mktemp("demo") / "model"
    torch.manual_seed(0)
    sizes = {"channels": (4, 4), "kernel_sizes": (5, 3), "hidden_size": 8, "duration_s": 10.0, "n_mels": 24}
    AudioCNNForAudioClassification(AudioCNNConfig(**sizes, id2label=ID2LABEL)).save_pretrained(folder)
    make_feature_extractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def demo_model(model_dir):
    from hf_ser.demo.clip_inference import load_model

    return load_model(str(model_dir), device="cpu")


@pytest.fixture(scope="session")
def recordings(tmp_path_factory, tone, encode):
    """Recordings good and bad, by name."""
    folder = tmp_path_factory.mktemp("recordings")
    pause = np.zeros(16_000 * 15, np.float32)
    sounds = {"voice.wav": tone(1.2), "long.flac": np.concatenate([tone(14.0), pause, tone(12.0)])}
    sounds |= {"silence.wav": np.zeros(16_000), "short.wav": tone(0.02)}
    for name, samples in sounds.items():
        sf.write(folder / name, samples, 16_000)
    (folder / "text.wav").write_text("words, not sound\n" * 40)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "cut.wav").write_bytes(encode(tone(1.0))[:9000])
    (folder / "words.txt").write_text("words\n")
    _write_webm(folder / "voice.webm", tone(1.2))
    return folder


def _write_webm(path, samples):
    """Write what browsers record; nothing without PyAV."""
    try:
        import av
    except ImportError:
        return
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples[None] * 32_767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=48_000)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(part))


@pytest.fixture(scope="session")
def address(demo_model, recordings, tmp_path_factory):
    """Where the page is served, with two models and two examples."""
    from hf_ser.demo.app import build, launch

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        page = build(
            {"first/model": demo_model, "second/model": demo_model},
            [recordings / "voice.wav", recordings / "long.flac"],
        )
        yield launch(page, "127.0.0.1").rstrip("/")
        page.close(verbose=False)


@pytest.fixture(scope="session")
def chromium(launch_chromium):
    """Chromium with a microphone that beeps."""
    return launch_chromium()
