"""The settings that a running daemon works by, kept beside its ledger.

A config that was broken under a running daemon changes nothing in the daemon; `status`, `pause` and the other commands
must go on working as well, so they read here what holds. The daemon writes it at its start and whenever a new config
is applied. Used only while that daemon runs.
"""

import json
import os
import re
import tomllib
from pathlib import Path

from loguru import logger
from pydantic import ValidationError

from spotlessd.configuration.problems import ENV_PREFIX
from spotlessd.configuration.settings import Settings
from spotlessd.monitoring.status import is_locked

IN_FORCE_NAME = "config-in-force.json"
STATE_LINE = re.compile(r"""^\s*state_dir\s*=\s*["'](?P<folder>[^"']+)["']""", re.MULTILINE)


def keep_in_force(settings: Settings) -> None:
    """Write down what holds from now on; if it cannot be written, commands need a config that is right."""
    path = settings.state_dir / IN_FORCE_NAME
    values = {"config": str(settings.config_path), "settings": settings.model_dump(mode="json", by_alias=True)}
    fresh = path.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        # It may hold a webhook's address: for this user's eyes, as the config itself may be.
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(values, file, indent=2, ensure_ascii=False)
        fresh.replace(path)
    except OSError as error:
        logger.warning("{}: cannot be written ({})", path, error.strerror)


def settings_in_force(config: Path) -> Settings | None:
    """Return what the daemon of the station with this config works by; None if none runs, or it cannot be told."""
    config = config.absolute()
    state_dir = _state_dir(config)
    if not is_locked(state_dir):
        return None
    try:
        values = json.loads((state_dir / IN_FORCE_NAME).read_text(encoding="utf-8"))
        if values["config"] != str(config):
            return None
        settings = Settings(**values["settings"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
    settings._config_path = config
    settings._is_kept = True
    return settings


def _state_dir(config: Path) -> Path:
    """Return the state folder that a config names, as far as a broken one can be read."""
    folder = os.environ.get(f"{ENV_PREFIX}STATE_DIR") or _written_state_dir(config) or "state"
    return Path(os.path.normpath(config.parent / Path(folder).expanduser()))


def _written_state_dir(config: Path) -> str | None:
    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    try:
        folder = tomllib.loads(text).get("state_dir")
    except tomllib.TOMLDecodeError:
        found = STATE_LINE.search(text)
        folder = found["folder"] if found else None
    return folder if isinstance(folder, str) else None
