"""Entry point of `python -m spotless_core.training`."""

import sys

from spotless_core.training.cli import main

if __name__ == "__main__":
    sys.exit(main())
