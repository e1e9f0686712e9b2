"""Folders of trained models that depend on the split: placeholders for protocol, seed and fold."""

import re
from pathlib import Path

from hf_ser.arguments import ConfigError
from hf_ser.data.splits import DataArguments


def fill_in_location(location: str, args: DataArguments, what: str) -> str:
    """Replace the placeholders `{protocol}`, `{protocol_seed}` and `{fold}` of a model's location.

    If the location is then a folder with folds, the folder of the fold of the arguments is returned.

    Args:
        location: folder or Hub id.
        args: protocol, protocol_seed and fold.
        what: the kind of model, for messages.

    Raises:
        ConfigError: a placeholder is unknown, or its argument is not given.

    >>> fill_in_location("runs/cnn/seed_{protocol_seed}", DataArguments(protocol="emobox", fold=2), "base")
    'runs/cnn/seed_0'
    """
    values = {"protocol": args.protocol, "protocol_seed": args.protocol_seed, "fold": args.fold}
    for name in re.findall(r"{(.*?)}", location):
        if name not in values:
            known = ", ".join(f"{{{value}}}" for value in values)
            raise ConfigError(f"{what} {location}: {{{name}}} is not a placeholder; expected one of {known}.")
        if values[name] is None:
            more = " with a protocol that has folds" if name == "fold" else ""
            raise ConfigError(f"{what} {location} contains {{{name}}}; pass --{name}{more}.")
    filled = re.sub(r"{(.*?)}", lambda match: str(values[match[1]]), location)
    fold = Path(filled) / f"fold_{args.fold}"
    return str(fold) if fold.is_dir() else filled
