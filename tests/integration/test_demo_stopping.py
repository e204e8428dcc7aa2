"""The demo's wait for its end, interrupted by many signals."""

import signal
import subprocess
import sys
import textwrap

import pytest

_PROGRAM = textwrap.dedent(
    """
    import signal
    from extauthz.demo.command import _until_asked_to_end
    with _until_asked_to_end() as stopping:
        # Every 200 us, as if a terminal, make and timeout(1) all passed the signal on.
        signal.signal(signal.SIGALRM, signal.getsignal(signal.{name}))
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        for _ in range(20_000):
            stopping.wait(0.0001)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(stopping.is_set())
    """
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_again_and_again_does_not_hang_the_demo(number: signal.Signals) -> None:
    program = _PROGRAM.replace("{name}", number.name)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr
