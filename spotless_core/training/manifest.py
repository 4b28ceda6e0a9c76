"""Write one network's entry of `manifest.toml` and keep the others'.

TOML is written here because Python only reads it: strings, numbers and booleans, inline tables of them, and tables of
inline tables.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from spotless_core.errors import ModelError
from spotless_core.networks.weights import MANIFEST

Value: TypeAlias = str | int | float | bool
Table: TypeAlias = Mapping[str, Value]
Entry: TypeAlias = Mapping[str, Value | Table | Mapping[str, Table]]

HEADER = "# The weights that ship: checked by sha256 before they are loaded."
COMMENTS = {"thresholds": "# Probabilities: seed starts a defect, grow extends it; chosen by `evaluate --calibrate`."}
"""Written above the tables of these names."""


def put_entry(models: Path, name: str, entry: Entry) -> None:
    """Write `entry` as `[model.NAME]` into the manifest in the folder `models`; all other entries stay.

    Raises:
        ModelError: the manifest that is there cannot be read.
    """
    path = models / MANIFEST
    entries: dict[str, Entry] = {}
    if path.exists():
        try:
            entries = tomllib.loads(path.read_text(encoding="utf-8"))["model"]
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError) as error:
            raise ModelError(f"{path}: not a model manifest ({error}). Mend it, or delete it to begin anew.") from error
    entries[name] = entry
    text = HEADER + "\n" + "\n".join(_render(key, value) for key, value in entries.items())
    temporary = path.with_suffix(".part")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _render(name: str, entry: Entry) -> str:
    lines, tables = [f"[model.{name}]"], []
    for key, value in entry.items():
        if not isinstance(value, Mapping):
            lines.append(f"{key} = {_scalar(value)}")
        elif any(isinstance(item, Mapping) for item in value.values()):
            rows = [f"{row} = {_inline(item)}" for row, item in value.items() if isinstance(item, Mapping)]
            tables += [*([COMMENTS[key]] if key in COMMENTS else []), f"[model.{name}.{key}]", *rows]
        else:
            lines.append(f"{key} = {_inline(value)}")
    return "\n".join([*lines, *tables]) + "\n"


def _inline(table: Mapping[str, object]) -> str:
    return "{ " + ", ".join(f"{key} = {_scalar(value)}" for key, value in table.items()) + " }"


def _scalar(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
