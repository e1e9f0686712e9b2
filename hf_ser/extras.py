"""The extras of the installation: their packages, and the error that names the extra of a missing package."""

from collections.abc import Iterator
from contextlib import contextmanager

from hf_ser.errors import SerError

# Extra -> what needs it, and its modules.
EXTRAS = {
    "train": (
        "datasets, training and evaluation",
        ("accelerate", "datasets", "evaluate", "jinja2", "psutil", "pyarrow", "scipy", "sklearn", "tabulate"),
    ),
    "hybrids": ("hybrids", ("lightgbm",)),
    "plots": ("figures", ("matplotlib",)),
    "demo": ("the demo", ("gradio", "packaging")),
    "serve": ("the HTTP server", ("fastapi", "prometheus_client", "python_multipart", "starlette", "uvicorn")),
    "download": ("downloads from Kaggle", ("kagglehub",)),
    "media": ("M4A, WebM and similar recordings", ("av",)),
    "search": ("the hyperparameter search", ("optuna", "sqlalchemy")),
    "slurm": ("jobs of SLURM", ("submitit",)),
    "export": ("exports", ("onnx", "onnx_ir", "onnxscript")),
    "onnx": ("exported graphs", ("onnxruntime",)),
    "openvino": ("exports to OpenVINO", ("openvino",)),
    "listen": ("the microphone of hf-ser listen", ("sounddevice",)),
    "lora": ("LoRA", ("peft",)),
    "augmentation": ("augmentation", ("audiomentations",)),
    "robustness": ("generated rooms", ("pyroomacoustics",)),
    "audformat": ("audformat databases", ("audformat",)),
}
# Modules of the core that an installation for exported graphs alone does not have -> what needs them, what to install.
_COMMAND_LINE = "the command line", "filelock tqdm"
_MODELS = "models other than exported graphs", "hf-ser"
_CORE = {"filelock": _COMMAND_LINE, "torch": _MODELS, "tqdm": _COMMAND_LINE, "transformers": _MODELS}
_EXTRA_OF = {module: extra for extra, (_, modules) in EXTRAS.items() for module in modules}


class MissingExtraError(SerError, ImportError):
    """A package of an extra is not installed."""


def missing_extra(error: BaseException, extra: str | None = None) -> MissingExtraError | None:
    """Turn the failed import of an extra's package into an error with the pip command; None for other errors.

    Args:
        error: the error that was raised.
        extra: the extra to name; default: the one with the package.

    >>> str(missing_extra(ModuleNotFoundError(name="peft")))
    'peft is not installed; it is needed for LoRA. Install it with: pip install "hf-ser[lora]"'
    """
    if isinstance(error, MissingExtraError):
        return missing_extra(error.__cause__, extra) if extra and error.__cause__ else error
    module = ((error.name if isinstance(error, ModuleNotFoundError) else None) or "").partition(".")[0]
    if module in _CORE:
        purpose, packages = _CORE[module]
        remedy = f"Install it with: pip install {packages}"
        return MissingExtraError(f"{module} is not installed; it is needed for {purpose}. {remedy}")
    if module not in _EXTRA_OF:
        return None
    extra = extra or _EXTRA_OF[module]
    purpose = EXTRAS[extra][0]
    remedy = f'Install it with: pip install "hf-ser[{extra}]"'
    return MissingExtraError(f"{module} is not installed; it is needed for {purpose}. {remedy}")


@contextmanager
def needs_extra(extra: str | None = None) -> Iterator[None]:
    """Import packages of extras: if one is not installed, the error names `extra`, or by default the package's extra.

    >>> with needs_extra("train"):
    ...     import datasets

    Raises:
        MissingExtraError: a package is not installed.
    """
    try:
        yield
    except ImportError as error:
        missing = missing_extra(error, extra)
        if missing is None or missing is error:
            raise
        raise missing from error
