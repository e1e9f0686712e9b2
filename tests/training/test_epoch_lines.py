"""The line that a training prints for every epoch, and its progress bar."""

import ast
import io
import re
import sys

import pytest
from transformers import TrainerState

from hf_ser.console import set_up_logging
from hf_ser.training import SerTrainingArguments
from hf_ser.training.epoch_lines import EpochLines, epoch_line

NUMBER = r"(\d+\.\d{3})"
LINE = re.compile(
    rf"epoch +(\d+)/3  loss {NUMBER}  validation: loss {NUMBER}  weighted F1 {NUMBER}  UAR {NUMBER}  \|"
    rf" +\d+(?:\.\d)? s  \| best (.+) {NUMBER} \(epoch (\d)\)"
)


@pytest.fixture(autouse=True)
def as_in_a_recipe():
    set_up_logging()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def arguments(tmp_path):
    return lambda **given: SerTrainingArguments(str(tmp_path / "run"), use_cpu=True, **given)


def _state(*scores, name="eval_f1_weighted", **fields):
    history = [{"epoch": float(epoch), name: score} for epoch, score in enumerate(scores, 1)]
    settings = {"epoch": float(len(scores)), "num_train_epochs": 12, "log_history": history} | fields
    return TrainerState(**settings)


def _of(history, name):
    return [f"{entry[name]:.3f}" for entry in history if name in entry]


@pytest.mark.parametrize(
    ("metric", "word", "choose"), [("f1_weighted", "weighted F1", max), ("eval_loss", "loss", min)]
)
def test_a_line_has_the_values_of_the_history(trainer_for, capsys, metric, word, choose):
    trainer = trainer_for(num_train_epochs=3, logging_strategy="epoch", metric_for_best_model=metric)
    capsys.readouterr()
    trainer.train()
    out, err = capsys.readouterr()
    lines = [LINE.fullmatch(line) for line in out.splitlines()]
    assert len(lines) == 3 and all(lines), out
    assert err == ""
    columns = list(zip(*[line.groups() for line in lines], strict=True))
    history = trainer.state.log_history
    names = ("loss", "eval_loss", "eval_f1_weighted", "eval_uar")
    assert columns[0] == ("1", "2", "3")
    assert [list(column) for column in columns[1:5]] == [_of(history, name) for name in names]
    assert set(columns[5]) == {word}
    values = [entry[f"eval_{metric.removeprefix('eval_')}"] for entry in history if "eval_loss" in entry]
    best = [choose(values[: end + 1]) for end in range(3)]
    assert list(columns[6]) == [f"{value:.3f}" for value in best]
    assert [int(epoch) for epoch in columns[7]] == [values.index(value) + 1 for value in best]
    assert trainer.state.best_metric == best[-1]


def test_the_history_is_what_it_is_without_the_lines(trainer_for, capsys):
    histories = []
    for name in ("with", "without"):
        trainer = trainer_for(name, num_train_epochs=1, logging_strategy="epoch")
        if name == "without":
            trainer.remove_callback(EpochLines)
        trainer.train()
        timed = ("runtime", "per_second")
        histories.append(
            [
                {key: value for key, value in entry.items() if not key.endswith(timed)}
                for entry in trainer.state.log_history
            ]
        )
    assert histories[0] == histories[1] and "total_flos" in histories[0][-1]
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_log_level_info_adds_every_score(trainer_for, capsys):
    import transformers

    before = transformers.utils.logging.get_verbosity()
    try:
        trainer = trainer_for(num_train_epochs=1, logging_strategy="epoch", log_level="info")
        trainer.train()
    finally:
        transformers.utils.logging.set_verbosity(before)
    raw = [ast.literal_eval(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [next(iter(entry)) for entry in raw] == ["loss", "eval_loss", "train_runtime"]
    scores = next(entry for entry in trainer.state.log_history if "eval_loss" in entry)
    assert scores.items() >= raw[1].items() and len(raw[1]) > 15


def test_a_terminal_gets_a_bar_on_one_line_and_a_log_none(trainer_for, monkeypatch, capsys):
    def shown(stream, **changes):
        monkeypatch.setattr(sys, "stderr", stream)
        trainer_for(num_train_epochs=1, **changes).train()
        return stream.getvalue()

    bar = shown(Terminal(), disable_tqdm=False)
    assert "Training: 100%" in bar and "4/4" in bar and "\n" not in bar
    assert shown(Terminal(), disable_tqdm=True) == ""
    assert shown(io.StringIO(), disable_tqdm=False) == ""
    assert capsys.readouterr().out.count("epoch 1/1") == 3


def test_evaluations_in_the_middle_of_an_epoch_have_lines_of_their_own(trainer_for, capsys):
    changes = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "no", "load_best_model_at_end": False}
    trainer_for(num_train_epochs=1, logging_strategy="no", **changes).train()
    out = capsys.readouterr().out.splitlines()
    assert [line.split("  loss")[0] for line in out] == ["epoch 0.50/1", "epoch 1.00/1"]
    assert all("loss     -  validation: loss 2." in line for line in out)


def test_without_evaluation_the_loss_has_a_line(trainer_for, capsys):
    changes = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    trainer = trainer_for(num_train_epochs=2, logging_strategy="epoch", **changes)
    trainer.train()
    lines = [
        re.fullmatch(rf"epoch (\d)/2  loss {NUMBER}  \| +\d+\.\d s", line)
        for line in capsys.readouterr().out.splitlines()
    ]
    assert [line.groups() for line in lines] == list(zip("12", _of(trainer.state.log_history, "loss"), strict=True))


def test_only_the_main_process_prints(arguments, capsys):
    lines, args = EpochLines(), arguments(disable_tqdm=True)
    state = _state(0.2, is_world_process_zero=False)
    for told in ({}, {"is_world_process_zero": True}):
        state = _state(0.2, **({"is_world_process_zero": False} | told))
        lines.on_train_begin(args, state, None)
        lines.on_log(args, state, None, logs={"loss": 1.0})
        lines.on_evaluate(args, state, None, metrics={"eval_loss": 1.0, "eval_f1_weighted": 0.2})
        assert bool(capsys.readouterr().out) == bool(told)
        lines.on_train_end(args, state, None)


def test_a_resumed_training_remembers_its_best_epoch(arguments):
    metrics = {"eval_loss": 2.0, "eval_f1_weighted": 0.4}
    line = epoch_line(arguments(metric_for_best_model="f1_weighted"), _state(0.2, 0.5, 0.5, 0.4), 1.25, metrics, 754.2)
    assert line.endswith("  weighted F1 0.400  |  754 s  | best weighted F1 0.500 (epoch 2)")


@pytest.mark.parametrize(
    ("metric", "scores", "end"),
    [
        ("ece", (0.3, 0.1, 0.2), "ece 0.200  |  3.0 s  | best ece 0.100 (epoch 2)"),
        ("accuracy", (0.3, 0.1, 0.2), "accuracy 0.200  |  3.0 s  | best accuracy 0.300 (epoch 1)"),
    ],
)
def test_another_decisive_score_is_shown(arguments, metric, scores, end):
    state = _state(*scores, name=f"eval_{metric}")
    metrics = {"eval_loss": 2.0, f"eval_{metric}": scores[-1]}
    line = epoch_line(arguments(metric_for_best_model=metric), state, 1.0, metrics, 3.0)
    assert line == f"epoch  3/12  loss 1.000  validation: loss 2.000  {end}"


def test_a_stream_without_a_length_counts_steps(arguments):
    state = _state(num_train_epochs=sys.maxsize, max_steps=1000, global_step=50)
    assert epoch_line(arguments(), state, 1.0, {}, 3.0).startswith("step   50/1000  loss 1.000  |")
