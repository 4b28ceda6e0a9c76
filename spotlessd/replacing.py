"""`output.replace`: the newest version of a scan has the scan's own name, the one before it gets the number.

Comes in: what the ledger says ended since the last look. Goes out: results under exchanged names, and a ledger that
tells them. A version is published as ever, under the first free name; only then do the two change their names
(publishing/exchange.py). The plan is kept in the ledger until all of it is done, so a crash or a folder that went away
only delays it. Nothing is exchanged while a job of the same scan runs: it may be reading one of the files.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath

from loguru import logger

from spotlessd.base_versions import base_of
from spotlessd.errors import PublishError, RootUnavailableError, UnknownJobError
from spotlessd.folders.roots import Root
from spotlessd.job import Job, JobState
from spotlessd.ledger import Ledger
from spotlessd.publish import read_receipt
from spotlessd.publishing.exchange import RECEIPT, ExchangePlan, carry_out, plan_exchange, prepare
from spotlessd.sqlite.board import Board

PLAN_KEY, SEEN_KEY = "exchange in {}", "exchanges seen"
"""On the board: what was begun in a root; the newest change of state that was looked at."""
REST_SECONDS = 30.0
"""How long it rests after a file could not be renamed."""


class Replacer:
    """Exchanges names in one station. `is_on`: the config's word; what was begun is ended all the same.

    `clock`: monotonic seconds.
    """

    def __init__(
        self, board: Board, ledger: Ledger, roots: Mapping[str, Root], *, is_on: bool, clock: Callable[[], float]
    ) -> None:
        self._board = board
        self._ledger = ledger
        self._roots = roots
        self._is_on = is_on
        self._clock = clock
        self._rest_until = 0.0

    def tick(self) -> None:
        """Go on with what was begun, then look at what has ended since.

        Raises:
            LedgerError: the ledger could not be written; the next call goes on.
        """
        if self._clock() < self._rest_until:
            return
        try:
            has_waited = [name for name in self._roots if not self._finish_begun(name)]
            if self._is_on and not has_waited:
                self._look()
            elif not self._is_on and self._board.noted(SEEN_KEY) is not None:
                self._board.forget(SEEN_KEY)  # what ends while it is off keeps its number
        except (PublishError, RootUnavailableError) as error:
            logger.warning("the names of two versions cannot be exchanged now: {}", error)
            self._rest_until = self._clock() + REST_SECONDS

    def _look(self) -> None:
        noted = self._board.noted(SEEN_KEY)
        if noted is None:
            self._board.note(SEEN_KEY, str(self._ledger.newest_event()))
            return
        for event, job in self._ledger.ended_since(int(noted)):
            older = self._holder_of_plain_name(job)
            if older is not None and (self._is_busy(job) or not self._begin(job, older, event)):
                return
            self._board.note(SEEN_KEY, str(event))

    def _begin(self, job: Job, older: Job, event: int) -> bool:
        """Exchange the names of two versions; False if it has to wait."""
        root = self._roots[job.identity.root]
        root.ensure_available()
        plan = plan_exchange(root.output, PurePosixPath(job.identity.rel).stem, job.outputs, older.outputs)
        if plan is None:
            logger.warning("{}: keeps its name, as another file is in the way", job.outputs[RECEIPT])
            return True
        names = plan.names
        outputs = {each.id: {role: names[name] for role, name in each.outputs.items()} for each in (job, older)}
        values = {
            "newer": job.id,
            "older": older.id,
            "event": event,
            "outputs": {str(number): after for number, after in outputs.items()},
            "plan": plan.to_values(),
        }
        self._board.note(PLAN_KEY.format(root.name), json.dumps(values))
        return self._finish_begun(root.name)

    def _finish_begun(self, name: str) -> bool:
        """Carry out the plan that is noted for a root; False if it has to wait."""
        root, key = self._roots[name], PLAN_KEY.format(name)
        text = self._board.noted(key)
        if text is None:
            return True
        values = json.loads(text)
        newer, older = (self._ledger.job(int(values[version])) for version in ("newer", "older"))
        assert newer is not None and older is not None  # noqa: S101 - nothing is deleted from the ledger
        if self._is_busy(newer):
            return False
        root.ensure_available()
        plan = ExchangePlan.from_values(values["plan"])
        if not plan.is_begun:
            prepare(root.output, plan, self._images(root, newer, plan))
            plan = plan.begun()
            self._board.note(key, json.dumps({**values, "plan": plan.to_values()}))
        carry_out(root.output, plan)
        self._ledger.rename({int(number): after for number, after in values["outputs"].items()})
        self._ledger.rename_companions(root.name, plan.moved)
        self._rebase(root, newer)
        self._board.note(SEEN_KEY, str(values["event"]))
        self._board.forget(key)
        now, before = (values["outputs"][str(each.id)].get("image", "no image") for each in (newer, older))
        logger.info("{}: the newest version is {} now, the one before it {}", newer.identity.rel, now, before)
        return True

    def _images(self, root: Root, newer: Job, plan: ExchangePlan) -> dict[str, str]:
        """Return sha256 → name after the exchange of the images of all versions of one scan."""
        images = {}
        for job in self._ledger.jobs_of(root.name, newer.identity.rel):
            facts = read_receipt(root.output / job.outputs.get(RECEIPT, "")).get("outputs", {})
            if isinstance(facts, dict) and "image" in facts and "image" in job.outputs:
                images[str(facts["image"].get("sha256"))] = plan.names.get(job.outputs["image"], job.outputs["image"])
        return images

    def _rebase(self, root: Root, newer: Job) -> None:
        """Lead what waits to be based on one of the versions to where its files are now."""
        for job in self._ledger.jobs_of(root.name, newer.identity.rel):
            base = job.overrides.base
            if job.state is JobState.QUEUED and base is not None:
                with suppress(UnknownJobError):
                    found = base_of(self._ledger, root, job.identity, base.job)
                    self._ledger.change_overrides(job.id, replace(job.overrides, base=found))

    def _holder_of_plain_name(self, job: Job) -> Job | None:
        """Return the version that has the scan's own name; None if `job` has it, or nobody."""
        if job.identity.root not in self._roots or "+" not in job.recipe or RECEIPT not in job.outputs:
            return None
        stem = PurePosixPath(job.identity.rel).stem
        if PurePosixPath(job.outputs[RECEIPT]).stem == stem:
            return None
        for other in self._ledger.jobs_of(job.identity.root, job.identity.rel):
            has_ended = other.state in {JobState.DONE, JobState.HELD} and other.identity == job.identity
            if has_ended and PurePosixPath(other.outputs.get(RECEIPT, "")).stem == stem:
                return other
        return None

    def _is_busy(self, job: Job) -> bool:
        others = self._ledger.jobs_of(job.identity.root, job.identity.rel)
        return any(other.state is JobState.RUNNING or other.plan for other in others)
