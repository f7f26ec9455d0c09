"""Verifies the access token a request carries: whose it is, or which check it failed.

What to check: https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html
How not to be fooled: RFC 8725 (JSON Web Token Best Current Practices).
"""

import json
import math
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Self, cast

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import RSAAlgorithm

from .settings import Settings

MAX_TOKEN_CHARS = 8192
MAX_LEEWAY_SECONDS = 60
_FETCH_TIMEOUT_SECONDS = 3
_SECONDS_BETWEEN_FETCHES = 60
_MAX_JWKS_BYTES = 100_000


class TokenError(Exception):
    """The token is refused.

    Attributes:
        claim: The claim or part of the token that failed.
        reason: What was expected and what was there, without the token.
    """

    def __init__(self, claim: str, reason: str) -> None:
        super().__init__(f"{claim}: {reason}")
        self.claim = claim
        self.reason = reason

    @property
    def www_authenticate(self) -> str:
        """The `WWW-Authenticate` header that says why (RFC 6750, section 3)."""
        # Actual values come from the caller: nothing that could end the quoted string.
        description = "".join(c for c in str(self) if " " <= c <= "~" and c not in '"\\')
        return f'Bearer error="invalid_token", error_description="{description}"'


class KeysUnavailableError(Exception):
    """The pool's keys cannot be fetched now, so this token can be neither trusted nor refused."""


class KeySet:
    """The pool's public keys, fetched when a key id is not known, at most once a minute.

    Keys once fetched keep working while the endpoint is down.

    Args:
        fetch: Returns the JWKS document.
        clock: Seconds, of any origin.
    """

    def __init__(self, fetch: Callable[[], Mapping[str, Any]], clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetched_at = -math.inf
        self._fetch_failed = False

    def get(self, key_id: str) -> RSAPublicKey:
        """Return the key with this id.

        Args:
            key_id: The token's `kid`.

        Raises:
            TokenError: The pool has no such key.
            KeysUnavailableError: The last fetch failed.
        """
        if key := self._keys.get(key_id):
            return key
        with self._lock:
            if key_id not in self._keys and self._clock() >= self._fetched_at + (
                _SECONDS_BETWEEN_FETCHES
            ):
                self._refresh()
        if key := self._keys.get(key_id):
            return key
        if self._fetch_failed:
            raise KeysUnavailableError
        raise TokenError("kid", "not one of the pool's keys")

    def _refresh(self) -> None:
        self._fetched_at = self._clock()
        try:
            self._keys = dict(_rsa_keys(self._fetch()))
            self._fetch_failed = False
        except Exception:  # whatever the endpoint sent, it was no keys
            self._fetch_failed = True


def fetch_jwks(url: str) -> Mapping[str, Any]:
    """Fetch a JWKS document.

    Args:
        url: An http or https address from the settings.

    Raises:
        OSError: The endpoint cannot be reached within three seconds.
        ValueError: The answer is no JSON object.
    """
    with urllib.request.urlopen(url, timeout=_FETCH_TIMEOUT_SECONDS) as response:  # noqa: S310
        document = json.loads(response.read(_MAX_JWKS_BYTES))
    if not isinstance(document, dict):
        raise ValueError("the JWKS is not a JSON object")
    return document


class TokenVerifier:
    """Verifies Cognito access tokens of one pool and one client.

    Args:
        issuer: The `iss` the tokens must have.
        client_id: The `client_id` the tokens must have.
        keys: The pool's keys.
        clock: Epoch seconds.
        leeway_seconds: Clock difference tolerated, at most 60.
    """

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        keys: KeySet,
        clock: Callable[[], float],
        leeway_seconds: int = 30,
    ) -> None:
        if not 0 <= leeway_seconds <= MAX_LEEWAY_SECONDS:
            raise ValueError(f"leeway {leeway_seconds} s is not within 0 to {MAX_LEEWAY_SECONDS} s")
        self._expected = {"iss": issuer, "client_id": client_id}
        self._keys = keys
        self._clock = clock
        self._leeway_seconds = leeway_seconds

    @classmethod
    def connect(cls, settings: Settings, *, clock: Callable[[], float]) -> Self:
        """Make one that fetches the keys of the deployment's pool.

        Args:
            settings: The deployment.
            clock: Epoch seconds.
        """
        return cls(
            issuer=settings.issuer,
            client_id=settings.user_pool_client_id,
            keys=KeySet(lambda: fetch_jwks(settings.jwks_url), time.monotonic),
            clock=clock,
        )

    def verify_access_token(self, access_token: str) -> str:
        """Return the `sub` of whom the token was issued to.

        Raises:
            TokenError: The token is not a valid access token for this client.
            KeysUnavailableError: The pool's keys cannot be fetched now.
        """
        cognito_sub: str = self.verify(access_token, token_use="access")["sub"]  # noqa: S106
        return cognito_sub

    def verify(self, encoded: str, *, token_use: str) -> dict[str, Any]:
        """Verify an access or an ID token and return its claims.

        Args:
            encoded: The token, as Cognito issued it.
            token_use: `access` or `id`; an ID token names the client in `aud`.

        Raises:
            TokenError: A check failed.
            KeysUnavailableError: The pool's keys cannot be fetched now.
        """
        if len(encoded) > MAX_TOKEN_CHARS:
            raise TokenError("token", f"longer than {MAX_TOKEN_CHARS} characters")
        claims = self._signed_claims(encoded)
        self._check(claims, "iss", self._expected["iss"])
        self._check(claims, "token_use", token_use)
        client_claim = "aud" if token_use == "id" else "client_id"  # noqa: S105
        self._check(claims, client_claim, self._expected["client_id"])
        self._check_times(claims)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise TokenError("sub", "missing")
        return claims

    def _signed_claims(self, encoded: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(encoded)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise TokenError("token", "not a signed JWT") from None
        # Only the algorithm is fixed here; `jku`, `jwk` and `x5u` in the header are never read.
        if header.get("alg") != "RS256":
            raise TokenError("alg", f"expected RS256, got {_shown(header.get('alg'))}")
        if not isinstance(key_id := header.get("kid"), str):
            raise TokenError("kid", "missing")
        key = self._keys.get(key_id)
        try:
            # Claims are checked below, against our clock and with errors that name them.
            options = {"verify_signature": True} | dict.fromkeys(_LIBRARY_CLAIM_CHECKS, False)
            return jwt.decode(encoded, key, algorithms=["RS256"], options=cast(Any, options))
        except jwt.InvalidSignatureError:
            raise TokenError("signature", "does not match") from None
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise TokenError("token", "not a signed JWT") from None

    def _check(self, claims: Mapping[str, Any], claim: str, expected: str) -> None:
        if claims.get(claim) != expected:
            raise TokenError(claim, f"expected {expected}, got {_shown(claims.get(claim))}")

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock()
        if not isinstance(claims.get("exp"), int | float):
            raise TokenError("exp", "missing")
        if not (age := now - claims["exp"]) < self._leeway_seconds:  # a NaN is refused too
            raise TokenError("exp", f"expired {age:.0f} seconds ago")
        for claim in ("nbf", "iat"):
            starts_at = claims.get(claim, now)
            if not isinstance(starts_at, int | float):
                raise TokenError(claim, "not a number")
            if not (early := starts_at - now) <= self._leeway_seconds:
                raise TokenError(claim, f"not valid for another {early:.0f} seconds")


_LIBRARY_CLAIM_CHECKS = (
    "verify_exp",
    "verify_nbf",
    "verify_iat",
    "verify_aud",
    "verify_iss",
    "verify_sub",
    "verify_jti",
)


def _rsa_keys(document: Mapping[str, Any]) -> list[tuple[str, RSAPublicKey]]:
    keys = document.get("keys")
    if not isinstance(keys, list):
        raise ValueError("the JWKS has no list of keys")
    return [
        (str(key["kid"]), cast(RSAPublicKey, RSAAlgorithm.from_jwk(key)))
        for key in keys
        if isinstance(key, dict) and key.get("kty") == "RSA" and "kid" in key and "d" not in key
    ]


def _shown(value: object) -> str:
    """Return a claim's value for an error message, short and on one line."""
    return "nothing" if value is None else ascii(value)[:80]
