"""Importing a site's worker class, and knowing which files that brought in."""

from __future__ import annotations

import hashlib
import importlib
import sys
import sysconfig
from collections.abc import Set
from pathlib import Path

import richmond
from richmond.workers.base import RichmondWorker

# Code that changes by installing something, after which everything is restarted anyway.
_INSTALLED = (
    *{f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")},
    *(f"{path}/" for path in richmond.__path__),
)


def load(class_path: str, workers_path: Path) -> type[RichmondWorker]:
    """Import a class such as `pizza.PizzaWorker`, from `workers_path` first.

    Raises whatever the import raises, and ImportError if the module has no such worker class.
    """
    # Two saves within a second can leave the first one's code in the cache, with the same size and time.
    sys.dont_write_bytecode = True
    if str(workers_path) not in sys.path:
        sys.path.insert(0, str(workers_path))
    module_name, _, name = class_path.rpartition(".")
    if not module_name:
        raise ImportError(f"{class_path!r} names no module; write module.{class_path}")
    module = importlib.import_module(module_name)
    found = getattr(module, name, None)
    if found is None:
        there = [k for k, v in vars(module).items() if isinstance(v, type) and issubclass(v, RichmondWorker)]
        raise ImportError(f"{module_name} has no class {name}; its worker classes: {', '.join(there) or 'none'}")
    if not isinstance(found, type) or not issubclass(found, RichmondWorker):
        raise ImportError(f"{class_path} is no subclass of richmond.workers.base.RichmondWorker")
    return found


def site_files(before: Set[str]) -> dict[str, str]:
    """Path and SHA-256 of each imported file that is neither in `before` nor Python's, installed or ours."""
    files = {}
    for name in sys.modules.keys() - before:
        path = getattr(sys.modules[name], "__file__", None)
        if path and not path.startswith(_INSTALLED):
            files[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return files
