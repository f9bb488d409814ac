"""Commands of seqlra in every process of torchrun, one after the other: ``torchrun launched.py COMMAND ...``.

The last process alone is asked to stop, at update `STOPPED_AT` of the first command.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import time
from pathlib import Path

from matplotlib.figure import Figure

from seqlra import torchrun
from seqlra.cli import main
from seqlra.files import write_atomically
from seqlra.training.trainer import Trainer

STOPPED_AT = 60


def stop_the_last() -> None:
    """Have a signal sent to the last process."""
    update = Trainer._one_update

    def with_signal(self: Trainer) -> None:
        update(self)
        if self.step == STOPPED_AT and torchrun.rank() == torchrun.processes() - 1:
            signal.raise_signal(signal.SIGTERM)

    Trainer._one_update = with_signal  # type: ignore[method-assign]


def meet_again(done: Path) -> None:
    """Wait for the first process, whose files the next command reads; it says where they meet, as torchrun would have
    for another launch."""
    if torchrun.rank() == 0:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            write_atomically(done, lambda temporary: temporary.write_text(str(free.getsockname()[1])))
    while not done.exists():
        time.sleep(0.05)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": done.read_text(), "TORCHELASTIC_USE_AGENT_STORE": "False"}


if __name__ == "__main__":
    Figure.savefig = lambda figure, path, **options: Path(path).write_bytes(b"a picture")  # type: ignore[method-assign]
    plain = Trainer._one_update
    stop_the_last()
    for nth, command in enumerate(sys.argv[1:]):
        sys.argv = ["seqlra", *shlex.split(command)]
        try:
            main()
        except SystemExit as end:
            print(f"exit {end.code}", flush=True)
        Trainer._one_update = plain  # type: ignore[method-assign]
        meet_again(Path(f"done{nth}"))
