"""Put every problem of a configuration into one line a person can act on.

Comes in: pydantic's errors, the TOML text, the environment. Goes out: lines `file:line: key: what came; what is
expected; did you mean X?`; a value that came from the environment is named by its variable instead of file:line.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from spotlessd.configuration.toml_locate import KeyPath, line_of

ENV_PREFIX = "SPOTLESSD_"
OTHER_VARIABLES = frozenset({"SPOTLESSD_CONFIG", "SPOTLESSD_CRASH_AT"})
"""Read elsewhere: the config's path, and the point where crash tests end the process."""
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
OPTIONAL_NAME_PATTERN = r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$"
SUFFIX_PATTERN = r"^\.[A-Za-z0-9]+$"
ENDING_PATTERN = r"^[_.-][A-Za-z0-9_.-]+$"
GPU_PATTERN = r"^([0-9]{1,3}|(GPU|MIG)-[0-9A-Za-z/-]+)$"
HOST_PATTERN = r"^[A-Za-z0-9.:_-]{1,253}$"
WEB_PATTERN = r"^(https?://.+)?$"
PATTERN_WORDS = {
    GPU_PATTERN: "a GPU's number or UUID, as `nvidia-smi -L` lists them",
    HOST_PATTERN: "a host's name or address, without port",
    WEB_PATTERN: "an address with http:// or https://, or nothing",
    ENDING_PATTERN: "the end of a name without its suffix, with the '_', '-' or '.' that sets it off, as in _ir",
    NAME_PATTERN: "letters, digits, '.', '_' and '-', at most 64, the first a letter or digit",
    OPTIONAL_NAME_PATTERN: "letters, digits, '.', '_' and '-', at most 64, the first a letter or digit, or nothing",
    SUFFIX_PATTERN: "a suffix with its dot, as in .tif",
}
SHOWN_CHARACTERS = 60
ADDRESS_PASSWORD = re.compile(
    r"(?P<before>[a-z][a-z0-9+.-]*:/+[^:]*:)(?:.*(?P<at>@)|(?!\d+(?:[/?#'\"]|$)).*)", re.I | re.S
)
"""A password in an address: up to the last @, or to the end if there is none and no port."""
QUERY_PASSWORD = re.compile(r"(?P<before>(?:password|[?&][^=&]*%[^=&]*)\s*=).*", re.I | re.S)
"""A password as a parameter, also where the parameter's name is written with %; all that follows goes with it."""
CORE_RULE = re.compile(r"^(?P<key>[a-z_]+\.[a-z_]+) = (?P<rest>.*)$", re.DOTALL)
QUOTED = re.compile(r"'([^']*)'")

Placed = tuple[int, str]
"""A problem and the number that sorts it into the order of the file."""


@dataclass(frozen=True)
class ConfigSource:
    """Where values came from: the file, its text and the environment."""

    path: Path
    text: str
    environ: Mapping[str, str]

    def place(self, key: KeyPath) -> str:
        """Return `environment NAME` if a variable gave `key`, else `file:line`."""
        variable = self.variable(key)
        if variable is not None:
            return f"environment {variable}"
        line = line_of(self.text, key)
        return str(self.path) if line is None else f"{self.path}:{line}"

    def order(self, key: KeyPath) -> int:
        """Return what sorts `key` by its line; what came from the environment goes last."""
        if self.variable(key) is not None:
            return len(self.text)
        return line_of(self.text, key) or 0

    def is_own_variable(self, key: KeyPath) -> bool:
        """Whether a variable of its own, not one of a whole table, gave `key`."""
        return self.variable(key) is not None and self.variable(key) != self.variable(key[:-1])

    def variable(self, key: KeyPath) -> str | None:
        """Return the environment variable that gave `key` or a table above it."""
        upper_names = {name.upper(): name for name in self.environ}
        for end in range(len(key), 0, -1):
            name = upper_names.get(ENV_PREFIX + "__".join(str(part) for part in key[:end]).upper())
            if name is not None:
                return name
        return None


def known_keys(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """Yield every key the file may have, tables first: ("watch",), ("watch", "mode") …, as written in the file."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        yield (key,)
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from ((key, *rest) for rest in known_keys(inner))


def unknown_environment(model: type[BaseModel], environ: Mapping[str, str]) -> list[str]:
    """Return a problem for every SPOTLESSD_ variable that means nothing: a slip must not pass in silence."""
    known = {ENV_PREFIX + "__".join(key).upper() for key in known_keys(model) if key[0] != "roots" or len(key) == 1}
    problems = []
    for name in sorted(environ):
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known | OTHER_VARIABLES:
            bare = {each.removeprefix(ENV_PREFIX): each for each in known}
            near = difflib.get_close_matches(name.upper().removeprefix(ENV_PREFIX), sorted(bare), n=1)
            hint = f"; did you mean {bare[near[0]]}?" if near else ""
            problems.append(f"environment {name}: unknown variable{hint}")
    return problems


def unknown_key(model: type[BaseModel], source: ConfigSource, key: KeyPath) -> str:
    """Word an unknown key, with the nearest known one: of the same table if one is near, else of any."""
    names = tuple(part for part in key if isinstance(part, str))
    siblings = {other[-1]: ".".join(other) for other in known_keys(model) if other[:-1] == names[:-1]}
    elsewhere = [".".join(other) for other in known_keys(model) if other[-1] == names[-1]]
    near = difflib.get_close_matches(names[-1], siblings, n=1)
    meant = siblings[near[0]] if near else elsewhere[0] if elsewhere else ""
    hint = f"; did you mean {meant}?" if meant else ""
    return f"{source.place(key)}: {dotted(key)}: unknown key{hint}"


def word_problems(error: ValidationError, model: type[BaseModel], source: ConfigSource) -> list[Placed]:
    """Return one line for each of pydantic's errors, with its place in the file."""
    problems: list[Placed] = []
    details = error.errors(include_url=False)
    for detail in details:
        key = detail["loc"]
        if detail["type"] == "too_short" and any(
            other["loc"][: len(key)] == key for other in details if other != detail
        ):
            continue  # the list is short because its members were refused, each with its own line
        if detail["type"] == "extra_forbidden":
            if not source.is_own_variable(key):  # else unknown_environment reports it
                problems.append((source.order(key), unknown_key(model, source, key)))
        elif detail["type"] == "value_error" and CORE_RULE.match(str(detail["ctx"]["error"])):
            problems += word_rules(str(detail["ctx"]["error"]).splitlines(), source, key[:-1])
        else:
            expectation = _expectation(dict(detail))
            problems.append((source.order(key), f"{source.place(key)}: {dotted(key)}: {expectation}"))
    return problems


def word_rules(sentences: Iterable[str], source: ConfigSource, table: KeyPath = ()) -> list[Placed]:
    """Place the core's sentences `section.key = value; expectation` in the file, below `table`."""
    problems: list[Placed] = []
    for sentence in sentences:
        rule = CORE_RULE.match(sentence)
        if rule is not None:
            key: KeyPath = (*table, *rule["key"].split("."))
            problems.append((source.order(key), f"{source.place(key)}: {dotted(key)}: {rule['rest']}"))
    return problems


def dotted(key: KeyPath) -> str:
    """Write a key path as a person would: roots[0].input."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _expectation(detail: dict[str, Any]) -> str:
    """Say what came and what is expected."""
    if detail["type"] == "missing":
        return "nothing came; this key is required."
    if detail["type"] == "value_error":
        return f"{_shown(detail['input'])} came; {detail['ctx']['error']}."
    if detail["type"] == "string_pattern_mismatch":
        return f"{_shown(detail['input'])} came; expected: {PATTERN_WORDS[detail['ctx']['pattern']]}."
    expected = str(detail["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    if detail["type"] in {"float_parsing", "int_parsing"}:
        expected = "a number without quotes and without its unit"
    hint = ""
    if detail["type"] in {"enum", "literal_error"}:
        hint = _did_you_mean(str(detail["input"]), set(QUOTED.findall(expected)))
    return f"{_shown(detail['input'])} came; expected: {expected}{hint or '.'}"


def hide_password(text: str) -> str:
    """Return `text` with stars for the password of an address in it; rather too much is hidden than too little."""
    text = QUERY_PASSWORD.sub(lambda found: f"{found['before']}***", text)
    return ADDRESS_PASSWORD.sub(lambda found: f"{found['before']}***{found['at'] or ''}", text)


def _shown(value: object) -> str:
    text = repr(hide_password(value)) if isinstance(value, str) else hide_password(repr(value))
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _did_you_mean(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
