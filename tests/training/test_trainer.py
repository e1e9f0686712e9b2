import pytest
import torch

from hf_ser.arguments import ConfigError
from hf_ser.training import SerTrainingArguments
from hf_ser.training.schedules import one_cycle

QUIET = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def _rates(num_steps, num_warmup_steps=0, **options):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    schedule = one_cycle(optimizer, num_steps, num_warmup_steps, options)
    rates = []
    for _ in range(num_steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize(("num_warmup_steps", "top"), [(0, 29), (2, 1), (50, 49), (99, 98)])
def test_one_cycle_rises_to_the_peak_and_falls_to_nearly_nothing(num_warmup_steps, top):
    rates = _rates(100, num_warmup_steps)
    assert max(rates) == pytest.approx(0.01) and rates.index(max(rates)) == top
    assert rates[0] == pytest.approx(0.01 / 25) and rates[-1] < 1e-6
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 10])
def test_one_cycle_of_few_steps(num_steps):
    assert len(_rates(num_steps)) == num_steps


@pytest.mark.parametrize("num_warmup_steps", [1, 100, 500])
def test_a_warmup_without_a_fall_or_a_rise_is_refused(num_warmup_steps):
    with pytest.raises(ConfigError, match=f"gives {num_warmup_steps} of 100 steps; expected from 2 to 99"):
        _rates(100, num_warmup_steps)


def test_options_of_torch_are_taken_and_others_refused():
    assert _rates(100, div_factor=10.0)[0] == pytest.approx(0.001)
    for options in ({"max_lr": 1.0}, {"divfactor": 10.0}, {"anneal_strategy": "no"}):
        with pytest.raises(ConfigError, match=f"lr_scheduler_kwargs are .*{next(iter(options))}"):
            _rates(100, **options)


def test_it_stands_for_a_schedule_and_not_beside_one(tmp_path):
    with pytest.raises(ConfigError, match="lr_scheduler_type is cosine"):
        SerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, one_cycle=True, lr_scheduler_type="cosine")


def test_a_run_makes_one_cycle_and_goes_on_in_its_middle(trainer_for, run):
    settings = {**QUIET, "one_cycle": True, "num_train_epochs": 3, "warmup_steps": 0.25, "learning_rate": 3e-3}
    settings |= {"save_strategy": "steps", "save_steps": 1, "save_total_limit": None}
    rates = run(trainer_for(**settings), "learning_rate")
    assert len(rates) == 12 and rates.index(max(rates)) == 2
    assert max(rates) == pytest.approx(3e-3) and rates[-1] < 1e-6
    losses = run(trainer_for("again", **settings))
    resumed = trainer_for(**settings)
    checkpoint = f"{resumed.args.output_dir}/checkpoint-5"
    assert run(resumed, "learning_rate", resume_from_checkpoint=checkpoint) == rates
    assert [entry["loss"] for entry in resumed.state.log_history if "loss" in entry] == losses


@pytest.mark.parametrize("scheduler", ["reduce_lr_on_plateau", "greedy"])
def test_scores_that_must_rise_are_watched_for_rising(tmp_path, scheduler):
    def mode(**changes):
        settings = {"output_dir": str(tmp_path), "use_cpu": True, "lr_scheduler_type": scheduler}
        return SerTrainingArguments(**settings, **changes).lr_scheduler_kwargs

    assert mode() == {"mode": "max"}
    assert mode(metric_for_best_model="loss", greater_is_better=False) == {"mode": "min"}
    assert mode(metric_for_best_model="eval_brier") == {"mode": "min"}
    assert mode(lr_scheduler_kwargs={"patience": 3}) == {"mode": "max", "patience": 3}


def test_a_plateau_of_the_validation_score_lowers_the_learning_rate(trainer_for, run):
    settings = {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"patience": 0, "factor": 0.1}}
    settings |= {"num_train_epochs": 5, "logging_strategy": "epoch", "save_total_limit": None}

    def scored(trainer, scores):
        trainer.compute_metrics = lambda prediction: {"f1_weighted": next(scores)}
        return trainer

    scores = [0.1, 0.2, 0.3, 0.3, 0.2]
    rates = run(scored(trainer_for(**settings), iter(scores)), "learning_rate")
    assert rates == pytest.approx([3e-3, 3e-3, 3e-3, 3e-3, 3e-4])  # logged before the evaluation that follows
    resumed = scored(trainer_for(**settings), iter(scores[4:]))
    checkpoint = f"{resumed.args.output_dir}/checkpoint-16"
    assert run(resumed, "learning_rate", resume_from_checkpoint=checkpoint) == pytest.approx(rates)


def test_a_plateau_needs_evaluations(tmp_path):
    with pytest.raises(ValueError, match="requires an eval strategy"):
        SerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, lr_scheduler_type="reduce_lr_on_plateau", **QUIET)
