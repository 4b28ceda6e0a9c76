"""Which of the files in a root belong together, from one look at it. Values only, no disk.

A sidecar belongs to one scan in its folder: the one spelt exactly alike before one that differs in case, a TIFF before
other kinds. A plain companion belongs to every scan of its name.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from spotlessd.companions.names import SIDECAR_SUFFIXES, folded
from spotlessd.folders.roots import Candidate


class Pairs:
    """The scans of one root with their companions. Built from everything that one look found there."""

    def __init__(self, candidates: Iterable[Candidate] = ()) -> None:
        self._companions: dict[str, list[Candidate]] = defaultdict(list)
        self._scan_of: dict[str, Candidate] = {}
        scans: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
        candidates = list(candidates)
        companions = [candidate for candidate in candidates if candidate.companion is not None]
        # Only names that something belongs to: a folder may hold very many scans.
        wanted = {_place(companion.rel, companion.companion.stem) for companion in companions if companion.companion}
        for candidate in candidates if wanted else ():
            if candidate.companion is None:
                path = PurePosixPath(candidate.rel)
                for place in {_place(candidate.rel, path.stem), _place(candidate.rel, path.name)} & wanted:
                    scans[place].append(candidate)
        for companion in sorted(companions, key=lambda candidate: candidate.rel):
            assert companion.companion is not None  # noqa: S101 - chosen above
            stem = companion.companion.stem
            found = sorted(scans.get(_place(companion.rel, stem), ()), key=lambda scan: _rank(scan, stem))
            if companion.companion.is_sidecar:
                found = [scan for scan in found if folded(PurePosixPath(scan.rel).stem) == folded(stem)][:1]
            for scan in found:
                self._companions[scan.rel].append(companion)
                self._scan_of.setdefault(companion.rel, scan)

    def companions_of(self, rel: str) -> list[Candidate]:
        """Return the companions of a scan, by name."""
        return list(self._companions.get(rel, ()))

    def scan_of(self, rel: str) -> Candidate | None:
        """Return the scan that a companion belongs to; the first one of several."""
        return self._scan_of.get(rel)


def _place(rel: str, name: str) -> tuple[str, str]:
    return str(PurePosixPath(rel).parent), folded(name)


def _rank(scan: Candidate, stem: str) -> tuple[bool, bool, str]:
    path = PurePosixPath(scan.rel)
    return path.stem != stem, path.suffix.lower() not in SIDECAR_SUFFIXES, scan.rel
