"""Shared fixtures: no network and separate caches, generated audio, and real recordings."""

import atexit
import os
import shutil
import tempfile

# Set before the Hugging Face libraries are imported, which read these once. A worker of pytest-xdist inherits the
# folder of the controller and uses a subfolder.
_worker = os.environ.get("PYTEST_XDIST_WORKER")
if _worker:
    _home = os.path.join(os.environ["HF_HOME"], _worker)
else:
    _home = tempfile.mkdtemp(prefix="hf_ser_tests_")
    atexit.register(shutil.rmtree, _home, ignore_errors=True)
for _name, _folder in (("HF_HOME", ""), ("HF_HUB_CACHE", "hub"), ("HF_DATASETS_CACHE", "datasets")):
    os.environ[_name] = os.path.join(_home, _folder)
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ.setdefault("OMP_NUM_THREADS", "1")
# `precision: auto` trains in float32 on every machine, so that results are comparable to the last digit.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")

import collections  # noqa: E402
import csv  # noqa: E402
import importlib.util  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import soundfile as sf  # noqa: E402
import yaml  # noqa: E402
from program_server import ProgramServer  # noqa: E402

hypothesis.settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def corpora_dir() -> Path:
    """The folder of real recordings; tests that use it are marked `corpora`."""
    default = Path(__file__).parents[2] / "shared" / "corpora"
    folder = Path(os.environ.get("HF_SER_CORPORA") or default).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real recordings: {folder} is not a folder")
    return folder


@pytest.fixture(scope="session")
def tone():
    """Make a tone in noise in steps of 2**-(bits - 1), which integer formats with so many bits store exactly."""

    def make(duration_s=0.3, sampling_rate=16_000, channels=1, *, frequency_hz=440.0, noise=0.05, bits=16):
        """Return float32 of shape (samples,), or (samples, channels) with each channel an octave higher."""
        num_samples = round(duration_s * sampling_rate)
        time_s = np.arange(num_samples)[:, None] / sampling_rate
        samples = 0.5 * np.sin(2 * np.pi * frequency_hz * 2.0 ** np.arange(channels) * time_s)
        samples += noise * np.random.default_rng(num_samples).uniform(-1, 1, samples.shape)
        samples = (np.rint(samples * 2 ** (bits - 1)) / 2 ** (bits - 1)).astype(np.float32)
        return samples[:, 0] if channels == 1 else samples

    return make


@pytest.fixture(scope="session")
def encode():
    """Encode (samples,) or (samples, channels) with libsndfile."""

    def make(samples, sampling_rate=16_000, format="WAV", subtype="PCM_16"):
        buffer = io.BytesIO()
        sf.write(buffer, samples, sampling_rate, format=format, subtype=subtype)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def save_companion():
    """Save a tiny AudioCNN with random weights and these classes to a folder; return the folder."""

    def save(folder, labels, seed=0):
        import torch

        from hf_ser.models import AudioCNNConfig, AudioCNNForAudioClassification, make_feature_extractor

        torch.manual_seed(seed)
        sizes = {"channels": (4, 4), "kernel_sizes": (5, 3), "hidden_size": 8, "duration_s": 0.5, "n_mels": 24}
        config = AudioCNNConfig(**sizes, id2label=dict(enumerate(labels)))
        AudioCNNForAudioClassification(config).save_pretrained(folder)
        make_feature_extractor().save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def exported_graph():
    """Export a model to an ONNX file with the metadata that `hf_ser.runtime` reads; return its path.

    Arguments replace fields of the metadata. The graph contains no preprocessing.
    """

    def export(path, model, **metadata):
        from transformers import Wav2Vec2FeatureExtractor

        from hf_ser.audio import Preprocessing
        from hf_ser.export.classifier_graph import ClassifierGraph
        from hf_ser.export.exporters import to_onnx
        from hf_ser.models import takes_attention_mask
        from hf_ser.remote_code.encoder_inputs import max_input_s

        config = model.config
        masked = takes_attention_mask(config)
        graph = ClassifierGraph(model, Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=masked))
        proto = to_onnx(graph)
        stored = {
            "schema_version": 1,
            "labels": [config.id2label[index] for index in sorted(config.id2label)],
            "sampling_rate": 16_000,
            "model_type": config.model_type,
            "needs_mask": graph.needs_mask,
            "any_length": graph.any_length,
            "min_samples": graph.floor,
            "max_input_s": max_input_s(model, Preprocessing()),
            "abstention_threshold": getattr(config, "abstention_threshold", None),
            "name": "tiny model",
            "source": "tiny",
            "precision": "float32",
            "synthetic": False,
            **dict.fromkeys(("revision", "results_sha256", "licence")),
            **metadata,
        }
        entry = proto.metadata_props.add()
        entry.key, entry.value = "hf_ser", json.dumps(stored)
        path.write_bytes(proto.SerializeToString())
        return path

    return export


@pytest.fixture(scope="session")
def tiny_graph(exported_graph, save_companion, tmp_path_factory):
    """The folder of a tiny AudioCNN with an abstention threshold, and the graph that it was exported to."""
    from hf_ser.inference import load_classifier

    folder = save_companion(tmp_path_factory.mktemp("graph") / "model", ("neutral", "happy", "sad", "angry"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"abstention_threshold": 0.6}))
    return folder, exported_graph(folder.parent / "model.onnx", load_classifier(str(folder))[0])


@pytest.fixture(scope="session")
def launch_chromium():
    """Start Debian's Chromium without a window; its microphone beeps unless the words name a recording."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    executable = os.environ.get("HF_SER_CHROMIUM") or shutil.which("chromium")
    if executable is None:
        pytest.skip("no Chromium: apt-get install chromium, or name one in HF_SER_CHROMIUM")
    usual = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_api.sync_playwright() as playwright:  # a thread can have only one
        browsers = []

        def launch(*words):
            browsers.append(playwright.chromium.launch(executable_path=executable, args=[*usual, *words]))
            return browsers[-1]

        yield launch
        for browser in browsers:
            browser.close()


TINY = {
    "model_type": "wav2vec2",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [16, 16],
    "conv_kernel": [20, 16],
    "conv_stride": [16, 10],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 16,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "apply_spec_augment": False,
}


@pytest.fixture(scope="session")
def tiny_config():
    return dict(TINY)


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory):
    """A prepared dataset in the layouts of RAVDESS and CREMA-D: four speakers each, 112 clips of half a second."""
    from hf_ser.corpora import synthetic
    from hf_ser.data import PrepareArguments, prepare

    root = tmp_path_factory.mktemp("training")
    folders = synthetic.generate(
        root / "corpora",
        corpora=("ravdess", "crema_d"),
        clips_per_class=2,
        speakers_per_corpus=4,
        duration_s=(0.5, 0.6),
    )
    folder = root / "dataset"
    prepare(
        PrepareArguments(
            output_dir=str(folder), ravdess=str(folders["ravdess"]), crema_d=str(folders["crema_d"]), num_proc=1
        ),
        progress=False,
    )
    return folder


@pytest.fixture(scope="session")
def sounds_dir(tmp_path_factory):
    """A prepared dataset with enough clips of every class in validation: 6 speakers, 192 clips of half a second."""
    from hf_ser.corpora import synthetic
    from hf_ser.data import PrepareArguments, prepare

    root = tmp_path_factory.mktemp("hybrids")
    folders = synthetic.generate(
        root / "corpora", corpora=("ravdess",), clips_per_class=4, speakers_per_corpus=6, duration_s=(0.5, 0.6)
    )
    arguments = PrepareArguments(output_dir=str(root / "dataset"), ravdess=str(folders["ravdess"]), num_proc=1)
    prepare(arguments, progress=False)
    return root / "dataset"


@pytest.fixture(scope="session")
def rated_listing(tmp_path_factory, tone, encode):
    """A CSV file of tones: arousal is their pitch, valence their noise, both from 1 to 7, with noise of raters.

    14 clips of each of 8 speakers, of which the first has no values.
    """
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    rows = []
    for speaker in range(8):
        split = "test" if speaker >= 6 else "validation" if speaker >= 4 else "train"
        for number in range(14):
            arousal, valence = rng.uniform(0, 1, 2)
            samples = tone(0.4 + number / 1000, frequency_hz=150 * 2 ** (4 * arousal), noise=0.3 * valence + 0.003)
            (folder / f"{speaker}_{number}.wav").write_bytes(encode(samples))
            rated = np.clip(np.array([arousal, valence]) + rng.normal(0, 0.03, 2), 0, 1) * 6 + 1
            values = ["", ""] if number == 0 else [f"{value:.4f}" for value in rated]
            label = "happy" if arousal > 0.5 else "sad"
            rows.append([f"{speaker}_{number}.wav", label, f"s{speaker}", split, *values])
    with open(folder / "tones.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label", "speaker", "split", "arousal", "valence"], *rows])
    return folder / "tones.csv"


@pytest.fixture(scope="session")
def rated_dir(rated_listing, tmp_path_factory):
    """A prepared dataset of these tones, with arousal and valence from 0 to 1."""
    from hf_ser.data import PrepareArguments, prepare

    folder = tmp_path_factory.mktemp("rated") / "dataset"
    options = {"dimension_range": [1.0, 7.0], "labels": ["happy", "sad"], "num_proc": 1}
    prepare(PrepareArguments(str(folder), csv=[str(rated_listing)], **options), progress=False)
    return folder


@pytest.fixture(scope="session")
def companions(sounds_dir, tmp_path_factory, load_recipe):
    """Folders of two tiny companion models, trained on `sounds_dir` for a few steps (protocol random, seed 0)."""
    root = tmp_path_factory.mktemp("companions")
    folders = []
    for name in ("audio_cnn", "mel_cnn"):
        config = yaml.safe_load((Path(__file__).parents[1] / f"recipes/configs/{name}.yaml").read_text())
        channels = [4] * (4 if name == "audio_cnn" else 3)
        config["model_config"] |= {"channels": channels, "hidden_size": 8, "duration_s": 0.5}
        (root / f"{name}.yaml").write_text(yaml.safe_dump(config))
        folders.append(root / name / "seed_0")
        words = ["--config", root / f"{name}.yaml", "--dataset", sounds_dir, "--configuration", "ravdess"]
        words += ["--protocol", "random", "--output_dir", folders[-1], "--num_train_epochs", 2]
        words += ["--use_cpu", "true", "--disable_tqdm", "true", "--figures", "false"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["train.py", *map(str, words)])
            load_recipe("train_companion").main()
    return folders


@pytest.fixture(scope="session")
def finetune(load_recipe, tmp_path_factory):
    """Run recipes/finetune.py with these YAML fields, without figures; return its results.json."""
    recipe = load_recipe("finetune")

    def run(**fields):
        from hf_ser.scoring import read_results

        path = tmp_path_factory.mktemp("finetune") / "config.yaml"
        path.write_text(yaml.safe_dump({"use_cpu": True, "disable_tqdm": True, "figures": False, **fields}))
        recipe.main(["--config", str(path)])
        return read_results(Path(fields["output_dir"]))

    return run


@pytest.fixture(scope="session")
def program_server(tmp_path_factory):
    """Starts Python programs on CPU in processes of their own, without the seconds for imports."""
    server = ProgramServer(tmp_path_factory.mktemp("programs"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def launch(program_server):
    """Run a Python program on CPU, in one process or in several, without the seconds for imports."""
    return program_server.run


@pytest.fixture(scope="module")
def load_benchmarks():
    """Load scripts of benchmarks/ by name, those that others import first; returns the modules by name."""
    folder = Path(__file__).parents[1] / "benchmarks"
    loaded, before = {}, dict(sys.modules)

    def load(*names):
        for name in names:
            spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
            loaded[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded[name])
        return loaded

    yield load
    for name in loaded:
        sys.modules.pop(name)
    sys.modules.update(before)


@pytest.fixture(scope="session")
def load_recipe():
    """Load a recipe as a module by name; recipes are not in a package."""

    def load(name):
        path = Path(__file__).parents[1] / "recipes" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"{name}_recipe", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


# Variables by marker.
REQUIRED = {
    "corpora": "HF_SER_REQUIRE_CORPORA",
    "browser": "HF_SER_REQUIRE_BROWSER",
    "gpu": "HF_SER_REQUIRE_GPU",
}


class Guard:
    """If its variable is 1, fails the session unless tests with the marker ran and none was skipped."""

    def __init__(self, marker):
        self.marker = marker
        self.outcomes = collections.Counter()

    def fault(self):
        if self.outcomes["skipped"]:
            return f"{self.outcomes['skipped']} tests marked {self.marker} were skipped"
        return None if self.outcomes["passed"] else f"no test marked {self.marker} passed"

    def pytest_runtest_logreport(self, report):
        if self.marker not in report.marked or hasattr(report, "wasxfail"):
            return
        if report.skipped or (report.passed and report.when == "call"):
            self.outcomes[report.outcome] += 1

    def pytest_sessionfinish(self, session, exitstatus):
        if self.fault() and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        if self.fault():
            terminalreporter.write_line(f"FAILED: {REQUIRED[self.marker]}=1, but {self.fault()}", red=True)


def pytest_configure(config):
    # Under pytest-xdist only the controller sees every report.
    for marker, variable in REQUIRED.items():
        if os.environ.get(variable) == "1" and not hasattr(config, "workerinput"):
            config.pluginmanager.register(Guard(marker), f"{marker}_guard")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    # report.keywords is ambiguous: it contains the folder tests/corpora as well as the marker.
    report = yield
    report.marked = [marker for marker in REQUIRED if item.get_closest_marker(marker) is not None]
    return report
