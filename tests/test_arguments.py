"""Recipe arguments: what a YAML file and a command line mean, and that nothing misspelt passes."""

import re
import sys
from dataclasses import dataclass, field, fields
from typing import Literal

import pytest
from transformers import TrainingArguments

from hf_ser import recipe_help
from hf_ser.arguments import ConfigError, parse, run
from hf_ser.errors import SerError


@dataclass
class Training:
    name: str
    epochs: int = 3
    learning_rate: float = 1e-3
    shuffle: bool = True
    normalize: bool = False
    corpora: list[str] = field(default_factory=lambda: ["ravdess"])
    seeds: list[int] = field(default_factory=list)
    channel: Literal["speech", "song"] = "speech"
    trim_db: float | None = None
    extra: dict | str | None = None
    transforms: list | str | None = None

    def __post_init__(self):
        if self.epochs < 0:
            raise ValueError(f"--epochs {self.epochs} must not be negative")


@dataclass
class Output:
    output_dir: str = "runs"
    steps: int = 10


@pytest.fixture
def config(tmp_path):
    """Write a YAML file and return the words that name it on the command line."""

    def write(text):
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return ["--config", str(path)]

    return write


def refusal(argv):
    """The message of the ConfigError that parsing `argv` raises."""
    with pytest.raises(ConfigError) as caught:
        parse(Training, argv=argv)
    assert isinstance(caught.value, SerError)
    return str(caught.value)


# --- values -----------------------------------------------------------------------------------------------------


def test_defaults():
    assert parse(Training, Output, argv=["--name", "a"]) == (Training("a"), Output("runs", 10))


def test_one_instance_per_dataclass_in_the_order_given(config):
    argv = [*config("steps: 7\nname: a"), "--output_dir", "there"]
    assert parse(Output, Training, argv=argv) == (Output("there", 7), Training("a"))


def test_argv_defaults_to_the_command_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["recipe.py", "--steps", "4"])
    assert parse(Output) == (Output(steps=4),)


def test_command_line_overrides_yaml_overrides_defaults(config):
    argv = config("name: yaml\nepochs: 4\nlearning_rate: 0.5\ncorpora: [tess, savee]")
    assert parse(Training, argv=argv) == (Training("yaml", 4, 0.5, corpora=["tess", "savee"]),)
    for words in ([*argv, "--epochs", "9", "--corpora", "crema_d"], ["--epochs=9", "--corpora", "crema_d", *argv]):
        assert parse(Training, argv=words) == (Training("yaml", 9, 0.5, corpora=["crema_d"]),)
    assert parse(Training, argv=[f"--config={argv[1]}"])[0].epochs == 4


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("3e-5", "learning_rate", 3e-5),
        ('"3e-5"', "learning_rate", 3e-5),
        ("1", "learning_rate", 1.0),
        ("20", "trim_db", 20.0),
        ("null", "trim_db", None),
        ("7", "epochs", 7),
        ("no", "shuffle", False),
        ("true", "normalize", True),
        ("'false'", "shuffle", False),
        ("song", "channel", "song"),
        ("[tess, savee]", "corpora", ["tess", "savee"]),
        ("tess", "corpora", ["tess"]),
        ("[1, 2]", "seeds", [1, 2]),
        ("3", "seeds", [3]),
        ("[]", "corpora", []),
        ("{a: 1, b: [2]}", "extra", {"a": 1, "b": [2]}),
        ("[{a: 1}, 2, b]", "transforms", [{"a": 1}, 2, "b"]),
        ("text", "extra", "text"),
        ("12", "name", "12"),
        ("größer", "name", "größer"),
    ],
)
def test_yaml_values_have_the_fields_types(config, text, name, expected):
    lines = {"name": "a"} | {name: text}
    (training,) = parse(Training, argv=config("\n".join(f"{key}: {value}" for key, value in lines.items())))
    value = getattr(training, name)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("words", "name", "expected"),
    [
        (["--learning_rate", "3e-5"], "learning_rate", 3e-5),
        (["--learning-rate", "3e-5"], "learning_rate", 3e-5),
        (["--learning_rate=3e-5"], "learning_rate", 3e-5),
        (["--normalize"], "normalize", True),
        (["--normalize", "false"], "normalize", False),
        (["--no_shuffle"], "shuffle", False),
        (["--shuffle", "no"], "shuffle", False),
        (["--corpora", "tess", "savee"], "corpora", ["tess", "savee"]),
        (["--seeds", "1", "-2"], "seeds", [1, -2]),
        (["--channel", "song"], "channel", "song"),
    ],
)
def test_command_line_values(words, name, expected):
    value = getattr(parse(Training, argv=["--name", "a", *words])[0], name)
    assert value == expected
    assert type(value) is type(expected)


def test_command_line_bool_overrides_yaml(config):
    argv = config("name: a\nshuffle: true\nnormalize: true")
    assert parse(Training, argv=[*argv, "--no_shuffle", "--normalize", "no"]) == (Training("a", shuffle=False),)
    argv = config("name: a\nshuffle: false")
    assert parse(Training, argv=[*argv, "--shuffle"]) == (Training("a", shuffle=True),)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--extra.a", "2"], {"a": 2, "b": "x"}),
        (["--extra.a=3e-5", "--extra.c", "[1, 2]"], {"a": 3e-5, "b": "x", "c": [1, 2]}),
        (["--extra.b=null", "--epochs", "5"], {"a": 1, "b": None}),
        (["--extra.b", "a: [b"], {"a": 1, "b": "a: [b"}),
        (["--extra.b", "-1.5"], {"a": 1, "b": -1.5}),
    ],
)
def test_one_key_of_a_mapping_is_overridden(config, words, expected):
    (training,) = parse(Training, argv=[*config("name: a\nextra: {a: 1, b: x}"), *words])
    assert training.extra == expected
    assert parse(Training, argv=["--name", "a", "--extra.d", "true"])[0].extra == {"d": True}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--extr.a", "1"], "did you mean extra"),
        (["--epochs.a", "1"], "epochs"),
        (["--extra.a"], "has no value"),
        (["--extra.a", "--epochs"], "has no value"),
    ],
)
def test_a_key_that_cannot_be_overridden_is_refused(config, words, message):
    with pytest.raises(ConfigError, match=message):
        parse(Training, argv=[*config("name: a\nepochs: 4"), *words])


def test_a_required_field_may_stand_in_either_place(config):
    assert "--name" in refusal([])
    assert "--name" in refusal(config("epochs: 1"))
    assert parse(Training, argv=config("name: a"))[0].name == "a"
    assert parse(Training, argv=[*config("epochs: 1"), "--name", "b"]) == (Training("b", 1),)


def test_parsing_leaves_no_trace(config):
    parse(Training, argv=config("name: a\nepochs: 4\ncorpora: [tess]"))
    assert parse(Training, argv=["--name", "b"]) == (Training("b"),)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_an_empty_file_sets_nothing(config, text):
    assert parse(Output, argv=config(text)) == (Output(),)


# --- refusals ---------------------------------------------------------------------------------------------------


def test_unknown_keys_in_yaml(config):
    argv = config("name: a\nepocs: 4\nzzz: 1")
    assert refusal(argv) == (
        f"{argv[1]}: unknown field epocs (did you mean epochs?); zzz (no field has a similar name)"
    )


@pytest.mark.parametrize("key", ["config", "help", "no_shuffle", "epoch", "learning-rate", "1"])
def test_only_field_names_are_keys(config, key):
    assert f"unknown field {key}" in refusal(config(f"name: a\n{key}: 1"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--epocs", "4"], "command line: unknown field epocs (did you mean epochs?)"),
        (["--epocs=4"], "command line: unknown field epocs (did you mean epochs?)"),
        (["--learning-rat", "1"], "command line: unknown field learning_rat (did you mean learning_rate?)"),
        (["--zzz", "1"], "command line: unknown field zzz (no field has a similar name)"),
        (["--epoch", "4"], "command line: unknown field epoch (did you mean epochs?)"),  # an abbreviation
        (["--learn", "1"], "command line: unknown field learn"),
        (["--conf", "a.yaml"], "command line: unknown field conf"),
        (["qqq"], "command line: unknown field qqq (no field has a similar name)"),
        (["epochs", "5"], "command line: unknown field"),
    ],
)
def test_unknown_words_on_the_command_line(words, expected):
    assert refusal(["--name", "a", *words]).startswith(expected)


@pytest.mark.parametrize(
    "others",
    [[], ["--name", "a", "--epochs", "-1"], ["--epochs", "-1"]],
    ids=["a field is missing", "a check fails", "both"],
)
def test_what_is_unknown_is_told_before_all_else(config, others):
    """Neither a missing field nor a dataclass's own check comes first."""
    unknown = "unknown field epocs (did you mean epochs?)"
    assert refusal([*others, "--epocs", "4"]) == f"command line: {unknown}"
    assert refusal([*others, "--extr.a", "1"]).startswith("command line: unknown field extr (did you mean extra?)")
    argv = config("epocs: 4")
    assert refusal([*others, *argv]) == f"{argv[1]}: {unknown}"
    assert refusal([*others, *config("epochs: many"), "--epocs", "4"]) == f"command line: {unknown}"


def test_help_is_shown_beside_what_is_unknown(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(Training, argv=["--epocs", "4", "--help"])
    assert ended.value.code == 0 and "--epochs" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["-epochs", "5"], ["epochs"], ["epochs=5"]], ids=lambda words: " ".join(words))
def test_a_field_without_its_dashes_is_refused(words):
    refusal(["--name", "a", *words])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("epochs: many", "epochs is 'many'; expected int"),
        ("epochs: 2.5", "epochs is 2.5; expected int"),
        ("epochs: true", "epochs is True; expected int"),
        ("learning_rate: true", "learning_rate is True; expected float"),
        ("learning_rate: fast", "learning_rate is 'fast'; expected float"),
        ("shuffle: maybe", "shuffle is 'maybe'; expected true or false"),
        ("seeds: [1, b]", "seeds is 'b'; expected int"),
        ("seeds: [1, true]", "seeds is True; expected int"),
        ("epochs: [1]", "epochs holds a list; expected one int"),
        ("name: [a]", "name holds a list; expected one str"),
        ("transforms: {a: 1}", "transforms holds a mapping; expected a list"),
        ("epochs: {a: 1}", "epochs holds a mapping; expected int"),
        ("channel: opera", "channel is 'opera'; expected one of speech, song"),
    ],
)
def test_wrong_types_in_yaml(config, line, expected):
    argv = config(line if line.startswith("name") else f"name: a\n{line}")
    assert refusal(argv) == f"{argv[1]}: {expected}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["--epochs", "2.5"], "argument --epochs: invalid int value: '2.5'"),
        (["--epochs"], "argument --epochs: expected one argument"),
        (["--corpora"], "argument --corpora: expected at least one argument"),
        (["--channel", "opera"], "invalid choice: 'opera'"),
        (["--shuffle", "maybe"], "maybe"),
    ],
)
def test_wrong_types_on_the_command_line(words, expected):
    assert expected in refusal(["--name", "a", *words])


def test_missing_and_broken_files(config, tmp_path):
    missing = tmp_path / "none.yaml"
    assert refusal(["--config", str(missing)]).startswith(f"--config {missing}: no such file; expected a YAML file")
    assert refusal(["--config", str(tmp_path)]).startswith(f"--config {tmp_path}: no such file")
    argv = config("name: [")
    assert refusal(argv).startswith(f"{argv[1]} is not valid YAML: ")
    argv = config("name: !!python/object/apply:os.getcwd []")
    assert refusal(argv).startswith(f"{argv[1]} is not valid YAML: ")
    argv = config("- name\n- a")
    assert refusal(argv) == f"{argv[1]} holds a list; expected a mapping of field names to values"
    argv = config("name")
    assert refusal(argv) == f"{argv[1]} holds a str; expected a mapping of field names to values"


def test_a_dataclass_check_becomes_a_config_error(config):
    assert refusal(["--name", "a", "--epochs", "-1"]) == "--epochs -1 must not be negative"
    assert refusal(config("name: a\nepochs: -1")) == "--epochs -1 must not be negative"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("name:", id="null for a str"),
        pytest.param("name: a\nepochs:", id="null for an int"),
        pytest.param("name: {a: 1}", id="mapping for a str"),
        pytest.param(b"name: \xff", id="not UTF-8"),
        pytest.param("name: a\nepochs: 1\nepochs: 2", id="the same key twice"),
    ],
)
def test_more_yaml_to_refuse(config, text):
    refusal(config(text))


def test_config_without_its_file_is_a_config_error():
    refusal(["--name", "a", "--config"])


# --- run --------------------------------------------------------------------------------------------------------


def exit_of(capsys, main):
    with pytest.raises(SystemExit) as caught:
        run(main)
    return caught.value.code, *capsys.readouterr()


def raiser(error):
    def main():
        raise error

    return main


def test_run_ends_with_0(capsys):
    assert exit_of(capsys, lambda: print("done")) == (0, "done\n", "")


@pytest.mark.parametrize("kind", [SerError, ConfigError])
def test_run_prints_what_a_person_can_mend_as_one_line(capsys, kind):
    assert exit_of(capsys, raiser(kind("a.wav: got 0 bytes"))) == (2, "", "error: a.wav: got 0 bytes\n")


def test_run_reports_an_interruption(capsys):
    code, out, err = exit_of(capsys, raiser(KeyboardInterrupt()))
    assert (code, out) == (130, "")
    assert "interrupted" in err


@pytest.mark.parametrize("error", [ValueError("a bug"), RuntimeError("a bug"), OSError("disk full")])
def test_run_lets_other_errors_pass(error):
    with pytest.raises(type(error)) as caught:
        run(raiser(error))
    assert caught.value is error


def test_run_lets_an_exit_pass(capsys):
    assert exit_of(capsys, raiser(SystemExit(5))) == (5, "", "")


def test_help_names_every_field_and_the_config(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(Training, argv=["--help"], description="Train a model.")
    out = capsys.readouterr().out
    assert caught.value.code == 0
    assert "Train a model." in out
    for name in ("--name", "--epochs", "--learning_rate", "--corpora", "--config FILE.yaml", "{speech,song}"):
        assert name in out


# --- leading words ------------------------------------------------------------------------------------------------


def test_leading_words_fill_the_positional_field(config):
    argv = ["tess", "savee", "--name", "a"]
    assert parse(Training, argv=argv, positional="corpora") == (Training("a", corpora=["tess", "savee"]),)
    named = ["--name", "a", "--corpora", "tess"]
    assert parse(Training, argv=named, positional="corpora") == (Training("a", corpora=["tess"]),)
    words = ["crema_d", *config("name: yaml\ncorpora: [tess, savee]")]
    assert parse(Training, argv=words, positional="corpora") == (Training("yaml", corpora=["crema_d"]),)
    assert parse(Output, argv=["there"], positional="output_dir") == (Output("there"),)


@pytest.mark.parametrize(
    ("argv", "positional", "says"),
    [
        (["tess", "--name", "a"], None, "unknown field tess"),
        (["tess", "--name", "a", "--corpora", "savee"], "corpora", "got both --corpora and the leading tess"),
        (["tess", "--name", "a", "--corpora=savee"], "corpora", "got both --corpora and the leading tess"),
        (["--name", "a", "tess"], "corpora", "unknown field tess"),
        (["three", "--name", "a"], "seeds", "--seeds: invalid int value: 'three'"),
    ],
)
def test_words_that_have_no_field_are_refused(argv, positional, says):
    with pytest.raises(ConfigError, match=says):
        parse(Training, argv=argv, positional=positional)


# --- help -------------------------------------------------------------------------------------------------------


@dataclass
class Fitting(TrainingArguments):
    """How a model is fitted.

    And more.
    """

    output_dir: str | None = field(default=None, metadata={"help": "the model's folder"})
    loss: str = field(default="focal", metadata={"help": "the loss"})


@dataclass
class Steps:
    steps: int = 10


def _help(capsys, *types, flag="--help", description=None):
    with pytest.raises(SystemExit) as ended:
        parse(*types, argv=[flag], description=description)
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_keeps_the_lines_of_the_description(capsys):
    shown = _help(capsys, Output, description="Do it.\n\npython recipe.py --steps 3\n\nMore.\n")
    assert "\n\nDo it.\n\npython recipe.py --steps 3\n\nMore.\n\n" in shown


def test_help_shows_each_flag_once_with_the_kind_of_its_value(capsys):
    shown = " ".join(_help(capsys, Training).split())
    for text in (
        "--name NAME [--config FILE.yaml]",
        "--epochs INT",
        "--learning_rate FLOAT",
        "--shuffle [true|false]",
        "--channel {speech,song}",
        "--corpora TEXT [TEXT ...]",
        "--trim_db FLOAT",
    ):
        assert text in shown
    assert "--learning-rate" not in shown and "--no_shuffle" not in shown and "default: None" not in shown


def test_help_shows_own_fields_first_and_rare_ones_of_transformers_when_asked(capsys):
    shown = _help(capsys, Fitting, Steps)
    order = ["\noptions:", "--help_all", "\nHow a model is fitted:", "--output_dir", "--loss", "\nSteps:", "--steps"]
    order += ["\nFields of transformers' TrainingArguments:", "--num_train_epochs", "--learning_rate"]
    positions = [shown.index(text) for text in order]
    assert positions == sorted(positions)
    assert "--adam_beta1" not in shown
    assert re.search(r"--loss TEXT +the loss \(default: focal\)\n", shown)
    assert re.search(r"--output_dir TEXT +the model's folder\n", shown)
    everything = _help(capsys, Fitting, Steps, flag="--help_all")
    assert everything.startswith(shown.partition("\nRarely used")[0].rstrip("\n"))
    assert "\nRarely used fields:" in everything and "--adam_beta1 FLOAT" in everything
    known = {one.name for one in fields(Fitting) if one.init}
    assert {name for name in known if f"--{name} " not in everything} == set()
    assert "--help_all" not in _help(capsys, Output)


def test_the_used_fields_of_transformers_exist():
    assert set(recipe_help._USED) <= {one.name for one in fields(TrainingArguments)}
