"""A station whose engine is one of two, for tests that must not see which: its own child, or a cluster with a worker.

Commands go the way a person's do: through the command line, into the ledger's board, to the running daemon.
"""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from cluster_lab import Lab
from daemon_station import Station
from fake_workers import restored_bytes, write_fake_scan
from postgres import Database as Postgres

from spotlessd import cli
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.job import Job, JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.sqlite.database import Database

NAME = "bench"


class EngineBench:
    """One station; `postgres` None: its engine is local, else the cluster there, with one worker of one seat.

    `publish`: who publishes in a cluster.
    """

    def __init__(self, folder: Path, postgres: Postgres | None, publish: str = "station") -> None:
        self._lab = None if postgres is None else Lab(folder, postgres, f'publish = "{publish}"\n')
        if self._lab is None:
            self.station = Station(folder)
        else:
            self.station = self._lab.station(NAME, is_started=False)

    def set_queue(self, line: str) -> None:
        """Change a line of the table `queue`, before the start."""
        name = line.partition("=")[0]
        kept = [text for text in self.station.config.read_text().split("\n") if not text.startswith(name)]
        kept.insert(kept.index("[queue]") + 1, line)
        self.station.config.write_text("\n".join(kept))

    def add_root(self, name: str, priority: int) -> Path:
        """Add a root, before the start; returns its input folder."""
        scans, restored = self.station.scans.parent / name, self.station.restored.parent / f"{name}-restored"
        marker = (self.station.scans / MARKER_NAME).read_text()
        for folder in (scans, restored):
            folder.mkdir()
            (folder / MARKER_NAME).write_text(marker)
        table = f'[[roots]]\nname = "{name}"\ninput = "{scans}"\noutput = "{restored}"\npriority = {priority}\n'
        self.station.config.write_text(self.station.config.read_text().replace("[watch]", f"{table}[watch]"))
        return scans

    def start(self) -> None:
        """Start the daemon, and who computes for it, and wait until it listens."""
        if self._lab is not None and not self._lab.workers:
            self._lab.worker("gpu1")
        self.start_daemon()
        self.wait_for(lambda: self.status()["running"])

    def start_daemon(self) -> None:
        self.station.start("load_fake", is_logged=True)

    def kill(self) -> None:
        """Kill the daemon as a power cut would; the cluster's worker lives on."""
        self.station.processes[-1].kill()
        self.station.processes[-1].wait()

    def run(self, *words: str) -> str:
        """Run a command of the command line; returns what it prints. It must not have failed."""
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            code = cli.main([*words, "--config", str(self.station.config)])
        assert code == 0 or words[0] == "status", (code, text.getvalue())
        return text.getvalue()

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.run("status", "--json")))

    def drop(self, *names: str, seed: int = 1) -> None:
        """Let scans appear and wait until each has a job."""
        for name in names:
            write_fake_scan(self.station.scans / name, seed + len(name))
        self.wait_for(lambda: {job.identity.rel for job in self.jobs()} >= set(names))

    def jobs(self, rel: str = "") -> list[Job]:
        """The jobs of one scan, or all, oldest first."""
        if not (self.station.state / LEDGER_NAME).exists():
            return []
        with Database.open(self.station.state / LEDGER_NAME) as database:
            found = Ledger(database).jobs()
        return [job for job in found if rel in {"", job.identity.rel}]

    def job(self, rel: str) -> Job:
        """The newest job of a scan."""
        return self.jobs(rel)[-1]

    def states(self, rel: str) -> list[JobState]:
        return [job.state for job in self.jobs(rel)]

    def wait_for(self, claim: Any) -> None:
        self.station.wait_for(claim)

    def wait_for_end(self, rel: str, *states: JobState) -> None:
        """Wait until the jobs of a scan have these states, oldest first."""
        self.wait_for(lambda: self.states(rel) == list(states))

    def wait_until_begun(self, rel: str) -> None:
        """Wait until a worker has begun with a scan named `gated…`."""
        self.wait_for((self.station.scans.parent / f"begun-{rel}").exists)

    def steps_shown(self) -> dict[str, str]:
        """The step of each scan that the status says is worked on."""
        workers = (self.status()["daemon"] or {}).get("workers", [])
        return {worker["job"]["file"]: worker["job"]["step"] for worker in workers if worker["job"]}

    @property
    def gate(self) -> Path:
        """The file that lets scans named `gated…` end."""
        return self.station.scans.parent / "gate"

    def finished_order(self) -> list[str]:
        """The scans that are done, in the order in which they were finished."""
        done = [job for job in self.jobs() if job.state is JobState.DONE]
        return [job.identity.rel for job in sorted(done, key=lambda job: job.finished)]

    def check_published(self, *rels: str) -> None:
        """The results are those of these scans, each once, and of no other."""
        images = {name: data for name, data in self.station.results().items() if name.endswith(".tif")}
        assert images == {rel: restored_bytes(self.station.scans / rel) for rel in rels}
        self.station.check_promises(self.station.input_hashes())

    def close(self) -> None:
        if self._lab is None:
            self.station.close()
        else:
            self._lab.close()
