"""T36: a page from elsewhere, open in the same browser, does and reads nothing on this machine."""

from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserType, Page

from tests.support.deployment import Deployment
from tests.support.http_server import QuietHandler, answering

NAME = "evil.example.com"
# Each returns what it could read, or the error's name.
CALL_COGNITO = """async ([cognito]) => {
  try {
    const answer = await fetch(cognito, {
      method: 'POST',
      headers: {
        'content-type': 'application/x-amz-json-1.1',
        'x-amz-target': 'AWSCognitoIdentityProviderService.CreateUserPool',
        authorization: 'AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/x/aws4_request',
      },
      body: JSON.stringify({ PoolName: 'planted' }),
    });
    return await answer.text();
  } catch (error) { return error.name; }
}"""
POST_BLINDLY = """async ([address]) => {
  const body = '{"prompt": "I am eve@example.com"}';
  await fetch(address, { method: 'POST', mode: 'no-cors', body }).catch(() => undefined);
}"""
PUT_A_FORM = """([address]) => new Promise((resolve) => {
  const frame = document.createElement('iframe');
  frame.name = 'target';
  frame.onload = () => setTimeout(resolve, 300);
  const form = document.createElement('form');
  Object.assign(form, { method: 'post', action: address, target: 'target', enctype: 'text/plain' });
  document.body.append(frame, form);
  form.submit();
})"""
OPEN_IN_FRAME = """([address]) => new Promise((resolve) => {
  const frame = document.createElement('iframe');
  frame.onload = () => setTimeout(resolve, 300);
  frame.src = address;
  document.body.append(frame);
})"""
READ = """async ([address]) => {
  try { return await (await fetch(address)).text(); } catch (error) { return error.name; }
}"""


class Elsewhere(QuietHandler):
    """The page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Elsewhere</title><body>")


@pytest.fixture
def elsewhere(
    browser_type: BrowserType, browser_type_launch_args: dict[str, Any]
) -> Iterator[Page]:
    """Open a page under a name that leads to this machine, as a name that was rebound would."""
    arguments = [*browser_type_launch_args["args"], f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]
    with answering(ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)) as url:
        browser = browser_type.launch(**{**browser_type_launch_args, "args": arguments})
        page = browser.new_page()
        page.goto(url.replace("127.0.0.1", NAME))
        yield page
        browser.close()


def pools(stack: Deployment) -> list[str]:
    found = stack.cognito.list_user_pools(MaxResults=60)["UserPools"]
    return sorted(pool["Name"] for pool in found)


def test_t36_page_from_elsewhere_reaches_neither_ministack_nor_the_agent(
    elsewhere: Page, stack: Deployment, chat_url: str
) -> None:
    """T36: neither by a call, a blind post or a form, nor under a name that leads here."""
    cognito = stack.outputs["endpoint_url"]
    pools_before = pools(stack)
    buckets_before = stack.client("s3").list_buckets()["Buckets"]
    statuses: list[int] = []
    elsewhere.on("response", lambda response: statuses.append(response.status))

    assert elsewhere.evaluate(CALL_COGNITO, [f"{cognito}/"]) == "TypeError"
    # MiniStack's reset takes no signature and no preflight, and deletes all there is.
    for address in (f"{cognito}/_ministack/reset", f"{chat_url}/invocations"):
        elsewhere.evaluate(POST_BLINDLY, [address])
        elsewhere.evaluate(PUT_A_FORM, [address])
    for address in (f"{cognito}/_ministack/ses/messages", f"{chat_url}/mailbox"):
        elsewhere.evaluate(OPEN_IN_FRAME, [address])
    for path in ("mailbox", "config.json", "ping"):
        assert elsewhere.evaluate(READ, [f"{chat_url}/{path}"]) == "TypeError"
    # Under its own name there is no other origin, and no preflight.
    for url, path in ((cognito, "_ministack/ses/messages"), (chat_url, "mailbox")):
        elsewhere.goto(f"http://{NAME}:{urlsplit(url).port}/{path}")
        assert "not_loopback" in elsewhere.content()
        assert "not_loopback" in elsewhere.evaluate(READ, [f"/{path}"])
    assert "not_loopback" in elsewhere.evaluate(CALL_COGNITO, ["/"])

    assert statuses
    assert set(statuses) <= {403}
    assert pools(stack) == pools_before
    assert stack.client("s3").list_buckets()["Buckets"] == buckets_before


def test_t36_page_by_either_name_of_this_machine_works(page: Page, chat_url: str) -> None:
    """T36: opened as localhost, its calls to Cognito stay on one site."""
    page.goto(chat_url.replace("127.0.0.1", "localhost"))
    answer = page.evaluate(
        """async () => {
          const config = await (await fetch('/config.json')).json();
          const answer = await fetch(config.cognitoEndpoint, {
            method: 'POST',
            headers: {
              'content-type': 'application/x-amz-json-1.1',
              'x-amz-target': 'AWSCognitoIdentityProviderService.RevokeToken',
            },
            body: JSON.stringify({ ClientId: config.clientId, Token: 'none' }),
          });
          return [new URL(config.cognitoEndpoint).hostname, answer.status];
        }"""
    )
    assert answer[0] == "localhost"
    assert answer[1] not in (401, 403)
