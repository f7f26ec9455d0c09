"""The bundles: what is in them, and that the same sources give the same bytes."""

import dis
import hashlib
import importlib.util
import json
import marshal
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from infra import bundling
from infra.local.ministack import ROOT

SOURCES = ROOT / "lambdas"
EVENT = ROOT / "tests" / "events" / "define_first_round.json"
DEFINE, CREATE = "define_auth_challenge", "create_auth_challenge"
VERIFY, FORGET = "verify_auth_challenge_response", "forget_unanswered"
CALLED = {
    DEFINE: set(),
    CREATE: {"SendEmail", "GetSecretValue", "UpdateItem"},
    VERIFY: {"AdminUpdateUserAttributes", "GetSecretValue", "UpdateItem"},
    FORGET: {
        "AdminDeleteUser",
        "AdminGetUser",
        "BatchGetItem",
        "DeleteItem",
        "GetItem",
        "UpdateItem",
    },
}
"""What each function calls of AWS."""
# Lambda's runtime brings boto3, and so botocore; MiniStack's environment stands in for it.
RUNTIME = str(ROOT / ".local" / "emulator" / "bin" / "python")
BROUGHT = {"boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3"}
ENVIRONMENT = {
    "LEDGER_TABLE_NAME": "ledger",
    "CODE_KEY_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:000000000000:secret:code-key",
    "CODE_TTL_SECONDS": "300",
    "CODE_LENGTH": "6",
    "MAX_ATTEMPTS": "3",
    "MAX_SENDS_PER_HOUR": "1000",
    "SENDER": "login@example.com",
    "APP_NAME": "Harbour Rooms",
    "USER_POOL_ID": "us-east-1_EXAMPLE01",
    "GUESTS_TABLE_NAME": "guests",
    "FORGET_UNANSWERED_AFTER_HOURS": "48",
    "POWERTOOLS_SERVICE_NAME": "email-otp",
    "POWERTOOLS_METRICS_NAMESPACE": "EmailOtp",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "example",
    "AWS_SECRET_ACCESS_KEY": "example",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
}
COMPARE = """
import json, os
from botocore.session import get_session
from lambdas.email_otp import clients

del os.environ["AWS_ENDPOINT_URL"]
regions = ("us-east-1", "eu-central-2", "us-gov-west-1", "cn-north-1", "eu-north-99")
differences = []

def told(shape, seen=()):
    if shape is None or shape.name in seen:
        return shape and shape.name
    parts = {"list": ("member",), "map": ("key", "value")}.get(shape.type_name, ())
    members = dict(shape.members) if shape.type_name == "structure" else {}
    members |= {part: getattr(shape, part) for part in parts}
    below = (*seen, shape.name)
    return [
        shape.name,
        shape.type_name,
        {**shape.metadata, "required": sorted(shape.metadata.get("required", []))},
        shape.serialization,
        {name: told(member, below) for name, member in members.items()},
    ]

for service in os.listdir("models"):
    if service == "endpoints.json":
        continue
    both = [session.create_client(service, region_name="us-east-1")
            for session in (clients.session(), get_session())]
    cut, whole = (client.meta.service_model for client in both)
    if cut.metadata != whole.metadata:
        differences.append(service)
    for name in cut.operation_names:
        one, other = (
            [told(operation.input_shape), told(operation.output_shape),
             [told(error) for error in operation.error_shapes], operation.http]
            for operation in (cut.operation_model(name), whole.operation_model(name))
        )
        if one != other:
            differences.append(name)
    for region in regions:
        one, other = (session.create_client(service, region_name=region).meta
                      for session in (clients.session(), get_session()))
        if (one.endpoint_url, one.partition) != (other.endpoint_url, other.partition):
            differences.append([service, one.endpoint_url, other.endpoint_url])
print(json.dumps(differences))
"""
# Where botocore is, then what it would call in some regions of three partitions.
_ENDPOINTS = """
import json, sys
import botocore.session
from botocore.config import Config

print(botocore.__file__)
session = botocore.session.Session()
for region in ("us-east-1", "us-west-1", "eu-central-1", "us-gov-west-1", "cn-north-1"):
    for service in ("bedrock-runtime", "cognito-idp", "dynamodb", "sts"):
        client = session.create_client(
            service,
            region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(**json.loads(sys.argv[1])),
        )
        print(region, client.meta.endpoint_url)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def bundles(cache: Path) -> dict[str, Path]:
    return {handler: bundling.build_function(handler, cache=cache) for handler in CALLED}


@pytest.fixture(params=CALLED)
def handler(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bundle(bundles: dict[str, Path], handler: str) -> Path:
    return bundles[handler]


@pytest.fixture(scope="module")
def agent_bundle(cache: Path) -> Path:
    return bundling.build_agent(cache=cache)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Copy the sources, to change them."""
    return Path(shutil.copytree(SOURCES, tmp_path / "lambdas"))


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "build",
    [*(partial(bundling.build_function, handler) for handler in CALLED), bundling.build_agent],
)
def test_two_builds_are_the_same_to_the_byte(
    build: Callable[..., Path], cache: Path, tmp_path: Path
) -> None:
    first, again = build(cache=cache), build(cache=tmp_path)
    assert first.name == again.name
    assert content(first) == content(again)


def test_settings_of_this_machines_python_change_nothing(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONNODEBUGRANGES", "1")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "bytecode"))
    again = bundling.build_function(CREATE, cache=tmp_path / "cache")
    assert content(again) == content(bundles[CREATE])


def run(bundle: Path, code: str, python: str = RUNTIME) -> Any:
    """Run code as Lambda does, where nobody answers; returns what it prints as JSON."""
    done = subprocess.run(
        [python, "-c", code],
        cwd=bundle,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def modules(bundle: Path) -> set[str]:
    """Return what may be imported from a bundle."""
    names = set()
    for path in [*bundle.rglob("*.py"), *bundle.rglob("*.pyc")]:
        parts = path.relative_to(bundle).with_suffix("").parts
        if "__pycache__" not in parts:
            names.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def test_bundle_is_small(bundle: Path, tmp_path: Path) -> None:
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert len(files) <= 90
    zipped = shutil.make_archive(str(tmp_path / "bundle"), "zip", bundle)
    assert Path(zipped).stat().st_size <= 400_000


def test_bundle_holds_what_its_handler_imports(bundle: Path, handler: str) -> None:
    """And no more."""
    code = f"import json, sys, lambdas.{handler}; print(json.dumps(list(sys.modules)))"
    loaded = set(run(bundle, code))
    assert modules(bundle) <= loaded


def test_what_is_imported_within_functions_is_there(bundle: Path) -> None:
    """Nothing is missing but what models of pydantic need, and events are none."""
    there = modules(bundle)
    missing = set()
    for path in bundle.rglob("*.pyc"):
        with path.open("rb") as file:
            file.seek(16)  # PEP 552's header
            code = marshal.load(file)  # noqa: S302 - our own build
        missing |= {
            name
            for name in imported_within(code)
            if name.startswith(("lambdas.", "aws_lambda_powertools.")) and name not in there
        }
    assert missing == {"aws_lambda_powertools.event_handler.openapi.compat"}


def imported_within(code: CodeType) -> Iterator[str]:
    """Name the modules that functions import, of a module's code."""
    for function in code.co_consts:
        if isinstance(function, CodeType):
            for instruction in dis.get_instructions(function):
                if instruction.opname == "IMPORT_NAME":
                    yield str(instruction.argval)
            yield from imported_within(function)


def test_packages_log_nothing_of_their_own(bundles: dict[str, Path]) -> None:
    """Whatever the function's log level: the package that would keep its parts quiet is emptied."""
    code = f"""
import json, logging, sys
from pathlib import Path
names = set()
class Named(logging.Handler):
    def emit(self, record):
        names.add(record.name)
logging.basicConfig(level=logging.DEBUG, handlers=[Named()])
sys.stdout = sys.stderr
from lambdas import {DEFINE}
event = json.loads(Path({str(EVENT)!r}).read_text())
context = type("Context", (), dict.fromkeys(
    ["function_name", "memory_limit_in_mb", "invoked_function_arn", "aws_request_id"], ""))
{DEFINE}.handler(event, context)
sys.stdout = sys.__stdout__
print(json.dumps(sorted(names)))
"""
    assert run(bundles[DEFINE], code) == []  # our own logger does not hand on to the root


def test_bundle_has_our_sources_and_of_packages_bytecode_alone(bundle: Path) -> None:
    sources = {path.relative_to(bundle).parts[0] for path in bundle.rglob("*.py")}
    assert sources == {"lambdas"}
    assert not set(BROUGHT) & {path.stem for path in bundle.iterdir()}


def test_changed_source_changes_the_functions_that_import_it(
    bundles: dict[str, Path], sources: Path, cache: Path
) -> None:
    with (sources / "email_otp" / "mail_texts.py").open("a") as module:
        module.write("CHANGED = True\n")
    changed = {
        handler
        for handler, before in bundles.items()
        if content(bundling.build_function(handler, sources=sources, cache=cache))
        != content(before)
    }
    assert changed == {CREATE}


def test_models_are_cut_to_what_a_function_calls(bundle: Path, handler: str) -> None:
    called = {
        name
        for path in bundle.glob("models/*/*/service-2.json")
        for name in json.loads(path.read_text())["operations"]
    }
    assert called == CALLED[handler]


@pytest.mark.parametrize("handler", [CREATE, VERIFY, FORGET])
def test_cut_models_say_what_whole_ones_say(bundles: dict[str, Path], handler: str) -> None:
    """Of each operation, and of where it is called."""
    assert run(bundles[handler], COMPARE, python=sys.executable) == []


def test_what_lies_beside_the_sources_is_not_in_the_bundle(sources: Path, cache: Path) -> None:
    """Who keeps keys there does not upload them."""
    before = bundling.build_function(CREATE, sources=sources, cache=cache)
    for name in (".env", ".user.py.swp", "README.md", "email_otp/challenge.md", "key.pem"):
        (sources / name).write_text("secret")
    assert bundling.build_function(CREATE, sources=sources, cache=cache) == before


def test_agents_bundle_starts_by_main_and_has_no_test_no_page_and_no_terminal(
    agent_bundle: Path,
) -> None:
    assert "main(hosted=True)" in (agent_bundle / "main.py").read_text()
    assert (agent_bundle / "agent" / "service" / "prompts" / "system.md").is_file()
    names = {path.relative_to(agent_bundle).as_posix() for path in agent_bundle.rglob("*")}
    assert not {name for name in names if re.search(r"(^|/)(tests|bin|conftest\.py)(/|$)", name)}
    terminal = {"agent/try_login.py", "agent/forget.py", "agent/deployment.py"}
    assert not names & {"agent/web", "agent/hosted.py", "mcp", "pytest", *terminal}


def test_agents_bundle_runs_on_arm64_alone_and_may_be_read_by_anybody(agent_bundle: Path) -> None:
    """AgentCore takes nothing else, and runs it as a user of its own."""
    machines = set()
    for path in agent_bundle.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path
        if path.is_file() and (head := path.read_bytes()[:20]).startswith(b"\x7fELF"):
            machines.add(int.from_bytes(head[18:20], "little"))  # e_machine
            assert "aarch64" in path.name or ".abi3." in path.name, path
    assert machines == {0xB7}  # EM_AARCH64


def test_packages_are_no_links_to_those_of_other_environments(tmp_path: Path) -> None:
    """Some of their files are changed."""
    bundling.build_function(CREATE, cache=tmp_path)
    files = [path for path in tmp_path.glob("packages-*/**/*") if path.is_file()]
    assert {path.stat().st_nlink for path in files} == {1}


def test_modes_do_not_follow_this_machines_mask(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        built = bundling.build_function(CREATE, cache=tmp_path)
    finally:
        os.umask(mask)
    assert {path.stat().st_mode & 0o777 for path in built.rglob("*")} == {0o755, 0o644}


def test_every_source_has_bytecode_that_never_goes_stale(bundle: Path, agent_bundle: Path) -> None:
    for source in (*bundle.rglob("*.py"), *agent_bundle.rglob("*.py")):
        bytecode = Path(importlib.util.cache_from_source(str(source), optimization=""))
        flags = int.from_bytes(bytecode.read_bytes()[4:8], "little")
        assert flags == 0b01, f"{bytecode} is not an unchecked, hash-based one (PEP 552)"


def test_nothing_of_this_machine_is_in_the_bundles(
    bundle: Path, agent_bundle: Path, cache: Path
) -> None:
    here = [str(cache).encode(), str(SOURCES).encode(), sys.prefix.encode()]
    for path in (*bundle.rglob("*"), *agent_bundle.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            assert not any(place in content for place in here), path


def test_agents_bundle_is_at_most_56_mb_and_3300_files_unpacked(agent_bundle: Path) -> None:
    sizes = [path.stat().st_size for path in agent_bundle.rglob("*") if path.is_file()]
    assert sum(sizes) <= 56_000_000
    assert len(sizes) <= 3300


@pytest.mark.parametrize(
    "variant", [{}, {"use_fips_endpoint": True}, {"use_dualstack_endpoint": True}]
)
def test_agents_bundle_calls_aws_where_the_whole_botocore_does(
    agent_bundle: Path, variant: dict[str, bool]
) -> None:
    def endpoints(environment: dict[str, str]) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", _ENDPOINTS, json.dumps(variant)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    whole, bundled = endpoints({}), endpoints({"PYTHONPATH": str(agent_bundle)})
    assert bundled[0].startswith(str(agent_bundle))
    assert len(bundled) == 1 + 5 * 4
    assert bundled[1:] == whole[1:]


def test_zipped_agents_bundle_is_at_most_20_5_mb(agent_bundle: Path, tmp_path: Path) -> None:
    zipped = shutil.make_archive(str(tmp_path / "agent"), "zip", agent_bundle)
    assert Path(zipped).stat().st_size <= 20_500_000


def test_define_imports_no_aws_client(bundles: dict[str, Path]) -> None:
    code = f"import json, sys, lambdas.{DEFINE}; print(json.dumps(list(sys.modules)))"
    loaded = set(run(bundles[DEFINE], code))
    assert "lambdas.email_otp.challenge" in loaded
    assert not {"boto3", "botocore", "ssl", "http.client"} & loaded


def test_few_outdated_bundles_are_kept(sources: Path, tmp_path: Path) -> None:
    for number in range(5):
        (sources / "email_otp" / "changed.py").write_text(f"NUMBER = {number}\n")
        newest = bundling.build_function(CREATE, sources=sources, cache=tmp_path / "cache")
        assert newest.is_dir()
    assert len(list(tmp_path.glob("cache/lambdas-*"))) == 3
    assert len(list(tmp_path.glob("cache/packages-lambdas-*"))) == 1


def test_source_that_does_not_compile_is_named_and_leaves_nothing(
    cache: Path, sources: Path
) -> None:
    bundling.build_function(CREATE, cache=cache)
    (sources / "email_otp" / "broken.py").write_text("def :\n")
    before = set(cache.iterdir())
    with pytest.raises(bundling.BundlingError, match=r"does not compile:\n(.|\n)*broken\.py"):
        bundling.build_function(CREATE, sources=sources, cache=cache)
    assert set(cache.iterdir()) == before


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "bundles").write_text("a file")
    with pytest.raises(
        bundling.BundlingError, match=r"bundles/below/packages.* cannot be written \(.+\)"
    ):
        bundling.build_function(CREATE, cache=tmp_path / "bundles" / "below")


def test_source_that_is_missing_is_named(cache: Path, sources: Path) -> None:
    (sources / "email_otp" / "mailer.py").unlink()
    with pytest.raises(bundling.BundlingError, match=r"imports what .* lambdas\.email_otp\.mailer"):
        bundling.build_function(CREATE, sources=sources, cache=cache)


def test_another_python_is_named(
    sources: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda's could not read its bytecode."""
    bundling.build_function(CREATE, cache=cache)
    (sources / "email_otp" / "changed.py").write_text("NUMBER = 'by another Python'\n")
    monkeypatch.setattr(sys, "version_info", (3, 12, 11))
    with pytest.raises(bundling.BundlingError, match=r"by Python 3\.13 alone"):
        bundling.build_function(CREATE, sources=sources, cache=cache)


def test_builds_that_were_killed_are_removed_and_others_left_alone(
    cache: Path, sources: Path
) -> None:
    """As many synths may be under way as there are."""
    under_way = [cache / f"unfinished-{number}" for number in range(5)]
    killed = cache / "unfinished-killed"
    for folder in (*under_way, killed):
        folder.mkdir()
    os.utime(killed, (0, 0))
    (sources / "email_otp" / "changed.py").write_text("NUMBER = 'another'\n")
    bundling.build_function(CREATE, sources=sources, cache=cache)
    assert sorted(cache.glob("unfinished-*")) == under_way


def test_build_that_another_synth_removes_meanwhile_is_no_error(
    cache: Path, sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glob = Path.glob

    def glob_late(folder: Path, pattern: Any, **more: Any) -> list[Path]:
        gone = [cache / "unfinished-gone"] if pattern == "unfinished-*" else []
        return [*glob(folder, pattern, **more), *gone]

    (sources / "email_otp" / "changed.py").write_text("NUMBER = 'a third'\n")
    bundling.build_function(DEFINE, cache=cache)
    monkeypatch.setattr(Path, "glob", glob_late)
    assert bundling.build_function(CREATE, sources=sources, cache=cache).is_dir()


def test_missing_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(bundling.BundlingError, match=r"no_such_folder has no sources"):
        bundling.build_function(CREATE, sources=tmp_path / "no_such_folder", cache=tmp_path)
