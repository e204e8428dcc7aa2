"""Tokens of the operator's sessions."""

from extauthz.keys.session_tokens import LIFETIME_S, issue, verify

KEY = "an operator's key of more than 32 bytes"
ID = "01900000-0000-7000-8000-000000000000"
NOW = 1_790_000_000.0


def test_a_session_is_valid_for_its_lifetime_and_its_admin_key() -> None:
    token, session = issue(KEY, ID, NOW)
    assert str(session.id) == ID
    assert verify(KEY, token, NOW) == session
    assert verify(KEY, token, NOW + LIFETIME_S - 1) == session
    assert verify(KEY, token, NOW + LIFETIME_S) is None
    assert verify(KEY + "x", token, NOW) is None


def test_nothing_of_a_token_can_be_changed() -> None:
    token, _ = issue(KEY, ID, NOW)
    for position in range(len(token)):
        other = "0" if token[position] != "0" else "1"
        assert verify(KEY, token[:position] + other + token[position + 1 :], NOW) is None
    for other in ("", "eas_", token + "\n", " " + token, token.upper(), token.replace("_", "-")):
        assert verify(KEY, other, NOW) is None


def test_the_derivation_is_that_of_rfc_5869() -> None:
    """Computed once with HMAC alone: sessions survive a change of the code that derives their key."""
    token, _ = issue("an-admin-key-of-a-test", "01890a5d-ac96-774b-bcce-b302099a8057", 1_763_917_200.0)
    assert token == (
        "eas_01890a5dac96774bbcceb302099a8057_1763918100_"
        "3d55fbdc90f298d0d353549705e3316def0b8e1e06bb77d43b1e0a44f635ca89"
    )
