"""The page's own files: read once from one folder, asked for by name, never by path."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
DIGEST_DIGITS = 12


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent. `digest`: of its bytes, part of its address."""

    body: bytes
    kind: str
    digest: str


class StaticFiles:
    """The files in `folder` whose kind is known."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, StaticFile] = {}
        for path in sorted(folder.iterdir()):
            if path.suffix in KINDS and path.is_file():
                body = path.read_bytes()
                digest = hashlib.sha256(body).hexdigest()[:DIGEST_DIGITS]
                self._files[path.name] = StaticFile(body, KINDS[path.suffix], digest)

    def get(self, name: str) -> StaticFile | None:
        """Return a file, or None."""
        return self._files.get(name)

    def address(self, name: str) -> str:
        """Return a file's address; it changes with the file.

        Raises:
            KeyError: there is no such file.
        """
        return f"/static/{name}?v={self._files[name].digest}"
