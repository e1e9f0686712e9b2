import copy
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModel

from hf_ser.remote_code.tree_ensemble import TreeEnsemble, TreeEnsembleConfig
from hf_ser.remote_code.tree_inference import MISSING, Tables


def make(aggregation="softmax", seed=0, trees=7, leaves=6, classes=3, features=5):
    """Random trees: leaves are split until there are enough."""
    rng = np.random.default_rng(seed)
    branches, roots = [], []
    for tree in range(trees):
        places = [None]  # where an entry that points to a leaf stands
        roots.append(None)
        for _ in range(leaves - 1):
            place = places.pop(rng.integers(len(places)))
            node = len(branches)
            branches.append([None, None])
            if place is None:
                roots[tree] = node
            else:
                branches[place[0]][place[1]] = node
            places += [(node, 0), (node, 1)]
    number, entries = 0, []
    for row in branches:
        entries.append([])
        for entry in row:
            number -= entry is None
            entries[-1].append(number if entry is None else entry)
    for tree, root in enumerate(roots):
        number -= root is None
        roots[tree] = number if root is None else root
    nodes, size = len(branches), 1 if aggregation == "softmax" else classes
    tables = Tables(
        roots=np.array(roots),
        branches=np.array(entries, int).reshape(-1, 2),
        features=rng.integers(0, features, nodes),
        thresholds=rng.normal(size=nodes),
        missing=rng.integers(0, len(MISSING), nodes),
        tree_classes=np.arange(trees) % classes if size == 1 else np.zeros(trees, int),
        values=rng.dirichlet(np.ones(classes), trees * leaves) if size > 1 else rng.normal(size=(trees * leaves, 1)),
    )
    config = TreeEnsembleConfig(
        num_features=features, num_trees=trees, num_nodes=nodes, aggregation=aggregation, num_labels=classes
    )
    return TreeEnsemble.from_tables(config, tables)


def one_by_one(model, rows):
    """Reference in plain Python: each sample through each tree."""
    tables, config = model.tables(), model.config
    totals = np.zeros((len(rows), config.num_labels))
    for row, total in zip(rows, totals, strict=True):
        for root, tree_class in zip(tables.roots, tables.tree_classes, strict=True):
            entry = root
            while entry >= 0:
                kind, value = MISSING[tables.missing[entry]], row[tables.features[entry]]
                left = value <= tables.thresholds[entry]
                if kind == "nan_is_zero" and np.isnan(value):
                    left = tables.thresholds[entry] >= 0
                elif np.isnan(value) or (kind.startswith("zero") and value == 0):
                    left = kind.endswith("left")
                entry = tables.branches[entry, 0 if left else 1]
            if config.aggregation == "softmax":
                total[tree_class] += tables.values[~entry, 0]
            else:
                total += tables.values[~entry] / config.num_trees
    if config.aggregation == "mean":
        return totals
    powers = np.exp(totals)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture(params=["softmax", "mean"])
def model(request):
    return make(request.param)


@pytest.fixture
def rows():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(150, 5)).astype(np.float32).astype(float)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[rng.random(values.shape) < 0.2] = 0.0
    values[rng.random(values.shape) < 0.05] = np.inf
    values[rng.random(values.shape) < 0.05] = -np.inf
    return values


@pytest.mark.parametrize("leaves", [1, 2, 3, 32, 33, 300])
@pytest.mark.parametrize("aggregation", ["softmax", "mean"])
def test_it_gives_what_the_definition_says(aggregation, leaves, rows):
    model = make(aggregation, leaves=leaves)
    expected = one_by_one(model, rows)
    for batch in (1, 5, 64, 65, 150):
        found = model(torch.from_numpy(rows[:batch]))
        np.testing.assert_allclose(found.numpy(), expected[:batch], rtol=0, atol=1e-12)
    assert model(torch.from_numpy(rows[:0])).shape == (0, 3)


def test_a_saved_folder_loads_the_same(model, rows, tmp_path):
    model.save_pretrained(tmp_path)
    expected = model(torch.from_numpy(rows))
    for kind in (TreeEnsemble, AutoModel):
        loaded = kind.from_pretrained(tmp_path)
        assert isinstance(loaded, TreeEnsemble)
        torch.testing.assert_close(loaded(torch.from_numpy(rows)), expected, rtol=0, atol=0)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".bin", ".pkl", ".pt")]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_no_cast_changes_a_decision(model, rows, tmp_path, dtype):
    expected = model(torch.from_numpy(rows))
    model.save_pretrained(tmp_path)
    loaded = TreeEnsemble.from_pretrained(tmp_path, dtype=dtype)
    for cast in (copy.deepcopy(model).to(dtype), copy.deepcopy(model).half(), copy.deepcopy(model).float(), loaded):
        torch.testing.assert_close(cast(torch.from_numpy(rows)), expected, rtol=0, atol=0)
        torch.testing.assert_close(cast.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_features_of_any_floating_type_are_taken(model):
    rows = torch.randn(70, 5, generator=torch.Generator().manual_seed(0)).half()
    for dtype in (torch.float16, torch.float32, torch.float64):
        torch.testing.assert_close(model(rows.to(dtype)), model(rows.double()), rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(rows.double()), make(model.config.aggregation)(rows.double()))


@pytest.mark.parametrize("features", [torch.zeros(2, 4), torch.zeros(5), torch.zeros(2, 5, dtype=torch.int64)])
def test_other_features_are_refused(model, features):
    with pytest.raises(ValueError, match=r"features: got shape .* expected \(batch, 5\), floating"):
        model(features)


def set_entry(name, place, value):
    def change(tensors):
        tensors[name][place] = value

    return change


def swap_in_a_loop(tensors):
    """Replace the children of a node with two inner children by the node itself."""
    branches = tensors["branches"]
    node = next(node for node in branches[:, 0] if node >= 0)
    where = np.argwhere(branches == node)[0]
    branches[tuple(where)], branches[node, 0] = branches[node, 0], node


NAN = int(np.array(np.nan).view(np.int64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_entry("features", 0, 5), "features: got 0 to 5; expected 0 to 4"),
        (set_entry("features", 0, -1), "features: got -1"),
        (set_entry("branches", (0, 0), 10_000), "branches: got .* 10000"),
        (set_entry("branches", (0, 0), -10_000), "branches: got -10000"),
        (set_entry("branches", (1, 0), 0), "expected every node and leaf once"),
        (set_entry("roots", 0, 1), "expected every node and leaf once"),
        (set_entry("roots", 0, 10_000), "roots: got"),
        (swap_in_a_loop, "got a loop of"),
        (set_entry("missing", 0, 7), "missing: got 0 to 7"),
        (set_entry("tree_classes", 0, 3), "tree_classes: got 0 to 3"),
        (set_entry("threshold_bits", 0, NAN), "thresholds: got NaN"),
        (set_entry("value_bits", (0, 0), NAN), "leaf values: got nan"),
        (lambda tensors: tensors.pop("threshold_bits"), "lacks tensors .*: threshold_bits"),
    ],
)
def test_tensors_that_are_no_trees_are_refused(model, rows, tmp_path, change, message):
    model.save_pretrained(tmp_path)
    tensors = {name: array.copy() for name, array in load_file(tmp_path / "model.safetensors").items()}
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=message):
        TreeEnsemble.from_pretrained(tmp_path)
    if len(tensors) == 7:  # as part of another model
        model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
        with pytest.raises(ValueError, match=message):
            model(torch.from_numpy(rows))


def test_tensors_of_other_sizes_are_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_nodes": 3}))
    with pytest.raises((ValueError, RuntimeError)):
        TreeEnsemble.from_pretrained(tmp_path)


def test_a_model_that_was_never_filled_is_refused():
    with pytest.raises(ValueError, match="expected"):
        TreeEnsemble(TreeEnsembleConfig(num_features=3, num_trees=2, num_nodes=4))(torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_trees": 0}, "num_trees"),
        ({"num_nodes": -1}, "num_nodes"),
        ({"aggregation": "vote"}, "aggregation: got 'vote'"),
        ({"num_features": 2, "feature_names": ["a"]}, "feature_names: got 1 names; expected 2"),
        ({"num_labels": 1}, "num_labels: got 1"),
    ],
)
def test_configurations_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        TreeEnsembleConfig(**fields)
