"""Access tokens: who is believed, and why not."""

import base64
import hmac
import io
import json
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.client import BadStatusLine, IncompleteRead
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from agent.sign_in.identity import (
    KeySet,
    KeysUnavailableError,
    TokenError,
    TokenVerifier,
    fetch_jwks,
)
from tests.support.clock import NOW, Clock
from tests.support.fakes import CLIENT_ID, ISSUER, Signer, access_claims


class Endpoint:
    """A JWKS endpoint that counts."""

    def __init__(self, jwks: dict[str, Any]) -> None:
        self.jwks = jwks
        self.fetches = 0
        self.error: Exception | None = None
        self.takes_seconds = 0.0

    def __call__(self) -> dict[str, Any]:
        self.fetches += 1
        time.sleep(self.takes_seconds)
        if self.error:
            raise self.error
        return self.jwks


@pytest.fixture
def endpoint(signer: Signer) -> Endpoint:
    return Endpoint(signer.jwks)


@pytest.fixture
def verifier(endpoint: Endpoint, clock: Clock) -> TokenVerifier:
    return TokenVerifier(
        issuer=ISSUER, client_id=CLIENT_ID, keys=KeySet(endpoint, clock), clock=clock
    )


def refused(verifier: TokenVerifier, access_token: str) -> TokenError:
    with pytest.raises(TokenError) as error:
        verifier.verify_access_token(access_token)
    return error.value


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def test_good_token_says_who_it_is(verifier: TokenVerifier, signer: Signer) -> None:
    identity = verifier.verify_access_token(signer.sign(access_claims()))
    assert identity == "sub-of-ada"


def test_t25_alg_none_is_refused(verifier: TokenVerifier) -> None:
    for algorithm in ("none", "None", "NONE"):
        token = unsigned({"alg": algorithm, "kid": "key-1"}, access_claims())
        assert refused(verifier, token).claim == "alg"


def test_t25_hs256_with_the_public_key_is_refused(verifier: TokenVerifier, signer: Signer) -> None:
    public = signer.private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = {"alg": "HS256", "kid": "key-1"}
    signed = unsigned(header, access_claims()).rpartition(".")[0]
    digest = hmac.digest(public, signed.encode(), "sha256")
    token = unsigned(header, access_claims(), digest)
    error = refused(verifier, token)
    assert str(error) == "alg: expected RS256, got 'HS256'"


def test_t25_foreign_key_is_refused(verifier: TokenVerifier) -> None:
    token = Signer("key-1").sign(access_claims())
    assert refused(verifier, token).claim == "signature"


def test_t25_key_in_the_header_is_not_read(verifier: TokenVerifier, endpoint: Endpoint) -> None:
    foreign = Signer("foreign")
    token = foreign.sign(
        access_claims(), jwk=foreign.jwk, jku="https://evil.example.com/jwks", x5u="https://e"
    )
    assert refused(verifier, token).claim == "kid"
    assert endpoint.fetches == 1


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        ({"token_use": "id", "aud": CLIENT_ID}, "token_use"),
        ({"token_use": None}, "token_use"),
        ({"client_id": "another"}, "client_id"),
        ({"client_id": None, "aud": CLIENT_ID}, "client_id"),
        ({"iss": ISSUER + "x"}, "iss"),
        ({"iss": ISSUER.replace("Example12", "Another12")}, "iss"),
        ({"iss": [ISSUER]}, "iss"),
        ({"exp": NOW - 30}, "exp"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": float("nan")}, "exp"),
        ({"nbf": NOW + 31}, "nbf"),
        ({"nbf": float("nan")}, "nbf"),
        ({"nbf": "now"}, "nbf"),
        ({"iat": NOW + 31}, "iat"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
    ],
)
def test_t26_wrong_claim_is_refused_and_named(
    verifier: TokenVerifier, signer: Signer, changes: dict[str, Any], claim: str
) -> None:
    claims = access_claims(**changes)
    payload = json.dumps(claims).encode()
    token = jwt.PyJWS().encode(
        payload, signer.private_key, algorithm="RS256", headers={"kid": "key-1"}
    )
    assert refused(verifier, token).claim == claim


@pytest.mark.parametrize("changes", [{"exp": NOW - 29}, {"nbf": NOW + 30}, {"iat": NOW + 30}])
def test_clocks_that_differ_within_the_leeway_refuse_nobody(
    verifier: TokenVerifier, signer: Signer, changes: dict[str, Any]
) -> None:
    verifier.verify_access_token(signer.sign(access_claims(**changes)))


def test_errors_give_expected_and_actual_but_no_token(
    verifier: TokenVerifier, signer: Signer, clock: Clock
) -> None:
    token = signer.sign(access_claims(client_id="another"))
    error = refused(verifier, token)
    assert str(error) == f"client_id: expected {CLIENT_ID}, got 'another'"
    clock.now += 1000
    late = refused(verifier, signer.sign(access_claims()))
    assert str(late) == "exp: expired 100 seconds ago"
    assert token.split(".")[2] not in str(error)


def test_reason_in_the_header_cannot_be_broken_out_of(
    verifier: TokenVerifier, signer: Signer
) -> None:
    token = signer.sign(access_claims(client_id='x", realm="y\r\nSet-Cookie: a=b\\\u00e9'))
    header = refused(verifier, token).www_authenticate
    assert header.startswith('Bearer error="invalid_token", error_description="client_id: ')
    assert header.count('"') == 4
    assert header.isascii()
    assert header.isprintable()


def test_long_values_are_told_in_part(verifier: TokenVerifier, signer: Signer) -> None:
    token = signer.sign(access_claims(client_id="x" * 3000))
    assert len(refused(verifier, token).www_authenticate) < 400


def test_leeway_is_at_most_a_minute(endpoint: Endpoint, clock: Clock) -> None:
    with pytest.raises(ValueError, match="61 s is not within 0 to 60 s"):
        TokenVerifier(
            issuer=ISSUER,
            client_id=CLIENT_ID,
            keys=KeySet(endpoint, clock),
            clock=clock,
            leeway_seconds=61,
        )


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "a.b.c.d", "." * 100, "\x00", "é", "x" * 10_000, "e30.e30.e30"]
)
def test_what_is_no_token_is_refused(verifier: TokenVerifier, token: str) -> None:
    assert refused(verifier, token).claim in ("token", "alg")


def test_payload_that_is_no_object_is_refused(verifier: TokenVerifier, signer: Signer) -> None:
    for payload in (b"[]", b"not json", b"null", b"[" * 3000):
        token = jwt.PyJWS().encode(
            payload, signer.private_key, algorithm="RS256", headers={"kid": "key-1"}
        )
        assert refused(verifier, token).claim == "token"


def test_t27_unknown_key_ids_fetch_at_most_once_a_minute(
    verifier: TokenVerifier, signer: Signer, endpoint: Endpoint, clock: Clock
) -> None:
    good = signer.sign(access_claims(exp=NOW + 9000))
    for number in range(100):
        token = signer.sign(access_claims(), kid=f"made-up-{number}")
        assert refused(verifier, token).claim == "kid"
        verifier.verify_access_token(good)
    assert endpoint.fetches == 1
    clock.now += 60
    refused(verifier, signer.sign(access_claims(), kid="made-up"))
    refused(verifier, signer.sign(access_claims(), kid="made-up"))
    assert endpoint.fetches == 2


def test_t27_known_keys_keep_working_while_the_endpoint_is_down(
    verifier: TokenVerifier, signer: Signer, endpoint: Endpoint, clock: Clock
) -> None:
    verifier.verify_access_token(signer.sign(access_claims()))
    endpoint.error = OSError("unreachable")
    clock.now += 61
    with pytest.raises(KeysUnavailableError):
        verifier.verify_access_token(signer.sign(access_claims(), kid="rotated"))
    verifier.verify_access_token(signer.sign(access_claims()))


@pytest.mark.parametrize(
    "error", [OSError("unreachable"), BadStatusLine("no HTTP"), IncompleteRead(b"{"), TypeError()]
)
def test_t27_endpoint_that_fails_is_asked_once_a_minute_and_refuses_nobody(
    verifier: TokenVerifier, signer: Signer, endpoint: Endpoint, clock: Clock, error: Exception
) -> None:
    endpoint.error = error
    for _ in range(3):
        with pytest.raises(KeysUnavailableError):
            verifier.verify_access_token(signer.sign(access_claims()))
    assert endpoint.fetches == 1
    clock.now += 60
    endpoint.error = None
    verifier.verify_access_token(signer.sign(access_claims()))
    assert refused(verifier, signer.sign(access_claims(), kid="made-up")).claim == "kid"


def test_t27_tokens_that_come_during_the_first_fetch_wait_for_it(
    verifier: TokenVerifier, signer: Signer, endpoint: Endpoint
) -> None:
    endpoint.takes_seconds = 0.05
    tokens = [signer.sign(access_claims(sub=f"sub-{number}")) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        identities = list(pool.map(verifier.verify_access_token, tokens))
    assert identities == [f"sub-{n}" for n in range(4)]
    assert endpoint.fetches == 1


def test_t27_slow_and_endless_key_sets_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def answer(_url: str, *, timeout: float) -> io.BytesIO:
        waited.append(timeout)
        return io.BytesIO(b'{"keys": []}' + b" " * 1_000_000 + b"x")

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert fetch_jwks("https://example.com/jwks.json") == {"keys": []}
    assert waited == [3]


def test_a_withdrawn_key_is_forgotten_with_the_next_fetch(
    verifier: TokenVerifier, signer: Signer, endpoint: Endpoint, clock: Clock
) -> None:
    verifier.verify_access_token(signer.sign(access_claims()))
    new = Signer("key-2")
    endpoint.jwks = new.jwks
    clock.now += 61
    verifier.verify_access_token(new.sign(access_claims()))
    assert refused(verifier, signer.sign(access_claims())).claim == "kid"


def test_token_longer_than_any_of_cognitos_is_not_read(
    verifier: TokenVerifier, signer: Signer
) -> None:
    token = signer.sign(access_claims(padding="x" * 8192))
    assert str(refused(verifier, token)) == "token: longer than 8192 characters"


def test_a_rotated_key_is_found(
    verifier: TokenVerifier, signer: Signer, endpoint: Endpoint, clock: Clock
) -> None:
    verifier.verify_access_token(signer.sign(access_claims()))
    new = Signer("key-2")
    endpoint.jwks = {"keys": [signer.jwk, new.jwk]}
    clock.now += 61
    assert verifier.verify_access_token(new.sign(access_claims())) == "sub-of-ada"


@pytest.mark.parametrize(
    "jwks", [{}, {"keys": "x"}, {"keys": [{"kty": "RSA", "kid": "key-1"}]}, {"keys": [7]}]
)
def test_useless_key_set_refuses_everybody_and_ends_nothing(
    signer: Signer, clock: Clock, jwks: dict[str, Any]
) -> None:
    verifier = TokenVerifier(
        issuer=ISSUER, client_id=CLIENT_ID, keys=KeySet(lambda: jwks, clock), clock=clock
    )
    with pytest.raises((TokenError, KeysUnavailableError)):
        verifier.verify_access_token(signer.sign(access_claims()))


def test_id_token_names_the_client_in_aud(verifier: TokenVerifier, signer: Signer) -> None:
    claims = access_claims(token_use="id", client_id=None, aud=CLIENT_ID)
    assert verifier.verify(signer.sign(claims), token_use="id")["aud"] == CLIENT_ID
