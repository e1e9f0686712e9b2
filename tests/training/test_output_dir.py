import json

import pytest

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments
from hf_ser.training import ModelArguments, SerTrainingArguments, output_dir
from hf_ser.training.output_dir import check_settings, settings

SHORT = {"eval_strategy": "no", "load_best_model_at_end": False, "max_steps": 2} | {
    "save_strategy": "steps",
    "save_steps": 1,
}


def _arguments(folder, **changes):
    return SerTrainingArguments(**{"output_dir": str(folder), "use_cpu": True, **SHORT, **changes})


def claim_output_dir(args):
    return output_dir.claim_output_dir(ModelArguments("x"), DataArguments("y"), args)


def _checkpoint(folder, step, *, whole=True):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    (checkpoint / "rng_state.pth").touch()
    (checkpoint / "trainer_state.json").write_text('{"global_step": 1}' if whole else '{"global')
    return str(checkpoint)


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path):
    assert claim_output_dir(_arguments(tmp_path)) is None
    checkpoint = _checkpoint(tmp_path, 7)
    with pytest.raises(ConfigError, match="unfinished run"):
        claim_output_dir(_arguments(tmp_path))
    assert claim_output_dir(_arguments(tmp_path, resume_from_checkpoint="true")) == checkpoint
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ConfigError, match="finished run"):
        claim_output_dir(_arguments(tmp_path))
    with pytest.raises(ConfigError, match="no checkpoint"):
        claim_output_dir(_arguments(tmp_path / "other", resume_from_checkpoint="true"))


def test_what_is_overwritten_goes_when_the_new_run_can_start(tmp_path):
    _checkpoint(tmp_path, 7)
    for name in ("results.json", "recipe.yaml"):
        (tmp_path / name).write_text("{}")
    args = _arguments(tmp_path, overwrite=True)
    assert claim_output_dir(args) is None
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "checkpoint-7", "results.json", "recipe.yaml"}
    output_dir.write_settings(ModelArguments("x"), DataArguments("y"), args)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "settings.json", "recipe.yaml", "unfinished.json"}
    assert "model_name_or_path: x\n" in (tmp_path / "recipe.yaml").read_text()


def test_the_last_whole_checkpoint_counts(tmp_path):
    resume = _arguments(tmp_path, resume_from_checkpoint="true")
    _checkpoint(tmp_path, 10, whole=False)
    with pytest.raises(ConfigError, match="only incomplete checkpoints.*--overwrite true"):
        claim_output_dir(resume)
    last = _checkpoint(tmp_path, 9)
    _checkpoint(tmp_path, 8)
    _checkpoint(tmp_path, 11)
    (tmp_path / "checkpoint-11" / "rng_state.pth").unlink()
    (tmp_path / "checkpoint-x").mkdir()
    assert claim_output_dir(resume) == last
    assert claim_output_dir(_arguments(tmp_path, resume_from_checkpoint=f"{tmp_path}/checkpoint-8")).endswith("-8")


@pytest.mark.parametrize(
    ("stored", "given", "refused", "told"),
    [
        (("auto", "bf16"), {}, None, "trained in bf16 so far and continues in fp32"),
        (("auto", "fp32"), {}, None, None),
        (("bf16", "bf16"), {}, "precision was 'bf16' and is 'auto'", None),
        (("auto", "fp32"), {"precision": "bf16"}, "precision was 'auto' and is 'bf16'", None),
        (("bf16", "bf16"), {"bf16": True}, None, None),
    ],
)
def test_auto_goes_on_where_it_comes_to_another_precision(tmp_path, caplog, stored, given, refused, told):
    args = _arguments(tmp_path, **given)
    wanted = settings(ModelArguments("x"), DataArguments("y"), args)
    before = wanted | dict(zip(("precision", "computed in"), stored, strict=True))
    (tmp_path / "settings.json").write_text(json.dumps(before))
    if refused:
        with pytest.raises(ConfigError, match=refused):
            check_settings(args, wanted)
        return
    assert check_settings(args, wanted) == (["bf16"] if told else [])
    assert len(caplog.messages) == (told is not None) and all(told in message for message in caplog.messages)


def test_a_run_of_other_settings_is_not_gone_on_with(finetune, tmp_path, dataset_dir, tiny_config):
    fields = {"model_config": tiny_config, "dataset": str(dataset_dir), "configuration": "ravdess", "duration_s": 0.4}
    fields |= SHORT | {"output_dir": str(tmp_path)}
    kept = tmp_path / "settings.json"
    finetune(**fields, calibrate=False)
    assert not kept.exists()  # it is finished, and results.json tells
    (tmp_path / "results.json").unlink()
    kept.write_text(json.dumps({"seed": 3, "configuration": "ravdess", "learning_rate": 5e-5, "loss": "focal"}))
    with pytest.raises(ConfigError, match="seed was 3 and is 42; loss was 'focal' and is 'cross_entropy'"):
        finetune(**fields, resume_from_checkpoint="true")
    kept.write_text(json.dumps({"seed": 42}))
    finetune(**fields | {"max_steps": 3}, resume_from_checkpoint="true", calibrate=False)
    assert json.loads((tmp_path / "results.json").read_text())["training"]["steps"] == 3
