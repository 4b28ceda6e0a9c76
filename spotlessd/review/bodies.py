"""What a request may bring with it: JSON and mask files, each read as a stream up to its limit and within its time."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

from starlette.requests import ClientDisconnect, Request

from spotlessd.publishing.durable import cannot_write, make_folder
from spotlessd.review.security import Refused

MOST_JSON_BYTES = 2_000_000
MOST_MASK_BYTES = 64_000_000
JSON_SECONDS, MASK_SECONDS = 30.0, 300.0
LENGTH_DIGITS = 12
UPLOADS = "uploads"


async def read_json(request: Request) -> object:
    """Return a request's JSON body.

    Raises:
        Refused: it is of another kind, too large, too slow or not JSON.
    """
    _check_kind(request, "application/json")
    body = bytearray()
    async for chunk in _chunks(request, MOST_JSON_BYTES, JSON_SECONDS):
        body += chunk
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the body is not JSON.") from error


@asynccontextmanager
async def received_mask(request: Request, state_dir: Path) -> AsyncIterator[Path]:
    """Give a request's PNG body as a file in the state folder, which is removed afterwards.

    Raises:
        Refused: it is of another kind, too large or too slow.
        PublishError: the state folder cannot be written.
    """
    _check_kind(request, "image/png")
    path = state_dir / UPLOADS / f"{secrets.token_hex(8)}.png"
    try:
        make_folder(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            async for chunk in _chunks(request, MOST_MASK_BYTES, MASK_SECONDS):
                try:
                    file.write(chunk)
                except OSError as error:
                    raise cannot_write(path, error) from error
        yield path
    finally:
        path.unlink(missing_ok=True)


def clear_uploads(state_dir: Path) -> None:
    """Remove what an earlier run left of uploads."""
    for path in (state_dir / UPLOADS).glob("*.png"):
        path.unlink(missing_ok=True)


def _check_kind(request: Request, kind: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != kind:
        raise Refused(415, f"the body is {given or 'of no kind'}; {kind} expected.")


async def _chunks(request: Request, most: int, seconds: float) -> AsyncIterator[bytes]:
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > LENGTH_DIGITS or int(length) > most:
        raise Refused(413, f"the body is too large; at most {most / 1e6:.0f} MB are taken.")
    received = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                received += len(chunk)
                if received > most:
                    raise Refused(413, f"the body is too large; at most {most / 1e6:.0f} MB are taken.")
                yield chunk
    except TimeoutError as error:
        raise Refused(408, f"the body did not come within {seconds:.0f} s.") from error
    except ClientDisconnect as error:
        raise Refused(400, "the body did not come whole.") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
