"""``python -m seqlra`` is ``seqlra``."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the working directory, whose files must not stand in for those of Python

from seqlra.cli import main

main()
