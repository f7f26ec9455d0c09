"""How fast it is: `make bench` deploys into MiniStack, measures, and prints one table.

Medians where a thing is done more than once, beside the bound that was set or the bare work that
nobody can avoid. Numbers depend on the machine; the ratios travel better. Nothing here asserts a
time.
"""

import asyncio
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jwt

from agent.service.settings import OFFLINE
from agent.sign_in.identity import KeySet, TokenVerifier, fetch_jwks
from agent.sign_in.stream import ui_message_chunks
from infra import bundling
from infra.local import deployment
from infra.local.deployment import CREDENTIALS
from infra.local.ministack import ROOT
from infra.local.serving import agent_environment
from lambdas.email_otp import issuing
from lambdas.email_otp.code_key import CodeKeys
from lambdas.email_otp.issuing import Issuer
from lambdas.email_otp.ledger import Ledger
from lambdas.email_otp.mailer import Mailer
from lambdas.email_otp.pretence import Pretence
from lambdas.email_otp.settings import CreateSettings, Resources
from lambdas.email_otp.user import User
from tests.support.agent_process import ALONE, THIS_PLATFORM, Chat, running_agent
from tests.support.chunks import outputs_of
from tests.support.deployment import Deployment, http, new_address

_LAMBDA_PYTHON = ROOT / ".local" / "emulator" / "bin" / "python"
_GUESTS_AT_ONCE = 20
_CHATTING, _SIGNING_IN = 200, 50
_FIRST_ROUNDS = 200
_FEW, _MANY, _USERS = 10, 100_000, 1000
_RETURNS = 20
_BARE_CLIENTS = "import boto3\nfor name in {names}: boto3.client(name)"
_POWERTOOLS = """
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.data_classes import cognito_user_pool_event
"""
_HANDLERS = {
    "define_auth_challenge": (),
    "create_auth_challenge": ("dynamodb", "sesv2", "secretsmanager"),
    "verify_auth_challenge_response": ("dynamodb", "secretsmanager", "cognito-idp"),
}


@dataclass(frozen=True)
class Row:
    """One line of the table; times in seconds."""

    what: str
    measured: float
    beside: str
    reference: float | None = None

    def __str__(self) -> str:
        ratio = f"{self.measured / self.reference:.2f}" if self.reference else ""
        return f"| {self.what} | {_shown(self.measured)} | {self.beside} | {ratio} |"


def main() -> None:
    """Measure everything and print the table."""
    print("| what | measured | beside | ratio |\n| --- | ---: | --- | ---: |", flush=True)
    with tempfile.TemporaryDirectory(prefix="email-otp-bench-") as folder:
        directory = Path(folder)
        with (
            deployment.deployed(directory, context={"max_new_guests_per_hour": "2000"}) as outputs,
            running_agent(directory, outputs) as url,
        ):
            stack = Deployment(outputs)
            for row in _rows(stack, directory, url):
                print(row, flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="email-otp-bench-") as folder,
        deployment.deployed(Path(folder)) as outputs,
    ):
        for row in _growth(Deployment(outputs)):
            print(row, flush=True)


def _rows(stack: Deployment, directory: Path, url: str) -> Iterator[Row]:
    yield Row("whole sign-in, first after the deployment", _sign_in(stack, url)[0], "< 90 s", 90)
    warm = _median(lambda: _sign_in(stack, url)[0], times=10)
    bare = _median(lambda: _bare_sign_in(stack), times=10)
    yield Row("whole sign-in, warm", warm, f"the bare Cognito calls: {_shown(bare)}", bare)
    cold = _median(lambda: _cold_sign_in(stack), times=7)
    yield Row("the bare Cognito calls, all functions cold", cold, f"warm: {_shown(bare)}", bare)
    yield Row(
        "first chunk, before any model call",
        _median(lambda: _first_chunk(url), times=50),
        "< 20 ms",
        0.020,
    )
    tokens = _sign_in(stack, url)[1]
    yield Row("refresh at Cognito, p95 of 50", _refresh_p95(stack, tokens), "< 500 ms", 0.5)
    access_token = tokens["access_token"]
    verified, bare_verified = _verification(stack, access_token)
    yield Row(
        "token verification, warm",
        verified,
        f"< 0.5 ms; PyJWT's decode alone: {_shown(bare_verified)}",
        bare_verified,
    )
    yield Row("stream mapping, a chunk", _mapping(), "< 0.1 ms", 0.000_1)
    yield from _first_rounds(stack)
    yield from _starts(stack, directory)
    yield _many_at_once(stack, url)
    yield from _under_load(stack, url)


def _sign_in(stack: Deployment, url: str) -> tuple[float, dict[str, Any]]:
    """Sign a new guest in through the agent; seconds without reading the mail, and the event."""
    address = new_address()
    guest = Chat(url)
    started_at = time.perf_counter()
    guest.say(f"I'm Ada, {address}")
    asked = time.perf_counter() - started_at
    code = stack.code_mailed_to(address)
    started_at = time.perf_counter()
    outputs = outputs_of(guest.say("", code=code))
    answered = time.perf_counter() - started_at
    (event,) = outputs
    if event.get("event_type") != "auth_tokens" or event["email"] != address:
        raise RuntimeError(f"the sign-in failed: {event.get('error_code')}")
    return asked + answered, event


def _bare_sign_in(stack: Deployment) -> float:
    """Make the same calls of Cognito's, without an agent; returns the seconds."""
    started_at = time.perf_counter()
    address = stack.new_user()
    challenge = stack.initiate(address)
    asked = time.perf_counter() - started_at
    code = stack.code_mailed_to(address)
    started_at = time.perf_counter()
    stack.respond(challenge, code)
    return asked + time.perf_counter() - started_at


def _cold_sign_in(stack: Deployment) -> float:
    """Have each trigger start a new process for the bare Cognito calls; returns the seconds."""
    functions = stack.client("lambda")
    for handler in _HANDLERS:
        variables = stack.function(_name(handler))["Environment"]["Variables"]
        functions.update_function_configuration(
            FunctionName=stack.outputs[f"{_name(handler)}FunctionName"],
            Environment={"Variables": variables | {"STARTED_ANEW": uuid.uuid4().hex}},
        )
    time.sleep(0.3)  # until the old processes have ended
    return _bare_sign_in(stack)


def _name(handler: str) -> str:
    return "".join(word.capitalize() for word in handler.split("_"))


def _first_chunk(url: str) -> float:
    chat = Chat(url)
    started_at = time.perf_counter()
    with http.stream(
        "POST",
        f"{chat.url}/invocations",
        json={"prompt": "Hello"},
        headers=chat.headers(),
    ) as response:
        next(response.iter_raw())
        return time.perf_counter() - started_at


def _refresh_p95(stack: Deployment, tokens: dict[str, Any]) -> float:
    """Measure the very request that the browser makes, without the browser."""

    def refresh() -> None:
        response = http.post(
            stack.outputs["endpoint_url"],
            json={
                "RefreshToken": tokens["refresh_token"],
                "ClientId": stack.outputs["UserPoolClientId"],
            },
            headers={
                "Content-Type": "application/x-amz-json-1.1",
                "X-Amz-Target": "AWSCognitoIdentityProviderService.GetTokensFromRefreshToken",
            },
        )
        response.raise_for_status()

    return _p95([_timed(refresh) for _ in range(50)])


def _verification(stack: Deployment, access_token: str) -> tuple[float, float]:
    pool, region = stack.outputs["UserPoolId"], stack.outputs["region"]
    issuer = f"https://cognito-idp.{region}.amazonaws.com/{pool}"
    jwks_url = f"{stack.outputs['endpoint_url']}/{pool}/.well-known/jwks.json"
    verifier = TokenVerifier(
        issuer=issuer,
        client_id=stack.outputs["UserPoolClientId"],
        keys=KeySet(lambda: fetch_jwks(jwks_url), time.monotonic),
        clock=time.time,
    )
    key = jwt.PyJWKClient(jwks_url).get_signing_key_from_jwt(access_token).key
    verifier.verify_access_token(access_token)
    return (
        _median(lambda: _timed(lambda: verifier.verify_access_token(access_token)), times=1000),
        _median(
            lambda: _timed(
                lambda: jwt.decode(access_token, key, algorithms=["RS256"], issuer=issuer)
            ),
            times=1000,
        ),
    )


def _mapping() -> float:
    pieces = 2000

    async def events() -> AsyncIterator[dict[str, Any]]:
        for _ in range(pieces):
            yield {"data": "word "}

    async def drain() -> None:
        async for _ in ui_message_chunks(events()):
            pass

    return _median(lambda: _timed(lambda: asyncio.run(drain())), times=10) / pieces


def _first_rounds(stack: Deployment) -> Iterator[Row]:
    """Issue codes in one process, as Create does, to users who exist and to some who do not."""
    create = stack.function("CreateAuthChallenge")["Environment"]["Variables"]
    settings = replace(CreateSettings.from_environment(create), max_sends_per_hour=1_000_000)
    resources = Resources.from_environment(create)

    def first_rounds(user: User, pause: Callable[[Pretence], bool]) -> list[float]:
        issuer = Issuer(
            Ledger(
                stack.dynamodb,
                resources.ledger_table_name,
                code_ttl_seconds=settings.code_ttl_seconds,
            ),
            Mailer(
                stack.client("sesv2"),
                sender=settings.sender,
                app_name=settings.app_name,
                code_ttl_seconds=settings.code_ttl_seconds,
            ),
            CodeKeys(stack.client("secretsmanager"), resources.code_key_secret_arn),
            settings,
        )
        times = []
        with (
            stack.switched(mails_per_second=10_000),
            patch.object(Pretence, "pause", pause),
            patch.object(issuing, "count"),  # metrics belong to a handler
        ):
            for number in range(2 * _FIRST_ROUNDS):
                # Every second one is mailed, so that there are mails to wait as long as.
                asking = mailed if number % 2 else user
                new = replace(asking, name=uuid.uuid4().hex)
                seconds = _timed(lambda: issuer.issue(new, user_pool_id="bench"))  # noqa: B023
                if number % 2 == 0:
                    times.append(seconds)
        return times

    mailed = User(name="", known=True, address="ada@example.com", locale="", email_verified=True)
    unknown = replace(mailed, known=False, address="")
    known_times = first_rounds(mailed, Pretence.pause)
    reference = statistics.median(known_times)
    for who, times in (
        ("a user who exists", known_times),
        ("one who does not", first_rounds(unknown, Pretence.pause)),
        ("the same without the pause", first_rounds(unknown, lambda _: True)),
    ):
        tenths = statistics.quantiles(times, n=10)
        yield Row(
            f"code issued to {who}, median of {len(times)}",
            statistics.median(times),
            f"80 % within {_shown(tenths[0])} to {_shown(tenths[-1])}",
            reference,
        )


def _starts(stack: Deployment, directory: Path) -> Iterator[Row]:
    for handler, clients in _HANDLERS.items():
        environment = stack.function(_name(handler))["Environment"]["Variables"] | {
            "AWS_DEFAULT_REGION": stack.outputs["region"],
            "AWS_ENDPOINT_URL": stack.outputs["endpoint_url"],
            **{name.upper(): str(value) for name, value in CREDENTIALS.items()},
        }
        bundle = bundling.build_function(handler)
        ready = _start(_LAMBDA_PYTHON, f"import lambdas.{handler}", bundle, environment)
        bare = _start(_LAMBDA_PYTHON, "pass", bundle, environment)
        libraries = _start(
            Path(sys.executable),
            _POWERTOOLS + (_BARE_CLIENTS.format(names=clients) if clients else ""),
            ROOT,
            environment,
        )
        yield Row(
            f"start to ready: {handler}",
            ready,
            f"bare Python: {_shown(bare)}, and the same libraries: {_shown(libraries)}",
            libraries,
        )

    bundle = bundling.build_agent(platform=THIS_PLATFORM)
    program = (*ALONE, str(bundle / "main.py"))

    def agent_start(model_id: str) -> float:
        started_at = time.perf_counter()
        with running_agent(
            directory, stack.outputs, program=program, environment={"MODEL_ID": model_id}
        ):
            return time.perf_counter() - started_at

    environment = agent_environment(directory, stack.outputs)
    bare_code = _BARE_CLIENTS.format(names=("cognito-idp", "dynamodb"))
    bare = _start(Path(sys.executable), bare_code, ROOT, environment)
    libraries = _start(
        Path(sys.executable),
        f"{bare_code}\nimport strands, bedrock_agentcore.runtime, jwt",
        ROOT,
        environment,
    )
    beside = f"boto3 with the same clients: {_shown(bare)}, and its libraries: {_shown(libraries)}"
    for model, model_id in (("a Bedrock model", "example.model-v1"), ("the offline one", OFFLINE)):
        ready = _median(partial(agent_start, model_id), times=7)
        yield Row(f"start to ready: hosted agent with {model}", ready, beside, libraries)


def _start(python: Path, code: str, folder: Path, environment: dict[str, str]) -> float:
    command = [str(python), "-c", code]
    whole = {"PATH": os.environ["PATH"], **environment}
    return _median(
        lambda: _timed(lambda: subprocess.run(command, cwd=folder, env=whole, check=True)), times=7
    )


def _under_load(stack: Deployment, url: str) -> Iterator[Row]:
    """Visitors chat, a message every two seconds; others begin to sign in in one instant."""
    over = threading.Event()
    failures: list[str] = []
    with ThreadPoolExecutor(_CHATTING + _SIGNING_IN + 1) as pool:
        pinging = pool.submit(_ping, url, over)
        chatting = [pool.submit(_chat, url, over, failures) for _ in range(_CHATTING)]
        time.sleep(3)
        signing_in = [pool.submit(_sign_in, stack, url) for _ in range(_SIGNING_IN)]
        wait(signing_in)
        over.set()
        pings = pinging.result()
        answers = [seconds for visitor in chatting for seconds in visitor.result()]
    failures += [str(error) for guest in signing_in if (error := guest.exception())]
    for failure in sorted(set(failures)):
        print(f"failed: {failure}", file=sys.stderr)
    times = [guest.result()[0] for guest in signing_in if not guest.exception()]
    if not answers or not times:
        raise RuntimeError("nobody was answered, or nobody signed in")
    load = f"{_CHATTING} chatting, {_SIGNING_IN} signing in at once"
    told = f"{len(failures)} failed of {len(answers) + len(times) + len(failures)}"
    yield Row(f"{load}: /ping, p95 of {len(pings)}", _p95(pings), "< 100 ms", 0.1)
    yield Row(f"{load}: an answer, p95", _p95(answers), told)
    yield Row(f"{load}: a sign-in, p95", _p95(times), f"{len(times)} signed in")


def _ping(url: str, over: threading.Event) -> list[float]:
    """Ping twenty times a second until it is over; returns how long each took."""
    times = []
    while not over.wait(0.05):
        times.append(_timed(lambda: http.get(f"{url}/ping").raise_for_status()))
    return times


def _chat(url: str, over: threading.Event, failures: list[str]) -> list[float]:
    """Ask about every two seconds until it is over; returns how long each answer took."""
    visitor = Chat(url)
    times = []
    while not over.wait(random.uniform(1, 3)):  # noqa: S311 - no secret
        try:
            times.append(_timed(lambda: visitor.say("When are you open?")))
        except Exception as error:
            failures.append(type(error).__name__)
    return times


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def _growth(stack: Deployment) -> Iterator[Row]:
    """One guest comes back among few others, and among many.

    The pool gets fewer of them: MiniStack looks through all its users to find one.
    """
    guest = stack.new_user()
    with ThreadPoolExecutor(4) as pool:
        few, many = (_billed_among(stack, guest, pool, known=known) for known in (_FEW, _MANY))
    for trigger, seconds in many.items():
        yield Row(
            f"{trigger} as billed, {_MANY:,} known guests, {_USERS:,} of them in the pool",
            seconds,
            f"{_FEW} known guests: {_shown(few[trigger])}",
            few[trigger],
        )


def _billed_among(
    stack: Deployment, guest: str, pool: ThreadPoolExecutor, *, known: int
) -> dict[str, float]:
    """Have so many known, and a guest come back; returns what each trigger's calls took."""
    _sign_in_anew(stack, guest)
    item = stack.ledger_item(guest)
    table = stack.outputs["OtpLedgerTableName"]

    def note(batch: range) -> None:
        others = [item | {"sub": {"S": f"other-{number}"}} for number in batch]
        left: Any = {table: [{"PutRequest": {"Item": other}} for other in others]}
        while left:
            left = stack.dynamodb.batch_write_item(RequestItems=left)["UnprocessedItems"]

    list(pool.map(note, (range(known)[first : first + 25] for first in range(0, known, 25))))
    list(pool.map(lambda _: stack.new_user(), range(min(known, _USERS))))
    began_at = int(time.time() * 1000)
    for _ in range(_RETURNS):
        _sign_in_anew(stack, guest)
    return {
        trigger: _billed(stack, trigger, began_at)
        for trigger in ("DefineAuthChallenge", "CreateAuthChallenge", "VerifyAuthChallengeResponse")
    }


def _sign_in_anew(stack: Deployment, guest: str) -> None:
    challenge = stack.initiate(guest)
    stack.respond(challenge, stack.code_mailed_to(guest))
    stack.age_ledger(guest, 3600)


def _billed(stack: Deployment, trigger: str, began_at: int) -> float:
    """Return the median of what Lambda reports of a trigger's calls since then, epoch ms."""
    pages = stack.client("logs").get_paginator("filter_log_events")
    group = stack.function(trigger)["LoggingConfig"]["LogGroup"]
    lines = [
        event["message"]
        for page in pages.paginate(logGroupName=group, startTime=began_at)
        for event in page["events"]
    ]
    return statistics.median(
        int(billed) / 1000
        for line in lines
        for billed in re.findall(r"Billed Duration: (\d+)", line)
    )


def _many_at_once(stack: Deployment, url: str) -> Row:
    started_at = time.perf_counter()
    with ThreadPoolExecutor(_GUESTS_AT_ONCE) as pool:
        events = list(pool.map(lambda _: _sign_in(stack, url)[1], range(_GUESTS_AT_ONCE)))
    seconds = time.perf_counter() - started_at
    subs, guests = ({event[name] for event in events} for name in ("cognito_sub", "guest_id"))
    if len(subs) != _GUESTS_AT_ONCE or len(guests) != _GUESTS_AT_ONCE:
        raise RuntimeError("two guests were mixed up")
    return Row(
        f"{_GUESTS_AT_ONCE} guests at once, until all are signed in",
        seconds,
        "all signed in, none twice, none mixed up",
    )


def _median(measure: Callable[[], float], *, times: int) -> float:
    return statistics.median(measure() for _ in range(times))


def _timed(work: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


def _shown(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 0.001:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.02 else f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.3f} ms"


if __name__ == "__main__":
    main()
