"""Compress and decompress one large TIFF strip in pieces, so that it never lies in memory whole.

Comes in: chunks of stored bytes, or rows. Goes out: the other, in order. The promise: what is yielded at once is
bounded, whatever the data claim; damage is a `ScanError`. LZW has a module of its own (tiff_lzw.py).
"""

import lzma
import zlib
from collections.abc import Iterable, Iterator

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from spotless_core.errors import ScanError
from spotless_core.image_io.tiff_codecs import DEFLATE_LEVEL, LZMA_MEMORY_BYTES, LZMA_PRESET, compress
from spotless_core.image_io.tiff_lzw import decompress_lzw, join_lzw

PACKBITS_NOTHING = 128
"""A PackBits code that stands for no bytes."""


def decompress_pieces(codec: str, chunks: Iterable[bytes], piece_bytes: int) -> Iterator[bytes]:
    """Yield what `chunks` stand for, at most about `piece_bytes` at once; nothing more after the data's own end.

    Raises:
        ScanError: the data are damaged.
    """
    if codec == "lzw":
        yield from decompress_lzw(chunks, piece_bytes)
    elif codec == "packbits":
        yield from _unpack_bits(chunks, piece_bytes)
    else:
        try:
            if codec == "deflate":
                yield from _inflate(chunks, piece_bytes)
            else:
                yield from _unpack_lzma(chunks, piece_bytes)
        except (zlib.error, lzma.LZMAError, EOFError) as error:
            raise ScanError(f"is damaged ({error})") from error


def compress_pieces(codec: str, pieces: Iterable[NDArray[np.uint8]]) -> Iterator[bytes]:
    """Yield the compressed bytes of rows that come as pieces of rows × bytes."""
    if codec == "lzw":
        yield from join_lzw(compress(codec, piece) for piece in pieces)
    elif codec == "packbits":
        for piece in pieces:
            yield compress(codec, piece)
    else:
        packer = zlib.compressobj(DEFLATE_LEVEL) if codec == "deflate" else _lzma_compressor()
        for piece in pieces:
            yield packer.compress(np.ascontiguousarray(piece).data)
        yield packer.flush()


def _lzma_compressor() -> lzma.LZMACompressor:
    return lzma.LZMACompressor(lzma.FORMAT_XZ, lzma.CHECK_CRC32, LZMA_PRESET)


def _inflate(chunks: Iterable[bytes], piece_bytes: int) -> Iterator[bytes]:
    inflater = zlib.decompressobj()
    for chunk in chunks:
        rest = chunk
        while not inflater.eof:
            part = inflater.decompress(rest, piece_bytes)
            rest = inflater.unconsumed_tail
            if part:
                yield part
            elif not rest:
                break
        if inflater.eof:
            return


def _unpack_lzma(chunks: Iterable[bytes], piece_bytes: int) -> Iterator[bytes]:
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, LZMA_MEMORY_BYTES)
    for chunk in chunks:
        part = unpacker.decompress(chunk, piece_bytes)
        while part:
            yield part
            part = b"" if unpacker.eof else unpacker.decompress(b"", piece_bytes)
        if unpacker.eof:
            return


def _unpack_bits(chunks: Iterable[bytes], piece_bytes: int) -> Iterator[bytes]:
    """Cut the data between codes where about a piece is full, and decode each cut."""
    held = b""
    for chunk in chunks:
        held += chunk
        position, start, length = 0, 0, 0
        end = len(held)
        while position < end:
            code = held[position]
            size, stands_for = (code + 2, code + 1) if code < PACKBITS_NOTHING else (2, 257 - code)
            if code == PACKBITS_NOTHING:
                size, stands_for = 1, 0
            if position + size > end:
                break
            if length + stands_for > piece_bytes:
                yield bytes(imagecodecs.packbits_decode(held[start:position]))
                start, length = position, 0
            position += size
            length += stands_for
        if length:
            yield bytes(imagecodecs.packbits_decode(held[start:position]))
        held = held[position:]
