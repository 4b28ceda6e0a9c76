"""The check of one mask as a process under way, so that the daemon's loop goes on meanwhile (review/mask_check.py)."""

import json
import subprocess
import sys
import time
from pathlib import Path

CHECK_SECONDS = 120.0
NO_ANSWER = "it could not be checked; is it a PNG or TIFF of the scan's size?"


class MaskCheck:
    """Checks `mask` against `scan`, and copies it into `state_dir` if it fits."""

    def __init__(self, mask: Path, scan: Path, state_dir: Path) -> None:
        command = [sys.executable, "-m", "spotlessd.review.mask_check", str(mask), str(scan), str(state_dir)]
        self._until = time.monotonic() + CHECK_SECONDS
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def poll(self) -> Path | str | None:
        """Return the copy's path, or the sentence why the mask cannot be used; None while it is looked at."""
        if self._process.poll() is None:
            if time.monotonic() < self._until:
                return None
            self.close()
            return NO_ANSWER
        answer, _ = self._process.communicate()  # one line, so that the pipe held it
        try:
            values = json.loads(answer)
            return Path(values["kept"]) if "kept" in values else str(values["error"])
        except (ValueError, KeyError, TypeError):
            return NO_ANSWER

    def close(self) -> None:
        """End it, whatever it found."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
