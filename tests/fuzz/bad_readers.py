"""Readers that do with mutant 2 what no reader may: the fuzzer itself is tried on them."""

import os
import signal
import time
from pathlib import Path

import numpy as np

BAD_NUMBER = 2


def abort(path: Path, target: Path) -> str:
    del target
    if _is_bad(path):
        os.abort()
    return "restored"


def hang(path: Path, target: Path) -> str:
    del target
    if _is_bad(path):
        signal.setitimer(signal.ITIMER_REAL, 0.3)  # the alarm is set to longer, and this test need not wait for it
        time.sleep(60)
    return "restored"


def raise_foreign(path: Path, target: Path) -> str:
    del target
    if _is_bad(path):
        raise KeyError("no sentence")
    return "restored"


def eat_memory(path: Path, target: Path) -> str:
    del target
    if _is_bad(path):
        np.empty(400 << 20, np.uint8)
    return "restored"


def write_to_scan(path: Path, target: Path) -> str:
    del target
    if _is_bad(path):
        with path.open("r+b") as file:
            file.write(b"overwritten")
    return "restored"


def _is_bad(path: Path) -> bool:
    number = path.with_name("number")
    return number.exists() and int(number.read_text() or -1) == BAD_NUMBER
