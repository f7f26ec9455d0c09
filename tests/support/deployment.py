"""A deployed stack as a test sees it: its API, its mails, its tables."""

import re
import secrets
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3

from infra.local import ministack

if TYPE_CHECKING:
    from types_boto3_cognito_idp import CognitoIdentityProviderClient
    from types_boto3_dynamodb import DynamoDBClient

_LEDGER_TIMES = re.compile(r"s\d+|w\d+|issued_at|mailed_at|done_at|redeemed_through")


@dataclass(frozen=True)
class Deployment:
    """One deployment in MiniStack, used as its account's root."""

    outputs: dict[str, str]

    def client(self, service: str) -> Any:
        """A boto3 client with all permissions."""
        return boto3.client(
            service,
            endpoint_url=self.outputs["endpoint_url"],
            region_name=self.outputs["region"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
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

    def new_user(self, **attributes: str) -> str:
        """Make an unverified user with an address of its own; returns the address."""
        address = f"guest-{secrets.token_hex(6)}@example.com"
        named = {"email": address, "email_verified": "false", **attributes}
        self.cognito.admin_create_user(
            UserPoolId=self.outputs["UserPoolId"],
            Username=address,
            MessageAction="SUPPRESS",
            UserAttributes=[{"Name": name, "Value": value} for name, value in named.items()],
        )
        return address

    def attributes(self, address: str) -> dict[str, str]:
        """A user's attributes."""
        user = self.cognito.admin_get_user(UserPoolId=self.outputs["UserPoolId"], Username=address)
        return {each["Name"]: each["Value"] for each in user["UserAttributes"]}

    def initiate(self, address: str) -> dict[str, Any]:
        """`AdminInitiateAuth`."""
        return dict(
            self.cognito.admin_initiate_auth(
                UserPoolId=self.outputs["UserPoolId"],
                ClientId=self.outputs["UserPoolClientId"],
                AuthFlow="CUSTOM_AUTH",
                AuthParameters={"USERNAME": address},
            )
        )

    def respond(
        self,
        address: str,
        challenge: dict[str, Any],
        answer: str,
        metadata: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """`AdminRespondToAuthChallenge`, with `metadata` as its `ClientMetadata`."""
        return dict(
            self.cognito.admin_respond_to_auth_challenge(
                UserPoolId=self.outputs["UserPoolId"],
                ClientId=self.outputs["UserPoolClientId"],
                ChallengeName="CUSTOM_CHALLENGE",
                Session=challenge["Session"],
                ChallengeResponses={"USERNAME": address, "ANSWER": answer},
                ClientMetadata=metadata or {},
            )
        )

    def mails_to(self, address: str) -> list[dict[str, Any]]:
        """The mails to one address, oldest first."""
        mails = ministack.mails(self.outputs["endpoint_url"])
        return [mail for mail in mails if mail["To"] == [address]]

    def code_mailed_to(self, address: str) -> str:
        """The code in the last mail to an address."""
        return code_in(self.mails_to(address)[-1])

    def ledger_item(self, address: str) -> dict[str, Any]:
        """A user's item in the ledger."""
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


def code_in(mail: dict[str, Any]) -> str:
    """The code that stands alone on a line of a mail's text."""
    (code,) = re.findall(r"^\d{6,10}$", mail["BodyText"], re.MULTILINE)
    return str(code)


def other_than(code: str) -> str:
    """A wrong code of the same length."""
    return code[:-1] + str((int(code[-1]) + 1) % 10)
