"""JPEG scans: decode once, write by transplanting only the blocks the mask meets.

A copy keeps every other block's coefficients, all marker segments but the entropy coder's tables, and the bytes after
the end marker; progressive stays progressive. The entropy code is made anew, so restart markers go and its tables
change. Writing needs libturbojpeg; opening and reading do not. Where it is missing, writing is refused or, if the
caller allows it, the picture is encoded anew as a whole (jpeg_reencoding.py).
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import imagecodecs
import numpy as np

from spotless_core.arrays.kinds import Mask, Samples, require_mask
from spotless_core.errors import OutputError, PreservationError, ScanError, UnsupportedScanError
from spotless_core.image_io.edited_rows import EditedRows
from spotless_core.image_io.header_jpeg import JpegHeader, check_jpeg
from spotless_core.image_io.jpeg_blocks import BlockEditor, reachable_pixels, touched_blocks
from spotless_core.image_io.jpeg_kept import KeptBlocks
from spotless_core.image_io.jpeg_reencoding import MAX_MEAN_SHIFT, encode_anew
from spotless_core.image_io.positional_file import PositionalFile
from spotless_core.image_io.progress import OnFraction, Progress, ignore_fraction
from spotless_core.image_io.scan_base import ScanBase
from spotless_core.image_io.scan_file import ScanFile, WriteReport
from spotless_core.image_io.turbojpeg import Blocks, is_available, rewrite_blocks, visit_blocks
from spotless_core.image_io.written_file import written_file
from spotless_core.photo import Edit, ScanInfo

MAX_FILE_BYTES = 1 << 30
"""The file is held in memory; a JPEG of this size has no place at a scanning station."""

REENCODED = (
    "libturbojpeg is missing: the whole JPEG was encoded anew, which moves values outside the mask a little too."
)
KEPT_ANEW = "the kept repairs were encoded anew with the whole JPEG, so they are near the earlier version's, not equal."
KEPT_MIXED = (
    "{} blocks of the JPEG hold kept and changed repairs together: they were coded anew and may differ a little."
)


class JpegScan(ScanBase[JpegHeader]):
    """One open JPEG scan, of which opening reads the markers only.

    A JPEG has no windows: file and frame are read at the first use and kept until `close`.

    `allow_reencode`: encode the whole picture anew where libturbojpeg is missing; `info.preservation` says so.
    """

    def __init__(self, path: Path, max_megapixels: float, *, allow_reencode: bool = False) -> None:
        super().__init__(path, lambda file: _check(file, max_megapixels))
        header = self._header
        self.info = ScanInfo(
            container="jpeg",
            width=header.width,
            height=header.height,
            channels=len(header.components),
            color_channels=len(header.components),
            bits=8,
            compression="jpeg progressive" if header.is_progressive else "jpeg",
            preservation="reencoded" if allow_reencode and not is_available() else "block",
            dpi=header.dpi,
            orientation=header.orientation,
            is_cmyk=len(header.components) == 4,
            is_min_white=len(header.components) == 4 and not header.has_adobe_marker,
            has_icc_profile=header.has_icc_profile,
        )
        self._held: bytes | None = None
        self._decoded: Samples | None = None
        self._kept: KeptBlocks | None = None
        self._written = b""

    def read_rows(self, top: int, bottom: int) -> Samples:
        """Return rows [top, bottom) as a new (bottom-top)×width×color_channels uint8 array."""
        return self._frame()[top:bottom].copy()

    def read_infrared_rows(self, top: int, bottom: int) -> Samples | None:
        """Return None: a JPEG has no infrared plane."""
        del top, bottom
        return None

    def may_change(self, mask: Mask) -> Mask:
        """Return the pixels of all blocks under `mask`, and one pixel around them where chroma is subsampled.

        If the picture is to be encoded anew, every pixel may change as soon as one does.
        """
        require_mask(mask, (self.info.height, self.info.width))
        if self.info.preservation == "reencoded":
            return np.full_like(mask, mask.any())
        return reachable_pixels(mask, self._header)

    def keep_from(self, base: ScanFile, mask: Mask, base_mask: Mask) -> tuple[str, ...]:
        """Take the blocks that only kept repairs meet from `base`, coefficient by coefficient.

        They are held until `close`, so `base` may be closed before the copy is written.
        """
        if self._is_reencoding or not isinstance(base, JpegScan) or _geometry(base._header) != _geometry(self._header):
            return (KEPT_ANEW,)
        self._kept = KeptBlocks(base._picture(), self._header, mask, base_mask)
        return (KEPT_MIXED.format(self._kept.mixed),) if self._kept.mixed else ()

    def write_restored(
        self, target: Path, edits: Sequence[Edit], on_progress: OnFraction = ignore_fraction
    ) -> WriteReport:
        """Write the copy with new blocks under the edits; without a changed block it is byte-identical.

        Raises:
            UnsupportedScanError: libturbojpeg is missing.
            OutputError: the copy cannot be written, or `target` is the scan itself.
            ScanError: the scan's compressed data is damaged.
        """
        if self._file.is_same_file(target):
            raise OutputError("the result would overwrite the scan itself. Choose another name.")
        edited = EditedRows(edits, self.info)
        content, touched = self._data, 0
        # libturbojpeg codes all blocks after it has shown them all.
        progress = Progress(on_progress, 2 * self._header.block_rows)
        if edited.touch(0, self.info.height):
            make = self._reencoded if self._is_reencoding else self._transplanted
            content, touched = make(edited, progress)
        with written_file(target) as file:
            file.write(content)
        progress.finish()
        self._written = _digest(content)
        if not touched:
            return WriteReport("block", segments_touched=0, bytes_appended=0)
        notes = (REENCODED,) if self._is_reencoding else ()
        return WriteReport(self.info.preservation, segments_touched=touched, bytes_appended=0, notes=notes)

    def check_restored(self, target: Path, mask: Mask) -> None:
        """Compare the marker segments, the bytes after the end, and every block that `mask` does not meet.

        A result that this scan wrote must also be byte for byte what was meant to be written, so that damage within
        the new blocks is found as well. Of a picture encoded anew, the pixels outside `mask` must be near the scan's.

        Raises:
            PreservationError: the first difference found.
            UnsupportedScanError: libturbojpeg is missing.
        """
        require_mask(mask, (self.info.height, self.info.width))
        try:
            data = target.read_bytes()
        except OSError as error:
            raise PreservationError(f"the result cannot be read back ({error.strerror}).") from error
        if self._written and _digest(data) != self._written:
            raise PreservationError("the result on the disk is not what was written. Check the disk or the share.")
        if data == self._data:
            self._require_kept(self._picture())
            return
        if not mask.any():
            raise PreservationError("the result differs from the scan although its mask is empty.")
        try:
            header = check_jpeg(data, float("inf"))
        except ScanError as error:
            raise PreservationError(f"the result is not a sound JPEG: {error}") from error
        is_reencoding = self._is_reencoding
        expected = self._header.carried(header.end, only_metadata=is_reencoding)
        if header.carried(header.end, only_metadata=is_reencoding) != expected:
            raise PreservationError("the result's marker segments (metadata) differ from the scan's.")
        if data[header.end :] != self._data[self._header.end :]:
            raise PreservationError("the result's bytes after the picture differ from the scan's.")
        if is_reencoding:
            self._require_near(data[: header.end], header, mask)
        else:
            self._require_blocks(data[: header.end], mask)
            self._require_kept(data[: header.end])

    def _require_kept(self, picture: bytes) -> None:
        if self._kept is not None:
            self._kept.require_in(picture)

    def _require_near(self, picture: bytes, header: JpegHeader, mask: Mask) -> None:
        if _decoded_shape(header) != _decoded_shape(self._header):
            raise PreservationError("the result encoded anew has another size or other colours than the scan.")
        try:
            shift = np.abs(decode_jpeg(picture, header)[~mask].astype(np.int16) - self._frame()[~mask])
        except ScanError as error:
            raise PreservationError(f"the result cannot be decoded: {error}") from error
        if shift.size and shift.mean() > MAX_MEAN_SHIFT:
            raise PreservationError(f"encoding anew moved values outside the mask by {shift.mean():.1f} on average.")

    def _require_blocks(self, picture: bytes, mask: Mask) -> None:
        untouched = [~touched_blocks(mask, component) for component in self._header.components]
        expected = _digests(self._picture(), untouched)
        try:
            found = _digests(picture, untouched)
        except ScanError as error:
            raise PreservationError(f"the result cannot be decoded: {error}") from error
        if found != expected:
            differing = sum(found.get(key) != digest for key, digest in expected.items())
            raise PreservationError(f"blocks outside the mask differ from the scan's in {differing} rows of blocks.")

    def close(self) -> None:
        """Close the file and free the decoded frame."""
        super().close()
        self._decoded = self._held = self._kept = None

    @property
    def _data(self) -> bytes:
        """All bytes of the file, held from their first use on; opening it for its header does not need them.

        Raises:
            TruncatedScanError: the file changed since, or cannot be read.
        """
        if self._held is None:
            self._file.require_unchanged()
            self._held = self._file.read(0, self._file.size)
        return self._held

    def _picture(self) -> bytes:
        """Return the file without the bytes after its end marker."""
        return self._data[: self._header.end]

    @property
    def _is_reencoding(self) -> bool:
        return self.info.preservation == "reencoded"

    def _frame(self) -> Samples:
        if self._decoded is None:
            if is_available():
                # libjpeg decodes damaged data with a mere warning; the transform stops at the first one. A changed bit
                # that leaves the data well-formed shows in neither: JPEG has no checksum.
                visit_blocks(self._picture(), _ignore_blocks)
            self._decoded = decode_jpeg(self._picture(), self._header)
        return self._decoded

    def _transplanted(self, edited: EditedRows, progress: Progress) -> tuple[bytes, int]:
        """Return the file with new blocks under the edits, and how many MCUs are new."""
        editor = (
            BlockEditor(self._header, self._frame(), edited)
            if self._kept is None
            else BlockEditor(self._header, self._frame(), edited, self._kept.put_inplace)
        )

        def visit(component: int, row: int, blocks: Blocks) -> None:
            editor.visit(component, row, blocks)
            progress.add(1)

        bare = rewrite_blocks(self._picture(), visit, progressive=self._header.is_progressive)
        return (self._spliced(bare) if editor.touched_mcus else self._data), editor.touched_mcus

    def _reencoded(self, edited: EditedRows, progress: Progress) -> tuple[bytes, int]:
        """Return the file with its whole picture encoded anew, and how many MCUs that are; 0 if no sample changes."""
        frame = self._frame().copy()
        if not edited.apply_inplace(frame, 0).any():
            return self._data, 0
        progress.add(self._header.block_rows)
        picture = encode_anew(self._header, frame)
        return picture + self._data[self._header.end :], self._header.mcus

    def _spliced(self, bare: bytes) -> bytes:
        """Put the new entropy code of `bare` between the scan's own segments and its bytes after the end."""
        made = check_jpeg(bare, float("inf"))
        if _geometry(made) != _geometry(self._header):
            raise PreservationError("libturbojpeg wrote another picture geometry than the scan's.")
        data = bare[made.frame_end : made.end]
        end = 2 + sum(map(len, self._header.carried(self._header.end))) + len(data)
        return b"".join((b"\xff\xd8", *self._header.carried(end), data, self._data[self._header.end :]))


def _check(file: PositionalFile, max_megapixels: float) -> JpegHeader:
    if file.size > MAX_FILE_BYTES:
        raise UnsupportedScanError(
            f"a JPEG of {file.size / 1e6:.0f} MB; at most {MAX_FILE_BYTES / 1e6:.0f} MB accepted. "
            "Export the scan as TIFF."
        )
    return check_jpeg(file, max_megapixels)


def _geometry(header: JpegHeader) -> object:
    """Return all that the meaning of coefficients depends on."""
    steps = [header.tables[component.table] for component in header.components]
    return (header.width, header.height, header.is_progressive, header.components, steps)


def _decoded_shape(header: JpegHeader) -> object:
    return (header.width, header.height, header.colors, header.is_progressive)


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def _ignore_blocks(component: int, row: int, blocks: Blocks) -> None:
    """Look at no block: the pass itself is the check."""


def _digests(picture: bytes, chosen: list[Mask]) -> dict[tuple[int, int], bytes]:
    """Return a digest of the `chosen` blocks for each (component, row of blocks)."""
    digests: dict[tuple[int, int], bytes] = {}

    def visit(component: int, row: int, blocks: Blocks) -> None:
        digests[component, row] = _digest(blocks[chosen[component][row]].tobytes())

    visit_blocks(picture, visit)
    return digests


def decode_jpeg(picture: bytes, header: JpegHeader) -> Samples:
    """Decode the whole frame of a file that the header check found sound, as H×W×C uint8."""
    try:
        frame: Samples = imagecodecs.jpeg8_decode(picture)
    except Exception as error:
        raise ScanError("the JPEG's compressed data is damaged and cannot be decoded. Scan it again.") from error
    shape = (header.height, header.width, len(header.components))
    if frame.dtype != np.uint8 or frame.size != np.prod(shape):
        raise ScanError(f"the JPEG decodes to {frame.dtype} {frame.shape}, but its header says {shape}. Scan it again.")
    return frame.reshape(shape)
