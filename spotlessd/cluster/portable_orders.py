"""A work order as plain JSON values that mean the same on every machine: every path is a place on a share.

Comes in: a `WorkOrder` of this machine. Goes out: JSON values, and back. What is a machine's own business does not
travel: where it copies a scan to before it is read, and where its big-lama lies (only whether there is one).
"""

from dataclasses import asdict, fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

from spotless_core.errors import OptionsError
from spotless_core.options import RestoreOptions
from spotless_core.receipt import DecisionFacts
from spotlessd.cluster.shares import Place, Shares
from spotlessd.job import Base
from spotlessd.messages import WorkOrder
from spotlessd.publishing.result_files import turned

PLACES = ("source", "image", "mask", "preview", "given_mask", "feedback")
WRITTEN = frozenset({"image", "mask", "preview", "feedback"})
"""What the worker writes: parts, of which each turn has its own."""
PLAIN = ("job_id", "attempt", "source_name", "is_on_cpu", "deadline_seconds")
BASE_PLACES = ("mask", "image", "receipt")


def portable(order: WorkOrder, shares: Shares) -> dict[str, Any]:
    """Return `order` as JSON values.

    Raises:
        NoShareError: one of its files lies in no share.
    """
    values: dict[str, Any] = {name: getattr(order, name) for name in PLAIN}
    values |= {name: _place(getattr(order, name), shares) for name in PLACES}
    options = asdict(order.options)
    values["has_big_lama"] = options["inpaint"].pop("big_lama_path") is not None
    values["options"] = _plain(options)
    values["decision"] = None if order.decision is None else asdict(order.decision)
    values["base"] = None
    if order.base is not None:
        base = {name: getattr(order.base, name) for name in ("job", "name", "sha256")}
        values["base"] = base | {name: _place(getattr(order.base, name), shares) for name in BASE_PLACES}
    return values


def own_order(values: dict[str, Any], turn: int, shares: Shares, big_lama_path: Path | None) -> WorkOrder:
    """Return the order that `portable` made, with this machine's paths and the parts of `turn`.

    Raises:
        NoShareError: a share is missing here.
        KeyError, TypeError, ValueError: another version wrote it; the caller words it.
    """
    expected = {*PLAIN, *PLACES, "has_big_lama", "options", "decision", "base"}
    if set(values) != expected:
        raise ValueError(", ".join(sorted(set(values) ^ expected)))
    paths: dict[str, Any] = {name: _path(values[name], shares) for name in PLACES}
    paths |= {name: turned(path, turn) for name, path in paths.items() if path is not None and name in WRITTEN}
    if any(paths[name] is None for name in PLACES[:4]):
        raise ValueError("a path is missing")
    options = options_of(values["options"])
    if values["has_big_lama"]:
        options = replace(options, inpaint=replace(options.inpaint, big_lama_path=big_lama_path))
    base: dict[str, Any] | None = values["base"]
    if base is not None:
        base = {name: _path(value, shares) if name in BASE_PLACES else value for name, value in base.items()}
    decision = values["decision"]
    plain = {name: values[name] for name in PLAIN}
    return WorkOrder(
        **plain,
        **paths,
        options=options,
        base=None if base is None else Base(**base),
        decision=None if decision is None else DecisionFacts(**decision),
    )


def options_of(values: dict[str, Any]) -> RestoreOptions:
    """Return the options that `portable` wrote.

    Raises:
        ValueError: keys or values are not those of this version.
    """
    values = {**values, "inpaint": {**values["inpaint"], "big_lama_path": None}}
    try:
        found: RestoreOptions = _made(RestoreOptions, values)
    except OptionsError as error:
        raise ValueError(str(error)) from error
    return found


def _made(kind: Any, values: Any) -> Any:  # noqa: ANN401 - the fields' types decide
    """Build a dataclass of the core's options; every key must be there and no other."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        names = {field.name for field in fields(kind)}
        if not isinstance(values, dict) or set(values) != names:
            odd = set(values) ^ names if isinstance(values, dict) else {kind.__name__}
            raise ValueError(f"the options {', '.join(sorted(odd))}")
        return kind(**{name: _made(hints[name], values[name]) for name in names})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(values)
    return values


def _plain(values: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(values, dict):
        return {name: _plain(value) for name, value in values.items()}
    return values.value if isinstance(values, Enum) else values


def _place(path: Path | None, shares: Shares) -> list[str] | None:
    if path is None:
        return None
    place = shares.place_of(path)
    return [place.share, place.rel]


def _path(value: list[str] | None, shares: Shares) -> Path | None:
    return None if value is None else shares.path_of(Place(*value))
