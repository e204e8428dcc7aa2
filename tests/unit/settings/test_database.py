"""Where the database is: lists of hosts, a pooler, the CA and the password's file, judged together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from extauthz.settings import DatabaseHost, Pooler, SecretFileError, Settings, current_secret, load_settings
from extauthz.storage.address import DatabaseAddress, InvalidCaError

ALONE = {"OIDC_ENABLED": "false", "POLICY_SOURCE": "files:/policies"}


def load(**environ: str) -> Settings:
    found = load_settings({**ALONE, **environ})
    assert isinstance(found, Settings), found
    return found


def problems(environ: Mapping[str, str]) -> list[str]:
    found = load_settings({**ALONE, **environ})
    return [] if isinstance(found, Settings) else found


def address(*hosts: str, **more: Any) -> DatabaseAddress:
    first, *others = [DatabaseHost(host, 5432) for host in hosts]
    return DatabaseAddress(
        first.host, 5432, "u", "p", "d", fallbacks=tuple(others), **more
    )  # fmt: skip


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("db", "db:6000"),
        ("db:5433", "db:5433"),
        ("db-1.example:5433, db-2.example ,10.0.0.7:1", "db-1.example:5433 db-2.example:6000 10.0.0.7:1"),
        ("[::1]:5433,[fe80::1]", "[::1]:5433 [fe80::1]:6000"),
        ("::1", "[::1]:6000"),
        ("2001:db8:1:2:3:4:5:6", "[2001:db8:1:2:3:4:5:6]:6000"),
        ("my_db", "my_db:6000"),
        ("db,db:6000,db", "db:6000"),
        ("/run/postgresql", "/run/postgresql:6000"),
        (" db ", "db:6000"),
    ],
)
def test_hosts_are_read_with_the_port_as_default(written: str, meant: str) -> None:
    hosts = load(POSTGRES_HOST=written, POSTGRES_PORT="6000").database_hosts
    assert " ".join(map(str, hosts)) == meant


@pytest.mark.parametrize(
    "entry",
    [
        "db:", "db:0", "db:65536", "db:x", "db:+1", "db:5432x", "db:\uff15", ":5432", "[::1", "[::1]5432",
        "[::1]:", "[::1]:0", "[10.0.0.1]:1", "[db]:1", "::1:5432", "2001:db8::1:5432", "a b", "10.0.0.300",
        "db..x", "a" * 64, "db;x", "db\\x", "[]:1", "db:1:2",
    ],
)  # fmt: skip
def test_an_invalid_host_is_named(entry: str) -> None:
    (problem,) = problems({"POSTGRES_HOST": f"good,{entry}"})
    assert problem.startswith("POSTGRES_HOST is ")
    assert problem.count(repr(entry)) >= 1
    (problem,) = problems({"POSTGRES_LISTEN_HOST": entry, "POSTGRES_POOLER": "transaction"})
    assert problem.startswith("POSTGRES_LISTEN_HOST is ")


def test_every_invalid_entry_is_named_with_all_other_problems() -> None:
    found = problems({"POSTGRES_HOST": "a:0,,good,[::1,b:x", "POSTGRES_PORT": "0", "POSTGRES_POOLER": "no"})
    assert [problem.split()[0] for problem in found] == ["POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_POOLER"]
    for said in ("'a:0'", "an entry is empty", "'[::1'", "'b:x'"):
        assert said in found[0]
    assert "one of none, session, transaction" in found[2]


def test_a_host_with_a_password_in_it_is_refused_and_not_shown() -> None:
    for written in ("postgres://u:hunter2@db/x", "ok,u:hunter2@db:5432"):
        (problem,) = problems({"POSTGRES_HOST": written})
        assert "hunter2" not in problem
        assert "host:port" in problem


def test_blank_lists_and_too_many_hosts_are_refused() -> None:
    for written in (" ", ",", "a,", ",a", "a\tb", "a,b,c,d,e,f"):
        assert len(problems({"POSTGRES_HOST": written})) == 1, written
    assert len(load(POSTGRES_HOST="a,b,c,d,e").database_hosts) == 5
    assert [str(host) for host in load(POSTGRES_HOST="").database_hosts] == ["127.0.0.1:5432"]


def test_the_pooler_variables_are_checked_together() -> None:
    (problem,) = problems({"POSTGRES_LISTEN_HOST": "db"})
    assert problem.startswith("POSTGRES_LISTEN_HOST is for POSTGRES_POOLER=session or transaction")
    (problem,) = problems(
        {"POSTGRES_HOST": "b:6432,c", "POSTGRES_LISTEN_HOST": "c:5432", "POSTGRES_POOLER": "session"}
    )
    assert "lists c:5432, the pooler in POSTGRES_HOST" in problem
    found = load(POSTGRES_HOST="b:6432", POSTGRES_LISTEN_HOST="c,[::1]:7", POSTGRES_POOLER=" Transaction ")
    assert found.postgres_pooler is Pooler.TRANSACTION
    assert [str(host) for host in found.listen_hosts] == ["c:5432", "[::1]:7"]


def test_a_ca_is_needed_where_only_it_authenticates_the_server() -> None:
    (problem,) = problems({"POSTGRES_SSLMODE": "verify-ca"})
    assert problem.startswith("POSTGRES_SSLMODE=verify-ca needs POSTGRES_SSLROOTCERT")
    assert problems({"POSTGRES_SSLMODE": "verify-full"}) == []
    assert problems({"POSTGRES_SSLMODE": "verify-ca", "POSTGRES_SSLROOTCERT": "/ca"}) == []


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
)
def test_tls_is_left_to_the_server_on_loopback(host: str) -> None:
    assert address(host).sslmode_of(DatabaseHost(host, 1)) == "prefer"
    assert address(host, sslrootcert="/ca").sslmode_of(DatabaseHost(host, 1)) == "require"


@pytest.mark.parametrize(
    "host", ["db", "127.example.com", "127.0.0.1.example.com", "10.0.0.1", "::", "::2", "localhost.x"]
)
def test_tls_is_required_off_loopback_in_a_list_of_hosts(host: str) -> None:
    found = address("127.0.0.1", "localhost", host)
    assert [found.sslmode_of(each) for each in found.hosts] == ["prefer", "prefer", "require"]


def test_tls_is_never_used_on_a_unix_socket() -> None:
    found = address("/run/postgresql", sslmode="verify-full", sslrootcert="/ca")
    assert found.tls_of(found.hosts[0]) is None


def test_a_ca_file_of_no_certificates_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    found = address("db", sslrootcert=str(file))
    for content in (
        None,
        b"",
        b"not PEM",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"\xff\0",
    ):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(InvalidCaError, match=r"POSTGRES_SSLROOTCERT '.*ca\.pem'"):
            found.check_ca()
        with pytest.raises(InvalidCaError, match=r"POSTGRES_SSLROOTCERT '.*ca\.pem'"):
            found.tls_of(found.hosts[0])
    with pytest.raises(InvalidCaError, match="directory"):
        address("db", sslrootcert=str(tmp_path)).check_ca()


def test_the_password_is_what_the_file_holds_now(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b" one\n\n")
    found = address("db", password_file=file)
    assert found.current_password() == " one\n"
    file.write_bytes(b"two\r\n")
    assert found.current_password() == "two"
    for content in (b"", b"\n", b" \n", b"a\0b", b"\xff"):
        file.write_bytes(content)
        with pytest.raises(SecretFileError, match=r"POSTGRES_PASSWORD_FILE '.*password'"):
            found.current_password()
    file.unlink()
    with pytest.raises(SecretFileError, match="No such file"):
        current_secret("POSTGRES_PASSWORD", file)


def test_the_settings_keep_the_name_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    found = load(POSTGRES_PASSWORD_FILE=str(file))
    assert found.postgres_password_file == file
    assert load(POSTGRES_PASSWORD="x").postgres_password_file is None
