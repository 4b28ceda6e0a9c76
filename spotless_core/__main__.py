"""Entry point of `python -m spotless_core`."""

import sys

from spotless_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
