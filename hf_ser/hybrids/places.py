"""Where the bases of a stack lie, and what they are called."""

import re
from pathlib import Path

from hf_ser.arguments import ConfigError
from hf_ser.data.splits import DataArguments


def fill_in(place: str, args: DataArguments) -> str:
    """A base's place with `{protocol_seed}` and `{fold}` filled in, so that it follows a cross-validation's runs."""
    values = {"protocol_seed": args.protocol_seed, "fold": args.fold}
    for name in re.findall(r"{(.*?)}", place):
        if name not in values:
            raise ConfigError(f"base {place}: {{{name}}} is unknown; expected {{protocol_seed}} or {{fold}}.")
        if values[name] is None:
            raise ConfigError(f"base {place} asks for a fold; pass --fold with a protocol that has folds.")
    return re.sub(r"{(.*?)}", lambda match: str(values[match[1]]), place)


def name_and_place(text: str) -> tuple[str, str]:
    """NAME=PLACE or PLACE -> name and place; a folder's own name is the last that is no seed's or fold's."""
    name, equals, place = text.partition("=")
    if not equals:
        place = text
        own = [part for part in Path(place).parts if not re.match(r"(seed|fold)_", part) and part.strip("/.")]
        name = own[-1] if own else "base"
    return re.sub(r"[^\w.-]+", "_", name), place
