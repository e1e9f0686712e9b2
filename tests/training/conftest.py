"""Trainers of tiny models on the small dataset of generated speech."""

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model, set_seed

from hf_ser.data import DataArguments, load_splits
from hf_ser.labels import EMOTIONS
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer


@pytest.fixture
def trainer_for(dataset_dir, tiny_config, tmp_path):
    """Make a Trainer over 28 training clips of RAVDESS; its model always starts with the same weights."""

    def make(name="run", *, duration_s=0.5, **changes):
        settings = {
            "per_device_train_batch_size": 8,
            "learning_rate": 3e-3,
            "logging_strategy": "steps",
            "logging_steps": 1,
            "use_cpu": True,
            "disable_tqdm": True,
        }
        args = SerTrainingArguments(**{**settings, "output_dir": str(tmp_path / name), **changes})
        set_seed(args.seed)
        data = load_splits(DataArguments(dataset=str(dataset_dir), configuration="ravdess", duration_s=duration_s))
        model, extractor = build_model(ModelArguments(model_config=tiny_config), data.labels)
        return make_trainer(model, extractor, data, args)

    return make


@pytest.fixture(scope="session")
def run():
    """Train, and return what was logged under a name."""

    def logged(trainer, name="loss", **options):
        trainer.train(**options)
        return [entry[name] for entry in trainer.state.log_history if name in entry]

    return logged


@pytest.fixture
def encoder(tmp_path, tiny_config):
    """A pretrained encoder in the layout of facebook/wav2vec2-base: no head, a preprocessor beside it."""
    config = {key: value for key, value in tiny_config.items() if key != "model_type"}
    torch.manual_seed(0)
    model = Wav2Vec2Model(Wav2Vec2Config(**config, layerdrop=0.1))
    model.save_pretrained(tmp_path / "encoder")
    _, extractor = build_model(ModelArguments(model_config=tiny_config), EMOTIONS)
    extractor.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"
