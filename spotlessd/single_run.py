"""`spotlessd run --once`: when everything that was there is done, and the exit code it comes to.

Comes in: the parts of a running station, after each round of the main loop. Nothing here changes anything.
"""

from collections.abc import Sequence

from loguru import logger

from spotlessd.crew import Crew
from spotlessd.folders.roots import Root
from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.reconcile import Reconciler

EXIT_OK = 0
EXIT_QUARANTINED = 65
EXIT_CANNOT_WRITE = 73
EXIT_TRY_AGAIN = 75


class SingleRun:
    """A run that ends by itself. Made at its start: what is quarantined by then is not its doing."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._quarantined_before = ledger.counts()[JobState.QUARANTINED]

    def exit_code(
        self,
        crew: Crew,
        reconciler: Reconciler,
        roots: Sequence[Root],
        *,
        ledger_trouble: str,
        is_paused: bool,
        is_quiet: bool,
    ) -> int | None:
        """Return the exit code if everything is done or nothing can go on, else None.

        `is_paused`: by a person. `is_quiet`: nothing else than a scan is waited for.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        if crew.start_exit_code is not None:
            return crew.start_exit_code
        if ledger_trouble or crew.pause_reason:
            logger.error("cannot go on: {}", ledger_trouble or crew.pause_reason)
            return EXIT_CANNOT_WRITE
        if is_paused and not crew.jobs:
            logger.error("paused by a person; `spotlessd resume` goes on")
            return EXIT_TRY_AGAIN
        present = frozenset(root.name for root in roots if root.name not in reconciler.away)
        if not (reconciler.is_quiet and is_quiet) or self._ledger.unfinished(present):
            return None
        if reconciler.away:
            return EXIT_TRY_AGAIN
        has_new = self._ledger.counts()[JobState.QUARANTINED] > self._quarantined_before
        return EXIT_QUARANTINED if has_new else EXIT_OK
