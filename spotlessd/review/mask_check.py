"""Checks an uploaded mask in a process of its own: decoding one takes memory that the daemon must not take.

`python -m spotlessd.review.mask_check MASK SCAN STATE_DIR` does what `keep_mask` does and prints {"kept": path} or
{"error": sentence}.
"""

import json
import subprocess
import sys
from pathlib import Path

from spotless_core.errors import SpotlessError
from spotlessd.errors import DaemonError

CHECK_SECONDS = 120.0
MOST_WORDS = 300


class MaskRefusedError(Exception):
    """The mask cannot be used; its text is one sentence."""


def keep_mask_apart(mask: Path, scan: Path, state_dir: Path) -> Path:
    """Check `mask` against its scan in a child process and return its copy in the state folder.

    Raises:
        MaskRefusedError: it is no mask of this scan, or checking it came to no end.
    """
    command = [sys.executable, "-m", "spotlessd.review.mask_check", str(mask), str(scan), str(state_dir)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=CHECK_SECONDS, check=False)
        answer = json.loads(done.stdout)
        if "kept" in answer:
            return Path(answer["kept"])
        sentence = str(answer["error"])
    except (subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
        raise MaskRefusedError("the mask could not be checked; is it a PNG of the scan's size?") from error
    raise MaskRefusedError(sentence.replace(mask.name, "the mask")[:MOST_WORDS])


def main(words: list[str]) -> int:
    """Check one mask and print the answer."""
    from spotlessd.publishing.given_masks import keep_mask

    mask, scan, state_dir = map(Path, words)
    try:
        answer = {"kept": str(keep_mask(mask, scan, state_dir))}
    except (SpotlessError, DaemonError) as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
