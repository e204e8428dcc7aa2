"""How long the starter for Spring Boot takes to register 500 endpoints at a real server.

python tests/benchmarks/bench_java_registration.py; needs a JDK and Maven, as `make test-java` does.

A Spring Boot application with 500 endpoints of 100 resources, `extauthz demo` with PostgreSQL: `collect_ms`
reads the mappings and decides which routes are safe, `register_ms` is the first registration,
`register_again_ms` the same once more, as each later start does it. The reach is one second for both steps
together.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.benchmarks.measuring import MachineLoad, keep
from tools.test_java import PROJECT
from tools.test_java import main as run_maven

_TEST = "io.extauthz.spring.RealServerTest#fiveHundredEndpointsAreRegisteredWithinASecond"


def main() -> int:
    """Measure, and keep the numbers."""
    numbers = PROJECT / "extauthz-spring-boot-starter/target/registration.json"
    numbers.unlink(missing_ok=True)
    load = MachineLoad()
    arguments = ["-pl", "extauthz-spring-boot-starter", "-am", f"-Dtest={_TEST}"]
    code = run_maven([*arguments, "-Dsurefire.failIfNoSpecifiedTests=false"])
    if code == 0:
        keep("java_registration", json.loads(numbers.read_text("utf-8")), load.document())
    return code


if __name__ == "__main__":
    sys.exit(main())
