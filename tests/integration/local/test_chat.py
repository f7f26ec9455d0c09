"""The local chat's address: what it serves, to whom, and with which headers."""

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.agent_process import Chat, running_agent
from tests.support.chunks import chunks_in, outputs_of, text_of
from tests.support.deployment import Deployment

TWO_NAMES = ("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def chat(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Run the chat with a page of two files, and a secret beside its folder."""
    directory = tmp_path_factory.mktemp("chat")
    page = directory / "dist"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html><title>Guest desk</title>")
    (page / "assets" / "index-abc.js").write_text("// script")
    (directory / "secret.txt").write_text("SECRET")
    (page / "link.txt").symlink_to(directory / "secret.txt")
    with (
        running_agent(
            directory, stack.outputs, program=("-m", "infra.local.chat", str(page))
        ) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        yield client


def test_page_comes_under_a_strict_content_policy(chat: httpx.Client, stack: Deployment) -> None:
    page = chat.get("/")
    endpoint = stack.outputs["endpoint_url"]

    assert page.status_code == 200
    assert "Guest desk" in page.text
    assert page.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"font-src 'self'; connect-src 'self' {endpoint} {endpoint.replace(*TWO_NAMES)}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@pytest.mark.parametrize("path", ["/", "/assets/index-abc.js", "/config.json", "/mailbox", "/none"])
def test_every_answer_has_the_security_headers(chat: httpx.Client, path: str) -> None:
    headers = chat.get(path).headers

    assert headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert (headers.get("Cache-Control") == "no-store") is (not path.startswith("/assets/"))


def test_configuration_names_endpoints_and_no_secret(chat: httpx.Client, stack: Deployment) -> None:
    assert chat.get("/config.json").json() == {
        "region": stack.outputs["region"],
        "clientId": stack.outputs["UserPoolClientId"],
        "cognitoEndpoint": stack.outputs["endpoint_url"],
        "guestEndpoint": "/invocations",
        "memberEndpoint": "/invocations",
        "mailboxEndpoint": "/mailbox",
    }


def test_t36_page_under_its_other_name_finds_cognito_under_the_same(
    chat: httpx.Client, stack: Deployment
) -> None:
    """T36: else its refresh would come from another site, and be refused."""
    config = chat.get("/config.json", headers={"Host": f"localhost:{_port(chat)}"}).json()
    assert config["cognitoEndpoint"] == stack.outputs["endpoint_url"].replace(*TWO_NAMES)


def test_mailbox_shows_newest_mails_first_with_the_named_fields_alone(
    chat: httpx.Client, stack: Deployment
) -> None:
    older, newer = stack.new_user(), stack.new_user()
    for address in (older, newer):
        Chat(_url(chat)).say(f"I'm {address}, show my bookings")

    mails = chat.get("/mailbox").json()

    assert [mail["to"] for mail in mails[:2]] == [newer, older]
    assert all(mail.keys() == {"to", "subject", "text", "at"} for mail in mails)
    assert all(isinstance(mail["text"], str) and "<" not in mail["text"] for mail in mails)
    assert len(mails) <= 50


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "localhost.example.com:{port}",
        "127.0.0.1:{port}.example.com",
        "127.0.0.1.example.com:{port}",
        "user@127.0.0.1:{port}",
        "",
    ],
)
def test_mailbox_refuses_another_host(chat: httpx.Client, host: str) -> None:
    answer = chat.get("/mailbox", headers={"Host": host.format(port=_port(chat))})

    assert answer.status_code == 403
    assert "text" not in answer.json()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_mailbox_answers_its_own_hosts(chat: httpx.Client, name: str) -> None:
    answer = chat.get("/mailbox", headers={"Host": f"{name}:{_port(chat)}"})

    assert answer.status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_mailbox_is_for_reading(chat: httpx.Client, method: str) -> None:
    assert chat.request(method, "/mailbox", json={}).status_code == 405


def test_no_other_site_may_read_an_answer(chat: httpx.Client) -> None:
    headers = chat.get("/mailbox", headers={"Origin": "https://evil.example.com"}).headers

    assert not [name for name in headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "path",
    ["/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt", "/link.txt"],
)
def test_nothing_beside_the_page_is_served(chat: httpx.Client, path: str) -> None:
    # As raw bytes: a client tidies `..` away before it sends.
    target = httpx.URL(scheme="http", host="127.0.0.1", port=_port(chat), raw_path=path.encode())
    answer = chat.get(target)

    assert answer.status_code == 404
    assert "SECRET" not in answer.text


def test_answers_stream_as_they_come(chat: httpx.Client) -> None:
    conversation = Chat(_url(chat))
    with chat.stream(
        "POST",
        "/invocations",
        json={"prompt": "Where can I park, and until when is breakfast?"},
        headers=conversation.headers(),
    ) as answer:
        parts = [part for part in answer.iter_raw() if part]

    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert json.loads(parts[0].decode().removeprefix("data: ")) == {"type": "start"}
    assert len(parts) > 3


@pytest.mark.parametrize(
    ("content", "authorization", "code"),
    [
        (b'{"prompt": "Hi"}', "Bearer a.b.c", "invalid_token"),
        (b"no JSON", "", "invalid_request"),
        (b" " * 10_000_000, "", "invalid_request"),
    ],
)
def test_refusal_goes_past_agentcore_in_a_stream(
    chat: httpx.Client, content: bytes, authorization: str, code: str
) -> None:
    conversation = Chat(_url(chat))
    headers = {"Authorization": authorization} if authorization else {}
    answer = chat.post("/invocations", content=content, headers=conversation.headers() | headers)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    error, finish = chunks_in(answer.text.splitlines())
    assert json.loads(error["errorText"])["code"] == code
    assert (error["type"], finish) == ("error", {"type": "finish"})
    assert text_of(conversation.say("When is breakfast?"))


def test_agentcore_takes_no_message_after_it_was_told_to_and_takes_the_next(
    chat: httpx.Client,
) -> None:
    conversation = Chat(_url(chat))
    assert chat.post("/_agentcore/conflict").status_code == 204
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        conversation.say("When is breakfast?")
    assert "7:30" in text_of(conversation.say("When is breakfast?"))


@pytest.mark.parametrize("path", ["/invocations", "/_agentcore/conflict"])
def test_t36_page_from_elsewhere_reaches_no_agentcore(chat: httpx.Client, path: str) -> None:
    """T36: it is told so itself, not by AgentCore's error."""
    refused = chat.post(path, json={}, headers={"Origin": "https://evil.example.com"})
    assert (refused.status_code, refused.json()["code"]) == (403, "not_loopback")
    assert "7:30" in text_of(Chat(_url(chat)).say("When is breakfast?"))


def test_agent_signs_in_behind_the_page(chat: httpx.Client, stack: Deployment) -> None:
    address = stack.new_user()
    conversation = Chat(_url(chat))
    conversation.say(f"I'm {address}, show my bookings")
    mail = next(mail for mail in chat.get("/mailbox").json() if mail["to"] == address)
    code = next(line.strip() for line in mail["text"].splitlines() if line.strip().isdigit())

    answer = conversation.say("", code=code)

    assert outputs_of(answer)[0]["event_type"] == "auth_tokens"
    assert "You are signed in" in text_of(answer)


def _url(chat: httpx.Client) -> str:
    return str(chat.base_url).rstrip("/")


def _port(chat: httpx.Client) -> int:
    port = urlsplit(_url(chat)).port
    assert port is not None
    return port
