"""A deployment on AWS that is right until a test breaks it: AgentCore, identity pool, page, logs.

boto3 makes and checks the requests; only what would be sent is answered here, in memory.
"""

from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import boto3
import httpx
from botocore import UNSIGNED

from infra.page_headers import strict_headers
from tests.aws.stack import Stack

REGION = "eu-west-1"
GUEST_ARN = f"arn:aws:bedrock-agentcore:{REGION}:111122223333:runtime/guest-aB3dE5fG7h"
MEMBER_ARN = f"arn:aws:bedrock-agentcore:{REGION}:111122223333:runtime/member-aB3dE5fG7h"
GUEST_ROLE_ARN = "arn:aws:iam::111122223333:role/EmailOtp-Guest"
MEMBERS_TOKEN = "members-access-token"
BUCKET = "emailotp-page-example"
PAGE = "https://d111111abcdef8.cloudfront.net"
SCRIPT = "/assets/index-aB3dE5fG.js"

OUTPUTS = {
    "UserPoolId": f"{REGION}_aB3dE5fG7",
    "UserPoolClientId": "example-client",
    "GuestsTableName": "guests",
    "OtpLedgerTableName": "ledger",
    "CreateAuthChallengeFunctionName": "create",
    "GuestRuntimeArn": GUEST_ARN,
    "MemberRuntimeArn": MEMBER_ARN,
    "IdentityPoolId": f"{REGION}:00000000-0000-4000-8000-000000000000",
    "WebUrl": PAGE,
}
_VISITORS_KEY = "ASIAEXAMPLEVISITOR"
_SERVICES = ("cognito-idp", "cognito-identity", "sts", "bedrock-agentcore")


class Hosted:
    """The deployment.

    Attributes:
        opens: Who may do what at which runtime: `visitor`, `member`, `nobody`.
        visitor_may: The operations of AWS's API that a visitor's credentials may call.
        visitor_is_told: The error that they get of all others.
        metadata: The runtimes' `metadataConfiguration`.
        policy: The page's content security policy.
        headers: The page's other headers, by path.
        html: The text of the page.
        config: Its config.json.
        resources: The stack's, as CloudFormation lists them.
        bucket: The status of a request for the page's bucket, by path.
        bounces: How many mails CloudWatch says bounced, minute by minute.
        log_lines: What the runtimes logged; None for no log group.
        chunks: What a runtime answers a message with.
        statuses: What it answers first.
        requests: All that was sent to the runtimes.
        operator_called: What was called with the operator's credentials, as permissions.
    """

    def __init__(self) -> None:
        self.opens = {("visitor", GUEST_ARN, "invocations"), ("member", MEMBER_ARN, "invocations")}
        self.visitor_may: set[str] = set()
        self.visitor_is_told = "AccessDeniedException"
        self.metadata: dict[str, Any] = {
            arn: {"requireMMDSV2": True} for arn in (GUEST_ARN, MEMBER_ARN)
        }
        said = strict_headers(
            connect_to=[f"https://{service}.{REGION}.amazonaws.com" for service in _SERVICES]
        )["Content-Security-Policy"]
        named = [directive.partition(" ") for directive in said.split("; ")]
        self.policy = {name: sources for name, _, sources in named}
        strict = {
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
        }
        fresh, kept = {"Cache-Control": "no-store"}, {"Cache-Control": "max-age=31536000"}
        self.headers = {
            "/": strict | fresh,
            "/index.html": strict | fresh,
            "/config.json": strict | fresh,
            SCRIPT: strict | kept,
        }
        self.html = f'<script type="module" src=".{SCRIPT}"></script>'
        self.config: Any = {
            "region": REGION,
            "clientId": "example-client",
            "cognitoEndpoint": f"https://cognito-idp.{REGION}.amazonaws.com/",
            "guestEndpoint": _endpoint(GUEST_ARN),
            "memberEndpoint": _endpoint(MEMBER_ARN),
            "guestRuntimeArn": GUEST_ARN,
            "identityPoolId": OUTPUTS["IdentityPoolId"],
            "guestRoleArn": GUEST_ROLE_ARN,
        }
        self.resources = [{"ResourceType": "AWS::S3::Bucket", "PhysicalResourceId": BUCKET}]
        self.bucket = {"/index.html": 403, "/?list-type=2": 403}
        self.bounces = [0.0, 1.0]
        self.log_lines: list[str] | None = ['{"message":"code requested"}']
        self.chunks = ['{"type":"start"}', '{"type":"finish"}']
        self.statuses: list[int] = []
        self.requests: list[httpx.Request] = []
        self.operator_called: set[str] = set()

    def stack(self, *without: str) -> Stack:
        """Return the stack, without some of its outputs."""
        session = boto3.Session(
            aws_access_key_id="operator", aws_secret_access_key="operator", region_name=REGION
        )
        session.events.register("before-call", self._answer_api)
        outputs = {name: value for name, value in OUTPUTS.items() if name not in without}
        http = httpx.Client(transport=httpx.MockTransport(self._answer_http))
        return Stack(session, outputs, http, attempts=1)

    def _answer_api(self, model: Any, params: Any, request_signer: Any, **_: Any) -> Any:
        credentials = request_signer._credentials
        if credentials and credentials.access_key == _VISITORS_KEY:
            if model.name in self.visitor_may:
                return SimpleNamespace(status_code=200), {}
            return SimpleNamespace(status_code=400), {"Error": {"Code": self.visitor_is_told}}
        if model.name == "FilterLogEvents" and self.log_lines is None:
            error = {"Code": "ResourceNotFoundException"}
            return SimpleNamespace(status_code=400), {"Error": error}
        if request_signer.signature_version is not UNSIGNED:
            service = model.service_model.signing_name.replace("monitoring", "cloudwatch")
            self.operator_called.add(f"{service}:{model.name}")
        return SimpleNamespace(status_code=200), self._reply(model.name, params)

    def _reply(self, operation: str, params: Any) -> dict[str, Any]:
        match operation:
            case "GetIdentityPoolRoles":
                return {"Roles": {"unauthenticated": GUEST_ROLE_ARN}}
            case "GetId":
                return {"IdentityId": "an-identity"}
            case "GetOpenIdToken":
                return {"Token": "an-openid-token"}
            case "AssumeRoleWithWebIdentity":
                return {
                    "Credentials": {
                        "AccessKeyId": _VISITORS_KEY,
                        "SecretAccessKey": "visitor",
                        "SessionToken": "visitors-session-token",
                    }
                }
            case "GetFunctionConfiguration":
                variables = {"CODE_KEY_SECRET_ARN": "a-secret", "CONFIGURATION_SET_NAME": "a-set"}
                return {"Environment": {"Variables": variables}}
            case "GetAgentRuntime":
                (arn,) = (arn for arn in self.metadata if params["url_path"].split("/")[2] in arn)
                return {"metadataConfiguration": self.metadata[arn]}
            case "ListStackResources":
                return {"StackResourceSummaries": self.resources}
            case "FilterLogEvents":
                return {"events": [{"message": line} for line in self.log_lines or []]}
        return self._reply_about_mails(operation)

    def _reply_about_mails(self, operation: str) -> dict[str, Any]:
        match operation:
            case "AdminCreateUser":
                return {}
            case "AdminGetUser":
                return {"UserAttributes": [{"Name": "sub", "Value": "a-sub"}]}
            case "AdminInitiateAuth":
                return {"Session": "a-session", "ChallengeParameters": {}}
            case "GetMetricStatistics":
                return {"Datapoints": [{"Sum": bounces} for bounces in self.bounces]}
        raise AssertionError(f"the stand-in knows no {operation}")

    def _answer_http(self, request: httpx.Request) -> httpx.Response:
        host, path = request.url.host, request.url.raw_path.decode()
        if host == f"bedrock-agentcore.{REGION}.amazonaws.com":
            return self._answer_as_runtime(request, path)
        if host == f"{BUCKET}.s3.{REGION}.amazonaws.com":
            return httpx.Response(self.bucket[path])
        assert f"https://{host}" == PAGE
        if path not in self.headers:
            return httpx.Response(404)
        policy = "; ".join(f"{name} {sources}" for name, sources in self.policy.items())
        headers = {"Content-Security-Policy": policy} | self.headers[path]
        if path == "/config.json":
            return httpx.Response(200, headers=headers, json=self.config)
        return httpx.Response(200, headers=headers, text=self.html)

    def _answer_as_runtime(self, request: httpx.Request, path: str) -> httpx.Response:
        self.requests.append(request)
        if self.statuses:
            return httpx.Response(self.statuses.pop(0))
        _, runtimes, arn, operation = path.removesuffix("?qualifier=DEFAULT").split("/", 3)
        assert runtimes == "runtimes"
        if (_caller(request), unquote(arn), operation) not in self.opens:
            return httpx.Response(403)
        if "Upgrade" in request.headers:
            return httpx.Response(101)
        return httpx.Response(200, text="".join(f"data: {chunk}\n\n" for chunk in self.chunks))


def _endpoint(arn: str) -> str:
    encoded = arn.replace(":", "%3A").replace("/", "%2F")
    host = f"https://bedrock-agentcore.{REGION}.amazonaws.com"
    return f"{host}/runtimes/{encoded}/invocations?qualifier=DEFAULT"


def _caller(request: httpx.Request) -> str:
    authorization = request.headers.get("Authorization", "")
    if f"Credential={_VISITORS_KEY}/" in authorization:
        return "visitor"
    return "member" if authorization == f"Bearer {MEMBERS_TOKEN}" else "nobody"
