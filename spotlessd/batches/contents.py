"""What lies in a folder before it becomes a batch: how many scans, which other kinds, and results of earlier runs.

Comes in: the folder and the rules by which names are scans. Goes out: `Contents`. Only names are read, no file is
opened or looked at, so that a hundred thousand cost seconds; what is kept does not grow with them.
"""

import glob
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from spotlessd.folders.roots import MARKER_NAME, NameRules
from spotlessd.publishing.result_files import FOLDERS

KINDS_TOLD = 6
NO_ENDING = "files without an ending"


@dataclass(slots=True)
class Contents:
    """`scans`: regular files whose names are those of scans. `kinds`: all others, by ending. `results`: folders that
    hold results of spotlessd, below the folder; they are left out.
    """

    scans: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    results: list[str] = field(default_factory=list)

    @property
    def kinds_text(self) -> str:
        """Word the other kinds, the most frequent first: "12 .cr2, 3 .pdf"; "" if there are none."""
        told = [f"{number:,} {kind}" for kind, number in self.kinds.most_common(KINDS_TOLD)]
        more = len(self.kinds) - len(told)
        return ", ".join(told) + (f" and {more} other kinds" if more > 0 else "")

    @property
    def left_out(self) -> tuple[str, ...]:
        """Return patterns for `watch.ignore` that mean these very folders."""
        return tuple(_pattern(rel) for rel in self.results)


def read_contents(folder: Path, rules: NameRules) -> Contents:
    """Walk through `folder`. Below it a folder that cannot be read is passed over: the run itself tells of it.

    Raises:
        OSError: `folder` itself cannot be read.
    """
    found = Contents()
    pending = [""]
    while pending:
        place = pending.pop()
        try:
            with os.scandir(folder / place) as listing:
                entries = list(listing)
        except OSError:
            if not place:
                raise
            continue
        names = {entry.name for entry in entries}
        if place and {MARKER_NAME, FOLDERS["receipt"]} <= names:
            found.results.append(place)
            continue
        for entry in entries:
            rel = f"{place}/{entry.name}" if place else entry.name
            if rules.ignores(entry.name, rel):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(rel)
            elif entry.is_file(follow_symlinks=False) and rules.allows(entry.name):
                found.scans += 1
            else:
                found.kinds[PurePosixPath(entry.name).suffix.lower() or NO_ENDING] += 1
    return found


def _pattern(rel: str) -> str:
    """Return a pattern for one path. Only one with a slash is held against the path, so the last letter gets one."""
    last = rel[-1]
    return glob.escape(rel[:-1]) + ("[/!]" if last == "!" else f"[{last}/]")
