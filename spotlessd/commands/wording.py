"""How times, lengths of time and tables are worded, and text made safe to print, for every command alike."""

import json
import time
from collections.abc import Sequence

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


def duration_text(seconds: float) -> str:
    """Word a length of time with two parts at most: 45 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    whole = max(round(seconds), 0)
    if whole < MINUTE:
        return f"{whole} s"
    for size, name, part, part_name in ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min"), (MINUTE, "min", 1.0, "s")):
        if whole >= size:
            rest = int(whole % size // part)
            return f"{int(whole // size)} {name}" + (f" {rest} {part_name}" if rest else "")
    raise AssertionError(whole)


def clock_text(at: float) -> str:
    """Word a moment, seconds since the epoch, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def as_json(value: object) -> str:
    """Return plain values as JSON for people and programs."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def one_line_name(name: str) -> str:
    """Return a file's name on one line, its control characters escaped: a name may hold line breaks."""
    return printable(name).replace("\n", "\\n")


def printable(text: str) -> str:
    """Return text whose control characters and lone surrogates are escaped: a file name must not steer a terminal."""
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
