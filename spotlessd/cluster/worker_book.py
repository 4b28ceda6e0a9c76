"""What a worker holds and what of it still has to reach PostgreSQL. In memory, shared by two threads, never waits.

The worker's main loop says how many tickets it wants and what became of those it has; the link's thread takes the
errands in their order and writes what PostgreSQL said. Promises: an errand stays until PostgreSQL has it or said that
the ticket's turn is over; no more tickets are told than are wanted.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from spotlessd.cluster.ticket_queue import Taken
from spotlessd.cluster.tickets import Answer, TicketKey


@dataclass(frozen=True, slots=True)
class Revoked:
    """The ticket belongs to somebody else now, or was withdrawn: stop working at it."""

    taken: Taken


@dataclass(frozen=True, slots=True)
class Settled:
    """The answer is in PostgreSQL, or certainly counts for nothing (`is_void`)."""

    taken: Taken
    is_void: bool


@dataclass(frozen=True, slots=True)
class Allowed:
    """The names of the plan may be given: the ticket is in state `publishing` under this turn."""

    taken: Taken


@dataclass(frozen=True, slots=True)
class Drain:
    """Somebody asked this worker to take no more tickets, or to take them again."""

    is_draining: bool


WorkerNews = Taken | Revoked | Settled | Allowed | Drain


@dataclass(slots=True, eq=False)
class Errand:
    """One thing to send. `tries`: how often it was begun; after the first, its outcome may be there unseen."""

    taken: Taken
    answer: Answer | None = None
    plan: str | None = None
    reason: str = ""
    seconds: float = 0.0
    tries: int = 0

    @property
    def is_last(self) -> bool:
        """Whether the ticket leaves this worker with it."""
        return self.plan is None


class WorkerBook:
    """The tickets in hand, the errands and the news not read yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = self._wanted_large = 0
        self._is_look_due = True
        self._held: dict[tuple[TicketKey, int], Taken] = {}
        self._steps: dict[TicketKey, tuple[str, float]] = {}
        self._errands: deque[Errand] = deque()
        self._news: list[WorkerNews] = []
        self._is_draining = False
        self._is_leaving = False

    # For the main loop.

    def want(self, number: int, *, large: int) -> bool:
        """Want `number` tickets, at most `large` of them large ones; those not read yet count. True: that is more."""
        with self._lock:
            unread = [news.ticket.is_large for news in self._news if isinstance(news, Taken)]
            wanted, wanted_large = number - len(unread), large - sum(unread)
            is_more = wanted > max(self._wanted, 0) or (wanted > 0 and wanted_large > max(self._wanted_large, 0))
            self._wanted, self._wanted_large = wanted, wanted_large
            self._is_look_due |= is_more
            return is_more

    def add(self, errand: Errand) -> None:
        """Send this after what was handed over before."""
        with self._lock:
            self._errands.append(errand)
            if errand.is_last:
                self._steps.pop(errand.taken.ticket.key, None)

    def progress(self, key: TicketKey, step: str, fraction: float) -> None:
        """Keep how far a ticket is."""
        with self._lock:
            self._steps[key] = step, fraction

    def read(self) -> list[WorkerNews]:
        """Return the news, each once, in the order in which they came."""
        with self._lock:
            news, self._news = self._news, []
            return news

    def leave(self, reason: str) -> None:
        """Take nothing any more and give back what nobody will answer now."""
        with self._lock:
            self._is_leaving = True
            leaving = {_name(errand.taken) for errand in self._errands if errand.is_last}
            self._errands.extend(
                Errand(taken, reason=reason) for name, taken in self._held.items() if name not in leaving
            )

    # For the link's thread.

    @property
    def has_news(self) -> bool:
        """Whether `read` would return something."""
        with self._lock:
            return bool(self._news)

    @property
    def has_errands(self) -> bool:
        """Whether something is to be sent."""
        with self._lock:
            return bool(self._errands)

    @property
    def is_hungry(self) -> bool:
        """Whether a ticket may be taken."""
        with self._lock:
            return self._wanted > 0 and not self._is_leaving

    @property
    def is_look_due(self) -> bool:
        """Whether a ticket may be taken and one may be there."""
        with self._lock:
            return self._is_look_due and self._wanted > 0 and not self._is_leaving

    def look_again(self) -> None:
        """There may be tickets now."""
        with self._lock:
            self._is_look_due = True

    def begin_look(self) -> bool:
        """A ticket is looked for now; whoever wants more meanwhile asks for the next look. Returns: also large ones?"""
        with self._lock:
            self._is_look_due = False
            return self._wanted_large > 0

    def took(self, taken: Taken) -> None:
        """Tell a ticket; one that is not wanted any more goes back."""
        with self._lock:
            self._held[_name(taken)] = taken
            self._is_look_due = True
            is_wanted = self._wanted > 0 and (self._wanted_large > 0 or not taken.ticket.is_large)
            if self._is_leaving or not is_wanted:
                self._errands.append(Errand(taken, reason="the worker has no free seat any more"))
                return
            self._wanted -= 1
            self._wanted_large -= taken.ticket.is_large
            self._news.append(taken)

    def held(self) -> tuple[list[Taken], dict[TicketKey, tuple[str, float]]]:
        """Return the tickets of this worker, those included whose answer is still to be sent, and how far they are."""
        with self._lock:
            keys = {taken.ticket.key for taken in self._held.values()}
            self._steps = {key: step for key, step in self._steps.items() if key in keys}
            return list(self._held.values()), dict(self._steps)

    def revoked(self, lost: Sequence[Taken]) -> None:
        """Tell which tickets are not this worker's any more; what has an answer under way is settled by that."""
        with self._lock:
            leaving = {_name(errand.taken) for errand in self._errands if errand.is_last}
            for taken in lost:
                if _name(taken) not in leaving:
                    self._revoke(taken)

    def next_errand(self) -> Errand | None:
        """Return what is to be sent first; it stays until `settled`."""
        with self._lock:
            if not self._errands:
                return None
            self._errands[0].tries += 1
            return self._errands[0]

    def settled(self, errand: Errand, *, is_done: bool) -> None:
        """PostgreSQL has the errand, or it is void because the ticket's turn is over.

        A repeated answer that is void may have been taken at the first try and be acknowledged since: not told as void.
        """
        with self._lock:
            self._errands.remove(errand)
            if errand.answer is not None:
                self._held.pop(_name(errand.taken), None)
                self._news.append(Settled(errand.taken, is_void=not is_done and errand.tries == 1))
            elif errand.plan is None:
                self._held.pop(_name(errand.taken), None)
            elif is_done:
                self._news.append(Allowed(errand.taken))
            else:
                self._revoke(errand.taken)

    def drain(self, *, is_draining: bool) -> None:
        """Tell whether the worker is to take no more, if that changed."""
        with self._lock:
            if is_draining != self._is_draining:
                self._is_draining = is_draining
                self._news.append(Drain(is_draining))

    def _revoke(self, taken: Taken) -> None:
        if self._held.pop(_name(taken), None) is not None:
            self._errands = deque(errand for errand in self._errands if _name(errand.taken) != _name(taken))
            self._news.append(Revoked(taken))


def _name(taken: Taken) -> tuple[TicketKey, int]:
    return taken.ticket.key, taken.turn
