"""The demo, on the shared stack."""

import pytest

from tests.e2e import demo
from tests.support.deployment import Deployment


def test_demo_plays_to_its_end_and_prints_no_whole_token(
    stack: Deployment, agent_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.play(stack, agent_url)

    printed = capsys.readouterr().out
    assert "Here is your guest record" in printed
    assert "eyJ" in printed
    assert not [word for word in printed.split() if len(word) > 100]
