"""T22: a whole sign-in leaves no code, Cognito `Session` or token anywhere but on the stream.

Everything that could keep one is turned up as far as it goes, then searched. That the search
can find something in each of these places is tested too, with a leak planted there.
"""

import contextlib
import copy
import json
import logging
import os
import secrets
import sys
import time
import uuid
from collections.abc import AsyncIterable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import strands.telemetry.tracer
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient
from strands import Agent
from strands.session.file_session_manager import FileSessionManager
from strands.telemetry.metrics import Trace
from strands.types.streaming import StreamEvent

import agent.main
from agent.service.offline_model import OfflineModel
from agent.service.settings import ServiceSettings
from agent.sign_in.observability import JsonFormatter
from agent.sign_in.turns import EmailOtp
from infra.local.serving import agent_environment
from tests.support.agent_process import SESSION_HEADER
from tests.support.chunks import chunks_in, outputs_of
from tests.support.deployment import Deployment, other_than
from tests.support.leak_search import Secret, encoded, find_leaks

TRIGGERS = {
    "define logs": "DefineAuthChallenge",
    "create logs": "CreateAuthChallenge",
    "verify logs": "VerifyAuthChallengeResponse",
}
TABLES = {"ledger": "OtpLedgerTableName", "guests": "GuestsTableName"}
TALKATIVE = {
    "LOG_LEVEL": "DEBUG",
    "POWERTOOLS_LOG_LEVEL": "DEBUG",
    "POWERTOOLS_LOGGER_LOG_EVENT": "true",
    "POWERTOOLS_DEBUG": "true",
}
LATEST_CONVENTIONS = "gen_ai_latest_experimental,gen_ai_tool_definitions"


class RecordingModel(OfflineModel):
    """The offline model; keeps all it is given."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncIterable[StreamEvent]:
        """Answer as the offline model does."""
        # Deep copies, since the messages change; objects that cannot be copied count by themselves.
        self.given.append([_copied(each) for each in (*args, *kwargs.items())])
        async for event in super().stream(*args, **kwargs):
            yield event


class Records(logging.Handler):
    """Keeps every record, and what both formatters make of it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.kept: list[object] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        plain = logging.Formatter("%(asctime)s %(name)s %(message)s").format(record)
        self.kept += [record, plain, JsonFormatter().format(record)]


@dataclass
class Scene:
    """The running agent and all the places where something of a sign-in may stay."""

    stack: Deployment
    directory: Path
    model: RecordingModel = field(default_factory=RecordingModel)
    records: Records = field(default_factory=Records)
    spans: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    meters: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    agents: list[Agent] = field(default_factory=list)
    streams: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    secrets: list[Secret] = field(default_factory=list)

    def places(self) -> dict[str, Callable[[], object]]:
        """Return how to read each place."""
        return {
            "agent messages": lambda: [each.messages for each in self.agents],
            "agent state": lambda: [each.state.get() for each in self.agents],
            "model input": lambda: self.model.given,
            "session files": lambda: {
                str(path): path.read_bytes()
                for path in (self.directory / "history").rglob("*")
                if path.is_file()
            },
            "spans": lambda: [span.to_json() for span in self.spans.get_finished_spans()],
            "event loop metrics": lambda: [each.event_loop_metrics for each in self.agents],
            "otel metrics": lambda: self._metered(),
            "log records": lambda: self.records.kept,
            "stdout": (self.directory / "stdout").read_bytes,
            "stderr": (self.directory / "stderr").read_bytes,
            **{place: self._log_reader(trigger) for place, trigger in TRIGGERS.items()},
            **{place: self._table_reader(name) for place, name in TABLES.items()},
        }

    def find(self, places: list[str], searched: list[Secret]) -> list[str]:
        """Search places as they are now."""
        readers = self.places()
        return find_leaks({place: readers[place]() for place in places}, searched)

    def _metered(self) -> str:
        data = self.meters.get_metrics_data()
        return data.to_json() if data else ""

    def _log_reader(self, trigger: str) -> Callable[[], object]:
        group = self.stack.function(trigger)["LoggingConfig"]["LogGroup"]

        def read() -> object:
            pages = self.stack.client("logs").get_paginator("filter_log_events")
            return [e["message"] for p in pages.paginate(logGroupName=group) for e in p["events"]]

        return read

    def _table_reader(self, output: str) -> Callable[[], object]:
        pages = self.stack.dynamodb.get_paginator("scan")
        return lambda: [
            item
            for page in pages.paginate(TableName=self.stack.outputs[output])
            for item in page["Items"]
        ]


@dataclass(frozen=True)
class Played:
    """What was found right after the sign-ins, before anything was planted."""

    scene: Scene
    leaks: list[str]
    sizes: Mapping[str, int]


@pytest.fixture(scope="module")
def played(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Two guests sign in, with both of Strands' ways of tracing, and see their records."""
    scene = Scene(stack, tmp_path_factory.mktemp("canary"))
    with contextlib.ExitStack() as undo:
        undo.enter_context(_talkative_triggers(stack))
        patch = undo.enter_context(pytest.MonkeyPatch.context())
        _trace_into(scene, patch)
        with _captured_output(scene.directory), _loggers_turned_up(scene.records):
            http = undo.enter_context(_serving(scene, patch))
            _sign_in(scene, http, "box")
            patch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", LATEST_CONVENTIONS)
            patch.setattr(strands.telemetry.tracer, "_tracer_instance", None)
            _sign_in(scene, http, "chat")
        everywhere = list(scene.places())
        yield Played(
            scene,
            scene.find(everywhere, scene.secrets),
            {place: len(str(read())) for place, read in scene.places().items()},
        )
        scene.spans.shutdown()


def test_t22_nothing_but_the_stream_holds_a_secret_after_two_sign_ins(played: Played) -> None:
    """T22: the codes, also the wrong ones, every Session and every token are in no place."""
    kinds = {secret.name.partition(" ")[0] for secret in played.scene.secrets}
    assert kinds == {"code", "wrong", "Session", "IdToken", "AccessToken", "RefreshToken"}
    assert played.leaks == []


def test_t22_no_place_was_empty(played: Played) -> None:
    """T22: or else the search in it would prove nothing."""
    may_be_empty = {"agent state", "stderr"}
    empty = {place for place, size in played.sizes.items() if size < 100}
    assert empty <= may_be_empty
    names = {span.name for span in played.scene.spans.get_finished_spans()}
    assert {"execute_tool verify_cognito_otp", "chat"} <= names
    assert any("code answered" in str(kept) for kept in played.scene.records.kept)
    assert any("challenge created" in str(line) for line in _read(played, "create logs"))
    assert any("answer decided" in str(line) for line in _read(played, "verify logs"))


def test_t22_the_stream_holds_the_tokens_and_no_code_or_session(played: Played) -> None:
    """T22: the browser gets its tokens, as the output of the verify call alone."""
    scene = played.scene
    tokens = [each for each in scene.secrets if each.name.split()[0].endswith("Token")]
    others = [each for each in scene.secrets if each not in tokens]
    assert len(tokens) == 6

    assert all(any(each.value in stream for stream in scene.streams) for each in tokens)
    assert find_leaks({"stream": scene.streams + scene.answers}, others) == []
    assert find_leaks({"rest of the stream": scene.answers}, tokens) == []


def test_t22_debug_records_of_libraries_lose_their_content(played: Played) -> None:
    """T22: the libraries were at DEBUG and did log; only their content is withheld."""
    records = [r for r in played.scene.records.kept if isinstance(r, logging.LogRecord)]
    debug = [r for r in records if r.levelno == logging.DEBUG and r.name.startswith("botocore")]
    assert debug
    assert {record.getMessage() for record in debug} == {"withheld"}


PLACES = [
    "agent messages",
    "agent state",
    "model input",
    "session files",
    "spans",
    "event loop metrics",
    "otel metrics",
    "log records",
    "stdout",
    "stderr",
    *TRIGGERS,
    *TABLES,
]


def test_t22_a_leak_is_planted_in_every_place(played: Played) -> None:
    """T22: a new place cannot be searched without the proof that the search works there."""
    assert list(played.scene.places()) == PLACES


@pytest.mark.parametrize("place", PLACES)
def test_t22_a_planted_leak_is_found_in_every_encoding(played: Played, place: str) -> None:
    """T22: the very same search finds codes and tokens, planted in each place."""
    # Not the real ones: the places must stay clean for the tests above, in whatever order.
    for make in (_made_up_code, _made_up_token):
        planted = {encoding: make(encoding) for encoding in encoded("")}
        leaks = [encoded(secret.value)[encoding] for encoding, secret in planted.items()]
        with _plant(played.scene, place, "the secrets are:\n" + "\nand ".join(leaks)):
            found = played.scene.find([place], list(planted.values()))
        assert found == [
            f"{place}: {secret.name} ({encoding.removeprefix('urlsafe ').partition(' at ')[0]})"
            for encoding, secret in planted.items()
        ]


def test_t22_a_made_up_secret_is_found_nowhere(played: Played) -> None:
    """T22: the search finds nothing that is not there."""
    places = list(played.scene.places())
    assert played.scene.find(places, [_made_up_code(""), _made_up_token("")]) == []


@pytest.mark.parametrize("place", ["agent messages", "session files", "ledger"])
def test_t22_a_part_of_a_token_and_a_spaced_code_are_found(played: Played, place: str) -> None:
    """T22: neither a token cut short nor a code written in groups escapes."""
    code, refresh_token = _made_up_code("spaced"), _made_up_token("cut")
    parts = (refresh_token.value[:60], refresh_token.value[-60:], refresh_token.value[100:300])
    for part in parts:
        with _plant(played.scene, place, f"cut short: {part}"):
            assert played.scene.find([place], [refresh_token]) != []
    for spelled in (f"{code.value[:3]} {code.value[3:]}", "-".join(code.value)):
        with _plant(played.scene, place, f"code{spelled}."):
            assert played.scene.find([place], [code]) != []


def _made_up_code(name: str) -> Secret:
    return Secret(f"code, {name}", f"{secrets.randbelow(10**6):06d}")


def _made_up_token(name: str) -> Secret:
    return Secret(f"token, {name}", secrets.token_urlsafe(300))


def _read(played: Played, place: str) -> list[Any]:
    content = played.scene.places()[place]()
    assert isinstance(content, list)
    return content


def _sign_in(scene: Scene, http: TestClient, way: str) -> None:
    """Play one guest: a wrong code, the right one, then the guest record as a member."""
    address = f"canary-{uuid.uuid4().hex[:12]}@example.com"
    session_id = f"session-{uuid.uuid4()}"
    _say(scene, http, session_id, "Can you show me my profile?")
    _say(scene, http, session_id, f"I'm Ada Lovelace, {address}")
    code = scene.stack.code_mailed_to(address)
    wrong = other_than(code)
    scene.secrets += [Secret(f"code by {way}", code), Secret(f"wrong code by {way}", wrong)]
    if way == "box":
        _say(scene, http, session_id, "", code=wrong)
        stream = _say(scene, http, session_id, "", code=code)
    else:
        _say(scene, http, session_id, f"It says {wrong[:3]} {wrong[3:]}")
        stream = _say(scene, http, session_id, f"Sorry, {code}")
    _say(scene, http, session_id, f"So {code} it was. What did I type?")
    outputs = outputs_of(_chunks(stream))
    (event,) = [each for each in outputs if each.get("event_type") == "auth_tokens"]
    record = _say(
        scene, http, f"session-{uuid.uuid4()}", "Show me my profile", event["access_token"]
    )
    assert event["guest_id"] in record


def _say(
    scene: Scene,
    http: TestClient,
    session_id: str,
    prompt: str,
    access_token: str | None = None,
    code: str | None = None,
) -> str:
    _turn_up_loggers()  # again before each request: somebody may do so while it runs
    headers = {SESSION_HEADER: session_id}
    if access_token:
        headers["Authorization"] = f"Bearer {access_token}"
    payload = {"prompt": prompt} | ({"code": code} if code else {})
    response = http.post("/invocations", json=payload, headers=headers)
    assert response.status_code == 200
    scene.streams.append(response.text)
    # All that is not the output of the verify call.
    scene.answers += [
        json.dumps(chunk) for chunk in _chunks(response.text) if "auth_tokens" not in str(chunk)
    ]
    return response.text


def _chunks(stream: str) -> list[dict[str, Any]]:
    return list(chunks_in(stream.split("\n")))


@contextlib.contextmanager
def _serving(scene: Scene, patch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Serve the agent in this process, under its role alone; its calls' answers are noted."""

    class RecordedAgent(Agent):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            scene.agents.append(self)

    patch.setattr(agent.main, "Agent", RecordedAgent)
    settings, session = _settings_and_session(scene, patch)

    def note(parsed: Mapping[str, Any], **_: Any) -> None:
        found = {"Session": parsed.get("Session"), **parsed.get("AuthenticationResult", {})}
        known = {secret.value for secret in scene.secrets}
        for name in ("Session", "IdToken", "AccessToken", "RefreshToken"):
            if isinstance(value := found.get(name), str) and value not in known:
                scene.secrets.append(Secret(f"{name} {len(scene.secrets)}", value))

    session.events.register("after-call.cognito-idp", note)
    app = agent.main.create_app(
        settings,
        email_otp=EmailOtp.connect(settings, session),
        model=scene.model,
        session_manager=lambda history_id: FileSessionManager(
            history_id, storage_dir=str(scene.directory / "history")
        ),
    )
    with TestClient(app, base_url="http://127.0.0.1") as http:
        yield http


def _settings_and_session(
    scene: Scene, patch: pytest.MonkeyPatch
) -> tuple[ServiceSettings, boto3.Session]:
    environment = agent_environment(scene.directory, scene.stack.outputs)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ENDPOINT_URL"):
        patch.setenv(name, environment[name])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        patch.delenv(name, raising=False)
    settings = ServiceSettings.load(environment)
    return settings, boto3.Session(profile_name="agent", region_name=settings.region)


def _trace_into(scene: Scene, patch: pytest.MonkeyPatch) -> None:
    """Have Strands' spans and metrics kept, whoever set OpenTelemetry up before."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(scene.spans))
    patch.setattr(strands.telemetry.tracer, "_tracer_instance", None)
    meters = MeterProvider(metric_readers=[scene.meters])
    patch.setattr(metrics, "get_meter_provider", lambda: meters)
    patch.setattr(strands.telemetry.metrics.MetricsClient, "_instance", None)


@contextlib.contextmanager
def _talkative_triggers(stack: Deployment) -> Iterator[None]:
    """Turn up the triggers' logs too; back to the stack's own settings afterwards."""
    functions = stack.client("lambda")
    before = {
        stack.outputs[f"{trigger}FunctionName"]: stack.function(trigger)["Environment"]
        for trigger in TRIGGERS.values()
    }
    for name, environment in before.items():
        variables = environment["Variables"] | TALKATIVE
        functions.update_function_configuration(
            FunctionName=name, Environment={"Variables": variables}
        )
    try:
        yield
    finally:
        for name, environment in before.items():
            functions.update_function_configuration(FunctionName=name, Environment=environment)


@contextlib.contextmanager
def _captured_output(directory: Path) -> Iterator[None]:
    """Write stdout and stderr into files, whether through `sys` or the descriptors."""
    kept = os.dup(1), os.dup(2)
    with (
        (directory / "stdout").open("a", buffering=1) as out,
        (directory / "stderr").open("a", buffering=1) as err,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            for descriptor in kept:
                os.close(descriptor)


@contextlib.contextmanager
def _loggers_turned_up(records: Records) -> Iterator[None]:
    """Listen at the root, and at loggers that keep their records to themselves."""
    printing = logging.StreamHandler(sys.stdout)
    root = logging.getLogger()
    levels = {name: logger.level for name, logger in _loggers().items()}
    factory = logging.getLogRecordFactory()
    for handler in (records, printing):
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler in (records, printing):
            root.removeHandler(handler)
        for name, logger in _loggers().items():
            logger.setLevel(levels.get(name, logging.NOTSET))
        logging.setLogRecordFactory(factory)


def _loggers() -> dict[str, logging.Logger]:
    named = logging.root.manager.loggerDict
    found = {name: each for name, each in named.items() if isinstance(each, logging.Logger)}
    return {"root": logging.root, **found}


def _turn_up_loggers() -> None:
    for logger in _loggers().values():
        logger.setLevel(logging.DEBUG)


@contextlib.contextmanager
def _plant(scene: Scene, place: str, leak: str) -> Iterator[None]:
    """Put a leak where a real one would be, and take it away again."""
    with contextlib.ExitStack() as undo:
        match place:
            case "agent messages":
                message: Any = {"role": "user", "content": [{"text": leak}]}
                scene.agents[0].messages.append(message)
                undo.callback(scene.agents[0].messages.pop)
            case "agent state":
                scene.agents[0].state.set("leak", leak)
                undo.callback(scene.agents[0].state.delete, "leak")
            case "model input":
                scene.model.given.append({"messages": [{"content": [{"text": leak}]}]})
                undo.callback(scene.model.given.pop)
            case "session files":
                path = next((scene.directory / "history").rglob("message_*.json"))
                before = path.read_bytes()
                path.write_text(json.dumps({"message": {"text": leak}}))
                undo.callback(path.write_bytes, before)
            case "spans":
                with trace.get_tracer(__name__).start_as_current_span("planted") as span:
                    span.set_attribute("planted", json.dumps({"tool": leak}))
            case "event loop metrics":
                planted = Trace("planted", metadata={"tool": leak})
                scene.agents[0].event_loop_metrics.traces.append(planted)
                undo.callback(scene.agents[0].event_loop_metrics.traces.pop)
            case "otel metrics":
                meter = metrics.get_meter_provider().get_meter(__name__)
                meter.create_counter("planted").add(1, {"tool": leak})
            case "log records":
                length = len(scene.records.kept)
                with _loggers_turned_up(scene.records):
                    logging.getLogger("planted").warning("planted", extra={"tool": leak})
                undo.callback(scene.records.kept.__delitem__, slice(length, None))
            case "stdout" | "stderr":
                with _captured_output(scene.directory):
                    print(leak, file=getattr(sys, place))
            case _:
                _plant_in_aws(scene.stack, place, leak, undo)
        yield


def _plant_in_aws(stack: Deployment, place: str, leak: str, undo: contextlib.ExitStack) -> None:
    if place in TRIGGERS:
        _log_as_lambda(stack, TRIGGERS[place], leak)
    else:
        _put_item(stack, place, leak, undo)


def _log_as_lambda(stack: Deployment, trigger: str, leak: str) -> None:
    logs, stream = stack.client("logs"), uuid.uuid4().hex
    group = stack.function(trigger)["LoggingConfig"]["LogGroup"]
    line = json.dumps({"level": "INFO", "planted": leak})
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    logs.put_log_events(
        logGroupName=group,
        logStreamName=stream,
        logEvents=[{"timestamp": int(time.time() * 1000), "message": line}],
    )


def _put_item(stack: Deployment, place: str, leak: str, undo: contextlib.ExitStack) -> None:
    name = "sub" if place == "ledger" else "cognito_sub"
    key = {name: {"S": f"planted-{uuid.uuid4()}"}}
    table = stack.outputs[TABLES[place]]
    stack.dynamodb.put_item(TableName=table, Item={**key, "planted": {"S": leak}})
    undo.callback(stack.dynamodb.delete_item, TableName=table, Key=key)


def _copied(value: object) -> object:
    try:
        return copy.deepcopy(value)
    except (TypeError, ValueError):
        return value
