"""A coverage-guided run of the header checks: atheris grows a corpus of files that reach ever more of their lines.

`python -m fuzz.guided KIND SECONDS FOLDER`: seeds and finds lie in FOLDER. Anything but the errors a header check may
answer with ends the run with its traceback, and so does a file that takes 5 s or half a gigabyte; atheris keeps it.
"""

import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["spotless_core.image_io"]):
    from spotless_core.image_io.opening import open_scan

from fuzz.seeds import draw_seeds

from spotless_core.errors import ScanError

MAX_BYTES = 16_384
SECONDS_FOR_ONE = 5
MEMORY_LIMIT_MB = 512


def main(kind: str, seconds: str, folder: Path) -> None:
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for index, seed in enumerate(draw_seeds(kind)):
        (corpus / f"seed-{index}").write_bytes(seed)
    path = folder / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)

    def check(data: bytes) -> None:
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))
        try:
            open_scan(path).close()
        except ScanError as error:
            assert str(error).endswith((".", ")")), f"no sentence: {error}"

    options = (
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}",
        f"-timeout={SECONDS_FOR_ONE}",
        f"-rss_limit_mb={MEMORY_LIMIT_MB}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
    )
    atheris.Setup([sys.argv[0], *options, str(corpus)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
