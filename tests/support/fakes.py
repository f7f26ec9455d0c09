"""Stand-ins for AWS where a test starts nothing: a user pool, its key and its tokens."""

import json
import re
import secrets
import threading
import uuid
from collections.abc import Callable
from typing import Any

import jwt
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.support.clock import NOW, Clock

REGION = "eu-west-1"
POOL_ID = "eu-west-1_Example12"
CLIENT_ID = "client1example"
ISSUER = f"https://cognito-idp.{REGION}.amazonaws.com/{POOL_ID}"
LOOPBACK = "http://127.0.0.1"
SESSION_ID = "session-0123456789-0123456789-0123"


def aws_error(operation: str, code: str, message: str = "") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


class Signer:
    """A pool's signing key."""

    def __init__(self, key_id: str = "key-1") -> None:
        self.key_id = key_id
        self.private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def jwk(self) -> dict[str, Any]:
        public = json.loads(RSAAlgorithm.to_jwk(self.private_key.public_key()))
        return {**public, "kid": self.key_id, "alg": "RS256", "use": "sig"}

    @property
    def jwks(self) -> dict[str, Any]:
        return {"keys": [self.jwk]}

    def sign(self, claims: dict[str, Any], **headers: Any) -> str:
        return jwt.encode(
            claims, self.private_key, algorithm="RS256", headers={"kid": self.key_id, **headers}
        )


def access_claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good access token, with changes; None takes a claim away."""
    claims = {
        "iss": ISSUER,
        "sub": "sub-of-ada",
        "token_use": "access",
        "client_id": CLIENT_ID,
        "iat": NOW,
        "exp": NOW + 900,
        "username": "sub-of-ada",
    } | changes
    return {name: value for name, value in claims.items() if value is not None}


class FakeCognito:
    """A user pool with our triggers: a Session works once, the real username is wanted.

    Attributes:
        fail: Errors to raise, by operation name; each stays until it is taken out.
        parameters: Changes to the next challenges' public parameters.
        mailed: Codes by address, the latest last.
        refused: Access tokens of those who have signed out, were disabled or deleted.
    """

    def __init__(self, signer: Signer, clock: Clock) -> None:
        self.signer = signer
        self.clock = clock
        self.users: dict[str, str] = {}
        self.attributes: dict[str, dict[str, str]] = {}
        self.permanent: set[str] = set()
        self.disabled: set[str] = set()
        self.sessions: dict[str, tuple[str, str, int, int]] = {}
        self.mailed: list[tuple[str, str]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.revoked: list[str] = []
        self.refused: set[str] = set()
        self.issued: list[str] = []
        self.fail: dict[str, Exception] = {}
        self.parameters: dict[str, str] = {}
        self.before_answer: Callable[[], None] = lambda: None

    def operations(self) -> list[str]:
        return [operation for operation, _ in self.calls]

    def _called(self, operation: str, arguments: dict[str, Any]) -> None:
        self.calls.append((operation, arguments))
        if error := self.fail.get(operation):
            raise error

    def admin_get_user(self, **arguments: Any) -> dict[str, Any]:
        self._called("AdminGetUser", arguments)
        if arguments["Username"] not in self.users:
            raise aws_error("AdminGetUser", "UserNotFoundException", "User does not exist.")
        return {"Username": self.users[arguments["Username"]]}

    def admin_create_user(self, **arguments: Any) -> dict[str, Any]:
        self._called("AdminCreateUser", arguments)
        email = arguments["Username"]
        if email in self.users:
            raise aws_error("AdminCreateUser", "UsernameExistsException")
        self.users[email] = str(uuid.uuid4())
        self.attributes[email] = {a["Name"]: a["Value"] for a in arguments["UserAttributes"]}
        return {"User": {"Username": self.users[email]}}

    def admin_set_user_password(self, **arguments: Any) -> dict[str, Any]:
        self._called("AdminSetUserPassword", arguments)
        assert arguments["Permanent"] is True
        self.permanent.add(arguments["Username"])
        return {}

    def admin_initiate_auth(self, **arguments: Any) -> dict[str, Any]:
        self._called("AdminInitiateAuth", arguments)
        email = arguments["AuthParameters"]["USERNAME"]
        if email in self.disabled:
            raise aws_error("AdminInitiateAuth", "NotAuthorizedException", "User is disabled.")
        code = f"{1 + secrets.randbelow(10**6 - 1):06d}"  # never 000000
        if self.parameters.get("status") != "throttled" and email in self.users:
            self.mailed.append((email, code))
        return self._challenge(email, code, 3, int(self.clock()) + 300)

    def admin_respond_to_auth_challenge(self, **arguments: Any) -> dict[str, Any]:
        self._called("AdminRespondToAuthChallenge", arguments)
        self.before_answer()
        responses = arguments["ChallengeResponses"]
        operation = "AdminRespondToAuthChallenge"
        known = self.sessions.pop(arguments["Session"], None)
        if known is None:
            raise aws_error(operation, "NotAuthorizedException", "Invalid session for the user.")
        email, code, left, expires_at = known
        if responses["USERNAME"] != self._username(email):
            raise aws_error(operation, "NotAuthorizedException", "Invalid session for the user.")
        if self.clock() >= expires_at:
            return self._challenge(email, code, left - 1, expires_at, status="expired")
        if responses["ANSWER"] == code and email in self.users:
            return {"AuthenticationResult": self._tokens(email), "ChallengeParameters": {}}
        if left == 1:
            raise aws_error(operation, "NotAuthorizedException", "Incorrect username or password.")
        return self._challenge(email, code, left - 1, expires_at)

    def get_user(self, **arguments: Any) -> dict[str, Any]:
        self._called("GetUser", arguments)
        if arguments["AccessToken"] in self.refused:
            raise aws_error("GetUser", "NotAuthorizedException", "Access Token has been revoked")
        return {}

    def revoke_token(self, **arguments: Any) -> dict[str, Any]:
        self._called("RevokeToken", arguments)
        self.revoked.append(arguments["Token"])
        return {}

    def _challenge(
        self, email: str, code: str, left: int, expires_at: int, **changes: str
    ) -> dict[str, Any]:
        session = secrets.token_urlsafe(40)
        self.sessions[session] = (email, code, left, expires_at)
        self.issued.append(session)
        return {
            "ChallengeName": "CUSTOM_CHALLENGE",
            "Session": session,
            "ChallengeParameters": {
                "USERNAME": self._username(email),
                "delivery": "EMAIL",
                "code_length": "6",
                "expires_at": str(expires_at),
                "attempts_left": str(left),
                "status": "sent",
                "retry_after_seconds": "30",
                "busy": "false",
            }
            | self.parameters
            | changes,
        }

    def _username(self, email: str) -> str:
        """Return the user's name; made up of who does not exist, as Cognito does."""
        return self.users.get(email) or str(uuid.uuid5(uuid.NAMESPACE_OID, email))

    def _tokens(self, email: str) -> dict[str, Any]:
        sub = self.users[email]
        now = int(self.clock())
        times = {"iss": ISSUER, "sub": sub, "iat": now, "exp": now + 900}
        tokens = {
            "IdToken": self.signer.sign(
                {**times, "token_use": "id", "aud": CLIENT_ID, "email": email}
            ),
            "AccessToken": self.signer.sign(
                {**times, "token_use": "access", "client_id": CLIENT_ID, "jti": secrets.token_hex()}
            ),
            "RefreshToken": secrets.token_urlsafe(60),
        }
        self.issued += tokens.values()
        return {**tokens, "ExpiresIn": 900, "TokenType": "Bearer"}


class FakeDynamoDb:
    """One table, with the expressions and conditions that guests.py and newcomers.py use.

    Attributes:
        fail: Raised by every call while it is set.
        fail_on: Raised by updates with this text in their expression.
    """

    class exceptions:  # noqa: N801 - as boto3 has it
        """The client's errors by name."""

        class ConditionalCheckFailedException(ClientError):  # noqa: N818
            """The condition does not hold."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.fail: Exception | None = None
        self.fail_on: dict[str, Exception] = {}
        self._lock = threading.Lock()

    def update_item(self, **arguments: Any) -> dict[str, Any]:
        if self.fail:
            raise self.fail
        for text, error in self.fail_on.items():
            if text in arguments["UpdateExpression"]:
                raise error
        values = arguments["ExpressionAttributeValues"]
        names = arguments.get("ExpressionAttributeNames", {})
        key = arguments["Key"]["cognito_sub"]["S"]
        with self._lock:
            condition = arguments.get("ConditionExpression")
            created = int(self.items.get(key, {}).get("created", {"N": "0"})["N"])
            holds = {
                None: True,
                "attribute_not_exists(created) OR created < :limit": created
                < int(values.get(":limit", {"N": "0"})["N"]),
                "attribute_exists(guest_id)": "guest_id" in self.items.get(key, {}),
                "attribute_not_exists(cognito_sub)": key not in self.items,
            }[condition]
            if not holds:
                raise self.exceptions.ConditionalCheckFailedException(
                    {"Error": {"Code": "ConditionalCheckFailedException"}}, "UpdateItem"
                )
            item = self.items.setdefault(key, dict(arguments["Key"]))
            if arguments["UpdateExpression"] == "ADD created :one":
                item["created"] = {"N": str(created + 1)}
                return {}
            if arguments["UpdateExpression"] == "ADD subs :sub":
                subs = {*item.get("subs", {"SS": []})["SS"], *values[":sub"]["SS"]}
                item["subs"] = {"SS": sorted(subs)}
                return {}
            sets = arguments["UpdateExpression"].removeprefix("SET ")
            for field, kept, value in re.findall(
                r"([#\w]+) = (?:if_not_exists\(([#\w]+), )?(:\w+)\)?", sets
            ):
                assert kept in ("", field)
                name = names.get(field, field)
                if not kept or name not in item:
                    item[name] = values[value]
            return {"Attributes": dict(item)}

    def get_item(self, **arguments: Any) -> dict[str, Any]:
        if self.fail:
            raise self.fail
        if not arguments.get("ConsistentRead"):
            return {}  # as late as DynamoDB may be
        item = self.items.get(arguments["Key"]["cognito_sub"]["S"])
        return {"Item": dict(item)} if item else {}


class RecordingCounter:
    """Keeps what is counted."""

    def __init__(self) -> None:
        self.counted: list[dict[str, str]] = []

    def add(self, amount: int, attributes: dict[str, str]) -> None:
        assert amount == 1
        self.counted.append(attributes)
