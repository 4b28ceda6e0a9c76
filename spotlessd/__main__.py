"""`python -m spotlessd`: the same as the `spotlessd` command."""

import sys

from spotlessd.cli import main

if __name__ == "__main__":
    sys.exit(main())
