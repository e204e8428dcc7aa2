"""Faults that no signal causes: a folder for PYTHONPATH that makes a worker hang on request.

SIGUSR1 blocks the event loop of a worker while its threads go on; SIGUSR2 blocks every thread that answers
checks while the event loop goes on.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.light_processes import LIGHT

if TYPE_CHECKING:
    from pathlib import Path

_SITE = """
import sys

if "worker" in sys.orig_argv:
    import signal
    import threading
    import time


    def block_threads(*_):
        from extauthz.decisionlog.recorder import Recorder

        assert callable(Recorder.begin)
        Recorder.begin = lambda *_: threading.Event().wait()


    signal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))
    signal.signal(signal.SIGUSR2, block_threads)
"""


def folder_of_faults(folder: Path) -> str:
    """Write the faults into a folder; return the PYTHONPATH that lets workers have them."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_SITE)
    return os.pathsep.join([str(folder), LIGHT["PYTHONPATH"]])
