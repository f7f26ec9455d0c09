"""Publishing the events of tests/events in the Lambda console."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from infra import console_events
from infra.console_events import EVENTS, TRIGGERS, read_events
from infra.local.ministack import ROOT

REGION = "eu-west-1"
REGISTRY = "lambda-testevent-schemas"
"""Where the console looks."""
OUTPUTS = {output: f"EmailOtp-{trigger}-1" for trigger, output in TRIGGERS.items()}
DEFINE = "_EmailOtp-define-1-schema"
SCHEMAS = {f"_{function}-schema" for function in OUTPUTS.values()}
MAX_CONTENT = 100_000
"""Characters of a schema: EventBridge's limit."""
THEIRS = {"value": {"mine": True}}
OURS = {"value": {"version": "1"}}
RUN_AGAIN = "somebody else changed these test events just now, run it again.\n"


class Refused(Exception):  # noqa: N818 - AWS's answer, not a fault of the stand-in
    """An error that an AWS service answers with: its code, and its message."""


class Aws:
    """CloudFormation and EventBridge's schemas, under boto3's real clients.

    Attributes:
        schemas: The versions of each schema, by its name; None if there is no registry.
        writes: The operations called that change something, in order.
        before: What happens once, before an operation is carried out.
    """

    def __init__(self) -> None:
        self.schemas: dict[str, dict[int, str]] | None = None
        self.outputs = dict(OUTPUTS)
        self.writes: list[str] = []
        self.before: dict[str, Callable[[], object]] = {}
        self._params: dict[str, Any] = {}

    def document(self, schema: str = DEFINE) -> dict[str, Any]:
        """Return the latest version of a schema."""
        assert self.schemas is not None
        versions = self.schemas[schema]
        latest: dict[str, Any] = json.loads(versions[max(versions)])
        return latest

    def examples(self, schema: str = DEFINE) -> dict[str, Any]:
        """Return the events in a schema, as the console reads them."""
        examples: dict[str, Any] = self.document(schema)["components"]["examples"]
        return examples

    def save(self, **events: Any) -> None:
        """Save these events of Define and no others, as a person does in the console."""
        self.schemas = self.schemas or {}
        versions = self.schemas.setdefault(DEFINE, {})
        document = {"components": {"schemas": "theirs", "examples": events}}
        versions[max(versions, default=0) + 1] = json.dumps(document)

    def take(self, params: dict[str, Any], **_: Any) -> None:
        """Take the parameters of the call that `answer` is asked for next."""
        self._params = params

    def answer(self, model: Any, **_: Any) -> tuple[Any, dict[str, Any]]:
        """Answer a call, in the place of the network."""
        operation, params = model.name, self._params
        if not operation.startswith(("Describe", "List")):
            self.writes.append(operation)
        try:
            self.before.pop(operation, lambda: None)()
            if operation == "DescribeStacks":
                return SimpleNamespace(status_code=200), self._stacks(params["StackName"])
            return SimpleNamespace(status_code=200), self._registry(operation, params)
        except Refused as refused:
            code, message = refused.args
            error = {"Error": {"Code": code, "Message": message}}
            return SimpleNamespace(status_code=400), error

    def _stacks(self, stack: str) -> dict[str, Any]:
        if stack != "EmailOtp":
            raise Refused("ValidationError", "Stack with id Other does not exist")
        outputs = self.outputs.items()
        return {"Stacks": [{"Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in outputs]}]}

    def _registry(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        assert params["RegistryName"] == REGISTRY
        if operation == "CreateRegistry":
            if self.schemas is not None:
                raise Refused("ConflictException", "It exists")
            self.schemas = {}
            return {}
        name = params.get("SchemaName", "")
        if self.schemas is None or (name not in self.schemas and operation != "CreateSchema"):
            raise Refused("NotFoundException", "It does not exist")
        if operation == "DeleteSchema":
            del self.schemas[name]
            return {}
        return _schema(self.schemas.setdefault(name, {}), operation, params)


def _schema(versions: dict[int, str], operation: str, params: dict[str, Any]) -> dict[str, Any]:
    latest = max(versions, default=0)
    match operation:
        case "DescribeSchema":
            return {"Content": versions[latest]}
        case "ListSchemaVersions":  # in pages of two
            start = int(params.get("NextToken", 0))
            page = sorted(versions, reverse=True)[start : start + 2]
            more = {"NextToken": str(start + 2)} if start + 2 < len(versions) else {}
            return {"SchemaVersions": [{"SchemaVersion": str(each)} for each in page], **more}
        case "CreateSchema" | "UpdateSchema":
            if versions and (operation == "CreateSchema" or params["Content"] == versions[latest]):
                raise Refused("ConflictException", "It exists")
            assert params["Type"] == "OpenApi3"
            versions[latest + 1] = params["Content"]
            assert len(versions) <= 5
        case "DeleteSchemaVersion":
            if versions.pop(int(params["SchemaVersion"]), None) is None:
                raise Refused("NotFoundException", "It does not exist")
        case _:
            pytest.fail(f"{operation} is not known here")
    return {}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    """Put an AWS with the stack, and without a registry, under every boto3 client."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", REGION)
    answering = Aws()
    real = boto3.Session

    def session(**arguments: Any) -> boto3.Session:
        made = real(**arguments)
        made.events.register("provide-client-params", answering.take)
        made.events.register("before-call", answering.answer)  # type: ignore[arg-type]
        return made

    monkeypatch.setattr(boto3, "Session", session)
    return answering


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put one event a trigger in the place of tests/events."""
    for trigger in TRIGGERS:
        (tmp_path / f"{trigger}_first.json").write_text('{"version": "1"}')
    monkeypatch.setattr(console_events, "EVENTS", tmp_path)
    return tmp_path


def run(*arguments: str) -> None:
    assert console_events.main([*arguments]) == 0


def fail(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert console_events.main([*arguments]) == 1
    return capsys.readouterr().err


def test_first_run_saves_every_file_at_its_function_and_says_where(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    shown = {
        f"{trigger}_{name}.json": example["value"]
        for trigger in TRIGGERS
        for name, example in aws.examples(f"_EmailOtp-{trigger}-1-schema").items()
    }
    assert shown == {path.name: json.loads(path.read_text()) for path in EVENTS.glob("*.json")}
    document = aws.document()
    assert (document["openapi"], document["paths"]) == ("3.0.0", {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    count = len(list(EVENTS.glob("define_*.json")))
    assert lines[0] == (
        f"EmailOtp-define-1: {count} events, in its Test tab: https://console.aws.amazon.com"
        "/lambda/home?region=eu-west-1#/functions/EmailOtp-define-1?tab=testing"
    )


def test_second_run_writes_nothing(aws: Aws) -> None:
    run()
    aws.writes.clear()
    run()
    assert aws.writes == []


@pytest.mark.usefixtures("folder")
def test_event_that_a_person_saved_survives_and_ours_replaces_its_namesake(aws: Aws) -> None:
    aws.save(my_event=THEIRS, first=THEIRS)
    run()
    assert aws.document()["components"] == {
        "schemas": "theirs",
        "examples": {"my_event": THEIRS, "first": OURS},
    }


@pytest.mark.usefixtures("folder")
def test_versions_do_not_pile_up_and_the_newest_five_stay(aws: Aws) -> None:
    for number in range(12):
        aws.save(my_event={"value": {"number": number}})
    run()
    assert aws.schemas is not None
    assert list(aws.schemas[DEFINE]) == [9, 10, 11, 12, 13]
    assert aws.examples()["my_event"] == {"value": {"number": 11}}


@pytest.mark.usefixtures("folder")
def test_remove_takes_ours_out_and_leaves_what_people_saved(aws: Aws) -> None:
    run()
    aws.save(my_event=THEIRS, **aws.examples())
    run("--remove")
    assert aws.schemas is not None
    assert list(aws.schemas) == [DEFINE]
    assert aws.examples() == {"my_event": THEIRS}


def test_remove_deletes_schemas_that_held_ours_alone_and_keeps_the_registry(aws: Aws) -> None:
    run()
    run("--remove")
    assert aws.schemas == {}


@pytest.mark.parametrize("people_saved", [None, {}, {"my_event": THEIRS}])
def test_remove_writes_nothing_where_nothing_is_ours(
    aws: Aws, people_saved: dict[str, Any] | None
) -> None:
    if people_saved is not None:
        aws.save(**people_saved)
    run("--remove")
    assert aws.writes == []


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("operation", "versions"),
    [("CreateRegistry", 0), ("CreateSchema", 0), ("UpdateSchema", 1), ("DeleteSchemaVersion", 5)],
)
def test_two_runs_at_once_leave_correct_events_and_one_is_to_be_run_again(
    aws: Aws, capsys: pytest.CaptureFixture[str], operation: str, versions: int
) -> None:
    for _ in range(versions):
        aws.save(my_event=THEIRS)
    aws.before[operation] = run
    assert fail(capsys).endswith(RUN_AGAIN)
    run()
    assert aws.schemas is not None
    assert aws.schemas.keys() == SCHEMAS
    saved = {"my_event": THEIRS} if versions else {}
    assert aws.examples() == saved | {"first": OURS}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("arguments", [[], ["--remove"]])
def test_schema_deleted_between_read_and_write_is_to_be_run_again(
    aws: Aws, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    aws.save(**({"first": OURS} if arguments else {"my_event": THEIRS}))
    schemas = aws.schemas
    assert schemas is not None
    for operation in ("UpdateSchema", "DeleteSchema"):
        aws.before[operation] = lambda: schemas.pop(DEFINE)
    assert fail(capsys, *arguments).endswith(RUN_AGAIN)
    aws.before.clear()
    run(*arguments)


ASK = 'ask for the permissions that README names under "One trigger"'


@pytest.mark.parametrize(
    ("code", "what_to_do"),
    [
        ("AccessDenied", ASK),
        ("ForbiddenException", ASK),
        ("ExpiredToken", "sign in to AWS again"),
        ("BadRequestException", "mend that, then run this again"),
    ],
)
@pytest.mark.parametrize("operation", ["DescribeStacks", "DescribeSchema", "CreateRegistry"])
def test_refusal_by_aws_is_one_line_that_says_what_to_do(
    aws: Aws, capsys: pytest.CaptureFixture[str], operation: str, code: str, what_to_do: str
) -> None:
    def refuse() -> None:
        raise Refused(code, "told\n by AWS.")

    aws.before[operation] = refuse
    short = code.removesuffix("Exception")
    assert fail(capsys) == f"AWS refused {operation} ({short}: told by AWS): {what_to_do}.\n"


def test_region_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION")
    (line,) = fail(capsys).splitlines()
    assert line == "Which region is the stack in? Pass --region."
    run("--region", REGION)


def test_stack_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(capsys, "--stack", "Other") == (
        "AWS refused DescribeStacks (ValidationError: Stack with id Other does not exist): deploy "
        "it, or pass another --stack or --region.\n"
    )


def test_output_that_the_stack_has_not_is_named(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    del aws.outputs[TRIGGERS["verify"]]
    assert fail(capsys) == (
        "Stack EmailOtp has no output VerifyAuthChallengeResponseFunctionName: deploy it again, "
        "or pass another --stack.\n"
    )


@pytest.mark.parametrize("content", ["openapi: 3.0.0", '{"components": {"examples": []}}'])
def test_schema_of_another_kind_is_named_and_left(
    aws: Aws, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    aws.schemas = {DEFINE: {1: content}}
    assert fail(capsys) == (
        f"The schema {DEFINE} in the registry {REGISTRY} holds no test events: delete it in the "
        "EventBridge console, then run this again.\n"
    )
    assert aws.writes == []


def test_file_that_is_no_json_is_refused_at_once(
    aws: Aws, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "verify_broken.json").write_text("{")
    (line,) = fail(capsys).splitlines()
    assert line.startswith("verify_broken.json is no JSON, mend it: ")
    assert aws.writes == []


def test_readme_says_what_every_event_shows() -> None:
    rows = re.findall(
        r"^\| (Define|Create|Verify) \| (.+?) \|", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    named = {
        f"{trigger.lower()}_{name}"
        for trigger, cell in rows
        for name in re.findall("`(.+?)`", cell)
    }
    assert named == {path.stem for path in EVENTS.glob("*.json")}


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_names_and_sizes_are_within_the_limits_of_the_console_and_eventbridge(trigger: str) -> None:
    events = read_events(EVENTS, trigger)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,25}", name) for name in events)
    # Half is left for what people save.
    assert len(json.dumps(events)) < MAX_CONTENT / 2
