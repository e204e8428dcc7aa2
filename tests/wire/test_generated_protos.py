"""The generated protobuf module agrees with the .proto, and the .proto with that of Envoy."""

import importlib.util
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from envoy_data_plane.envoy.service.auth.v3 import CheckRequest as EnvoysCheckRequest

from extauthz.check.extauthz_check_pb2 import CheckRequest

TOOL = Path(__file__).parents[2] / "tools" / "generate_protos.py"


def test_the_committed_module_is_current() -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools comes with the extra dev")
    spec = importlib.util.spec_from_file_location("generate_protos", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.stale() == []


def numbers(message: Any, prefix: str = "") -> dict[str, int]:
    found: dict[str, int] = {}
    for field in message.fields:
        name = f"{prefix}{field.name}"
        found[name] = field.number
        inner = field.message_type
        if inner is not None and not inner.GetOptions().map_entry:
            found |= numbers(inner, f"{name}.")
    return found


def envoys_number(message: Any, path: str) -> int:
    head, _, rest = path.partition(".")
    if rest:
        hint = get_type_hints(message)[head]
        inner = next(kind for kind in (*get_args(hint), hint) if hasattr(kind, "parse"))
        return envoys_number(inner, rest)
    return int(next(each.metadata["betterproto"].number for each in fields(message) if each.name == head))


def test_field_numbers_are_envoys() -> None:
    ours = numbers(CheckRequest.DESCRIPTOR)
    assert len(ours) > 15
    assert ours == {path: envoys_number(EnvoysCheckRequest, path) for path in ours}
