"""The settle machine against a model: files that are written, replaced and removed, checks that hold them back."""

from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from spotlessd.folders.roots import Candidate
from spotlessd.settle import LATE_LOOK_SECONDS, LONGEST_PAUSE_SECONDS, Settler

SETTLE = 5.0
INCOMPLETE = 60.0
LONGEST_WAIT = 2 * LONGEST_PAUSE_SECONDS
"""A file that nothing holds back any more is handed over within this."""


@dataclass
class File:
    """What the model knows: the file as it is, when it changed and was looked at last, whether it was taken so."""

    candidate: Candidate
    changed_at: float
    is_taken: bool = False
    seen_at: float = -1.0


class SettleMachine(RuleBasedStateMachine):
    """The folder of a scanner under a clock in the test's hand."""

    names = Bundle("names")

    @initialize()
    def start(self) -> None:
        self.settler = Settler(INCOMPLETE)
        self.now = 0.0
        self.number = 0
        self.files: dict[str, File] = {}

    @rule(target=names, name=st.sampled_from("abc"))
    def write(self, name: str) -> str:
        """A new file, or a change of one that is there."""
        self.number += 1
        known = self.files.get(name)
        if known is None:
            candidate = Candidate("r", name, Path("/r", name), self.number, self.number, self.number)
        else:
            change = {"size": self.number, "mtime_ns": self.number, "inode": self.number}
            key = ("size", "mtime_ns", "inode")[self.number % 3]
            candidate = replace(known.candidate, **{key: change[key]})
        self.files[name] = File(candidate, self.now)
        return name

    @rule(name=names)
    def remove(self, name: str) -> None:
        self.files.pop(name, None)

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 4.9, 5.0, 30.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.files)
    @rule(verdict=st.sampled_from(["take", "take", "busy", "incomplete", "zeros", "alone"]))
    def look(self, verdict: str) -> None:
        """One look at the whole folder, with what the checks say of every file that settled."""
        self.observe_all()
        for candidate in self.settler.settled(self.now):
            file = self.files[candidate.rel]
            assert candidate == file.candidate, "what is handed over is the file as it is"
            assert self.now - file.changed_at >= SETTLE, "never within the window after a change"
            assert not file.is_taken, "the same file is handed over once"
            self.judge(file, verdict)

    @rule()
    def ask_without_looking(self) -> None:
        """The clock alone settles nothing: what is handed over was seen unchanged for long enough, then or now."""
        for candidate in self.settler.settled(self.now):
            file = self.files.get(candidate.rel)
            if file is not None and file.candidate == candidate:
                assert file.seen_at - file.changed_at >= SETTLE
                file.is_taken = True

    @precondition(lambda self: self.files)
    @rule()
    def be_busy_for_long(self) -> None:
        """A program keeps every file open for an hour."""
        for _ in range(12):
            self.now = self.settler.next_deadline(self.now) or self.now
            self.look("busy")

    def judge(self, file: File, verdict: str) -> None:
        reports = {
            "busy": lambda: self.settler.report_busy(file.candidate, "busy", self.now) or True,
            "incomplete": lambda: self.settler.report_incomplete(file.candidate, "short", self.now),
            "zeros": lambda: self.settler.report_zero_tail(file.candidate, self.now),
            "alone": lambda: self.settler.report_alone(file.candidate, "alone", 20.0, self.now),
        }
        waits = reports[verdict]() if verdict in reports else False
        file.is_taken = not waits

    def observe_all(self) -> None:
        for file in self.files.values():
            self.settler.observe(file.candidate, self.now, SETTLE)
            file.seen_at = self.now
        self.settler.forget_missing("r", set(self.files))

    @invariant()
    def every_file_seen_is_taken_or_waits_with_a_reason(self) -> None:
        if not hasattr(self, "files"):
            return
        waiting = {file.rel: file.reason for file in self.settler.waiting()}
        assert all(waiting.values())
        for name, file in self.files.items():
            if file.is_taken:
                assert self.settler.is_finished(file.candidate)
                assert name not in waiting

    @invariant()
    def a_waiting_file_has_a_deadline_that_is_never_past_and_never_far(self) -> None:
        if not hasattr(self, "files"):
            return
        deadline = self.settler.next_deadline(self.now)
        assert (deadline is None) == (not self.settler.waiting())
        if deadline is not None:
            assert self.now < deadline <= self.now + LONGEST_PAUSE_SECONDS + LATE_LOOK_SECONDS

    def teardown(self) -> None:
        """Nothing is given up: left alone, every file is handed over in the end."""
        if not hasattr(self, "files"):
            return
        end = self.now + LONGEST_WAIT
        self.look("take")
        while self.now < end and not all(file.is_taken for file in self.files.values()):
            self.now = self.settler.next_deadline(self.now) or end
            self.look("take")
        assert all(file.is_taken for file in self.files.values())


SettleMachine.TestCase.settings = settings(deadline=None, max_examples=25, stateful_step_count=40)
TestSettleMachine = SettleMachine.TestCase
