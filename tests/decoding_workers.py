"""Workers without networks that really decode, write and verify: for tests of a station that meets hostile files.

Run as a program it is a station's daemon with such a worker and the real look into each header.
`decoding_workers.py CONFIG load_decoder [--once]`. What a scan's name asks for beside that is `fake_workers`' list.
"""

import sys
import tempfile
from pathlib import Path

from fake_workers import FakeRestorer, main
from fuzz.child import restore

from spotlessd.folders.headers import check_header
from spotlessd.messages import WorkerSetup


class DecodingRestorer(FakeRestorer):
    """Publishes the scan with a few samples changed, verified."""

    device = "decoding"

    def result_of(self, source: Path) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "restored"
            restore(source, target)
            return target.read_bytes()


def load_decoder(_: WorkerSetup) -> DecodingRestorer:
    return DecodingRestorer()


if __name__ == "__main__":
    # The child must find the loader under its module's name, not under __main__.
    import decoding_workers

    sys.exit(main(check_header, {"load_decoder": decoding_workers.load_decoder}))
