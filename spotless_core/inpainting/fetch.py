"""Downloading big-lama's published weights, for the command `spotless models fetch big-lama` and nothing else.

In: where the file shall lie. Out: the complete, checked file there, or no file. The running service never imports this
download: it only takes the file's name and checksum from here.
"""

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from spotless_core.errors import ModelError, OutputError

BIG_LAMA_URL = "https://github.com/Sanster/models/releases/download/add_big_lama/big-lama.pt"
BIG_LAMA_NAME = "big-lama.pt"
BIG_LAMA_MD5 = "e3aa4aaa15225a33ec84f9f4bc47e500"
TIMEOUT_SECONDS = 60.0
"""Longest silence of the server."""
CHUNK_BYTES = 1 << 20


def big_lama_cache_path() -> Path:
    """Return where lama-cleaner itself keeps the file: torch's own folder of downloads."""
    from torch.hub import get_dir

    return Path(get_dir()) / "checkpoints" / BIG_LAMA_NAME


def fetch_big_lama(
    target: Path,
    on_progress: Callable[[int, int], None],
    *,
    url: str = BIG_LAMA_URL,
    md5: str = BIG_LAMA_MD5,
) -> Path:
    """Download the weights to `target` and return it; a file there with the right checksum is kept as it is.

    `on_progress` gets (bytes so far, bytes in all, or 0 if the server does not say). The file appears under its name
    only when it is complete and its checksum is right; folders are made.

    Raises:
        ModelError: the server cannot be reached, stops early, or sends something with another checksum.
        OutputError: the file cannot be written.
    """
    try:
        if target.is_file() and _md5_of(target) == md5:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}. Choose another folder.") from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            received = _download(url, file.write, on_progress)
            file.flush()
            os.fsync(file.fileno())
        if received != md5:
            raise ModelError(f"{url}: md5 {received}; {md5} expected. Nothing was kept; try again.")
        part.replace(target)
    except urllib.error.URLError as error:
        raise ModelError(f"{url} cannot be reached: {error.reason}. Check the connection and try again.") from error
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise ModelError(f"{url}: the download broke off ({error}). Nothing was kept; try again.") from error
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written: {error.strerror}. Free space or choose another folder."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _download(url: str, write: Callable[[bytes], int], on_progress: Callable[[int, int], None]) -> str:
    """Pass the body to `write` and return its md5."""
    if not url.startswith(("https://", "http://")):
        raise ModelError(f"{url}: an http or https address expected.")
    digest = hashlib.md5(usedforsecurity=False)
    done = 0
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 - the scheme was checked
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else 0
        while chunk := response.read(CHUNK_BYTES):
            write(chunk)
            digest.update(chunk)
            done += len(chunk)
            on_progress(done, total)
    if done < total:
        raise ModelError(f"{url}: {done} of {total} bytes came. Nothing was kept; try again.")
    return digest.hexdigest()


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
