"""Notices that the config file changed, reads it again, and keeps the new settings until they may be applied.

The file is looked at by name, not watched: editors replace it. It is read when it has stayed the same for a moment, so
that a half-written one is not taken. The whole is checked first, folders included; what is wrong changes nothing but
`trouble`, which stays until a config is right again. `now`: monotonic seconds.
"""

from pathlib import Path

from loguru import logger

from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import ConfigError, StationBusyError
from spotlessd.folders.roots import Root
from spotlessd.folders.station_roots import open_roots

REST_SECONDS = 1.0
"""How long the file must stay the same before it is read without being asked."""
NEED_RESTART = ("state_dir", "station_id", "engine")
"""Keys that the lock, the ledger, the markers and the scans in others' hands hang on."""
OF_A_CLUSTER = ("shares", "cluster")
"""The same for a station in a cluster: a new folder on a new share could not be named to the workers."""

Print = tuple[int, int, int] | None


class ConfigKeeper:
    """The settings in force, and the next ones. `trouble`: why the newest config is not in force, "" if it is."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.trouble = ""
        self._next: tuple[Settings, list[Root]] | None = None
        self._read_print = self._seen_print = _print_of(settings.config_path)
        self._seen_at = 0.0

    @property
    def has_news(self) -> bool:
        """Whether new settings wait to be applied."""
        return self._next is not None

    def look(self, now: float) -> None:
        """Read the config if its file changed and has rested since."""
        seen = _print_of(self.settings.config_path)
        if seen != self._seen_print:
            self._seen_print, self._seen_at = seen, now
        elif seen != self._read_print and now - self._seen_at >= REST_SECONDS:
            self.read()

    def read(self) -> None:
        """Read the config now; a bad one changes nothing but `trouble`."""
        self._read_print = self._seen_print = _print_of(self.settings.config_path)
        if self._read_print is None:
            self._refuse(f"{self.settings.config_path} is gone; the old config stays in force. Put the file back.")
            return
        try:
            settings = load_settings(self.settings.config_path)
            names = NEED_RESTART + (OF_A_CLUSTER if settings.is_clustered else ())
            changed = [name for name in names if getattr(settings, name) != getattr(self.settings, name)]
            if changed:
                self._refuse(f"{' and '.join(changed)} changed; that needs a restart. The old config stays in force.")
                return
            if not settings.roots:
                raise ConfigError(f"{settings.config_path}: no [[roots]]; a station needs at least one")
            roots = open_roots(settings)
        except (ConfigError, StationBusyError) as error:
            self._refuse(f"the new config is wrong, the old one stays in force: {error}")
            return
        if self.trouble:
            logger.info("the config is right again")
        self.trouble = ""
        if settings == self.settings:
            self._next = None
            logger.info("config read again: nothing changed")
        else:
            self._next = settings, roots

    def take(self) -> tuple[Settings, list[Root]] | None:
        """Return the new settings with their opened roots, once: from now on they are in force."""
        found, self._next = self._next, None
        if found is not None:
            self.settings = found[0]
        return found

    def _refuse(self, trouble: str) -> None:
        self._next = None
        if trouble != self.trouble:
            logger.error("{}", trouble)
        self.trouble = trouble


def _print_of(path: Path) -> Print:
    """Tell one state of the file from another; None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
