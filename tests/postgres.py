"""A PostgreSQL server of a test's own: initialised in a temporary folder, stopped and killed as a test likes.

It listens on a Unix socket and on a free port of 127.0.0.1, asks for passwords (scram) and waits for the disk as any
server does. PostgreSQL refuses to run as root: there, it runs as `postgres` or `nobody`.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from spotlessd.cluster.connection import Target

OWNER = "archive"
START_SECONDS = 30
UNPRIVILEGED = ("postgres", "nobody")


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, the newest version's; None where there are none."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    found = sorted(debian, key=lambda program: int(program.parts[-3]))
    if found:
        return found[-1].parent
    here = shutil.which("initdb")
    return Path(here).resolve().parent if here else None


def _other_user() -> pwd.struct_passwd | None:
    """Whom the server runs as if this is root, else None."""
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody here")


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Server:
    """One server; `folder` holds its data, its socket and its log. `password` is its owner's and only user's."""

    folder: Path
    bin: Path
    user: pwd.struct_passwd | None
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: f"pass-{secrets.token_hex(8)}")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def run(self, program: str, *arguments: str, is_checked: bool = True) -> None:
        given = {} if self.user is None else {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "HOME": str(self.folder)}
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=environment,
            check=False,
            **given,  # type: ignore[call-overload]
        )
        assert not is_checked or done.returncode == 0, (
            f"{program}: {done.stderr.decode(errors='replace')}\n{self.log[-2000:]}"
        )

    def initialise(self) -> None:
        secret = self.folder / "secret"
        secret.write_text(self.password)
        self.data.mkdir(mode=0o700)
        (self.folder / "socket").mkdir()
        if self.user is not None:
            for path in (self.folder, secret, self.data, self.folder / "socket"):
                os.chown(path, self.user.pw_uid, self.user.pw_gid)
        self.run("initdb", "-D", str(self.data), "-U", OWNER, "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8")
        secret.unlink()
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\n"
                f"unix_socket_directories = '{self.folder / 'socket'}'\n"
            )

    def start(self) -> None:
        self.run(
            "pg_ctl", "start", "-D", str(self.data), "-l", str(self.folder / "log"), "-w", "-t", str(START_SECONDS)
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `smart`, `fast` or `immediate` (as after a power cut)."""
        self.run("pg_ctl", "stop", "-D", str(self.data), "-m", mode, "-w", is_checked=False)

    def kill(self) -> None:
        """SIGKILL to the whole server; PostgreSQL recovers at its next start."""
        try:
            first = int((self.data / "postmaster.pid").read_text().split("\n")[0])
        except (FileNotFoundError, ValueError):
            return
        children = Path(f"/proc/{first}/task/{first}/children")
        others = [int(pid) for pid in children.read_text().split()] if children.exists() else []
        for pid in (first, *others):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + START_SECONDS
        while any(map(_is_running, (first, *others))) and time.monotonic() < deadline:
            time.sleep(0.01)
        for lock in (self.data / "postmaster.pid", self.folder / "socket" / f".s.PGSQL.{self.port}.lock"):
            lock.unlink(missing_ok=True)  # where nobody waits for dead processes, its number still looks alive

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the server's main process and all its children: SIGSTOP is a machine that hangs."""
        first = int((self.data / "postmaster.pid").read_text().split("\n")[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for pid in (first, *map(int, children)):
            os.kill(pid, number)

    def url(self, database: str, *, user: str = OWNER, is_socket: bool = False) -> str:
        if is_socket:
            return (
                f"postgresql://{user}@/{database}?host={quote(str(self.folder / 'socket'), safe='')}&port={self.port}"
            )
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def administrate(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the server's owner."""
        with psycopg.connect(self.url(database), password=self.password, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def secret_file(self, name: str = "password", *, password: str | None = None) -> Path:
        path = self.folder / name
        path.write_text((password or self.password) + "\n")
        path.chmod(0o600)
        return path


@dataclass(frozen=True)
class Database:
    """A fresh, empty database and how it is reached."""

    server: Server
    name: str
    target: Target

    @property
    def url(self) -> str:
        return self.target.url

    def connect(self) -> psycopg.Connection:
        """A connection of the test's own, to look and to meddle."""
        return psycopg.connect(self.url, password=self.server.password, autocommit=True)

    def rows(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with self.connect() as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def stop(self, mode: str = "fast") -> None:
        self.server.stop(mode)

    def start(self) -> None:
        self.server.start()

    def kill(self) -> None:
        self.server.kill()


@contextmanager
def server_folder() -> Iterator[Path]:
    """A short path that another user may enter: a socket's name has at most 107 bytes, pytest's folders are closed."""
    folder = Path(tempfile.mkdtemp(prefix="spotless-pg-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """A server in a folder of its own; skips the test, with the reason, where PostgreSQL's programs are missing."""
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip("PostgreSQL's programs are missing (Debian: apt install postgresql)")
    server = Server(folder, bin_folder, _other_user())
    server.initialise()
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")


@contextmanager
def fresh_database(server: Server) -> Iterator[Database]:
    name = f"spotless_{secrets.token_hex(4)}"
    server.administrate(f"CREATE DATABASE {name}")
    yield Database(server, name, Target(server.url(name), server.secret_file(), "test"))
