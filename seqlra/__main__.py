"""``python -m seqlra`` is ``seqlra``."""

from seqlra.cli import main

main()
