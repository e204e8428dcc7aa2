"""The environment in which tests start processes, so that each takes less time to start.

`rich` is hidden, because an installation of extauthz does not have it. The certificates of public authorities
are not read: what the tests ask has certificates of its own.
"""

import os
from pathlib import Path
from typing import Final

LIGHT: Final = {
    "PYTHONPATH": str(Path(__file__).with_name("without_rich")),
    "SSL_CERT_FILE": os.devnull,
}
