import pytest

from hf_ser.corpora import synthetic
from hf_ser.data import PrepareArguments, prepare

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
