"""A deployed stack as its operator works with it: its API, what a check made in it, its codes."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import uuid4

import boto3
import httpx
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from agent.sign_in.settings import Settings
from lambdas.email_otp.code_key import CodeKeys
from lambdas.email_otp.mailer import mailbox_of
from tests.aws import codes
from tests.aws.check import Failed, NotRun, code_of
from tests.support.leak_search import Secret

_SIMULATOR = "simulator.amazonses.com"
_SECONDS_BETWEEN_MAILS = 1.1
"""An account that is new to SES may send one a second."""

type Response = dict[str, Any]


class StackError(Exception):
    """There is no deployment to work with; the message says what to do."""


@dataclass(frozen=True)
class User:
    """A user whom a check made, with an address that nobody reads."""

    address: str
    sub: str


@dataclass
class Removed:
    """What the clean-up did.

    Attributes:
        left: What could not be removed, and why not.
    """

    users: int = 0
    items: int = 0
    left: list[tuple[str, Exception]] = field(default_factory=list)


class Stack:
    """One deployment, used with an operator's credentials.

    Args:
        session: The operator's.
        outputs: The stack's.
        http: What speaks to the runtimes and the page.
        name: The stack's.
        endpoint_url: Where AWS is; None for AWS itself.
        agent_url: Where the agent and its page are if they run locally.
        attempts: How often a call of AWS's API is tried.

    Attributes:
        started_at: Epoch seconds.
        secrets: What must stand in no log: each code, address, token and `Session` that was used.
    """

    def __init__(
        self,
        session: boto3.Session,
        outputs: Mapping[str, str],
        http: httpx.Client,
        *,
        name: str = "EmailOtp",
        endpoint_url: str | None = None,
        agent_url: str | None = None,
        attempts: int = 5,
    ) -> None:
        self.session = session
        self.outputs = outputs
        self.http = http
        self.name = name
        self.endpoint_url = endpoint_url
        self.agent_url = agent_url
        self.started_at = time.time()
        self.secrets: list[Secret] = []
        self._attempts = attempts
        self._addresses: dict[str, str | None] = {}  # and their users' `sub`, where that is known
        self._ledger_keys: set[str] = set()
        self._mailed_at = 0.0
        self._guest_credentials: dict[str, str] | None = None

    @property
    def is_local(self) -> bool:
        """Whether this is MiniStack."""
        return self.endpoint_url is not None

    @property
    def region(self) -> str:
        """The region that the stack is in."""
        return str(self.session.region_name)

    @property
    def settings(self) -> Settings:
        """What a verifier of tokens needs."""
        return Settings(
            user_pool_id=self.outputs["UserPoolId"],
            user_pool_client_id=self.outputs["UserPoolClientId"],
            guests_table_name=self.outputs["GuestsTableName"],
            region=self.region,
            endpoint_url=self.endpoint_url,
        )

    def output(self, name: str) -> str:
        """Return an output that some stacks have not.

        Raises:
            NotRun: This one has not.
        """
        if name not in self.outputs:
            raise NotRun(f"not deployed: the stack has no output {name}")
        return self.outputs[name]

    def client(
        self, service: str, *, credentials: Mapping[str, str] | None = None, public: bool = False
    ) -> Any:
        """Return a client with the operator's credentials, others, or none at all."""
        retries: Any = {"mode": "standard", "total_max_attempts": self._attempts}
        more: dict[str, Any] = {"proxies": {}} if self.is_local else {}
        if public:
            more["signature_version"] = UNSIGNED
        new_client: Any = self.session.client  # its overloads take no name that is not literal
        return new_client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            config=Config(retries=retries, **more),
            **(credentials or {}),
        )

    @cached_property
    def cognito(self) -> Any:
        """Cognito's user pools, as the operator."""
        return self.client("cognito-idp")

    @cached_property
    def public_cognito(self) -> Any:
        """Cognito's user pools, as anybody."""
        return self.client("cognito-idp", public=True)

    @cached_property
    def dynamodb(self) -> Any:
        """The tables."""
        return self.client("dynamodb")

    @cached_property
    def keys(self) -> CodeKeys:
        """What codes are derived from."""
        variables = self.trigger("CreateAuthChallenge")["Environment"]["Variables"]
        return CodeKeys(self.client("secretsmanager"), variables["CODE_KEY_SECRET_ARN"])

    def trigger(self, name: str) -> dict[str, Any]:
        """Return the configuration of a trigger's function."""
        function = self.outputs[f"{name}FunctionName"]
        return dict(self.client("lambda").get_function_configuration(FunctionName=function))

    def new_address(self, mailbox: str = "success") -> str:
        """Return an address of SES's mailbox simulator; whatever gets it is removed at the end.

        Source: https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html
        """
        address = f"{mailbox}+{secrets.token_hex(8)}@{_SIMULATOR}"
        self._addresses[address] = None
        self.keep_secret("an address", address)
        return address

    def new_user(self, *, newcomer: bool = False, mailbox: str = "success") -> User:
        """Make a user; a newcomer's address nobody has verified, as when the agent makes one.

        Newcomers of a run share one mailbox, to which few mails go in an hour.
        """
        address = self.new_address(mailbox)
        self.cognito.admin_create_user(
            UserPoolId=self.outputs["UserPoolId"],
            Username=address,
            MessageAction="SUPPRESS",
            UserAttributes=[
                {"Name": "email", "Value": address},
                {"Name": "email_verified", "Value": "false" if newcomer else "true"},
            ],
        )
        return self.user(address)

    def user(self, address: str) -> User:
        """Return the user who has an address."""
        sub = self._addresses[address] = self.attributes(address)["sub"]
        return User(address, sub)

    def attributes(self, username: str) -> dict[str, str]:
        """Return a user's attributes."""
        found = self.cognito.admin_get_user(
            UserPoolId=self.outputs["UserPoolId"], Username=username
        )
        return {each["Name"]: each["Value"] for each in found["UserAttributes"]}

    def is_user(self, username: str) -> bool:
        """Tell whether there is such a user."""
        try:
            self.attributes(username)
        except ClientError as error:
            if code_of(error) != "UserNotFoundException":
                raise
            return False
        return True

    def list_newcomer(self, hour: int, sub: str) -> None:
        """List a user among an hour's newcomers, for the sweep."""
        self.dynamodb.update_item(
            TableName=self.outputs["GuestsTableName"],
            Key={"cognito_sub": {"S": f"newcomers#{hour}"}},
            UpdateExpression="ADD subs :sub",
            ExpressionAttributeValues={":sub": {"SS": [sub]}},
        )

    def newcomers(self, hour: int) -> list[str]:
        """Return who is listed among an hour's newcomers."""
        item = self._item("GuestsTableName", {"cognito_sub": {"S": f"newcomers#{hour}"}})
        return list(item.get("subs", {}).get("SS", []))

    def begin(self, address: str, *, public: bool = False) -> Response:
        """Begin a sign-in, so that a code is mailed; returns the challenge."""
        time.sleep(max(0, self._mailed_at + _SECONDS_BETWEEN_MAILS - time.monotonic()))
        self._mailed_at = time.monotonic()
        asked: dict[str, Any] = {
            "ClientId": self.outputs["UserPoolClientId"],
            "AuthFlow": "CUSTOM_AUTH",
            "AuthParameters": {"USERNAME": address},
        }
        if public:
            return self._noting_secrets(self.public_cognito.initiate_auth(**asked))
        asked["UserPoolId"] = self.outputs["UserPoolId"]
        return self._noting_secrets(self.cognito.admin_initiate_auth(**asked))

    def answer(self, challenge: Response, answer: str, *, public: bool = False) -> Response | None:
        """Answer a challenge; returns the tokens or the next challenge, or None if that is all."""
        given: dict[str, Any] = {
            "ClientId": self.outputs["UserPoolClientId"],
            "ChallengeName": "CUSTOM_CHALLENGE",
            "Session": challenge["Session"],
            "ChallengeResponses": {
                "USERNAME": challenge["ChallengeParameters"]["USERNAME"],
                "ANSWER": answer,
            },
        }
        try:
            if public:
                return self._noting_secrets(self.public_cognito.respond_to_auth_challenge(**given))
            given["UserPoolId"] = self.outputs["UserPoolId"]
            return self._noting_secrets(self.cognito.admin_respond_to_auth_challenge(**given))
        except ClientError as error:
            if code_of(error) == "NotAuthorizedException":
                return None
            raise

    def last_code_of(self, ledger_key: str) -> str | None:
        """Derive the last code of an item in the ledger; None if it names none."""
        self._ledger_keys.add(ledger_key)
        code = codes.last_code(self.ledger_item(ledger_key), self.keys, ledger_key)
        if code:
            self.keep_secret("a code", code)
        return code

    def code_mailed_to(self, user: User) -> str:
        """Derive the code that was mailed last to a user.

        Raises:
            Failed: There was none.
        """
        code = self.last_code_of(user.sub)
        if code is None:
            raise Failed("the ledger names no code")
        return code

    def ledger_item(self, ledger_key: str) -> dict[str, Any]:
        """Return a user's item in the ledger; empty if there is none."""
        return self._item("OtpLedgerTableName", {"sub": {"S": ledger_key}})

    def keep_secret(self, name: str, value: str) -> None:
        """Remember what must stand in no log."""
        self.secrets.append(Secret(name, value))

    def guest_credentials(self) -> dict[str, str]:
        """Return what a visitor's browser gets of the identity pool, by its classic flow.

        Source: https://docs.aws.amazon.com/cognito/latest/developerguide/authentication-flow.html
        """
        if self._guest_credentials is None:
            pool = self.output("IdentityPoolId")
            roles = self.client("cognito-identity").get_identity_pool_roles(IdentityPoolId=pool)
            anybody = self.client("cognito-identity", public=True)
            identity = anybody.get_id(IdentityPoolId=pool)["IdentityId"]
            taken = self.client("sts", public=True).assume_role_with_web_identity(
                RoleArn=roles["Roles"]["unauthenticated"],
                RoleSessionName="proof",
                WebIdentityToken=anybody.get_open_id_token(IdentityId=identity)["Token"],
            )["Credentials"]
            self._guest_credentials = {
                "aws_access_key_id": taken["AccessKeyId"],
                "aws_secret_access_key": taken["SecretAccessKey"],
                "aws_session_token": taken["SessionToken"],
            }
        return self._guest_credentials

    def signed_as_guest(self) -> httpx.Auth:
        """Return what signs requests to AgentCore with a visitor's credentials."""
        return _Signed(Credentials(*self.guest_credentials().values()), self.region)

    def remove_what_was_made(self) -> Removed:
        """Remove the users of all addresses that were handed out, and what the tables have."""
        removed = Removed()
        for address in self._addresses:
            _try(removed, f"the user of {address}", lambda a=address: self._remove(a, removed))
        for key in self._ledger_keys:
            _try(removed, f"the ledger's {key}", lambda k=key: self._remove_from_ledger(k, removed))
        _try(removed, "the simulator's mailbox in the ledger", lambda: self._empty_mailbox(removed))
        return removed

    def _remove(self, address: str, removed: Removed) -> None:
        """Remove a user and all that is kept of them; the user last, who leads to the rest."""
        username = self._addresses[address] or address
        try:
            sub = self.attributes(username)["sub"]
        except ClientError as error:
            if code_of(error) != "UserNotFoundException":
                raise
            return
        guest = self._item("GuestsTableName", {"cognito_sub": {"S": sub}})
        if guest:
            number = f"guest_id#{guest['guest_id']['S']}"
            for key in (number, sub):
                self._delete("GuestsTableName", {"cognito_sub": {"S": key}}, removed)
        self._remove_from_ledger(sub, removed)
        self._ledger_keys.discard(sub)
        self.cognito.admin_delete_user(UserPoolId=self.outputs["UserPoolId"], Username=username)
        removed.users += 1

    def _empty_mailbox(self, removed: Removed) -> None:
        """Forget the mails of newcomers, which would stand in the way of the next run."""
        digest = self.keys.current().digest("mailbox", mailbox_of(f"success@{_SIMULATOR}")).hex()
        for hour in range(int(self.started_at) // 3600, int(time.time()) // 3600 + 1):
            self._remove_from_ledger(f"mailbox#{digest}#{hour}", removed)

    def _remove_from_ledger(self, key: str, removed: Removed) -> None:
        if self.ledger_item(key):
            self._delete("OtpLedgerTableName", {"sub": {"S": key}}, removed)

    def _item(self, table: str, key: dict[str, Any]) -> dict[str, Any]:
        found = self.dynamodb.get_item(TableName=self.outputs[table], Key=key, ConsistentRead=True)
        return dict(found.get("Item", {}))

    def _delete(self, table: str, key: dict[str, Any], removed: Removed) -> None:
        self.dynamodb.delete_item(TableName=self.outputs[table], Key=key)
        removed.items += 1

    def _noting_secrets(self, response: Response) -> Response:
        for name, value in response.get("AuthenticationResult", {}).items():
            if name.endswith("Token"):
                self.keep_secret("a token", value)
        if "Session" in response:
            self.keep_secret("a Session", response["Session"])
        return response


def new_session_id() -> str:
    """Return the id of a new chat."""
    return f"proof-{uuid4()}"


class _Signed(httpx.Auth):
    requires_request_body = True

    def __init__(self, credentials: Credentials, region: str) -> None:
        self._signer = SigV4Auth(credentials, "bedrock-agentcore", region)

    def auth_flow(self, request: httpx.Request) -> Any:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name in ("content-type", "host") or name.startswith("x-amz")
        }
        signed = AWSRequest(request.method, str(request.url), headers, request.content)
        self._signer.add_auth(signed)
        request.headers.update({**signed.headers})
        yield request


def _try(removed: Removed, what: str, remove: Any) -> None:
    try:
        remove()
    except Exception as error:
        removed.left.append((what, error))
