"""Ends itself by SIGKILL, as the kernel's out-of-memory killer does."""

import os
import signal

if __name__ == "__main__":
    os.kill(os.getpid(), signal.SIGKILL)
