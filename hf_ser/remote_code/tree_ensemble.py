"""Ensembles of decision trees as tensors: boosters and random forests without the library that fitted them."""

from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from .checks import Count, Positive, check_fields, check_loaded
from .tree_inference import ZERO, Tables, TreeInference

# Values that fail the check in every buffer; as the bits of a float64, -1 is NaN.
_UNSET = {torch.int32: -1, torch.int64: -1, torch.uint8: 255}


class TreeEnsembleConfig(PreTrainedConfig):
    """Sizes of an ensemble, whose trees are tensors. Keywords only, including those of PreTrainedConfig.

    Raises:
        ValueError: a field is invalid; the message names it, its value and what was expected.

    >>> TreeEnsembleConfig(num_features=2, num_trees=3, num_nodes=9).num_leaves
    12
    """

    model_type = "ser-tree-ensemble"

    num_features: Positive = 1  # number of input features
    num_trees: Positive = 1  # number of trees, of all classes together
    num_nodes: Count = 0  # number of decisions, of all trees together
    # softmax (boosters): a leaf is a number, and the score of a class is the sum over its trees; mean (forests): a
    # leaf is a distribution over the classes, and features are compared as float32, as in scikit-learn.
    aggregation: Literal["softmax", "mean"] = "softmax"
    feature_names: list[str] | tuple[str, ...] = ()  # names of the features; empty for Column_0, Column_1, ...

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        check_fields(self)
        if int(self.num_labels or 0) < 2:
            raise ValueError(f"num_labels: got {self.num_labels}; expected at least 2.")
        names = list(self.feature_names) or [f"Column_{number}" for number in range(self.num_features)]
        self.feature_names = names
        if len(names) != self.num_features or not all(isinstance(name, str) for name in names):
            raise ValueError(f"feature_names: got {len(names)} names; expected {self.num_features}, one per feature.")

    @property
    def num_leaves(self) -> int:
        """Number of leaves of all trees: a tree of n decisions has n + 1."""
        return self.num_nodes + self.num_trees

    @property
    def leaf_size(self) -> int:
        """Number of values per leaf."""
        return 1 if self.aggregation == "softmax" else int(self.num_labels or 0)


class TreeEnsemble(PreTrainedModel):
    """Features (batch, num_features) -> probabilities (batch, num_labels), equal to those of the fitting library.

    Thresholds and leaf values are stored as the bits of float64 in int64 buffers, so that casting the model (`half()`,
    `to(torch.bfloat16)`, `from_pretrained(dtype=...)`) does not change any decision. The buffers are:

    - `roots` (trees,) and `branches` (nodes, 2), left and right: index of a node, or -1 - index for a leaf.
    - `features` (nodes,), `threshold_bits` (nodes,): a sample goes left if its feature is at most the threshold.
    - `missing` (nodes,): which values are missing and where they go, an index of `tree_inference.MISSING`.
    - `tree_classes` (trees,): the class to whose score a tree adds; 0 with aggregation "mean".
    - `value_bits` (leaves, leaf_size).

    A tree with one decision that adds -1 or 1 to the score of class 1:

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
        """Make an ensemble from tables.

        Raises:
            ValueError: the tables are not valid trees, or their sizes differ from the configuration.
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
            ValueError: tensors are missing, or are not valid trees.
        """
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, info = loaded
        check_loaded(info)
        model.check()
        return (model, info) if output_loading_info else model

    def _init_weights(self, module: nn.Module) -> None:
        """Fill tensors missing from a checkpoint with values that fail the check, also within another model."""
        if isinstance(module, TreeEnsemble):
            for buffer in module.buffers():
                init.constant_(buffer, _UNSET[buffer.dtype])

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the probabilities: always float64."""
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
        """Check the trees, and prepare them for `forward`.

        Raises:
            ValueError: see `tree_inference.Tables.check`.
        """
        assert self.config.num_labels is not None
        tables = self.tables()
        tables.check(self.config.num_features, self.config.num_labels)
        self._inference = TreeInference(tables, self.config.num_labels, self.device)

    def _apply(self, fn: Any, recurse: bool = True) -> "TreeEnsemble":
        self._inference = None  # its tensors are on the previous device
        return super()._apply(fn, recurse)

    @property
    def device(self) -> torch.device:
        """Device of the trees."""
        return self.roots.device

    @torch.no_grad()
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Classify.

        Args:
            features: (batch, num_features), floating point; NaN for missing values. Boosters compare them as float64,
                forests as float32.

        Returns:
            Probabilities (batch, num_labels), float64.

        Raises:
            ValueError: the features have another shape or dtype, or the model's tensors are not valid trees.
        """
        expected = self.config.num_features
        if features.ndim != 2 or features.shape[1] != expected or not features.is_floating_point():
            raise ValueError(
                f"features: got shape {tuple(features.shape)}, {features.dtype}; "
                f"expected (batch, {expected}), floating point."
            )
        if self._inference is None:
            self.check()
            assert self._inference is not None
        if self.config.aggregation == "softmax":
            features = features.double()
            features = features.masked_fill(features.abs() <= ZERO, 0.0)  # as LightGBM does
            return torch.softmax(self._inference.totals(features), dim=1)
        return self._inference.totals(features.float().double()) / self.config.num_trees


def _forget_inference(module: nn.Module, incompatible_keys: Any) -> None:
    module._inference = None  # type: ignore[assignment]
