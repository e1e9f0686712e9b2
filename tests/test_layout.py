"""The package's folders and modules can be told apart by their names."""

from collections import defaultdict
from pathlib import Path

import hf_ser

PACKAGE = Path(hf_ser.__file__).parent


def test_each_basename_occurs_once():
    modules = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    folders = [path.parent for path in PACKAGE.rglob("__init__.py")]
    assert len(modules) > 100 and len(folders) > 10
    places = defaultdict(list)
    for path in modules + folders:
        places[path.stem].append(path.relative_to(PACKAGE).as_posix())
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
