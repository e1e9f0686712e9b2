from pathlib import Path

import pytest
import yaml

from hf_ser.arguments import ConfigError, parse
from hf_ser.data import DataArguments
from hf_ser.training import ModelArguments, SerTrainingArguments
from hf_ser.training.pretraining import PretrainingArguments, PretrainingDataArguments, PretrainingModelArguments

ROOT = Path(__file__).parents[2]
# Those of hybrids, which name their kind, are of recipes/fit_hybrid.py and tested with it.
EVERY = sorted((ROOT / "recipes" / "configs").glob("*.yaml"))
PRETRAINING = [path for path in EVERY if "_pretrain" in path.stem]
OTHERS = [path for path in EVERY if path not in PRETRAINING]
CONFIGS = [path for path in OTHERS if "kind" not in yaml.safe_load(path.read_text(encoding="utf-8"))]
TYPES = (ModelArguments, DataArguments, SerTrainingArguments)


def test_every_configuration_is_known():
    assert [path.stem for path in CONFIGS] == [
        *(
            "audio_cnn",
            "audio_cnn_plus",
            "audio_cnn_robust",
            "audio_cnn_robust_transfer",
            "audio_cnn_transfer",
            "audio_lstm",
            "audio_lstm_plus",
            "audio_lstm_robust",
            "cnn_gru",
            "cnn_gru_plus",
            "cnn_gru_robust",
        ),
        *("cnn_lstm", "cnn_lstm_plus", "cnn_lstm_robust", "mel_cnn", "mel_cnn_plus", "pretrained"),
        *("quickstart", "wav2vec2_base", "wav2vec2_base_recommended", "wav2vec2_small"),
        *("wav2vec2_xlsr", "wav2vec2_xlsr_recommended"),
    ]


def test_the_configurations_of_pretraining():
    assert [path.stem for path in PRETRAINING] == ["wav2vec2_base_pretrain", "wav2vec2_pretrain_small"]
    types = (PretrainingModelArguments, PretrainingDataArguments, PretrainingArguments)
    for path in PRETRAINING:
        argv = ["--config", str(path), "--recordings", "calls", "--use_cpu", "true"]
        model, _, training = parse(*types, argv=argv)
        assert (model.mask_time_prob, model.mask_time_length) == (0.65, 10)
        assert training.metric_for_best_model == "contrastive_accuracy" and training.load_best_model_at_end
        with pytest.raises(ConfigError, match="mask_time_prob"):
            parse(*types, argv=[*argv, "--mask_time_prb", "0.5"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_parses_and_keeps_the_best_checkpoint(path):
    model, _, training = parse(*TYPES, argv=["--config", str(path), "--use_cpu", "true"])
    assert (model.model_name_or_path is None) != (model.model_config is None)
    assert training.metric_for_best_model == "auto" and training.load_best_model_at_end
    assert isinstance(training.learning_rate, float)


def test_the_published_settings_of_wav2vec2_base():
    _, _, training = parse(*TYPES, argv=["--config", str(ROOT / "recipes/configs/wav2vec2_base.yaml"), "--use_cpu"])
    published = (training.num_train_epochs, training.learning_rate, training.per_device_train_batch_size)
    assert published == (12, 1e-5, 1)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_command_line_overrides_and_refuses(path):
    argv = ["--config", str(path), "--use_cpu", "true"]
    _, data, training = parse(*TYPES, argv=[*argv, "--learning_rate", "2e-4", "--configuration", "tess"])
    assert training.learning_rate == 2e-4 and data.configuration == "tess"
    with pytest.raises(ConfigError, match="learning_rate"):
        parse(*TYPES, argv=[*argv, "--learning_rte", "2e-4"])


@pytest.mark.parametrize("path", [path for path in CONFIGS if "recommended" in path.stem], ids=lambda path: path.stem)
def test_a_recommendation_names_its_sources(path):
    assert path.read_text().count("https://arxiv.org/abs/") >= 2
