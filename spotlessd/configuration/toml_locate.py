"""Where in a TOML text a key stands: `line_of(text, ("watch", "settle_seconds"))` → 12.

Comes in: the text and the path of a key (table names, keys, and numbers for the n-th `[[table]]`). Goes out: a line
number, counted from 1. Used for error messages only: a wrong answer would cost a hint, never a setting. The text is
taken as valid TOML; when the key itself is not there, the nearest table above it is named.
"""

import re

KeyPath = tuple[str | int, ...]

PART = r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'"""
HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
ASSIGNMENT = re.compile(rf"^\s*((?:{PART})(?:\s*\.\s*(?:{PART}))*)\s*=")
KEY_PART = re.compile(PART)
MULTILINE_QUOTES = ('"""', "'''")


def line_of(text: str, path: KeyPath) -> int | None:
    """Return the line of `path`, or of the nearest table above it, or None if nothing of it is in the text."""
    places = key_lines(text)
    for end in range(len(path), 0, -1):
        line = places.get(path[:end])
        if line is not None:
            return line
    return None


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line of every table and key; members of an array of tables carry their number from 0."""
    places: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    open_quotes = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if open_quotes:
            open_quotes = "" if open_quotes in line else open_quotes
            continue
        header = HEADER.match(line)
        assignment = ASSIGNMENT.match(line)
        if header:
            name = _resolve(_parts(header[2]), counts)
            if header[1] == "[[":
                places.setdefault(name, number)
                index = counts.get(name, 0)
                counts[name] = index + 1
                name = (*name, index)
            table = name
            _note(places, table, number)
        elif assignment:
            _note(places, table + _parts(assignment[1]), number)
            open_quotes = _opened(line)
    return places


def _note(places: dict[KeyPath, int], path: KeyPath, number: int) -> None:
    """Record `path` and the tables that `a.b = 1` makes on the way."""
    for end in range(1, len(path) + 1):
        places.setdefault(path[:end], number)


def _resolve(name: KeyPath, counts: dict[KeyPath, int]) -> KeyPath:
    """Add to `[a.b]` the number of the last `[[a]]` it belongs to."""
    resolved: KeyPath = ()
    for position, part in enumerate(name):
        resolved = (*resolved, part)
        if resolved in counts and position < len(name) - 1:
            resolved = (*resolved, counts[resolved] - 1)
    return resolved


def _parts(dotted: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in KEY_PART.findall(dotted))


def _opened(line: str) -> str:
    """Return the triple quote that this line opens and does not close."""
    for quotes in MULTILINE_QUOTES:
        if line.count(quotes) % 2:
            return quotes
    return ""
