"""Named places where a test can make the process die as from kill -9.

`SPOTLESSD_CRASH_AT=<name>` in the environment ends the process at that point with status 137, without cleaning up.
Without the variable a crash point does nothing. The names are those passed to `crash_point` in this package.
"""

import os

VARIABLE = "SPOTLESSD_CRASH_AT"
STATUS = 137
"""What a shell reports for a process ended by SIGKILL."""


def crash_point(name: str) -> None:
    """End this process at once if the environment names this point."""
    if os.environ.get(VARIABLE) == name:
        os._exit(STATUS)
