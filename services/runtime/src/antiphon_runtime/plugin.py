"""Names to classes, without importing what isn't chosen."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from .errors import ConfigError


def resolve(name: str, table: Mapping[str, str]) -> Any:
    """The object `name` stands for in `table`, or the one it spells as "module:attribute".

    Raises ConfigError when there is none, or when a library that it needs is missing.
    """
    path = table.get(name, name)
    module, found, attribute = path.partition(":")
    if not found:
        raise ConfigError(f"unknown backend {name!r}: it is one of {', '.join(sorted(table))}, or 'module:attribute'")
    try:
        found_in = import_module(module)
    except (ImportError, OSError, ValueError) as error:  # OSError: a shared library that is not there
        raise ConfigError(f"backend {name!r} cannot be loaded: {error}") from error
    try:
        return getattr(found_in, attribute)
    except AttributeError as error:
        raise ConfigError(f"backend {name!r} cannot be loaded: {module} has no {attribute!r}") from error
