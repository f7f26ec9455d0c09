"""A deployed stack as a test sees it: its API, its mails, its tables."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import jwt

from infra.local import ministack
from infra.local.deployment import CREDENTIALS, SENDER

if TYPE_CHECKING:
    from types_boto3_cognito_idp import CognitoIdentityProviderClient
    from types_boto3_cognito_idp.type_defs import AttributeTypeTypeDef
    from types_boto3_dynamodb import DynamoDBClient

# One for all: making one reads the certificate authorities, which takes longer than an answer.
http = httpx.Client(timeout=30, limits=httpx.Limits(max_connections=None))

_LEDGER_TIMES = re.compile(
    r"s\d+|w\d+|issued_at|shown_at|mailed_at|done_at|redeemed_through|forgotten_at"
)


@dataclass(frozen=True)
class Deployment:
    """One deployment in MiniStack, used as its account's root."""

    outputs: dict[str, str]

    def client(self, service: str) -> Any:
        """Return a boto3 client with all permissions."""
        return boto3.client(
            service,
            endpoint_url=self.outputs["endpoint_url"],
            region_name=self.outputs["region"],
            **CREDENTIALS,
        )

    @cached_property
    def cognito(self) -> "CognitoIdentityProviderClient":
        """Cognito's user pools."""
        client: CognitoIdentityProviderClient = self.client("cognito-idp")
        return client

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        """The tables."""
        client: DynamoDBClient = self.client("dynamodb")
        return client

    @contextmanager
    def switched(self, **switches: Any) -> Iterator[None]:
        """Have AWS behave otherwise for a while, see `infra.local.aws_rules.switches`."""
        self.switch(**switches)
        try:
            yield
        finally:
            self.switch()

    def switch(self, **switches: Any) -> None:
        """Set how AWS behaves until it is set again; without arguments, back to the defaults."""
        http.put(f"{self.outputs['endpoint_url']}/_aws_rules", json=switches).raise_for_status()

    def new_user(self, address: str | None = None, **attributes: str) -> str:
        """Make an unverified user, with an address of its own by default; returns the address."""
        address = address or new_address()
        self.cognito.admin_create_user(
            UserPoolId=self.outputs["UserPoolId"],
            Username=address,
            MessageAction="SUPPRESS",
            UserAttributes=_named(email=address, email_verified="false", **attributes),
        )
        return address

    def change_user(self, username: str, **attributes: str) -> None:
        """Change a user's attributes, as the team that runs the pool can."""
        self.cognito.admin_update_user_attributes(
            UserPoolId=self.outputs["UserPoolId"],
            Username=username,
            UserAttributes=_named(**attributes),
        )

    def attributes(self, username: str) -> dict[str, str]:
        """Return a user's attributes."""
        user = self.cognito.admin_get_user(UserPoolId=self.outputs["UserPoolId"], Username=username)
        return {each["Name"]: each["Value"] for each in user["UserAttributes"]}

    def initiate(self, address: str) -> dict[str, Any]:
        """Call `AdminInitiateAuth`."""
        return dict(
            self.cognito.admin_initiate_auth(
                UserPoolId=self.outputs["UserPoolId"],
                ClientId=self.outputs["UserPoolClientId"],
                AuthFlow="CUSTOM_AUTH",
                AuthParameters={"USERNAME": address},
            )
        )

    def respond(
        self, challenge: dict[str, Any], answer: str, metadata: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Call `AdminRespondToAuthChallenge`, with `metadata` as its `ClientMetadata`."""
        username = challenge["ChallengeParameters"]["USERNAME"]
        return dict(
            self.cognito.admin_respond_to_auth_challenge(
                UserPoolId=self.outputs["UserPoolId"],
                ClientId=self.outputs["UserPoolClientId"],
                ChallengeName="CUSTOM_CHALLENGE",
                Session=challenge["Session"],
                ChallengeResponses={"USERNAME": username, "ANSWER": answer},
                ClientMetadata=metadata or {},
            )
        )

    def mails_to(self, address: str) -> list[dict[str, Any]]:
        """Return the mails to one address, oldest first."""
        mails = ministack.mails(self.outputs["endpoint_url"])
        return [mail for mail in mails if mail["To"] == [address]]

    def code_mailed_to(self, address: str) -> str:
        """Return the code in the last mail to an address."""
        return code_in(self.mails_to(address)[-1])

    @contextmanager
    def sender_not_verified(self) -> Iterator[None]:
        """Take the sender's identity out of SES for a while, so that it refuses every mail."""
        # MiniStack keeps a deployed identity in the stores of both API versions.
        self.client("sesv2").delete_email_identity(EmailIdentity=SENDER)
        self.client("ses").delete_identity(Identity=SENDER)
        try:
            yield
        finally:
            self.client("sesv2").create_email_identity(EmailIdentity=SENDER)

    def verified_claims(self, raw: str) -> dict[str, Any]:
        """Return the claims of a token whose signature and issuer are the pool's.

        Raises:
            jwt.InvalidTokenError: They are not.
        """
        pool, region = self.outputs["UserPoolId"], self.outputs["region"]
        keys = jwt.PyJWKClient(f"{self.outputs['endpoint_url']}/{pool}/.well-known/jwks.json")
        claims: dict[str, Any] = jwt.decode(
            raw,
            keys.get_signing_key_from_jwt(raw).key,
            algorithms=["RS256"],
            issuer=f"https://cognito-idp.{region}.amazonaws.com/{pool}",
            options={"verify_aud": False},
        )
        return claims

    def function(self, trigger: str) -> dict[str, Any]:
        """Return the configuration of a trigger's function, such as `CreateAuthChallenge`."""
        name = self.outputs[f"{trigger}FunctionName"]
        return dict(self.client("lambda").get_function_configuration(FunctionName=name))

    def guest_item(self, cognito_sub: str) -> dict[str, Any]:
        """Return an item of the guests' table; empty if there is none."""
        response = self.dynamodb.get_item(
            TableName=self.outputs["GuestsTableName"], Key={"cognito_sub": {"S": cognito_sub}}
        )
        return response.get("Item", {})

    def ledger_item(self, address: str) -> dict[str, Any]:
        """Return a user's item in the ledger; empty if there is none."""
        response = self.dynamodb.get_item(
            TableName=self.outputs["OtpLedgerTableName"],
            Key={"sub": {"S": self.attributes(address)["sub"]}},
        )
        return response.get("Item", {})

    def age_ledger(self, address: str, seconds: int) -> None:
        """Let time pass for a user's item: move all its times into the past."""
        item = self.ledger_item(address)
        for name, value in item.items():
            if _LEDGER_TIMES.fullmatch(name) and value["N"] != "0":
                item[name] = {"N": str(int(value["N"]) - seconds)}
        self.dynamodb.put_item(TableName=self.outputs["OtpLedgerTableName"], Item=item)


def new_address() -> str:
    """Return an address that no other test has."""
    return f"guest-{secrets.token_hex(6)}@example.com"


def code_in(mail: dict[str, Any]) -> str:
    """Return the code that stands alone on a line of a mail's text."""
    (code,) = re.findall(r"^(?:\d{6,10}|\d{4}(?: \d{4}){3})$", mail["BodyText"], re.MULTILINE)
    return str(code).replace(" ", "")


def other_than(code: str) -> str:
    """Return a wrong code of the same length."""
    return code[:-1] + str((int(code[-1]) + 1) % 10)


def _named(**attributes: str) -> list["AttributeTypeTypeDef"]:
    return [{"Name": name, "Value": value} for name, value in attributes.items()]
