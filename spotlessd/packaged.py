"""Find a data file that ships with the program: the default config, the service files, the model manifest.

In a wheel the repository's folders config/, systemd/ and models/ are installed as spotless_core.data.<folder>; in a
checkout they lie beside the packages. Both are looked at, the installed one first.
"""

from pathlib import Path
from typing import Literal

import spotless_core.errors
from spotlessd.errors import DaemonError

PACKAGE_FOLDER = Path(spotless_core.errors.__file__).resolve().parent


def packaged_file(folder: Literal["config", "systemd", "models"], name: str) -> Path:
    """Return the path of the packaged file `name`.

    Raises:
        DaemonError: the installation lacks it.
    """
    places = (PACKAGE_FOLDER / "data" / folder / name, PACKAGE_FOLDER.parent / folder / name)
    for place in places:
        if place.is_file():
            return place
    raise DaemonError(f"the installation lacks {folder}/{name} (looked at {places[0]} and {places[1]}). Install again.")
