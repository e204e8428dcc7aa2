"""Hides the package `rich` from a process: structlog imports it where it is installed, which takes 50 ms.

It is in the environment of the tests because development tools need it; an installation of extauthz has none.
"""

raise ImportError("extauthz does not depend on rich")
