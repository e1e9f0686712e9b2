"""Where the bases of a hybrid lie, and what they are called."""

import re
from pathlib import Path

from hf_ser.arguments import ConfigError
from hf_ser.data.splits import DataArguments


def name_and_place(text: str, args: DataArguments) -> tuple[str, str]:
    """NAME=PLACE or PLACE -> name and place, which follows a cross-validation's runs.

    A place's `{protocol}`, `{protocol_seed}` and `{fold}` are filled in; of a folder of folds, it is that of the
    arguments' fold. Its own name is its last part that is no seed's or fold's.

    Raises:
        ConfigError: another placeholder, or one that the arguments say nothing of.
    """
    name, equals, place = text.partition("=")
    place = _fill_in(place if equals else text, args)
    if not equals:
        parts = Path(place.partition("@")[0]).parts
        own = [part for part in parts if not re.match(r"(seed|fold)_", part) and part.strip("/.")]
        name = own[-1] if own else "base"
    return re.sub(r"[^\w.-]+", "_", name), place


def _fill_in(place: str, args: DataArguments) -> str:
    values = {"protocol": args.protocol, "protocol_seed": args.protocol_seed, "fold": args.fold}
    for name in re.findall(r"{(.*?)}", place):
        if name not in values:
            known = ", ".join(f"{{{its}}}" for its in values)
            raise ConfigError(f"base {place}: {{{name}}} is unknown; expected one of {known}.")
        if values[name] is None:
            more = " with a protocol that has folds" if name == "fold" else ""
            raise ConfigError(f"base {place} asks for a {name}; pass --{name}{more}.")
    filled = re.sub(r"{(.*?)}", lambda match: str(values[match[1]]), place)
    fold = Path(filled) / f"fold_{args.fold}"
    return str(fold) if fold.is_dir() else filled
