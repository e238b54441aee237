"""The command `autobss` as a script that `forked` can start."""

import sys

from autobss_search.command.cli import main

sys.exit(main(sys.argv[1:]))
