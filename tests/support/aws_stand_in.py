"""The AWS that unit tests call: botocore's real clients, answered in memory at the wire.

Requests are made, checked and signed, and replies and errors read, by botocore itself; only the
sending is replaced. So errors have AWS's shapes, and no test touches the network.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.session import Session

from tests.support.dynamodb_expressions import (
    Item,
    NotUnderstood,
    check_values,
    holds,
    updated,
)

TABLE = "ledger"
SECRET_ARN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:code-key"
COUNT_MAIL = "UpdateItem of the hour"
"""How calls and faults name the `UpdateItem` of a stack's hour: a mail is taken, or given back."""
COUNT_MAILBOX = "UpdateItem of the mailbox"
"""The same of a newcomer's mailbox."""
FIRST_KEY_VERSION = "EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE"
FIRST_KEY = "example-key-not-a-secret"


class Died(BaseException):
    """The Lambda was killed in the middle of a call."""


@dataclass(frozen=True)
class Mail:
    """A mail that SES took."""

    sender: str
    to: str
    subject: str
    text: str
    html: str
    headers: dict[str, str]
    configuration_set: str | None

    @property
    def code(self) -> str:
        """Return the code, which is alone on its line."""
        [code] = re.findall(r"(?m)^[\d ]+$", self.text)
        return str(code).replace(" ", "")


@dataclass
class Refusal(Exception):  # noqa: N818 - AWS's answer, not a fault of the stand-in
    """An error that an AWS service answers with."""

    code: str
    status: int = 400
    more: dict[str, Any] = field(default_factory=dict)


type Fault = Callable[[], None]


class StandIn:
    """DynamoDB's ledger table, SES, Secrets Manager and Cognito.

    Attributes:
        calls: The operations called, in order.
        faults: What happens before an operation is carried out; a fault stays until removed.
        after: What happens once an operation was carried out, before its reply arrives.
    """

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.mails: list[Mail] = []
        self.verified: list[dict[str, Any]] = []
        self.key_versions = {FIRST_KEY_VERSION: FIRST_KEY}
        self.calls: list[str] = []
        self.faults: dict[str, Fault] = {}
        self.after: dict[str, Fault] = {}

    def rotate_key(self) -> str:
        """Make a new version of the code key the current one, and return its name."""
        version = f"EXAMPLE{len(self.key_versions) + 1}-90ab-cdef-fedc-ba987EXAMPLE"
        self.key_versions[version] = f"another-key-{len(self.key_versions)}"
        return version

    def answer(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Carry one operation out.

        Raises:
            Refusal: The service refuses it.
            NotUnderstood: A test made the triggers call what this does not know.
        """
        kind = request.get("Key", {}).get("sub", {}).get("S", "").partition("#")[0]
        operation = {"stack": COUNT_MAIL, "mailbox": COUNT_MAILBOX}.get(kind, operation)
        self.calls.append(operation)
        if fault := self.faults.get(operation):
            fault()
        match operation:
            case _ if operation in ("UpdateItem", COUNT_MAIL, COUNT_MAILBOX):
                reply = self._update_item(request)
            case "SendEmail":
                reply = self._send_email(request)
            case "GetSecretValue":
                reply = self._get_secret_value(request)
            case "AdminUpdateUserAttributes":
                self.verified.append(request)
                reply = {}
            case _:
                raise NotUnderstood(operation)
        if fault := self.after.get(operation):
            fault()
        return reply

    def _update_item(self, update: dict[str, Any]) -> dict[str, Any]:
        if update["TableName"] != TABLE:
            raise NotUnderstood(update["TableName"])
        values = update["ExpressionAttributeValues"]
        expressions = [update["UpdateExpression"], update["ConditionExpression"]]
        check_values(expressions, values)
        key: Item = update["Key"]
        old = self.items.get(key["sub"]["S"], {})
        if not holds(update["ConditionExpression"], old, values):
            wants_old = update.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
            more = {"Item": old} if old and wants_old else {}
            raise Refusal("ConditionalCheckFailedException", more=more)
        new = updated(update["UpdateExpression"], old or key, values)
        self.items[key["sub"]["S"]] = new
        return {"Attributes": new} if update.get("ReturnValues") == "ALL_NEW" else {}

    def _send_email(self, request: dict[str, Any]) -> dict[str, Any]:
        simple = request["Content"]["Simple"]
        [address] = request["Destination"]["ToAddresses"]
        self.mails.append(
            Mail(
                sender=request["FromEmailAddress"],
                to=address,
                subject=simple["Subject"]["Data"],
                text=simple["Body"]["Text"]["Data"],
                html=simple["Body"]["Html"]["Data"],
                headers={each["Name"]: each["Value"] for each in simple["Headers"]},
                configuration_set=request.get("ConfigurationSetName"),
            )
        )
        return {"MessageId": "example"}

    def _get_secret_value(self, request: dict[str, Any]) -> dict[str, Any]:
        version = request.get("VersionId", list(self.key_versions)[-1])
        if request["SecretId"] != SECRET_ARN or version not in self.key_versions:
            raise Refusal("ResourceNotFoundException")
        return {"VersionId": version, "SecretString": self.key_versions[version]}


class _Wire:
    """Takes the place of the network under every client that botocore makes."""

    def __init__(self) -> None:
        self.aws = StandIn()

    def send(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse:
        operation = event_name.rpartition(".")[2]
        try:
            status, body = 200, self.aws.answer(operation, json.loads(_bytes(request)))
        except Refusal as refusal:
            message = "refused, and this text quotes ada@example.com and 314159"
            body = {"__type": refusal.code, "message": message, "Message": message} | refusal.more
            status = refusal.status
        headers = HTTPHeaders.from_dict({"Content-Type": "application/x-amz-json-1.0"})
        return AWSResponse(request.url, status, headers, _Body(json.dumps(body).encode()))


class _Body:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._body


_WIRE = _Wire()


def answer(session: Session) -> None:
    """Have the clients of a session answered by the AWS that `renew` made last."""
    session.register("before-send", _WIRE.send)  # type: ignore[arg-type]


class ShortCut:
    """A client that asks the stand-in without botocore between: ten times faster.

    Errors are botocore's own all the same.
    """

    def __init__(self, client: Any) -> None:
        self.exceptions = client.exceptions

    def __getattr__(self, method: str) -> Callable[..., Any]:
        operation = "".join(word.capitalize() for word in method.split("_"))

        def call(**request: Any) -> Any:
            try:
                return _WIRE.aws.answer(operation, request)
            except Refusal as refusal:
                error = {"Error": {"Code": refusal.code, "Message": ""}} | refusal.more
                raise self.exceptions.from_code(refusal.code)(error, operation) from None

        return call


def renew() -> StandIn:
    """Make an empty AWS, which is called from now on."""
    _WIRE.aws = StandIn()
    return _WIRE.aws


def refuse(code: str, status: int = 400, **more: Any) -> Fault:
    """Make a fault: the service answers with an error."""

    def fault() -> None:
        raise Refusal(code, status, more)

    return fault


def _bytes(request: AWSPreparedRequest) -> bytes:
    if not isinstance(request.body, bytes):
        raise NotUnderstood(f"a body of type {type(request.body).__name__}")
    return request.body
