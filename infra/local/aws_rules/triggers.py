"""How Cognito calls a Lambda trigger: how long it waits, how often it tries, what it says then.

What an error says is as seen in public reports: of time-outs
https://github.com/aws-samples/amazon-cognito-passwordless-auth/issues/119, of what a trigger raises
https://github.com/aws-samples/amazon-cognito-passwordless-email-auth/issues/17, of bad output
https://github.com/amazon-archives/amazon-cognito-identity-js/issues/167.
Left out: the function's own permission for Cognito to call it.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ministack import app

from . import switches
from .calls import Answer, Refused

_ATTEMPTS = 3
_BAD_OUTPUT = "InvalidLambdaResponseException"

# The event loop alone would let go of a call that nobody waits for any more.
_running: set[asyncio.Task[Answer]] = set()


async def define(function: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Call Define; returns `challengeName`, `issueTokens` and `failAuthentication`.

    Raises:
        Refused: It failed, or its output is of another shape.
    """
    response = await _response("DefineAuthChallenge", function, event)
    name = response.get("challengeName")
    flags = [response.get("issueTokens"), response.get("failAuthentication")]
    if not isinstance(name, str | None) or not all(isinstance(flag, bool | None) for flag in flags):
        raise _unrecognizable()
    return response


async def create(function: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Call Create; returns `publicChallengeParameters`, private ones, and `challengeMetadata`.

    Parameters are a map of texts to texts, and at least one is private.
    Source: https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-create-auth-challenge.html

    Raises:
        Refused: It failed, or its output is of another shape.
    """
    response = await _response("CreateAuthChallenge", function, event)
    public, private = (response.get(f"{kind}ChallengeParameters") for kind in ("public", "private"))
    if not (_is_texts(public or {}) and private and _is_texts(private)):
        raise _unrecognizable()
    if not isinstance(response.get("challengeMetadata"), str | None):
        raise _unrecognizable()
    return response


async def verify(function: str, event: Mapping[str, Any]) -> bool:
    """Call Verify; returns `answerCorrect`.

    Raises:
        Refused: It failed, or its output is of another shape.
    """
    correct = (await _response("VerifyAuthChallengeResponse", function, event)).get("answerCorrect")
    if not isinstance(correct, bool):
        raise _unrecognizable()
    return correct


async def _response(trigger: str, function: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `response` of what a trigger gives back: its own event, filled in."""
    status, headers, body = await _outlasting(trigger, lambda: _invoke(function, event))
    try:
        output = json.loads(body)
    except ValueError:
        raise Refused(_BAD_OUTPUT, "Invalid lambda function output : Invalid JSON") from None
    if status != 200:
        raise Refused(
            "UnexpectedLambdaException", f"{trigger} invocation failed due to error {output}."
        )
    if any(name.lower() == "x-amz-function-error" for name in headers):
        raise _raised(trigger, output)
    response = output.get("response") if isinstance(output, dict) else None
    if not isinstance(response, dict):
        raise _unrecognizable()
    return response


async def _outlasting(trigger: str, invoke: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    """Call a function again while no answer comes within 5 s.

    Nothing ends an earlier call, and nobody hears its answer any more.
    Source: https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-working-with-lambda-triggers.html
    """
    for _ in range(_ATTEMPTS):
        task = asyncio.create_task(invoke())
        _running.add(task)
        task.add_done_callback(_running.discard)
        if (await asyncio.wait({task}, timeout=switches.current.trigger_seconds))[0]:
            return task.result()
    raise Refused(
        "UnexpectedLambdaException",
        f"{trigger} invocation failed due to error Socket timeout while invoking Lambda function.",
    )


def _raised(trigger: str, output: Any) -> Refused:
    """Say what a trigger raised; that is final.

    Source: https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-working-with-lambda-triggers.html
    """
    message = output.get("errorMessage", "") if isinstance(output, dict) else ""
    return Refused("UserLambdaValidationException", f"{trigger} failed with error {message}.")


def _unrecognizable() -> Refused:
    return Refused(_BAD_OUTPUT, "Unrecognizable lambda output")


def _is_texts(parameters: object) -> bool:
    return isinstance(parameters, dict) and all(
        isinstance(value, str) for value in parameters.values()
    )


async def _invoke(function: str, event: Mapping[str, Any]) -> Answer:
    invoked: Answer = await app.SERVICE_HANDLERS["lambda"](
        "POST",
        f"/2015-03-31/functions/{function}/invocations",
        {},
        json.dumps(event).encode(),
        {},
    )
    return invoked
