"""Ensembles of decision trees as tensors: boosters and random forests without the library that fitted them."""

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from .checks import check_choice, check_loaded, check_positive
from .tree_inference import ZERO, Tables, TreeInference

AGGREGATIONS = ("softmax", "mean")
# A value that fails the check in every buffer: as the bits of a float64, -1 is NaN.
_UNSET = {torch.int32: -1, torch.int64: -1, torch.uint8: 255}


class TreeEnsembleConfig(PreTrainedConfig):
    """Sizes of an ensemble; the trees themselves are tensors.

    Args:
        num_features: columns of the input.
        num_trees: of all classes together.
        num_nodes: decisions of all trees; there is one leaf more than that per tree.
        aggregation: softmax (boosters: a leaf holds one number, a class's score is the sum over its trees), or mean
            (forests: a leaf holds a distribution over the classes; features count as float32, as in scikit-learn).
        feature_names: of the columns; empty for `Column_0` and so on, as LightGBM calls them.
        **kwargs: those of PreTrainedConfig, such as num_labels or id2label.

    Raises:
        ValueError: an invalid field; the message names it, its value and what was expected.

    >>> TreeEnsembleConfig(num_features=2, num_trees=3, num_nodes=9).num_leaves
    12
    """

    model_type = "ser-tree-ensemble"

    def __init__(
        self,
        num_features: int = 1,
        num_trees: int = 1,
        num_nodes: int = 0,
        aggregation: str = "softmax",
        feature_names: list[str] | tuple[str, ...] = (),
        **kwargs: Any,
    ) -> None:
        self.num_features, self.num_trees, self.num_nodes = num_features, num_trees, num_nodes
        self.aggregation = aggregation
        super().__init__(**kwargs)
        check_positive(self, "num_features", "num_trees")
        check_positive(self, "num_nodes", least=0)
        check_choice(self, "aggregation", AGGREGATIONS)
        if int(self.num_labels or 0) < 2:
            raise ValueError(f"num_labels: got {self.num_labels}; expected 2 at least.")
        self.feature_names = list(feature_names) or [f"Column_{number}" for number in range(num_features)]
        names = self.feature_names
        if len(names) != num_features or not all(isinstance(name, str) for name in names):
            raise ValueError(f"feature_names: got {len(names)} names; expected {num_features}, one per feature.")

    @property
    def num_leaves(self) -> int:
        """Leaves of all trees: a tree of n decisions has n + 1."""
        return self.num_nodes + self.num_trees

    @property
    def leaf_size(self) -> int:
        """Numbers that a leaf holds."""
        return 1 if self.aggregation == "softmax" else int(self.num_labels or 0)


class TreeEnsemble(PreTrainedModel):
    """Features (batch, num_features) -> probabilities (batch, num_labels), as the library computes them.

    Buffers, of which thresholds and leaf values are the bits of float64 in int64: a cast of the whole model
    (`half()`, `to(torch.bfloat16)`, `from_pretrained(dtype=...)`) leaves every decision as it was fitted.

    - `roots` (trees,) and `branches` (nodes, 2), left and right: a node's number, or -1 - number for a leaf.
    - `features` (nodes,), `threshold_bits` (nodes,): a sample goes left where its feature is at most the threshold.
    - `missing` (nodes,): what counts as missing and where it goes, an index of `tree_inference.MISSING`.
    - `tree_classes` (trees,): the class whose score a tree adds to; 0 with aggregation "mean".
    - `value_bits` (leaves, leaf_size).

    A tree of one decision, after which class 1 scores -1 or 1:

    >>> decision = {"features": [0], "thresholds": [0.5], "missing": [0], "branches": [[-1, -2]]}
    >>> trees = {"roots": [0], "tree_classes": [1], "values": [[-1.0], [1.0]]} | decision
    >>> tables = Tables(**{name: np.array(values) for name, values in trees.items()})
    >>> model = TreeEnsemble.from_tables(TreeEnsembleConfig(num_features=1, num_trees=1, num_nodes=1), tables)
    >>> model(torch.tensor([[0.2], [0.9]])).argmax(dim=1)
    tensor([0, 1])
    """

    config_class = TreeEnsembleConfig
    base_model_prefix = ""
    main_input_name = "features"
    config: TreeEnsembleConfig
    roots: torch.Tensor
    branches: torch.Tensor
    features: torch.Tensor
    threshold_bits: torch.Tensor
    missing: torch.Tensor
    tree_classes: torch.Tensor
    value_bits: torch.Tensor

    def __init__(self, config: TreeEnsembleConfig) -> None:
        super().__init__(config)
        nodes, trees = config.num_nodes, config.num_trees
        shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            "roots": ((trees,), torch.int32),
            "branches": ((nodes, 2), torch.int32),
            "features": ((nodes,), torch.int32),
            "threshold_bits": ((nodes,), torch.int64),
            "missing": ((nodes,), torch.uint8),
            "tree_classes": ((trees,), torch.int32),
            "value_bits": ((config.num_leaves, config.leaf_size), torch.int64),
        }
        for name, (shape, dtype) in shapes.items():
            self.register_buffer(name, torch.full(shape, _UNSET[dtype], dtype=dtype))
        self._inference: TreeInference | None = None
        self.register_load_state_dict_post_hook(_forget_inference)
        self.post_init()

    @classmethod
    def from_tables(cls, config: TreeEnsembleConfig, tables: Tables) -> "TreeEnsemble":
        """Make an ensemble of these trees.

        Raises:
            ValueError: tables that are no trees, or of other sizes than the configuration says.
        """
        model = cls(config)
        arrays = {
            "roots": tables.roots,
            "branches": tables.branches,
            "features": tables.features,
            "threshold_bits": np.ascontiguousarray(tables.thresholds, np.float64).view(np.int64),
            "missing": tables.missing,
            "tree_classes": tables.tree_classes,
            "value_bits": np.ascontiguousarray(tables.values, np.float64).view(np.int64),
        }
        for name, array in arrays.items():
            buffer = model.get_buffer(name)
            if array.shape != tuple(buffer.shape):
                raise ValueError(f"{name}: got shape {array.shape}; expected {tuple(buffer.shape)}.")
            buffer.copy_(torch.from_numpy(np.ascontiguousarray(array)))
        model.check()
        return model

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """Load as `PreTrainedModel.from_pretrained` does, and check the trees.

        Raises:
            ValueError: tensors that are absent, or that are no trees.
        """
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, info = loaded
        check_loaded(info)
        model.check()
        return (model, info) if output_loading_info else model

    def _init_weights(self, module: nn.Module) -> None:
        """Fill tensors that a checkpoint lacks with values that fail the check, also as part of another model."""
        if isinstance(module, TreeEnsemble):
            for buffer in module.buffers():
                init.constant_(buffer, _UNSET[buffer.dtype])

    @property
    def dtype(self) -> torch.dtype:
        """Of the probabilities: float64, whatever the model was cast to."""
        return torch.float64

    def tables(self) -> Tables:
        """The trees as arrays, thresholds and leaf values as float64."""
        arrays = {name: buffer.detach().cpu().numpy() for name, buffer in self.named_buffers()}
        return Tables(
            roots=arrays["roots"],
            branches=arrays["branches"],
            features=arrays["features"],
            thresholds=arrays["threshold_bits"].view(np.float64),
            missing=arrays["missing"],
            tree_classes=arrays["tree_classes"],
            values=arrays["value_bits"].view(np.float64),
        )

    def check(self) -> None:
        """Check the trees, and derive what `forward` needs.

        Raises:
            ValueError: see `tree_inference.Tables.check`.
        """
        assert self.config.num_labels is not None
        tables = self.tables()
        tables.check(self.config.num_features, self.config.num_labels)
        self._inference = TreeInference(tables, self.config.num_labels, self.device)

    def _apply(self, fn: Any, recurse: bool = True) -> "TreeEnsemble":
        self._inference = None  # it lies on the device where the model was
        return super()._apply(fn, recurse)

    @property
    def device(self) -> torch.device:
        """Where the trees are."""
        return self.roots.device

    @torch.no_grad()
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Classify.

        Args:
            features: (batch, num_features), floating; NaN where missing. A booster compares them as float64, a forest
                as float32.

        Returns:
            Probabilities (batch, num_labels), float64.

        Raises:
            ValueError: another shape, integers, or tensors of the model that are no trees.
        """
        expected = self.config.num_features
        if features.ndim != 2 or features.shape[1] != expected or not features.is_floating_point():
            raise ValueError(
                f"features: got shape {tuple(features.shape)}, {features.dtype}; "
                f"expected (batch, {expected}), floating."
            )
        if self._inference is None:
            self.check()
            assert self._inference is not None
        if self.config.aggregation == "softmax":
            features = features.double()
            features = features.masked_fill(features.abs() <= ZERO, 0.0)  # as LightGBM does with rows of a table
            return torch.softmax(self._inference.totals(features), dim=1)
        return self._inference.totals(features.float().double()) / self.config.num_trees


def _forget_inference(module: nn.Module, incompatible_keys: Any) -> None:
    module._inference = None  # type: ignore[assignment]
