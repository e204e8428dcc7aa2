"""Requests that are wrong as HTTP/1.1: request lines, Host, lengths, encodings, header syntax, other protocols."""

from collections.abc import Iterator, Mapping

from tests.integration.recorded.sent import RULES, SESSION, Sent

_ADMIN = "X-Admin-Api-Key: @@admin key@@"
_JSON = "Content-Type: application/json"


def _request(line: str, *headers: str, body: str = "", host: str = "Host: 127.0.0.1") -> str:
    return "\r\n".join((line, *((host,) if host else ()), *headers)) + "\r\n\r\n" + body


def _post(*headers: str, body: str = "") -> str:
    return _request(f"POST {RULES} HTTP/1.1", "@@tenant@@", _JSON, *headers, body=body)


def _get(*headers: str, target: str = f"{RULES}?limit=1", host: str = "Host: 127.0.0.1") -> str:
    return _request(f"GET {target} HTTP/1.1", "@@tenant@@", *headers, host=host)


_RAW: Mapping[str, str] = {
    "valid": _get(),
    "no Host": _get(host=""),
    "two Hosts": _get("Host: other.example"),
    "two equal Hosts": _get("Host: 127.0.0.1"),
    "empty Host": _get(host="Host:"),
    "Host of another": _get(host="Host: evil.example"),
    "Host with a path": _get(host="Host: a/b"),
    "Host with a space": _get(host="Host: a b"),
    "Host with credentials": _get(host="Host: u:p@a"),
    "forwarded": _get(
        "X-Forwarded-For: 10.0.0.1", "X-Forwarded-Host: evil.example", "Forwarded: for=1.1.1.1"
    ),
    "absolute target": _get(target=f"http://evil.example{RULES}?limit=1"),
    "target without slash": _get(target="api/v1/resources"),
    "asterisk target": _request("OPTIONS * HTTP/1.1", "@@tenant@@"),
    "CONNECT": _request("CONNECT evil.example:443 HTTP/1.1"),
    "target with fragment": _get(target=f"{RULES}#x"),
    "target with a space": _get(target=f"{RULES} x"),
    "target with NUL": _get(target=f"{RULES}\0"),
    "target not ASCII": _get(target=f"{RULES}?sub=\xe9"),
    "HTTP/1.0": _request(f"GET {RULES}?limit=1 HTTP/1.0", "@@tenant@@", host=""),
    "HTTP/0.9": "GET /\r\n\r\n",
    "HTTP/2.0": _request("GET / HTTP/2.0"),
    "HTTP/1.2": _request("GET / HTTP/1.2"),
    "http/1.1": _request("GET / http/1.1"),
    "HTTP/2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS hello": "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
    "word": "hello\r\n\r\n",
    "empty lines first": "\r\n\r\n" + _get(),
    "line feeds": _get().replace("\r\n", "\n"),
    "lower-case method": _request(f"get {RULES} HTTP/1.1", "@@tenant@@"),
    "empty method": _request(f" {RULES} HTTP/1.1"),
    "method not a token": _request(f"G(T {RULES} HTTP/1.1"),
    "method of 5000": _request(f"{'A' * 5000} {RULES} HTTP/1.1", "@@tenant@@"),
    "space before colon": _get("X-A : 1"),
    "space in a name": _get("X A: 1"),
    "no colon": _get("X-A"),
    "empty name": _get(": 1"),
    "folded": _get("X-A: 1\r\n 2"),
    "folded first": _request(f"GET {RULES} HTTP/1.1", "  @@tenant@@"),
    "NUL in a value": _get("X-A: a\0b"),
    "control in a value": _get("X-A: a\x01b"),
    "carriage return in a value": _get("X-A: a\rb"),
    "name not ASCII": _get("X-\xe9: 1"),
    "value not ASCII": _get("X-A: \xe9"),
    "header of 60000": _get("X-A: " + "a" * 60_000),
    "150 headers": _get(*(f"X-{number}: 1" for number in range(150))),
    "underscore header": _get("X_Admin_Api_Key: x"),
    "length word": _post("Content-Length: abc", body="{}"),
    "length negative": _post("Content-Length: -1", body="{}"),
    "length plus": _post("Content-Length: +2", body="{}"),
    "length hexadecimal": _post("Content-Length: 0x2", body="{}"),
    "length empty": _post("Content-Length:", body="{}"),
    "length fraction": _post("Content-Length: 2.0", body="{}"),
    "length leading zero": _post("Content-Length: 002", body="{}"),
    "length of 25 digits": _post(f"Content-Length: {'9' * 25}"),
    "length of 18 digits": _post(f"Content-Length: {'9' * 18}"),
    "length over the limit": _post("Content-Length: 1048577"),
    "length not ASCII digits": _post("Content-Length: \xb2", body="{}"),
    "two lengths": _post("Content-Length: 2", "Content-Length: 3", body="{} "),
    "two equal lengths": _post("Content-Length: 2", "Content-Length: 2", body="{}"),
    "list of lengths": _post("Content-Length: 2, 3", body="{} "),
    "list of equal lengths": _post("Content-Length: 2, 2", body="{}"),
    "length and chunked": _post(
        "Content-Length: 2", "Transfer-Encoding: chunked", body="2\r\n{}\r\n0\r\n\r\n"
    ),
    "chunked and length": _post(
        "Transfer-Encoding: chunked", "Content-Length: 12", body="2\r\n{}\r\n0\r\n\r\n"
    ),
    "chunked": _post("Transfer-Encoding: chunked", body="2\r\n{}\r\n0\r\n\r\n"),
    "chunked upper case": _post("Transfer-Encoding: CHUNKED", body="2\r\n{}\r\n0\r\n\r\n"),
    "chunked twice": _post("Transfer-Encoding: chunked, chunked", body="2\r\n{}\r\n0\r\n\r\n"),
    "two encodings": _post(
        "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body="2\r\n{}\r\n0\r\n\r\n"
    ),
    "gzip encoding": _post("Transfer-Encoding: gzip", body="{}"),
    "gzip, chunked": _post("Transfer-Encoding: gzip, chunked", body="2\r\n{}\r\n0\r\n\r\n"),
    "identity encoding": _post("Transfer-Encoding: identity", body="{}"),
    "empty encoding": _post("Transfer-Encoding:", body="{}"),
    "chunk size word": _post("Transfer-Encoding: chunked", body="xyz\r\n{}\r\n0\r\n\r\n"),
    "chunk size negative": _post("Transfer-Encoding: chunked", body="-2\r\n{}\r\n0\r\n\r\n"),
    "chunk size of 30 digits": _post("Transfer-Encoding: chunked", body="f" * 30 + "\r\n{}\r\n0\r\n\r\n"),
    "chunk too short": _post("Transfer-Encoding: chunked", body="1\r\n{}\r\n0\r\n\r\n"),
    "chunk extension": _post("Transfer-Encoding: chunked", body="2;a=b\r\n{}\r\n0\r\n\r\n"),
    "trailer": _post("Transfer-Encoding: chunked", body="2\r\n{}\r\n0\r\nX-A: 1\r\n\r\n"),
    "no chunk": _post("Transfer-Encoding: chunked", body="0\r\n\r\n"),
    "no length": _post(),
    "expect continue": _post("Expect: 100-continue", "Content-Length: 2", body="{}"),
    "expect other": _post("Expect: 200-ok", "Content-Length: 2", body="{}"),
    "upgrade websocket": _get(
        "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: eA==", "Sec-WebSocket-Version: 13"
    ),
    "upgrade h2c": _get("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAA"),
    "connection close": _get("Connection: close"),
    "GET with a body": _get("Content-Length: 2") + "{}",
    "bad length without a credential": _request(f"POST {RULES} HTTP/1.1", _JSON, "Content-Length: 99999999"),
    "session without a length": _request(f"POST {SESSION} HTTP/1.1", _ADMIN),
}


def framing() -> Iterator[Sent]:
    """Yield all of them; what is sent is exactly this text in Latin-1."""
    for name, text in _RAW.items():
        yield Sent(f"HTTP {name}", raw=text.encode("latin-1"))
