"""Training that diverges ends at once, in one line, and leaves no checkpoint of the diverged state."""

import json
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from hf_ser.arguments import run as run_recipe
from hf_ser.training.trainer import DivergedError

ROOT = Path(__file__).parents[2]
EPOCHS = {"num_train_epochs": 3, "per_device_train_batch_size": 8}  # 4 steps each


def break_loss(trainer, at, value=float("nan")):
    """Let the loss of a micro-batch (counted from 1) be no number."""
    whole, count = trainer.compute_loss_func, iter(range(1, 1000))

    def loss(*args, **kwargs):
        return whole(*args, **kwargs) * (value if trainer.model.training and next(count) == at else 1)

    trainer.compute_loss_func = loss
    return trainer


class BreakWeights(TrainerCallback):
    """Write NaN into a weight after an optimizer step whose loss was a number."""

    def __init__(self, at):
        self.at = at

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step == self.at:
            with torch.no_grad():
                model.classifier.weight[0, 0] = float("nan")


def checkpoints(trainer):
    return sorted(path.name for path in Path(trainer.args.output_dir).glob("checkpoint-*"))


def test_a_huge_learning_rate_ends_at_its_second_step(trainer_for):
    trainer = trainer_for(**EPOCHS, learning_rate=1e30, max_grad_norm=0.0)
    with pytest.raises(
        DivergedError, match=r"the training loss is (nan|inf) at step 2 \(epoch 0.25, learning rate "
    ) as error:
        trainer.train()
    assert "Lower --learning_rate (its peak is 1e+30), and start again" in str(error.value)
    assert str(error.value).endswith("no checkpoint was saved.") and "fp16" not in str(error.value)
    assert trainer.state.global_step == 1 and checkpoints(trainer) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=["nan", "inf"])
def test_the_last_good_checkpoint_stays_and_training_goes_on_from_it(trainer_for, run, value):
    losses = run(trainer_for("whole", **EPOCHS))
    broken = break_loss(trainer_for("broken", **EPOCHS), 7, value)
    with pytest.raises(DivergedError, match=f"loss is {value} at step 7 .epoch 1.50.*last checkpoint .*checkpoint-4"):
        broken.train()
    assert checkpoints(broken) == ["checkpoint-4"]
    again = trainer_for("broken", **EPOCHS)
    assert run(again, resume_from_checkpoint=f"{broken.args.output_dir}/checkpoint-4") == losses and len(losses) == 12


@pytest.mark.parametrize("batch", [5, 6, 7, 8])
def test_any_batch_of_an_accumulated_step_ends_it(trainer_for, batch):
    settings = {"num_train_epochs": 3, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    trainer = break_loss(trainer_for(**settings), batch)
    weights = [tensor.detach().clone() for tensor in trainer.model.parameters()]
    with pytest.raises(DivergedError, match="at step 2 "):
        trainer.train()
    assert trainer.state.global_step == 1  # no optimizer step with it
    assert all(tensor.isfinite().all() for tensor in trainer.model.parameters())
    assert not all(torch.equal(*pair) for pair in zip(trainer.model.parameters(), weights, strict=True))


def test_a_validation_pass_with_outputs_that_are_not_finite_ends_it(trainer_for):
    trainer = trainer_for(**EPOCHS)
    trainer.add_callback(BreakWeights(8))
    with pytest.raises(
        DivergedError, match=r"outputs in validation are not finite at step 8 \(epoch 2.00.*checkpoint-4"
    ):
        trainer.train()
    assert checkpoints(trainer) == ["checkpoint-4"]


def test_a_validation_loss_that_is_not_finite_ends_it(trainer_for):
    trainer = trainer_for(**EPOCHS)
    whole = trainer.compute_loss_func
    trainer.compute_loss_func = lambda *args, **options: (
        whole(*args, **options) * (1 if trainer.model.training else float("inf"))
    )
    with pytest.raises(DivergedError, match=r"the validation loss is inf at step 4 "):
        trainer.train()
    assert checkpoints(trainer) == []


def test_weights_that_are_not_finite_are_not_saved_without_validation_either(trainer_for):
    settings = {"eval_strategy": "no", "load_best_model_at_end": False}
    trainer = trainer_for(**EPOCHS, **settings)
    trainer.add_callback(BreakWeights(8))
    with pytest.raises(DivergedError, match="weights are not finite at step 8 .*last checkpoint .*checkpoint-4"):
        trainer.train()
    assert checkpoints(trainer) == ["checkpoint-4"]
    trainer = trainer_for("last", **EPOCHS, **settings, save_strategy="no")
    trainer.add_callback(BreakWeights(12))
    trainer.train()
    with pytest.raises(DivergedError, match="weights are not finite at step 12"):
        trainer.save_model(str(Path(trainer.args.output_dir) / "model"))
    assert not (Path(trainer.args.output_dir) / "model").exists()


def test_the_loss_is_looked_at_once_for_each_optimizer_step(trainer_for, monkeypatch):
    looks = []

    class Counted(torch.Tensor):
        def __float__(self):
            looks.append(1)
            return super().__float__()

    trainer = trainer_for(num_train_epochs=1, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert trainer.args.logging_nan_inf_filter is False  # which would look at every batch, twice
    whole = type(trainer).__mro__[1].training_step
    monkeypatch.setattr(
        type(trainer).__mro__[1], "training_step", lambda *args, **kwargs: whole(*args, **kwargs).as_subclass(Counted)
    )
    trainer.train()
    assert len(looks) == trainer.state.global_step == 4


def test_a_recipe_ends_in_one_line(trainer_for, capsys):
    trainer = trainer_for(**EPOCHS, learning_rate=1e30, max_grad_norm=0.0)
    with pytest.raises(SystemExit) as ended:
        run_recipe(trainer.train)
    assert ended.value.code == 2
    last = [line for line in capsys.readouterr().err.splitlines() if "Traceback" in line or line.startswith("error")]
    assert len(last) == 1 and last[0].startswith("error: the training diverged: the training loss is ")


_PROGRAM = """
import sys
from transformers import set_seed
from hf_ser.arguments import run
from hf_ser.data import DataArguments, load_splits
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer
import json

folder, dataset, model_config = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])

def main():
    data = load_splits(DataArguments(dataset, "ravdess", duration_s=0.4))
    args = SerTrainingArguments(
        output_dir=folder, per_device_train_batch_size=4, num_train_epochs=3, use_cpu=True, disable_tqdm=True)
    set_seed(args.seed)
    model, extractor = build_model(ModelArguments(model_config=model_config), data.labels)
    trainer = make_trainer(model, extractor, data, args)
    whole, count = trainer.compute_loss_func, iter(range(1, 1000))

    def loss(*arguments, **options):
        bad = trainer.model.training and next(count) == 6 and args.process_index == 1
        return whole(*arguments, **options) * (float("nan") if bad else 1)

    trainer.compute_loss_func = loss
    try:
        trainer.train()
    except ValueError as error:
        open(f"{folder}/rank_{args.process_index}.txt", "w").write(str(error))
        raise

run(main)
"""


@pytest.mark.slow
def test_two_processes_end_together(launch, dataset_dir, tiny_config, tmp_path):
    (tmp_path / "program.py").write_text(_PROGRAM)
    words = [tmp_path / "run", dataset_dir, json.dumps(tiny_config)]
    done = launch(tmp_path / "program.py", *words, processes=2, check=False)
    assert done.returncode != 0
    texts = [(tmp_path / "run" / f"rank_{rank}.txt").read_text() for rank in (0, 1)]
    assert texts[0] == texts[1] and "the training loss is nan at step 6" in texts[0]
    assert {path.name for path in (tmp_path / "run").glob("checkpoint-*")} == {"checkpoint-4"}
    assert done.stderr.count("error: the training diverged") == 2
