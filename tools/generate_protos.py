"""Generate the protobuf modules of extauthz/check, or check that the committed ones are current.

    python tools/generate_protos.py            write *_pb2.py and *_pb2.pyi next to the .proto
    python tools/generate_protos.py --check    exit 1 and name every file that differs

Needs grpcio-tools (extra `dev`); its version decides the generated text and the oldest protobuf runtime.
"""

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Final

from grpc_tools import protoc  # type: ignore[import-untyped]

ROOT: Final = Path(__file__).resolve().parent.parent
PROTOS: Final = ("extauthz/check/extauthz_check.proto",)


def generate(into: Path) -> int:
    """Run protoc over PROTOS; return its exit status."""
    arguments = [
        "protoc",
        f"--proto_path={ROOT}",
        f"--proto_path={files('grpc_tools') / '_proto'}",
        f"--python_out={into}",
        f"--pyi_out={into}",
        *PROTOS,
    ]
    return int(protoc.main(arguments))


def stale() -> list[str] | None:
    """Return the committed files that differ from freshly generated ones; None when protoc failed."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        if generate(fresh) != 0:
            return None
        names = sorted(str(path.relative_to(fresh)) for path in fresh.rglob("*_pb2.py*"))
        return [name for name in names if not _same(fresh / name, ROOT / name)]


def _same(fresh: Path, committed: Path) -> bool:
    return committed.is_file() and fresh.read_bytes() == committed.read_bytes()


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description="Generate the protobuf modules of extauthz/check.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    if not parser.parse_args().check:
        return generate(ROOT)
    differing = stale()
    if differing is None:
        return 1
    for name in differing:
        print(f"{name} is out of date: run tools/generate_protos.py", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
