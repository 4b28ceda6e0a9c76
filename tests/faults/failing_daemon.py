"""A station's daemon whose folders answer with an error for as long as a file says so: `failing_daemon.py CONFIG …`.

The file `trouble` beside the config holds the name of an error and a path below the station ("ESTALE scans"); while it
is there, every call of the system for that path or for what lies below it fails with that error, in the daemon and in
its worker. As a share does whose server went away (ESTALE, EIO), or a folder whose rights were taken.
"""

import builtins
import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_workers

TROUBLE_NAME = "trouble"
WITH_PATH = ("stat", "lstat", "open", "scandir", "listdir", "mkdir", "unlink", "remove", "statvfs", "link", "rename")


def fail_as_told(station: Path) -> None:
    """Patch what the daemon calls, for good. `station`: the folder of the config, where `trouble` is looked for."""
    real_stat, real_open = os.stat, os.open

    def check(path: Any) -> None:
        try:
            real_stat(station / TROUBLE_NAME)
        except FileNotFoundError:
            return
        descriptor = real_open(station / TROUBLE_NAME, os.O_RDONLY)
        try:
            name, _, below = os.read(descriptor, 1000).decode().partition(" ")
        finally:
            os.close(descriptor)
        place = str(station / below)
        if below and f"{os.fspath(path)}/".startswith(f"{place}/"):
            number = getattr(errno, name)
            raise OSError(number, os.strerror(number), os.fspath(path))

    def checked(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **words: Any) -> Any:
            for argument in arguments[:2]:
                if isinstance(argument, str | os.PathLike):
                    check(argument)
            return real(*arguments, **words)

        return call

    for name in WITH_PATH:
        setattr(os, name, checked(getattr(os, name)))
    builtins.open = io.open = checked(io.open)


if __name__ in {"__main__", "__mp_main__"}:  # the spawned worker comes by here too
    fail_as_told(Path(sys.argv[1]).parent)

if __name__ == "__main__":
    sys.exit(fake_workers.main(loaders=vars(fake_workers)))
