"""`python -m autobss_search` is the command `autobss`, for torchrun."""

import sys

from .command.cli import main

if __name__ == "__main__":
    sys.exit(main())
