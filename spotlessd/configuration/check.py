"""Validate a whole configuration and find every problem in it, not only those that pydantic meets first.

A rule between two keys of a table is only looked at when each key alone is right. So what was refused is taken out and
the rest is looked at again, until nothing more is found; what is left is only used to find more problems. Comes in:
file and environment merged into one table. Goes out: the settings if all is well, else the problems.
"""

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from spotlessd.configuration.problems import ConfigSource, Placed, word_problems
from spotlessd.configuration.toml_locate import KeyPath

MOST_ROUNDS = 20
"""Each round takes something out; a model that still refuses what is left then is not asked further."""
STAND_IN_FOLDER = "stand-in"
STAND_INS = {
    "name": "stand-in-{}",
    "input": f"{STAND_IN_FOLDER}/{{}}/in",
    "output": f"{STAND_IN_FOLDER}/{{}}/out",
}
"""What stands for a refused key of a root that has no default."""

Model = TypeVar("Model", bound=BaseModel)


def merged(table: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return `table` with what the environment says put over it, table by table; neither is changed."""
    both = dict(copy.deepcopy(dict(table)))
    for key, value in environment.items():
        below = both.get(key)
        both[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both


def validate(model: type[Model], values: Mapping[str, Any], source: ConfigSource) -> tuple[Model | None, list[Placed]]:
    """Return the settings made of `values`, with every problem found on the way.

    With problems the settings hold defaults and stand-ins where something was refused; they are None if nothing could
    be made of the rest.
    """
    left = copy.deepcopy(dict(values))
    problems: list[Placed] = []
    for _ in range(MOST_ROUNDS):
        try:
            return model(**left), problems
        except ValidationError as error:
            problems += [problem for problem in word_problems(error, model, source) if problem not in problems]
            for detail in error.errors(include_url=False):
                _take_out(left, detail["loc"])
    return None, problems


def _take_out(values: dict[str, Any], key: KeyPath) -> None:
    """Remove what `key` names; in the list of roots, put something in its place that is right."""
    if key[:1] == ("roots",):
        roots = values.get("roots")
        if not isinstance(roots, list) or len(key) == 1:
            values["roots"] = [_stand_in(0)]
            return
        index = key[1]
        assert isinstance(index, int)  # noqa: S101 - pydantic counts the members of a list
        root = roots[index]
        if not isinstance(root, dict) or len(key) == 2:
            roots[index] = _stand_in(index)
            return
        if key[2] in STAND_INS:
            root[key[2]] = STAND_INS[key[2]].format(index)
            return
        values, key = root, key[2:]
    for part in key[:-1]:
        inner = values.get(part) if isinstance(part, str) else None
        if not isinstance(inner, dict):
            key = (part,)
            break
        values = inner
    values.pop(str(key[-1]), None)


def _stand_in(index: int) -> dict[str, str]:
    return {key: words.format(index) for key, words in STAND_INS.items()}
