"""Where the station keeps what is its own: the ledger and the working copies. Both belong on a local disk.

SQLite's write-ahead log needs memory that all its processes share, which no server of files offers ("WAL does not work
over a network filesystem", sqlite.org/wal.html), and a server that goes away would take the ledger with it in the
middle of a commit. A copy is made to spare the network, so one on the network is of no use.
"""

import os
from pathlib import Path

from spotlessd.configuration.problems import ConfigSource
from spotlessd.configuration.settings import Settings
from spotlessd.errors import ConfigError
from spotlessd.folders.file_systems import Mount, mount_of

STATE_KEY = "state_dir"
LEDGER_FIX = "Set state_dir to a folder on a disk of this machine"


def refuse_remote_ledger(settings: Settings) -> None:
    """Check before anything is opened that no other machine keeps the ledger's folder.

    Raises:
        ConfigError: one does.
    """
    mount = mount_of(settings.state_dir)
    if mount.is_remote:
        problem = ledger_problem(settings.state_dir, mount)
        raise ConfigError(f"{_place(settings)}: {STATE_KEY}: {problem} {LEDGER_FIX}.")


def remote_state_warning(state_dir: Path, config: Path) -> str:
    """Return what is to be done before a new station can run, "" if its ledger lies well."""
    mount = mount_of(state_dir)
    if not mount.is_remote:
        return ""
    return (
        f"{ledger_problem(state_dir, mount)} `spotlessd run` will refuse it. "
        f'{LEDGER_FIX}: {STATE_KEY} = "/a/local/folder" in {config}'
    )


def ledger_problem(state_dir: Path, mount: Mount) -> str:
    """Return why the ledger must not, or should not, lie where it does; "" on a local disk."""
    if not mount.is_network:
        return ""
    owner = "another machine" if mount.is_remote else "the host of this virtual machine"
    return f"{state_dir} belongs to {owner} ({mount.kind} at {mount.point}); the ledger's journal is not safe there."


def spool_problem(spool_dir: Path, mount: Mount) -> str:
    """Return why working copies are of no use where they are made; "" on a local disk."""
    if not mount.is_network:
        return ""
    return f"{spool_dir} lies on a network ({mount.kind} at {mount.point}); copies there spare nothing."


def _place(settings: Settings) -> str:
    """Return where the key stands: file:line, or the variable that gave it; the file alone where nothing did."""
    try:
        text = settings.config_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    return ConfigSource(settings.config_path, text, dict(os.environ)).place((STATE_KEY,))
