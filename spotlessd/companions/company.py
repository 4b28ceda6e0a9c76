"""What becomes of the files that belong to a scan: who waits for whom, and what is ready to be copied with a result.

A scan waits until its sidecar is complete. A sidecar alone waits `sidecar_seconds` for its scan and is then quarantined
with a sentence (`reprocess` makes a scan of it, and a scan that comes after all takes it along). A sidecar that became
complete only after its scan's result was published gets a job of its own, which puts it beside that result. So every
sidecar ends done or quarantined; it never reaches the worker. Plain companions come along if they are there.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from loguru import logger

from spotless_core.errors import MissingInputError, SpotlessError, TruncatedScanError
from spotlessd.companions.pairing import Pairs
from spotlessd.engine import Engine
from spotlessd.folders.file_checks import WriterState, ZeroTail, is_open_for_writing, zero_tail
from spotlessd.folders.roots import Candidate, Root
from spotlessd.job import COMPANION_RECIPE, Identity, Job, JobState
from spotlessd.ledger import Ledger
from spotlessd.settle import LONG_ZERO_TAIL, ZERO_TAIL, Settler

STILL_OPEN = "another program has it open for writing"
OPEN_STATES = frozenset({JobState.QUEUED, JobState.RUNNING})


class Company:
    """The companions of every scan of a station. `patience_seconds`: how long a sidecar waits for its scan."""

    def __init__(
        self,
        ledger: Ledger,
        engine: Engine,
        settler: Settler,
        *,
        check: Callable[[Path], None],
        settle_seconds: Callable[[Root], float],
        patience_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._engine = engine
        self._settler = settler
        self._check = check
        self._settle_seconds = settle_seconds
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._pairs: dict[str, Pairs] = {}

    def choose(self, root: Root, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        """Take in everything that a look found, and yield what is to be watched until it is complete.

        That is every scan and sidecar that the ledger does not know, and every plain companion of a scan.
        """
        candidates = list(candidates)
        pairs = self._pairs[root.name] = Pairs(candidates)
        for candidate in candidates:
            has_scan = pairs.scan_of(candidate.rel) is not None
            if candidate.companion is None or candidate.companion.is_sidecar:
                is_wanted = has_scan or root.rules.has_kind(candidate.rel)
                is_wanted = is_wanted and not self._ledger.is_known(identity_of(candidate))
            else:
                is_wanted = has_scan
            if is_wanted:
                yield candidate

    def has_looked(self, root: Root) -> bool:
        """Whether a root was looked at: before that nothing is known of companions, and no job of it may start."""
        return root.name in self._pairs

    def judge_again(self, candidate: Candidate, now: float) -> None:
        """Let a complete sidecar be judged anew if its scan came, went, or was published without it."""
        if candidate.companion is None or not candidate.companion.is_sidecar:
            return
        scan = self._pairs[candidate.root].scan_of(candidate.rel)
        is_alone = self._settler.is_alone(candidate.root, candidate.rel)
        if is_alone != (scan is None) or (scan is not None and self._is_published(scan)):
            self._settler.offer_again(candidate, now)

    def holds_back(self, scan: Candidate, now: float) -> bool:
        """Whether a settled scan has to wait for a companion; then it does."""
        for companion in self._pairs[scan.root].companions_of(scan.rel):
            if self._settler.is_unfinished(companion.root, companion.rel):
                reason = f"waits for {PurePosixPath(companion.rel).name}, which goes with it and is not complete yet"
                self._settler.report_unfinished_companion(scan, companion.rel, reason, now)
                return True
        return False

    def admit(self, companion: Candidate, now: float) -> None:
        """Judge a companion that stopped changing: it waits, goes with its scan, or becomes a job.

        Raises:
            LedgerError: the ledger could not be written; offer it again.
        """
        assert companion.companion is not None  # noqa: S101 - our own logic
        if self._is_incomplete(companion, now) or not companion.companion.is_sidecar:
            return
        identity, name = identity_of(companion), PurePosixPath(companion.rel).name
        scan = self._pairs[companion.root].scan_of(companion.rel)
        if scan is None:
            reason = f"named as what belongs to the scan {companion.companion.stem!r}, which is not here yet"
            if not self._settler.report_alone(companion, reason, self._patience_seconds, now):
                self._engine.refuse(identity, companion.inode, COMPANION_RECIPE, _lone_sentence(companion))
            return
        if not self._is_published(scan):
            return
        # A second sidecar of one name may be the first file of a new scan: the scan gets its time to come too.
        has_one = any(job.state is JobState.DONE for job in self._ledger.jobs_of(companion.root, companion.rel))
        if has_one and self._settler.report_alone(
            companion, f"{name} was written again; waits for its scan to be", self._patience_seconds, now
        ):
            return
        self._engine.submit(identity, companion.inode, COMPANION_RECIPE)

    def waits_for_bytes(self, candidate: Candidate, now: float) -> bool:
        """Look at the end of a settled file; whether it has to wait because zero bytes stand there.

        Raises:
            OSError: the file cannot be read.
        """
        tail = zero_tail(candidate.path)
        if tail is ZeroTail.NONE:
            return False
        is_news = self._settler.reason(candidate.root, candidate.rel) not in {ZERO_TAIL, LONG_ZERO_TAIL}
        waits = self._settler.report_zero_tail(candidate, now, is_long=tail is ZeroTail.LONG)
        if waits and is_news:
            told = LONG_ZERO_TAIL if tail is ZeroTail.LONG else ZERO_TAIL
            logger.warning("{}: {!a}: {}", candidate.root, candidate.rel, told)
        return waits

    def ready_for(self, root: Root, rel: str) -> list[Candidate]:
        """Return the companions of a scan that are complete now, as they are now."""
        pairs = self._pairs.get(root.name)
        found = [] if pairs is None else [root.look_at(companion.rel) for companion in pairs.companions_of(rel)]
        return [companion for companion in found if companion is not None and self._is_complete(root, companion)]

    def result_beside(self, root: Root, rel: str) -> dict[str, str] | None:
        """Return the names by role of the result that a sidecar belongs to, None if there is none."""
        pairs = self._pairs.get(root.name)
        scan = None if pairs is None else pairs.scan_of(rel)
        return None if scan is None else _newest_result(self._jobs_of(scan))

    def _is_published(self, scan: Candidate) -> bool:
        """Whether this very scan has its result, and no job that would take its sidecar along is open."""
        jobs = self._jobs_of(scan)
        return _newest_result(jobs) is not None and not any(job.state in OPEN_STATES for job in jobs)

    def _jobs_of(self, scan: Candidate) -> list[Job]:
        return [job for job in self._ledger.jobs_of(scan.root, scan.rel) if job.identity == identity_of(scan)]

    def _is_incomplete(self, companion: Candidate, now: float) -> bool:
        """Look into a companion that stopped changing; whether it has to wait. One that is odd is copied as it is."""
        assert companion.companion is not None  # noqa: S101 - our own logic
        try:
            if is_open_for_writing(companion.path, is_network=companion.is_network) is WriterState.OPEN:
                self._settler.report_busy(companion, STILL_OPEN, now)
                return True
            if companion.companion.is_sidecar:
                if self.waits_for_bytes(companion, now):
                    return True
                self._check(companion.path)
        except (FileNotFoundError, MissingInputError):
            return True
        except TruncatedScanError as error:
            return self._settler.report_incomplete(companion, f"not complete yet: {error}", now)
        except OSError as error:
            self._settler.report_busy(companion, f"cannot be read: {error.strerror or error}", now)
            return True
        except SpotlessError as error:
            logger.debug("{}: copied as it is ({})", companion.rel, error)
        except Exception:  # noqa: BLE001 - one odd header must not end the watch
            logger.exception("{}: the structure check failed; copied as it is", companion.rel)
        return False

    def _is_complete(self, root: Root, companion: Candidate) -> bool:
        """Whether a companion may be copied: the settle machine or the ledger says so, or its age and a look into it.

        The last holds after a restart, when a job goes on before its companions were watched for long enough.
        """
        if self._settler.is_finished(companion) or self._ledger.is_known(identity_of(companion)):
            return True
        if self._clock() - companion.mtime_ns / 1e9 < self._settle_seconds(root):
            return False
        try:
            is_open = is_open_for_writing(companion.path, is_network=companion.is_network) is WriterState.OPEN
            if is_open or zero_tail(companion.path) is not ZeroTail.NONE:
                return False
            if companion.companion is not None and companion.companion.is_sidecar:
                self._check(companion.path)
        except (TruncatedScanError, MissingInputError, OSError):
            return False
        except Exception as error:  # noqa: BLE001 - odd, but whole as far as anybody can tell
            logger.debug("{}: copied as it is ({})", companion.rel, error)
        return True


def identity_of(candidate: Candidate) -> Identity:
    """Return which bytes a job for this file would be about."""
    return Identity(candidate.root, candidate.rel, candidate.size, candidate.mtime_ns)


def _newest_result(jobs: list[Job]) -> dict[str, str] | None:
    done = (job.outputs for job in jobs if job.state is JobState.DONE and "image" in job.outputs)
    return next(done, None)


def _lone_sentence(companion: Candidate) -> str:
    assert companion.companion is not None  # noqa: S101 - our own logic
    name = PurePosixPath(companion.rel).name
    return (
        f"{name} is named as the infrared sidecar of a scan {companion.companion.stem!r}, which did not come. When it "
        f"comes, the sidecar goes with it. If this is a scan of its own: spotlessd reprocess '{companion.path}', or "
        f"change watch.infrared_endings."
    )
