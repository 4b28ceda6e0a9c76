"""Make a station: a folder with its config, the folder to scan into, the folder of results and the state.

Comes in: a folder, there or not. Goes out: its config, a copy of the packaged default with an id of its own.
Promise: a config that is there is never overwritten, no scan is touched, and nothing is made in another station's
folders: its daemon would take what lies there for scans.
"""

import os
import re
import secrets
from pathlib import Path

from spotlessd.configuration.settings import CONFIG_NAME
from spotlessd.errors import RootUnavailableError, StationExistsError
from spotlessd.folders.roots import read_marker, write_marker
from spotlessd.packaged import packaged_file

INPUT_NAME = "scans"
OUTPUT_NAME = "restored"
STATE_NAME = "state"
ID_LINE = re.compile(r'^station_id = "[^"]*"', re.MULTILINE)
NAME_CHARACTERS = 40
"""Of the folder's name taken into the id; the whole must stay under 64."""


def init_station(folder: Path) -> Path:
    """Make a station in `folder` and return its config's path. The config is written last: cut short, it can be rerun.

    Raises:
        StationExistsError: a config is already there, or the folder cannot be made or lies in another station's.
        StationBusyError: scans/ or restored/ belongs to another station.
    """
    folder = folder.absolute()
    config = folder / CONFIG_NAME
    if config.exists():
        raise StationExistsError(
            f"{config}: a station is already here; nothing was changed. Start it: spotlessd run --config {config}"
        )
    _refuse_anothers_folder(folder)
    try:
        for name in (INPUT_NAME, OUTPUT_NAME, STATE_NAME):
            (folder / name).mkdir(parents=True, exist_ok=True)
        station_id = read_marker(folder / INPUT_NAME) or read_marker(folder / OUTPUT_NAME) or _new_id(folder)
        for name in (INPUT_NAME, OUTPUT_NAME):
            write_marker(folder / name, station_id)
        text = packaged_file("config", CONFIG_NAME).read_text(encoding="utf-8")
        text = ID_LINE.sub(f'station_id = "{station_id}"', text, count=1)
        with config.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StationExistsError(f"{error.filename or folder}: cannot be made: {error.strerror}.") from error
    return config


def _refuse_anothers_folder(folder: Path) -> None:
    real = Path(os.path.realpath(folder))
    for place in (real, *real.parents):
        try:
            owner = read_marker(place)
        except RootUnavailableError:
            continue  # not made yet, or closed to us
        if owner is not None:
            raise StationExistsError(
                f"{folder}: it lies in {place}, a folder of station {owner!r}; nothing was made. "
                "Choose a folder outside that station's scans and results."
            )


def _new_id(folder: Path) -> str:
    """Return the folder's name, as far as an id may hold it, and eight random hex digits."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("._-")[:NAME_CHARACTERS]
    return f"{name or 'station'}-{secrets.token_hex(4)}"
