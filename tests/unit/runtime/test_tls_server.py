"""The REST listener over TLS: certificates that are replaced, clients that are verified or never speak."""

import asyncio
import datetime
import http.client
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from extauthz.runtime.rest_tls import RestTls
from extauthz.runtime.tls_files import CertificateFiles, InvalidCertificateError
from extauthz.runtime.tls_server import TlsServer
from tests.certificates import Authority
from tests.tls_listening import Listening, ask, serial_of

NAME = "control-plane.internal"


@pytest.fixture
def listening(tmp_path: Path) -> Listening:
    made = Listening(tmp_path)
    made.write(made.authority.issue(NAME))
    return made


def test_requests_are_answered_over_tls(listening: Listening) -> None:
    assert ask(listening, listening.get) == (200, "https /")


def test_a_replaced_certificate_is_used_by_the_next_connection(listening: Listening) -> None:
    first, second = listening.authority.issue(NAME), listening.authority.issue(NAME)
    listening.write(first)

    def replace() -> list[int]:
        kept = http.client.HTTPSConnection(
            "127.0.0.1", listening.port, timeout=10, context=listening.context()
        )
        kept.request("GET", "/")
        kept.getresponse().read()
        seen = [listening.serial()]
        listening.write(second)
        seen.append(listening.serial())
        # A connection that is open goes on.
        kept.request("GET", "/")
        assert kept.getresponse().read() == b"https /"
        kept.close()
        return seen

    assert ask(listening, replace) == [serial_of(first), serial_of(second)]


def problem_of_refused(listening: Listening, replace: Callable[[], None]) -> str:
    """Replace a good certificate by what is refused, and by a good one; return the problem in the log."""
    first, second = listening.authority.issue(NAME), listening.authority.issue(NAME)
    listening.write(first)

    def serials() -> list[int]:
        replace()
        seen = [listening.serial(), listening.serial()]
        listening.write(second)
        return [*seen, listening.serial()]

    with capture_logs() as logs:
        seen = ask(listening, serials)

    assert seen == [serial_of(first), serial_of(first), serial_of(second)]
    assert [each["event"] for each in logs if each["event"] == "tls_reloaded"] == ["tls_reloaded"]
    (failed,) = (each for each in logs if each["event"] == "tls_reload_failed")
    return str(failed["problem"])


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ({"tls.crt": b""}, "holds no certificates in PEM"),
        (
            {"tls.crt": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
            "holds no certificates",
        ),
        (
            {"tls.key": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
            "is not a private key",
        ),
        ({"tls.key": None}, "cannot be read: no such file or directory"),
        ({"tls.key": Authority("other").issue(NAME).key}, "is not the key of the first certificate"),
    ],
)
def test_a_broken_certificate_leaves_the_last_good_one_and_is_logged_once(
    listening: Listening, broken: dict[str, bytes | None], problem: str
) -> None:
    def break_one() -> None:
        for name, content in broken.items():
            if content is None:
                (listening.folder / name).unlink()
            else:
                (listening.folder / name).write_bytes(content)

    assert problem in problem_of_refused(listening, break_one)


@pytest.mark.parametrize(
    ("hours_away", "problem"), [(-5, r"tls\.crt' expired at 20"), (5, r"tls\.crt' is not valid before 20")]
)
def test_a_certificate_that_is_not_valid_now_replaces_no_good_one(
    listening: Listening, hours_away: int, problem: str
) -> None:
    begin = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours_away)
    other = listening.authority.issue(NAME, valid_from=begin)

    assert re.search(problem, problem_of_refused(listening, lambda: listening.write(other)))


def test_a_certificate_that_expired_is_logged_and_replaced_by_any_other(listening: Listening) -> None:
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=5)
    first = listening.authority.issue(NAME, valid_from=long_ago)
    second = listening.authority.issue(NAME, valid_from=long_ago + datetime.timedelta(hours=1))
    listening.write(first)

    with capture_logs() as logs:
        files = CertificateFiles(listening.folder / "tls.crt", listening.folder / "tls.key", None)
        assert files.read().certificate_chain == first.chain
        for _ in range(2):
            files.report("rest")
        listening.write(second)
        found = files.changed()
        assert found is not None
        assert found.certificate_chain == second.chain
        files.report("rest")
    listening.listener.close()

    assert [each["event"] for each in logs] == ["tls_certificate_not_valid"] * 2
    assert {each["listener"] for each in logs} == {"rest"}


def test_a_certificate_that_expires_while_it_is_used_is_logged_once(listening: Listening) -> None:
    listening.write(listening.authority.issue(NAME))
    now = [datetime.datetime.now(datetime.UTC)]
    files = CertificateFiles(
        listening.folder / "tls.crt", listening.folder / "tls.key", None, clock=lambda: now[0]
    )
    with capture_logs() as logs:
        files.read()
        files.report("grpc")
        assert logs == []
        now[0] += datetime.timedelta(hours=1)
        for _ in range(2):
            assert files.changed() is None
            files.report("grpc")
    listening.listener.close()
    (logged,) = logs
    assert logged["event"] == "tls_certificate_not_valid"
    assert "expired at" in logged["problem"]


def test_a_pair_that_is_replaced_file_by_file_is_never_served_mixed(listening: Listening) -> None:
    first, second = listening.authority.issue(NAME), listening.authority.issue(NAME)
    listening.write(first)

    def replace() -> list[int]:
        (listening.folder / "tls.crt").write_bytes(second.chain)
        seen = [listening.serial()]
        (listening.folder / "tls.key").write_bytes(second.key)
        return [*seen, listening.serial()]

    assert ask(listening, replace) == [serial_of(first), serial_of(second)]


def test_a_mounted_secret_is_followed_through_its_link(listening: Listening) -> None:
    """Kubernetes replaces a mounted Secret by pointing the link `..data` at another folder."""
    first, second = listening.authority.issue(NAME), listening.authority.issue(NAME)
    for name, issued in (("1", first), ("2", second)):
        (listening.folder / name).mkdir()
        (listening.folder / name / "tls.crt").write_bytes(issued.chain)
        (listening.folder / name / "tls.key").write_bytes(issued.key)
    link = listening.folder / "..data"
    link.symlink_to("1")
    tls = RestTls(link / "tls.crt", link / "tls.key", None, frozenset(), listener="rest")

    def replace() -> list[int]:
        seen = [listening.serial()]
        new = listening.folder / "..new"
        new.symlink_to("2")
        new.replace(link)
        return [*seen, listening.serial()]

    assert ask(listening, replace, tls) == [serial_of(first), serial_of(second)]


def test_a_start_with_a_broken_certificate_names_the_file(listening: Listening) -> None:
    (listening.folder / "tls.key").write_bytes(Authority("other").issue(NAME).key)

    listening.listener.close()

    with pytest.raises(InvalidCertificateError, match=r"tls\.key' is not the key of the first certificate"):
        listening.tls()


def test_a_client_without_a_certificate_gets_health_and_nothing_else(listening: Listening) -> None:
    def both() -> list[tuple[int, str]]:
        return [listening.get(path) for path in ("/", "/metrics", "/healthz/live", "/healthz//live")]

    first, second, third, fourth = ask(listening, both, listening.tls(client_ca=True))

    assert (first[0], second[0], third, fourth[0]) == (403, 403, (200, "https /healthz/live"), 403)
    assert "requires a client certificate" in first[1]


def test_a_client_with_a_certificate_of_the_ca_is_served(listening: Listening) -> None:
    client = listening.authority.issue("admin.internal")

    assert ask(listening, lambda: listening.get(client=client), listening.tls(client_ca=True)) == (
        200,
        "https /",
    )


@pytest.mark.parametrize(
    ("named", "status"), [("admin.internal", 200), ("spiffe://mesh/admin", 200), ("other", 403)]
)
def test_only_clients_with_an_accepted_name_are_served(listening: Listening, named: str, status: int) -> None:
    client = listening.authority.issue("admin.internal", uris=("spiffe://mesh/admin",))
    tls = listening.tls(client_ca=True, sans=frozenset({named}))

    assert ask(listening, lambda: listening.get(client=client)[0], tls) == status


def test_a_client_with_a_certificate_of_another_ca_is_refused(listening: Listening) -> None:
    client = Authority("other").issue("admin.internal")

    def refused() -> bool:
        try:
            listening.get(client=client)
        except (ssl.SSLError, ConnectionError, http.client.HTTPException):
            return True
        return False

    assert ask(listening, refused, listening.tls(client_ca=True))


def test_a_replaced_client_ca_counts_from_the_next_connection(listening: Listening) -> None:
    other = Authority("other")
    client = other.issue("admin.internal")
    tls = listening.tls(client_ca=True)

    def replace() -> tuple[int, str]:
        (listening.folder / "ca.crt").write_bytes(other.pem)
        return listening.get(client=client)

    assert ask(listening, replace, tls) == (200, "https /")


def test_plain_http_is_closed_and_harms_no_other(listening: Listening) -> None:
    def plain() -> tuple[bytes, tuple[int, str]]:
        with socket.create_connection(("127.0.0.1", listening.port), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            try:
                said = connection.recv(1000)
            except ConnectionError:
                said = b""
        return said, listening.get()

    with capture_logs() as logs:
        said, answer = ask(listening, plain)

    assert b"HTTP" not in said
    assert answer == (200, "https /")
    assert [each for each in logs if each["log_level"] in {"error", "warning"}] == []


def test_handshakes_that_hang_end_and_delay_no_other(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TlsServer, "handshake_timeout_s", 0.3)

    def hang() -> tuple[tuple[int, str], bytes]:
        with socket.create_connection(("127.0.0.1", listening.port), timeout=10) as silent:
            answer = listening.get()
            try:
                return answer, silent.recv(1)
            except ConnectionError:
                return answer, b""

    assert ask(listening, hang) == ((200, "https /"), b"")


def test_handshakes_count_towards_the_limit_of_connections(listening: Listening) -> None:
    def fill() -> tuple[bytes, tuple[int, str]]:
        silent = [socket.create_connection(("127.0.0.1", listening.port), timeout=10) for _ in range(3)]
        # The fourth is closed at once: its end comes before the handshakes time out.
        with socket.create_connection(("127.0.0.1", listening.port), timeout=5) as beyond:
            try:
                said = beyond.recv(1)
            except ConnectionError:
                said = b""
        for one in silent:
            one.close()
        while True:
            try:
                return said, listening.get()
            except (OSError, http.client.HTTPException):
                continue

    assert ask(listening, fill, max_connections=3) == (b"", (200, "https /"))


def test_sessions_of_clients_with_certificates_are_resumed_and_stay_verified(listening: Listening) -> None:
    client = listening.authority.issue("admin.internal")
    tls = listening.tls(client_ca=True, sans=frozenset({"admin.internal"}))

    def twice() -> list[tuple[bool, bytes]]:
        context = listening.context(client)
        session, seen = None, []
        for _ in range(2):
            with (
                socket.create_connection(("127.0.0.1", listening.port), timeout=10) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as encrypted,
            ):
                encrypted.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
                received = b""
                while part := encrypted.recv(1000):
                    received += part
                seen.append((bool(encrypted.session_reused), received[:15]))
                session = encrypted.session
        return seen

    assert [status for _, status in ask(listening, twice, tls)] == [b"HTTP/1.1 200 OK"] * 2


def test_a_flood_of_connections_beyond_the_limit_lets_requests_through(listening: Listening) -> None:
    """Connections that wait are accepted one after the other, and the event loop has its turns."""

    def flood() -> tuple[int, str]:
        kept = http.client.HTTPSConnection(
            "127.0.0.1", listening.port, timeout=10, context=listening.context()
        )
        kept.request("GET", "/")
        kept.getresponse().read()
        for _ in range(300):
            socket.create_connection(("127.0.0.1", listening.port), timeout=10).close()
        kept.request("GET", "/")
        answer = kept.getresponse()
        found = answer.status, answer.read().decode()
        kept.close()
        return found

    assert ask(listening, flood, max_connections=1) == (200, "https /")


def test_old_versions_of_tls_are_refused(listening: Listening) -> None:
    def old() -> bool:
        context = listening.context()
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with socket.create_connection(("127.0.0.1", listening.port), timeout=10) as plain:
            try:
                context.wrap_socket(plain, server_hostname="127.0.0.1")
            except (ssl.SSLError, ConnectionError):
                return True
        return False

    with pytest.warns(DeprecationWarning, match="TLS"):
        assert ask(listening, old)


def test_the_listener_ends_while_a_handshake_hangs(listening: Listening) -> None:
    async def run() -> None:
        async with listening.running(listening.tls()):
            await asyncio.to_thread(listening.get)
            silent = socket.create_connection(("127.0.0.1", listening.port), timeout=10)
        silent.close()

    asyncio.run(run())
