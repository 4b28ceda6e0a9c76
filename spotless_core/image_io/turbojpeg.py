"""The quantised coefficients of a JPEG file, through libturbojpeg's lossless transform (ctypes).

Comes in: a JPEG in memory and a visitor. The visitor gets every row of 8×8 coefficient blocks and may write into it.
Goes out: nothing, or the same picture with the visitor's coefficients as a bare JPEG (no APPn or COM markers). No
pixel is decoded. The library is a system package: its absence is an `UnsupportedScanError` that names it.
Source: turbojpeg.h, `tjTransform` and `tjtransform.customFilter`, in version 2 and, kept for old callers, version 3.
"""

import ctypes
import ctypes.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from spotless_core.errors import ScanError, UnsupportedScanError

Blocks: TypeAlias = NDArray[np.int16]
"""n×8×8 quantised coefficients, natural order (rows of vertical, columns of horizontal frequency)."""
Visitor: TypeAlias = Callable[[int, int, Blocks], None]
"""Called with (component, row of blocks, blocks); what it writes into `blocks` goes into the new file."""

LIBRARY_NAMES = (
    "libturbojpeg.so.0",
    "libturbojpeg.so",
    "libturbojpeg.0.dylib",
    "libturbojpeg.dylib",
    "/opt/homebrew/opt/jpeg-turbo/lib/libturbojpeg.dylib",
    "/usr/local/opt/jpeg-turbo/lib/libturbojpeg.dylib",
    "turbojpeg.dll",
)
MISSING = (
    "JPEG scans cannot be written without libturbojpeg. Install the package libturbojpeg0 (Debian, Ubuntu) "
    "or jpeg-turbo (Homebrew), or set output.allow_reencode = true (spotless: --allow-reencode): then they are encoded "
    "anew."
)
NO_OUTPUT, PROGRESSIVE, COPY_NONE = 16, 32, 64
STOP_ON_WARNING, LIMIT_SCANS = 8192, 32768
BLOCK_PX = 8


class _Region(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int), ("w", ctypes.c_int), ("h", ctypes.c_int))


_Filter = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, _Region, _Region, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


class _Transform(ctypes.Structure):
    _fields_ = (
        ("region", _Region),
        ("operation", ctypes.c_int),
        ("options", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("custom_filter", _Filter),
    )


def is_available() -> bool:
    """Whether libturbojpeg is installed, so that JPEG scans can be written."""
    try:
        _library()
    except UnsupportedScanError:
        return False
    return True


def visit_blocks(jpeg: bytes, visitor: Visitor) -> None:
    """Show every row of blocks of `jpeg` to `visitor`.

    Raises:
        UnsupportedScanError: libturbojpeg is missing.
        ScanError: the compressed data is damaged. What the visitor raises comes through as it is.
    """
    _run(jpeg, visitor, NO_OUTPUT)


def rewrite_blocks(jpeg: bytes, visitor: Visitor, *, progressive: bool) -> bytes:
    """Return `jpeg` coded anew with the blocks as `visitor` leaves them; raises as `visit_blocks` does."""
    return _run(jpeg, visitor, PROGRESSIVE if progressive else 0)


@cache
def _library() -> ctypes.CDLL:
    """Load the library once and declare the functions used."""
    found = ctypes.util.find_library("turbojpeg")
    for name in (*((found,) if found else ()), *LIBRARY_NAMES):
        try:
            library = ctypes.CDLL(name)
            break
        except OSError:
            continue
    else:
        raise UnsupportedScanError(MISSING)
    library.tjInitTransform.restype = ctypes.c_void_p
    library.tjInitTransform.argtypes = ()
    library.tjTransform.restype = ctypes.c_int
    library.tjTransform.argtypes = (
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_ulong,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.POINTER(ctypes.c_ulong),
        ctypes.POINTER(_Transform),
        ctypes.c_int,
    )
    library.tjGetErrorStr2.restype = ctypes.c_char_p
    library.tjGetErrorStr2.argtypes = (ctypes.c_void_p,)
    library.tjFree.restype = None
    library.tjFree.argtypes = (ctypes.c_void_p,)
    library.tjDestroy.restype = ctypes.c_int
    library.tjDestroy.argtypes = (ctypes.c_void_p,)
    return library


@contextmanager
def _transformer(library: ctypes.CDLL) -> Iterator[int]:
    handle = library.tjInitTransform()
    if not handle:
        raise UnsupportedScanError("libturbojpeg cannot start; too little memory?")
    try:
        yield handle
    finally:
        library.tjDestroy(handle)


def _run(jpeg: bytes, visitor: Visitor, options: int) -> bytes:
    library = _library()
    raised: list[BaseException] = []

    def on_row(coefficients: int, array: _Region, plane: _Region, component: int, *_: int) -> int:
        if array.y >= plane.h:
            return 0  # a row of padding below the picture
        try:
            pointer = ctypes.cast(coefficients, ctypes.POINTER(ctypes.c_int16))
            blocks = np.ctypeslib.as_array(pointer, (array.w // BLOCK_PX, BLOCK_PX, BLOCK_PX))
            visitor(component, array.y // BLOCK_PX, blocks)
        except BaseException as error:  # noqa: BLE001 - an exception cannot cross C; it is raised again below
            raised.append(error)
            return -1
        return 0

    transform = _Transform(options=options | COPY_NONE, custom_filter=_Filter(on_row))
    buffer, size = ctypes.c_void_p(), ctypes.c_ulong()
    with _transformer(library) as handle:
        try:
            failed = library.tjTransform(
                handle,
                jpeg,
                len(jpeg),
                1,
                ctypes.byref(buffer),
                ctypes.byref(size),
                ctypes.byref(transform),
                STOP_ON_WARNING | LIMIT_SCANS,
            )
            if raised:
                raise raised[0]
            if failed:
                reason = library.tjGetErrorStr2(handle).decode(errors="replace")
                raise ScanError(f"the JPEG's compressed data is damaged ({reason}). Scan it again.")
            return ctypes.string_at(buffer, size.value) if buffer else b""
        finally:
            if buffer:
                library.tjFree(buffer)
