"""The key that codes are derived from, read from Secrets Manager once a version and process."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdas.email_otp.calls import CALL_SECONDS, in_time

if TYPE_CHECKING:
    from types_boto3_secretsmanager import SecretsManagerClient


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeKey:
    """One version of the key that codes are derived from."""

    version: str
    secret: bytes

    def __repr__(self) -> str:
        """Name the version alone."""
        return f"CodeKey(version={self.version!r})"

    def digest(self, *fields: str) -> bytes:
        """Compute HMAC-SHA256 over length-prefixed fields, so that no two field lists collide.

        Source: RFC 2104.
        """
        parts = [field.encode() for field in fields]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self.secret, message, hashlib.sha256)


class CodeKeys:
    """The versions of the code key that this process has met.

    A process goes on issuing under the version it began with. That is harmless, since every
    challenge names its version and Secrets Manager keeps the previous one readable.
    """

    def __init__(self, client: "SecretsManagerClient", secret_arn: str) -> None:
        self._client = client
        self._secret_arn = secret_arn
        self._current: CodeKey | None = None
        self._versions: dict[str, CodeKey] = {}

    def current(self) -> CodeKey:
        """Return the version to issue under."""
        if self._current is None:
            self._current = self._read()
        return self._current

    def version(self, version: str) -> CodeKey:
        """Return the version a challenge was issued under."""
        return self._versions.get(version) or self._read(VersionId=version)

    def _read(self, **which: str) -> CodeKey:
        response = in_time(
            lambda: self._client.get_secret_value(SecretId=self._secret_arn, **which),
            seconds=CALL_SECONDS,
        )
        key = CodeKey(version=response["VersionId"], secret=response["SecretString"].encode())
        self._versions[key.version] = key
        return key
