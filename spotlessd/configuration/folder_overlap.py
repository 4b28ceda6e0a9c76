"""Which folders of a station must not contain each other, or the daemon would eat its own results.

`lies_in` says whether one folder is another or lies in it: by name alone (the config as it is read), or by what is on
the disk, links and bind mounts seen through (the folders as they are opened).
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

LiesIn = Callable[[Path, Path], bool]


class Overlap(NamedTuple):
    """`root` (its number) and `key` ("input", "output"): whose setting is to blame, and the sentence."""

    root: int
    key: str
    sentence: str


def find_overlaps(roots: Sequence[tuple[Path, Path]], lies_in: LiesIn) -> list[Overlap]:
    """Return what is wrong between the inputs and outputs of all roots, given as (input, output)."""
    problems = []
    for index, (watched, _) in enumerate(roots):
        for other, (other_watched, output) in enumerate(roots):
            if lies_in(output, watched):
                sentence = f"output {output} lies in input {watched}; results would be taken for scans."
                problems.append(Overlap(other, "output", sentence))
            elif lies_in(watched, output):
                sentence = f"input {watched} lies in output {output}; results would be taken for scans."
                problems.append(Overlap(index, "input", sentence))
            if other > index and (lies_in(other_watched, watched) or lies_in(watched, other_watched)):
                sentence = f"inputs {watched} and {other_watched} overlap; their scans would be taken twice."
                problems.append(Overlap(other, "input", sentence))
    return problems


def lies_in_by_name(inner: Path, outer: Path) -> bool:
    """Whether `inner` is `outer` or lies in it, as their names say. Touches no disk."""
    return inner.is_relative_to(outer)


def lies_in_on_disk(inner: Path, outer: Path) -> bool:
    """Whether `inner` is `outer` or lies in it, by file identity, so that links and bind mounts are seen through."""
    resolved = Path(os.path.realpath(inner))
    real_outer = Path(os.path.realpath(outer))
    for place in (resolved, *resolved.parents):
        try:
            if place == real_outer or place.samefile(real_outer):
                return True
        except OSError:
            continue  # one of the two does not exist yet: their names were compared
    return False
