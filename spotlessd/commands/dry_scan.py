"""`spotlessd scan --dry-run`: what the daemon would do with each file that lies in the folders now.

The same rules as the daemon's look (roots, names, header check), without its patience: a file that is still young is
told as such. Nothing is written, neither to the folders nor to the ledger, and no daemon is needed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spotless_core.errors import MissingInputError, ScanError, SpotlessError, TruncatedScanError
from spotlessd.errors import RootUnavailableError
from spotlessd.folders.file_checks import WriterState, ZeroTail, is_open_for_writing, zero_tail
from spotlessd.folders.roots import Candidate, Root
from spotlessd.job import Identity
from spotlessd.ledger import Ledger

NEW = "would be restored"
KNOWN = "known"
WAITS = "would wait"
REFUSED = "would be quarantined"
BESIDE = "goes with its scan"
AWAY = "folder away"


@dataclass(frozen=True, slots=True)
class Finding:
    """One file, what would become of it (one of the words above), and why. `rel` "" stands for the whole folder."""

    root: str
    rel: str
    verdict: str
    note: str = ""


def look_at_all(
    roots: list[Root],
    ledger: Ledger | None,
    check: Callable[[Path], None],
    settle_seconds: dict[str, float],
    now: float,
) -> Iterator[Finding]:
    """Yield a finding for each file, folder by folder, by name.

    `ledger`: None if there is none yet. `settle_seconds`: by the root's name. `now`: seconds since the epoch.
    """
    for root in roots:
        try:
            candidates = sorted(root.scan(), key=lambda candidate: candidate.rel)
        except RootUnavailableError as error:
            yield Finding(root.name, "", AWAY, str(error))
            continue
        for candidate in candidates:
            yield _finding(candidate, ledger, check, settle_seconds[root.name], now)


def _finding(
    candidate: Candidate, ledger: Ledger | None, check: Callable[[Path], None], settle_seconds: float, now: float
) -> Finding:
    root, rel = candidate.root, candidate.rel
    if ledger is not None and ledger.is_known(Identity(root, rel, candidate.size, candidate.mtime_ns)):
        job = ledger.jobs_of(root, rel)[0]
        return Finding(root, rel, KNOWN, f"job {job.id}, {job.state}" + (f": {job.reason}" if job.reason else ""))
    if candidate.companion is not None:
        return Finding(root, rel, BESIDE)
    if now - candidate.mtime_ns / 1e9 < settle_seconds:
        return Finding(root, rel, WAITS, f"changed less than {settle_seconds:.0f} s ago")
    try:
        if is_open_for_writing(candidate.path, is_network=candidate.is_network) is WriterState.OPEN:
            return Finding(root, rel, WAITS, "a program has it open for writing")
        check(candidate.path)
        if zero_tail(candidate.path) is not ZeroTail.NONE:
            return Finding(root, rel, WAITS, "it ends in zeros: perhaps not complete yet")
    except MissingInputError:
        return Finding(root, rel, WAITS, "it went away while it was looked at")
    except TruncatedScanError as error:
        return Finding(root, rel, WAITS, f"not complete yet: {error}")
    except ScanError as error:
        return Finding(root, rel, REFUSED, str(error))
    except SpotlessError as error:
        return Finding(root, rel, NEW, f"the header check left it to the worker: {error}")
    except OSError as error:
        return Finding(root, rel, WAITS, f"cannot be read: {error.strerror or error}")
    return Finding(root, rel, NEW, f"{candidate.size / 1e6:.1f} MB")
