"""The one check of `make test-aws` that needs a browser."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3
import httpx
import pytest

from infra.local.deployment import CREDENTIALS
from tests.aws import web
from tests.aws.check import Failed
from tests.aws.stack import Stack
from tests.support.deployment import Deployment


@pytest.fixture
def proved(stack: Deployment, chat_url: str) -> Iterator[Stack]:
    with httpx.Client(trust_env=False) as http:
        proved = Stack(
            boto3.Session(region_name=stack.outputs["region"], **CREDENTIALS),
            stack.outputs,
            http,
            endpoint_url=stack.outputs["endpoint_url"],
            agent_url=chat_url,
        )
        yield proved
        proved.remove_what_was_made()


def sign_in_on_page(proved: Stack) -> None:
    # In a thread of its own: the other tests' Playwright has an event loop in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(web.visitor_signs_in_on_page.run, proved).result()


def test_page_on_which_a_visitor_signs_in_is_proved(proved: Stack) -> None:
    sign_in_on_page(proved)


def test_page_that_sends_no_code_is_not(
    stack: Deployment, proved: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_ANSWERED_MS", 3000)
    no_mail = {"service": "sesv2", "operation": "SendEmail", "fault": "throttle"}
    with stack.switched(faults=[no_mail]), pytest.raises(Failed, match="no box for a code came"):
        sign_in_on_page(proved)


def test_page_that_is_not_there_is_not(proved: Stack) -> None:
    proved.agent_url = "http://127.0.0.1:1"
    with pytest.raises(Failed, match="the page does not open"):
        sign_in_on_page(proved)
