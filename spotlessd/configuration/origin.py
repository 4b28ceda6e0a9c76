"""Each key of a configuration with its value and where that came from: the file's line, a variable, or the default.

Comes in: settings as they were loaded, and the file they came from, read again. Paths are told as the daemon uses them:
absolute. A key that a table of the environment gave as JSON is the environment's.
"""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_settings import EnvSettingsSource

from spotlessd.configuration.problems import ConfigSource, dotted
from spotlessd.configuration.settings import Settings
from spotlessd.configuration.toml_locate import KeyPath, line_of

DEFAULT = "default"
KEPT = "kept by the running daemon"
"""The origin of every key while the file is wrong: where each came from is not known any more."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key, its value as plain JSON, and its origin: `default`, `FILE:LINE`, `environment NAME` or KEPT."""

    key: str
    value: Any
    origin: str

    def text(self) -> str:
        """Return it as a line of TOML."""
        return f"{self.key} = {json.dumps(self.value, ensure_ascii=False)}"


def entries(settings: Settings) -> list[Entry]:
    """Return every key, in the order of the tables; what a root's profile leaves to the station is not in it.

    Raises:
        OSError: the file cannot be read any more.
        ValueError: it is no TOML any more.
    """
    path = settings.config_path
    if settings.is_kept:
        return [
            Entry(dotted(key), _plain(value), KEPT)
            for key, value in _leaves(settings, ())
            if value is not None or key[0] != "roots"
        ]
    text = path.read_text(encoding="utf-8")
    source = ConfigSource(path, text, dict(os.environ))
    in_file, in_environment = tomllib.loads(text), EnvSettingsSource(Settings)()
    found = []
    for key, value in _leaves(settings, ()):
        if _has(in_environment, key):
            origin = f"environment {source.variable(key)}"
        elif _has(in_file, key):
            origin = f"{path}:{line_of(text, key)}"
        else:
            if value is None and key[0] == "roots":
                continue
            origin = DEFAULT
        found.append(Entry(dotted(key), _plain(value), origin))
    return found


def _leaves(model: BaseModel, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        key = (*path, field.alias or name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, key)
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for index, each in enumerate(value):
                yield from _leaves(each, (*key, index))
        else:
            yield key, value


def _has(values: object, key: KeyPath) -> bool:
    for part in key:
        if isinstance(part, int):
            if not isinstance(values, list) or part >= len(values):
                return False
            values = values[part]
        elif isinstance(values, Mapping) and part in values:
            values = values[part]
        else:
            return False
    return True


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return "" if value is None else value
