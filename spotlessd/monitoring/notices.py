"""What happened since the last look that a person may want to be told of, and the counters that health shows.

Comes in: the ledger's changes of state, and the troubles of the daemon. Goes out: `Notice`s, and running totals.
How far the ledger's changes were told is kept in the ledger itself: what was quarantined just before a crash is told
after it. A trouble is told once when it begins.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from spotlessd.configuration.sections import NoticeKind
from spotlessd.job import JobState
from spotlessd.monitoring.notify import Notice
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.figures import LedgerFigures, News

TOLD_KEY = "told"
TOLD_STATES = {JobState.QUARANTINED: NoticeKind.QUARANTINED, JobState.HELD: NoticeKind.HELD}


@dataclass(slots=True)
class Totals:
    """Running sums since the daemon started, by name: count and seconds."""

    finished: dict[str, int] = field(default_factory=dict)
    finished_seconds: float = 0.0
    steps: dict[str, tuple[int, float]] = field(default_factory=dict)
    attempts: int = 0

    def copy(self) -> "Totals":
        """Return the sums as they are now, for another thread."""
        return Totals(dict(self.finished), self.finished_seconds, dict(self.steps), self.attempts)

    def count(self, news: News) -> None:
        """Add one change of state."""
        if news.is_companion or news.is_adopted:
            return
        if news.state is JobState.RUNNING:
            self.attempts += 1
        if news.state not in {JobState.DONE, JobState.HELD, JobState.QUARANTINED}:
            return
        self.finished[str(news.state)] = self.finished.get(str(news.state), 0) + 1
        self.finished_seconds += news.duration
        for step, seconds in news.seconds.items():
            number, total = self.steps.get(step, (0, 0.0))
            self.steps[step] = number + 1, total + seconds


@dataclass(frozen=True, slots=True)
class Vitals:
    """What only the daemon itself knows. `loop_age`: seconds since the main loop last went round."""

    loop_age: float
    totals: Totals


class NoticeBook:
    """Remembers what was told. `started`: seconds since the epoch."""

    def __init__(self, board: Board, figures: LedgerFigures, started: float) -> None:
        self._board = board
        self._figures = figures
        self._started = started
        told = board.noted(TOLD_KEY)
        # What happened before notices were ever looked for is no news.
        self._seen = figures.last_news() if told is None else int(told)
        if told is None:
            board.note(TOLD_KEY, str(self._seen))
        self._troubles: dict[str, NoticeKind] = {}
        self.had_work = False
        self.totals = Totals()

    def look(self) -> list[Notice]:
        """Return what happened to scans since the last look.

        Raises:
            LedgerError: the ledger cannot be read or written; the next look finds the same.
        """
        news = self._figures.news(self._seen)
        notices = [_notice(each) for each in news if each.state in TOLD_STATES and not each.is_adopted]
        if notices:
            self._board.note(TOLD_KEY, str(news[-1].number))
        for each in news:
            if each.at >= self._started:
                self.totals.count(each)
            self.had_work = self.had_work or (each.state is JobState.RUNNING and not each.is_companion)
            self._seen = each.number
        return notices

    def work_is_done(self, counts: Mapping[JobState, int], now: float) -> Notice:
        """Return the notice that the queue is empty, and wait for work from now on. `now`: seconds since the epoch."""
        self.had_work = False
        left = ", ".join(f"{counts[state]} {state}" for state in TOLD_STATES if counts[state])
        text = "every scan is done." if not left else f"every scan has been worked on; to be looked at: {left}."
        return Notice(NoticeKind.QUEUE_EMPTY, text, now)

    def look_at_troubles(self, troubles: Mapping[str, NoticeKind], now: float) -> list[Notice]:
        """Return a notice for each kind of which there is one trouble more than at the last look: a second worker that
        cannot start is news, a disk that is a little fuller is not. `troubles`: sentence → kind.
        """
        before, self._troubles = self._troubles, dict(troubles)
        notices = []
        for kind in dict.fromkeys(troubles.values()):
            texts = [text for text, each in troubles.items() if each is kind]
            known = [text for text, each in before.items() if each is kind]
            if len(texts) > len(known):
                notices.append(Notice(kind, next(text for text in texts if text not in known), now))
        return notices


def _notice(news: News) -> Notice:
    return Notice(TOLD_STATES[news.state], f"{news.rel}: {news.note}".rstrip(": "), news.at, news.rel, news.job_id)
