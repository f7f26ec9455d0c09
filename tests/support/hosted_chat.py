"""The hosted chat as a browser reaches it: CloudFront, Cognito, STS and AgentCore on loopback."""

import base64
import hashlib
import json
import mimetypes
import re
import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, override
from urllib.parse import unquote

import httpx
import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import Page
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from infra.local.ministack import ROOT
from infra.settings import LOCAL_ACCOUNT
from tests.support.deployment import Deployment, http
from tests.support.guest import Chat
from tests.support.serving import serving_app
from tests.support.template import Template, config_of, written

DOMAIN = "d111111abcdef8.cloudfront.net"
PAGE = ROOT / "agent" / "web" / "dist"
_SERVICES = ("cognito-idp", "cognito-identity", "sts", "bedrock-agentcore")
# AWS takes no signature that is further from its clock than this.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
_MAX_SKEW = timedelta(minutes=5)
_SIGNED_FOR_AGENTCORE = "AWS4-HMAC-SHA256 Credential=[A-Z0-9]+/[0-9]+/{region}/bedrock-agentcore/"
# As Cognito and STS send them; that AgentCore does is assumed.
_READABLE = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "x-amzn-RequestId,x-amzn-ErrorType,x-amzn-ErrorMessage,Date",
}
# All that reaches an agent behind AgentCore, beside `Authorization` where a runtime lets it.
_PASSED_ON = ("content-type", "accept", "x-amzn-bedrock-agentcore-runtime-session-id")
# https://docs.aws.amazon.com/bedrock-agentcore/latest/APIReference/API_InvokeAgentRuntime.html
_REFUSALS = {
    409: "RetryableConflictException",
    424: "RuntimeClientError",
    429: "ThrottlingException",
}
_TO_COGNITO_AND_STS = ("content-type", "x-amz-target")


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate.

    Attributes:
        file: It, and its key.
        fingerprint: Of its public key, as Chromium is told to trust one.
    """

    file: Path
    fingerprint: str

    @classmethod
    def made_in(cls, directory: Path) -> "Certificate":
        """Make one that lives for a day."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, DOMAIN)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        file = directory / "certificate.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return cls(file, base64.b64encode(hashlib.sha256(public).digest()).decode())


@dataclass(frozen=True)
class Asked:
    """A request that the browser sent."""

    host: str
    method: str
    path: str
    headers: Headers
    body: bytes


class HostedChat(Chat):
    """Plays all that the page talks to, told apart by `Host`, and keeps what it was asked.

    The page comes under the headers, and with the configuration, of a template. Cognito and STS are
    MiniStack's, with the template's identity pool and guest role. A runtime is a local chat's agent
    behind AgentCore's gate: SigV4 and its clock for guests, whose signature is not computed, and a
    token of the pool for members.

    Attributes:
        asked: All requests, as they came.
    """

    name = "hosted"
    url = f"https://{DOMAIN}"

    def __init__(
        self, stack: Deployment, template: Template, *, guest_agent: str, member_agent: str
    ) -> None:
        """Deploy the identity pool.

        Args:
            stack: The stack that the agents work with.
            template: Of the same stack with the agent and the page.
            guest_agent: The address of the agent behind the guest runtime.
            member_agent: The same for members.
        """
        self.asked: list[Asked] = []
        self._stack = stack
        self._region = stack.outputs["region"]
        self._template = template
        self._known = self._deploy_guests()
        self._config = config_of(template, self._known)
        self._agents = {"GuestRuntimeArn": guest_agent, "MemberRuntimeArn": member_agent}
        self._next: list[str | int] = []
        self._client = httpx.AsyncClient(timeout=60)
        self._behaviours = template.only("AWS::CloudFront::Distribution")["Properties"][
            "DistributionConfig"
        ]

    @property
    def hosts(self) -> set[str]:
        """Return the names of all that it plays."""
        return {DOMAIN, *(self.host(service) for service in _SERVICES)}

    def host(self, service: str) -> str:
        """Return an AWS service's name in this region."""
        return f"{service}.{self._region}.amazonaws.com"

    @override
    def is_busy_next(self) -> None:
        http.post(f"{self._agents['GuestRuntimeArn']}/_agentcore/conflict").raise_for_status()

    @override
    def is_answered_next(self, page: Page, address: str) -> None:
        self._next = [address.removesuffix("/invocations")]

    def is_refused_next(self, *statuses: int) -> None:
        """Let AgentCore refuse the next messages."""
        self._next = [*statuses]

    def asked_of(self, host: str) -> list[str]:
        """Return the paths that were asked of a host."""
        return [each.path for each in self.asked if each.host == host]

    @contextmanager
    def running(self, port: int, certificate: Certificate) -> Iterator[None]:
        """Answer on a loopback port."""
        # The browser, which stays open, does not hurry to take leave of a connection.
        tls = {"ssl_certfile": certificate.file, "ssl_keyfile": certificate.file}
        with serving_app(self, port, **tls, timeout_graceful_shutdown=1):
            yield

    def _deploy_guests(self) -> dict[str, str]:
        """Make what the template has for guests; returns what became of its names."""
        body, account = self._template.body, LOCAL_ACCOUNT
        known = {"AWS::Region": self._region, "AWS::AccountId": account, "AWS::Partition": "aws"}

        def name(resource: dict[str, Any]) -> str:
            return str(next(name for name, each in body["Resources"].items() if each == resource))

        for kind in ("Guest", "Member"):
            (made_of,) = body["Outputs"][f"{kind}RuntimeArn"]["Value"].values()
            known[".".join(made_of)] = (
                f"arn:aws:bedrock-agentcore:{self._region}:{account}:runtime/{kind}-a1b2c3d4e5"
            )
        client = body["Outputs"]["UserPoolClientId"]["Value"]["Ref"]
        known[client] = self._stack.outputs["UserPoolClientId"]
        pool = self._template.only("AWS::Cognito::IdentityPool")
        made = self._stack.client("cognito-identity").create_identity_pool(
            IdentityPoolName="guests", **pool["Properties"]
        )
        known[name(pool)] = made["IdentityPoolId"]
        attachment = self._template.only("AWS::Cognito::IdentityPoolRoleAttachment")
        (role, _) = attachment["Properties"]["Roles"]["unauthenticated"]["Fn::GetAtt"]
        trust = written(body["Resources"][role]["Properties"]["AssumeRolePolicyDocument"], known)
        known[f"{role}.Arn"] = self._stack.client("iam").create_role(
            RoleName=f"guests-{secrets.token_hex(4)}", AssumeRolePolicyDocument=json.dumps(trust)
        )["Role"]["Arn"]
        return known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        body = await request.body()
        host, path = request.headers["host"], scope["raw_path"].decode()
        self.asked.append(Asked(host, request.method, path, request.headers, body))
        if host == DOMAIN:
            answer = self._page(path)
        elif request.method == "OPTIONS":
            answer = _preflight(request.headers)
        elif host == self.host("bedrock-agentcore"):
            answer = await self._runtime(path, request.headers, body)
        elif host in self.hosts:
            passed = _only(request.headers, _TO_COGNITO_AND_STS)
            answer = await self._from(self._stack.outputs["endpoint_url"], passed, body)
        else:
            answer = Response("Elsewhere", headers=_READABLE)
        await answer(scope, receive, send)

    def _page(self, path: str) -> Response:
        name = path.lstrip("/") or self._behaviours["DefaultRootObject"]
        headers = self._page_headers(path)
        if name == "config.json":
            return JSONResponse(self._config, headers=headers)
        if name not in {str(each.relative_to(PAGE)) for each in PAGE.rglob("*")}:
            # Who may not list a bucket is not told what is not there.
            return Response("<Error/>", 403, headers, "application/xml")
        kind = mimetypes.guess_type(name)[0]
        return Response((PAGE / name).read_bytes(), headers=headers, media_type=kind)

    def _page_headers(self, path: str) -> dict[str, str]:
        behaviours = (
            each
            for each in self._behaviours["CacheBehaviors"]
            if fnmatchcase(path, each["PathPattern"])
        )
        behaviour = next(behaviours, self._behaviours["DefaultCacheBehavior"])
        policy = self._template.body["Resources"][behaviour["ResponseHeadersPolicyId"]["Ref"]]
        config = written(policy["Properties"]["ResponseHeadersPolicyConfig"], self._known)
        security = config["SecurityHeadersConfig"]
        age = security["StrictTransportSecurity"]["AccessControlMaxAgeSec"]
        return {
            "Content-Security-Policy": security["ContentSecurityPolicy"]["ContentSecurityPolicy"],
            "Referrer-Policy": security["ReferrerPolicy"]["ReferrerPolicy"],
            "Strict-Transport-Security": f"max-age={age}",
            "X-Content-Type-Options": "nosniff",
        } | {each["Header"]: each["Value"] for each in config["CustomHeadersConfig"]["Items"]}

    def _runtime_arn(self, kind: str) -> str:
        return str(
            written(self._template.body["Outputs"][f"{kind}RuntimeArn"]["Value"], self._known)
        )

    async def _runtime(self, path: str, headers: Headers, body: bytes) -> Response:
        found = re.fullmatch("/runtimes/([^/]+)/invocations", path)
        arn = unquote(found[1]) if found else ""
        authorization = headers.get("authorization", "")
        passed = _only(headers, _PASSED_ON)
        if arn == self._runtime_arn("Guest"):
            if refusal := self._refuse_guest(headers):
                return refusal
            agent = self._agents["GuestRuntimeArn"]
        elif arn == self._runtime_arn("Member"):
            try:
                token = authorization.removeprefix("Bearer ")
                await run_in_threadpool(self._stack.verified_claims, token)
            except jwt.PyJWTError:
                return _error(401, "UnauthorizedException")
            passed["authorization"] = authorization
            agent = self._agents["MemberRuntimeArn"]
        else:
            return _error(404, "ResourceNotFoundException")
        instead = self._next.pop(0) if self._next else agent
        if isinstance(instead, int):
            return _error(instead, _REFUSALS[instead])
        return await self._from(f"{instead}/invocations", passed, body)

    def _refuse_guest(self, headers: Headers) -> Response | None:
        signed = _SIGNED_FOR_AGENTCORE.format(region=self._region)
        if not re.match(signed, headers.get("authorization", "")):
            return _error(403, "AccessDeniedException")
        if "x-amz-security-token" not in headers:
            return _error(403, "UnrecognizedClientException")
        at = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%S%z")
        if abs(at - datetime.now(UTC)) > _MAX_SKEW:
            return _error(403, "InvalidSignatureException")
        return None

    async def _from(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Pass a request on, and the answer as it comes."""
        request = self._client.build_request("POST", url, headers=headers, content=body)
        answer = await self._client.send(request, stream=True)

        async def parts() -> AsyncGenerator[bytes]:
            try:
                async for part in answer.aiter_raw():
                    yield part
            finally:
                await answer.aclose()

        kept = _only(answer.headers, ("content-type", "x-amzn-errortype"))
        return StreamingResponse(parts(), answer.status_code, {**kept, **_READABLE})


def _only(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}


def _preflight(headers: Headers) -> Response:
    allowed = {
        "Access-Control-Allow-Headers": headers.get("access-control-request-headers", ""),
        "Access-Control-Allow-Methods": "POST",
    }
    return Response(headers=_READABLE | allowed)


def _error(status: int, name: str) -> Response:
    headers = _READABLE | {"x-amzn-ErrorType": name}
    return JSONResponse({"message": "Refused."}, status, headers)
