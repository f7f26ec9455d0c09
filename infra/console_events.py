"""Puts `tests/events` into the Lambda console's Test tabs: `python -m infra.console_events`.

The console keeps shareable test events in EventBridge's schema registry: a schema a function, an
OpenAPI document whose `components.examples` are the events
(https://docs.aws.amazon.com/lambda/latest/dg/testing-functions.html#creating-shareable-events).
"""
# ruff: noqa: T201 - it talks to a person at a terminal

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

EVENTS = Path(__file__).parents[1] / "tests" / "events"
TRIGGERS = {
    "define": "DefineAuthChallengeFunctionName",
    "create": "CreateAuthChallengeFunctionName",
    "verify": "VerifyAuthChallengeResponseFunctionName",
}
"""How the files of a trigger's events begin, and the stack's output that names its function."""
REGISTRY = "lambda-testevent-schemas"
_VERSIONS = 5
"""How many versions of a schema stay, as `sam remote test-event put` leaves it."""
_NEW: dict[str, Any] = {
    "openapi": "3.0.0",
    "info": {"version": "1.0.0", "title": "Event"},
    "paths": {},
    "components": {"schemas": {"Event": {"type": "object"}}, "examples": {}},
}
_CHANGED = "somebody else changed these test events just now, run it again"
_NOT_ALLOWED = 'ask for the permissions that README names under "One trigger"'
_NOT_SIGNED_IN = "sign in to AWS again"
_WHAT_TO_DO = {
    "Conflict": _CHANGED,
    "NotFound": _CHANGED,
    "AccessDenied": _NOT_ALLOWED,
    "Forbidden": _NOT_ALLOWED,
    "Unauthorized": _NOT_ALLOWED,
    "ExpiredToken": _NOT_SIGNED_IN,
    "InvalidClientTokenId": _NOT_SIGNED_IN,
    "UnrecognizedClient": _NOT_SIGNED_IN,
    # What CloudFormation says of a stack that is not there.
    "ValidationError": "deploy it, or pass another --stack or --region",
}
"""What to do about an error of AWS, by its code."""

type Examples = dict[str, Any]


class ConsoleEventsError(Exception):
    """It did not work; the message says what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Publish the events, or remove them again; return 0 if it worked."""
    options = _parse(arguments)
    try:
        _run(options.stack, options.region, remove=options.remove)
    except ConsoleEventsError as error:
        print(error, file=sys.stderr)
    except ClientError as error:
        print(_explain(error), file=sys.stderr)
    except BotoCoreError as error:
        reason = str(error).removesuffix(".")
        print(
            f"AWS could not be asked ({reason}): check your AWS credentials and --region.",
            file=sys.stderr,
        )
    else:
        return 0
    return 1


def _run(stack: str, region: str | None, *, remove: bool) -> None:
    events = {trigger: read_events(EVENTS, trigger) for trigger in TRIGGERS}
    # boto3 itself reads AWS_DEFAULT_REGION alone.
    session = boto3.Session(region_name=region or os.environ.get("AWS_REGION"))
    if session.region_name is None:
        raise ConsoleEventsError("Which region is the stack in? Pass --region.")
    functions = _function_names(session, stack)
    client = session.client("schemas")
    for trigger, function in functions.items():
        _change(client, function, events[trigger], remove=remove)
        count = len(events[trigger])
        if remove:
            print(f"{function}: none of these {count} events is in its Test tab now")
        else:
            print(
                f"{function}: {count} events, in its Test tab: "
                f"https://console.aws.amazon.com/lambda/home?region={session.region_name}"
                f"#/functions/{function}?tab=testing"
            )


def read_events(folder: Path, trigger: str) -> Examples:
    """Read the events of a trigger.

    An event's name is its file's without the trigger: the function that it stands at tells that,
    and the console takes names of 25 characters at most.

    Raises:
        ConsoleEventsError: A file is no JSON.
    """
    found = {}
    for path in sorted(folder.glob(f"{trigger}_*.json")):
        try:
            event = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ConsoleEventsError(f"{path.name} is no JSON, mend it: {error}.") from None
        found[path.stem.removeprefix(f"{trigger}_")] = {"value": event}
    return found


def _change(client: Any, function: str, events: Examples, *, remove: bool) -> None:
    """Save events over those of the same names, or delete those and the schema if it has no other.

    EventBridge has no conditional write: an event that somebody saves between the read and the
    write here is in the version before alone.
    """
    schema = {"RegistryName": REGISTRY, "SchemaName": f"_{function}-schema"}
    found = _read(client, schema)
    document = found or _NEW
    saved: Examples = document["components"]["examples"]
    others = {name: event for name, event in saved.items() if name not in events}
    wanted = others if remove else others | events
    if wanted == saved:
        return
    if not wanted:
        client.delete_schema(**schema)
        return
    components = document["components"] | {"examples": wanted}
    content = json.dumps(document | {"components": components})
    if found is None:
        with contextlib.suppress(client.exceptions.ConflictException):  # it is there already
            client.create_registry(RegistryName=REGISTRY)
        client.create_schema(**schema, Type="OpenApi3", Content=content)
        return
    pages = client.get_paginator("list_schema_versions").paginate(**schema)
    versions = [int(each["SchemaVersion"]) for page in pages for each in page["SchemaVersions"]]
    for old in sorted(versions)[: 1 - _VERSIONS]:
        client.delete_schema_version(**schema, SchemaVersion=str(old))
    client.update_schema(**schema, Type="OpenApi3", Content=content)


def _read(client: Any, schema: dict[str, str]) -> dict[str, Any] | None:
    """Return a schema's document, or None if there is no such schema."""
    try:
        found = client.describe_schema(**schema)
    except client.exceptions.NotFoundException:
        return None
    try:
        document: dict[str, Any] = json.loads(found["Content"])
        document["components"].setdefault("examples", {}).keys()
    except (ValueError, TypeError, LookupError, AttributeError):
        raise ConsoleEventsError(
            f"The schema {schema['SchemaName']} in the registry {REGISTRY} holds no test events: "
            "delete it in the EventBridge console, then run this again."
        ) from None
    return document


def _function_names(session: boto3.Session, stack: str) -> dict[str, str]:
    """Return the name of each trigger's function."""
    found = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    missing = TRIGGERS.values() - outputs.keys()
    if missing:
        raise ConsoleEventsError(
            f"Stack {stack} has no output {', '.join(sorted(missing))}: deploy it again, or pass "
            "another --stack."
        )
    return {trigger: outputs[output] for trigger, output in TRIGGERS.items()}


def _explain(error: ClientError) -> str:
    answer = error.response["Error"]
    # CloudFormation and EventBridge spell some codes with a suffix, or not.
    code = answer.get("Code", "").removesuffix("Exception")
    message = " ".join(answer.get("Message", "").split()).removesuffix(".")
    what_to_do = _WHAT_TO_DO.get(code, "mend that, then run this again")
    return f"AWS refused {error.operation_name} ({code}: {message}): {what_to_do}."


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m infra.console_events",
        description="Put the events of tests/events into the Lambda console's Test tabs.",
    )
    parser.add_argument("--stack", default="EmailOtp", help="the stack's name (EmailOtp)")
    parser.add_argument("--region", help="the stack's region, if not the configured one")
    parser.add_argument("--remove", action="store_true", help="take the events out again")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
