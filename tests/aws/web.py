"""The page: what it is served with, and a sign-in on it in a browser."""

import re
import shutil
from typing import TYPE_CHECKING, Any

import httpx

from infra.local.ministack import ROOT
from tests.aws.agent import GUEST, MEMBER, Chat
from tests.aws.check import Failed, NotRun, check, require
from tests.aws.stack import Stack

if TYPE_CHECKING:
    from playwright.sync_api import Page

_NO_CLOUDFRONT = "the local page is not served by CloudFront"
_DEPLOY_AGAIN = "Compare the distribution with the template: deploy the stack again."
_MIN_HSTS_SECONDS = 180 * 24 * 3600
_MIN_ASSET_SECONDS = 24 * 3600
# As the page calls them, not as the stack was told: a proof does not ask who is to be proved.
_CALLED = ("cognito-idp", "cognito-identity", "sts", "bedrock-agentcore")
_STRICT_SOURCE = re.compile(r"'(self|none|sha(256|384|512)-[\w+/=-]+)'")
_BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_ANSWERED_MS = 60_000  # a cold start and a real model


def _get(stack: Stack, path: str) -> httpx.Response:
    answer = stack.http.get(f"{stack.output('WebUrl').rstrip('/')}{path}", timeout=30)
    require(answer.status_code == 200, f"{path} was answered {answer.status_code}")
    return answer


@check(
    "the page has strict headers",
    advice=_DEPLOY_AGAIN,
    only_on_aws=_NO_CLOUDFRONT,
)
def headers_are_strict(stack: Stack) -> None:
    headers = _get(stack, "/").headers
    policy = _directives(headers.get("Content-Security-Policy", ""))
    for name in ("default-src", "base-uri", "form-action", "frame-ancestors"):
        require(policy.get(name) == ["'none'"], f"the policy's {name} is not 'none'")
    for name in ("script-src", "style-src"):
        loose = [
            source for source in policy.get(name, ["*"]) if not _STRICT_SOURCE.fullmatch(source)
        ]
        require(not loose, f"the policy's {name} is loose")
    called = {f"https://{service}.{stack.region}.amazonaws.com" for service in _CALLED}
    require(
        {*policy.get("connect-src", [])} == called | {"'self'"},
        "the policy's connect-src is not the page itself and the four services it calls",
    )
    require(headers.get("X-Content-Type-Options") == "nosniff", "nosniff is missing")
    require(headers.get("Referrer-Policy") == "no-referrer", "the referrer is sent on")
    age = re.search(r"max-age=(\d+)", headers.get("Strict-Transport-Security", ""))
    require(
        age and int(age[1]) >= _MIN_HSTS_SECONDS,
        "Strict-Transport-Security is missing, or shorter than half a year",
    )


@check(
    "the page itself is not cached, its hashed files are for long",
    advice=_DEPLOY_AGAIN,
    only_on_aws=_NO_CLOUDFRONT,
)
def caching_is_right(stack: Stack) -> None:
    for path in ("/", "/index.html", "/config.json"):
        told = _get(stack, path).headers.get("Cache-Control", "")
        require("no-store" in told or "no-cache" in told, f"{path} is cached")
    asset = re.search(r'"\.?(/assets/[^"]+\.js)"', _get(stack, "/").text)
    if asset is None:
        raise Failed("the page names no script under /assets/")
    age = re.search(r"max-age=(\d+)", _get(stack, asset[1]).headers.get("Cache-Control", ""))
    require(age and int(age[1]) >= _MIN_ASSET_SECONDS, "the page's script is not cached for long")


@check(
    "config.json agrees with the stack",
    advice="The page was deployed for another stack: deploy this one again.",
    only_on_aws=_NO_CLOUDFRONT,
)
def config_agrees(stack: Stack) -> None:
    try:
        told: Any = _get(stack, "/config.json").json()
    except ValueError:
        raise Failed("it is no JSON") from None
    pool = stack.output("IdentityPoolId")
    roles = stack.client("cognito-identity").get_identity_pool_roles(IdentityPoolId=pool)
    expected = {
        "region": stack.region,
        "cognitoEndpoint": f"https://cognito-idp.{stack.region}.amazonaws.com/",
        "guestEndpoint": Chat(stack, GUEST).url("invocations"),
        "memberEndpoint": Chat(stack, MEMBER).url("invocations"),
        "clientId": stack.outputs["UserPoolClientId"],
        "guestRuntimeArn": stack.output("GuestRuntimeArn"),
        "identityPoolId": pool,
        "guestRoleArn": roles["Roles"]["unauthenticated"],
    }
    for name, value in expected.items():
        require(told.get(name) == value, f"its {name} is another")


@check(
    "the page's bucket is not read directly",
    advice="Block public access to the bucket, and leave it to the distribution alone.",
    only_on_aws=_NO_CLOUDFRONT,
)
def bucket_is_closed(stack: Stack) -> None:
    stack.output("WebUrl")
    pages = stack.client("cloudformation").get_paginator("list_stack_resources")
    buckets = [
        each["PhysicalResourceId"]
        for page in pages.paginate(StackName=stack.name)
        for each in page["StackResourceSummaries"]
        if each["ResourceType"] == "AWS::S3::Bucket"
    ]
    require(buckets, "the stack has no bucket")
    for bucket in buckets:
        for path in ("/index.html", "/?list-type=2"):
            url = f"https://{bucket}.s3.{stack.region}.amazonaws.com{path}"
            status = stack.http.get(url, timeout=30).status_code
            require(status == 403, f"a bucket answered {status}")


@check(
    "a visitor signs in on the page",
    advice="Open the page, try it with an address of yours, and look at the browser's console.",
)
def visitor_signs_in_on_page(stack: Stack) -> None:
    url = stack.agent_url if stack.is_local else stack.output("WebUrl")
    if stack.is_local and not (ROOT / "agent" / "web" / "dist" / "index.html").exists():
        raise NotRun("the page is not built: run `make page`")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise NotRun("there is no Chromium: install it, for example apt-get install chromium")
    # Slow to import, and not needed where there is none.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_BROWSER_ARGUMENTS)
        try:
            _sign_in(stack, browser.new_page(), str(url))
        finally:
            browser.close()


def _sign_in(stack: Stack, page: "Page", url: str) -> None:
    from playwright.sync_api import Error

    address = stack.new_address()
    failing = "the page does not open"
    try:
        page.set_default_timeout(_ANSWERED_MS)
        page.goto(url)
        failing = "no box for a code came"
        _ask(page, f"I'm Proof Guest, {address}. Please show me my profile.")
        code_box = page.get_by_role("textbox", name="Code")
        try:
            code_box.wait_for()
        except Error:  # a model may ask something first
            _ask(page, f"Yes, please mail a sign-in code to {address}.")
            code_box.wait_for()
        code = stack.code_mailed_to(stack.user(address))
        failing = "the right code did not sign in"
        code_box.fill(code)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.get_by_text(f"Signed in as {address}").first.wait_for()
    except Error as error:
        raise Failed(f"{failing} ({type(error).__name__})") from None


def _ask(page: "Page", text: str) -> None:
    page.get_by_role("textbox", name="Message").fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


def _directives(policy: str) -> dict[str, list[str]]:
    named = [directive.split() for directive in policy.split(";") if directive.strip()]
    return {name: sources for name, *sources in named}
