"""The code key: what is derived from it, and one read a version and process."""

import pytest
from botocore.exceptions import ClientError

from lambdas.email_otp.code_key import CodeKeys
from tests.support.aws_stand_in import FIRST_KEY_VERSION, SECRET_ARN, StandIn, refuse
from tests.support.triggers import KEY, aws_clients


@pytest.fixture
def keys(aws: StandIn) -> CodeKeys:  # noqa: ARG001 - it lies under the clients
    """Return a cold process's keys."""
    return CodeKeys(aws_clients(short_cut=False)[2], SECRET_ARN)


def test_current_key_is_read_once(keys: CodeKeys, aws: StandIn) -> None:
    assert keys.current() is keys.current()
    assert keys.version(FIRST_KEY_VERSION) is keys.current()
    assert aws.calls == ["GetSecretValue"]


def test_other_version_is_read_once_by_name(keys: CodeKeys, aws: StandIn) -> None:
    """T34: a challenge of the time before the rotation, and of the time after it."""
    first = keys.current()
    second = keys.version(aws.rotate_key())
    assert second.secret != first.secret
    assert keys.version(second.version) is second
    assert keys.current() is first
    assert aws.calls == ["GetSecretValue"] * 2


def test_failed_read_is_tried_again_by_the_next_call(keys: CodeKeys, aws: StandIn) -> None:
    """T14: unreachable at cold start, and back a moment later."""
    aws.faults["GetSecretValue"] = refuse("InternalServiceError", 500)
    with pytest.raises(ClientError):
        keys.current()
    aws.faults.clear()
    assert keys.current().version == FIRST_KEY_VERSION


def test_digest_does_not_confuse_field_boundaries() -> None:
    assert KEY.digest("ab", "c") != KEY.digest("a", "bc")
    assert KEY.digest("a", "") != KEY.digest("a")


def test_code_key_prints_without_its_secret() -> None:
    assert "example-key" not in f"{KEY!r} {KEY} {[KEY]}"
