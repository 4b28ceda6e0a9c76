"""Names that cannot be given: what stands in for parts of `publish` then."""

from collections.abc import Callable
from pathlib import Path

import pytest

from spotlessd import publish


def come_between(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let somebody's file take a name just before it is given."""
    name = publish._name

    def take(part: Path, final: Path, sha256: str) -> None:
        if final == path and not path.exists():
            path.write_bytes(b"not ours")
        name(part, final, sha256)

    monkeypatch.setattr(publish, "_name", take)


def refuse_after(number: int) -> Callable[..., None]:
    """Return a `publish._name` that gives so many names at each try."""
    name, given = publish._name, [0]

    def refuse(part: Path, final: Path, sha256: str) -> None:
        given[0] += 1
        if given[0] > number:
            raise OSError(28, "No space left on device")
        name(part, final, sha256)

    return refuse


def full(descriptor: int) -> None:
    raise OSError(28, "No space left on device")
