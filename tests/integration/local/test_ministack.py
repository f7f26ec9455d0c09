"""MiniStack's life: found by its lock, ended with its Lambdas, never mistaken for another."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import ministack
from infra.local.ministack import ROOT, LocalError, MiniStack
from tests.support.waiting import wait_until


@pytest.fixture
def running(tmp_path: Path) -> Iterator[MiniStack]:
    yield ministack.start(tmp_path, ministack.free_port(), end_with_us=True)
    ministack.stop(tmp_path)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((ministack.HOST, port)) == 0


def listening_at(pid: int) -> list[tuple[str, int]]:
    """Return the addresses, in the kernel's own hexadecimal, and ports where a process listens."""
    links = [
        os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()
    ]
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    own = [row[1].split(":") for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in links]
    return [(address, int(port, 16)) for address, port in own]


def wait_until_ended(port: int) -> None:
    wait_until(lambda: not is_listening(port), seconds=10)


def test_what_was_started_is_found_healthy_and_on_loopback_alone(
    running: MiniStack, tmp_path: Path
) -> None:
    assert ministack.find(tmp_path) == running
    assert running.is_healthy()
    with socket.socket() as probe:
        # Answers if, and only if, MiniStack listens on all addresses.
        assert probe.connect_ex(("127.0.0.2", running.port)) != 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_t36_it_listens_at_no_other_port(running: MiniStack) -> None:
    """T36: its MQTT broker, which comes up a little later, would be on all addresses."""
    deadline = time.monotonic() + 30
    connection = http.client.HTTPConnection(ministack.HOST, running.port, timeout=10)
    while True:
        connection.request("GET", "/_ministack/ready")
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            break
        assert time.monotonic() < deadline, "MiniStack is not ready"
        time.sleep(0.05)
    assert listening_at(running.pid) == [("0100007F", running.port)]


def test_stop_ends_it_and_a_second_stop_finds_nothing(running: MiniStack, tmp_path: Path) -> None:
    assert ministack.stop(tmp_path) is True
    assert not is_listening(running.port)
    assert ministack.find(tmp_path) is None
    assert ministack.stop(tmp_path) is False


def test_killed_one_is_not_found_and_another_starts_in_its_place(
    running: MiniStack, tmp_path: Path
) -> None:
    os.killpg(running.pid, signal.SIGKILL)
    wait_until_ended(running.port)
    assert ministack.find(tmp_path) is None
    again = ministack.start(tmp_path, running.port, end_with_us=True)
    assert ministack.find(tmp_path) == again != running


def test_stop_leaves_alone_a_process_that_a_stale_file_names(tmp_path: Path) -> None:
    lock = tmp_path / "ministack" / "lock"
    lock.parent.mkdir()
    with subprocess.Popen(["/bin/sleep", "60"], start_new_session=True) as bystander:
        lock.write_text(json.dumps({"pid": bystander.pid, "port": 4566}))
        assert ministack.stop(tmp_path) is False
        assert bystander.poll() is None
        bystander.kill()


def test_busy_port_is_named_in_one_line_with_a_way_out(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((ministack.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LocalError) as refused:
            ministack.start(tmp_path, port)
    assert str(refused.value) == (
        f"port {port} is not free: end what uses it, "
        f"or choose another with MINISTACK_PORT={port + 1}"
    )


def test_it_ends_with_its_user_even_if_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from infra.local import ministack\n"
        "started = ministack.start(Path(sys.argv[1]), ministack.free_port(), end_with_us=True)\n"
        "print(started.port, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdout is not None
        port = int(user.stdout.readline())
        assert is_listening(port)
        user.kill()
        wait_until_ended(port)
    assert ministack.find(tmp_path) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example.com:{port}"},
        {"Origin": "http://evil.example.com"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
@pytest.mark.parametrize("method", ["OPTIONS", "POST", "GET"])
def test_t36_page_from_elsewhere_reaches_nothing(
    running: MiniStack, headers: dict[str, str], method: str
) -> None:
    """T36: not even the preflight of a call, which MiniStack itself would grant to anybody."""
    connection = http.client.HTTPConnection(ministack.HOST, running.port, timeout=10)
    sent = {name: value.format(port=running.port) for name, value in headers.items()}
    connection.request(method, "/_ministack/health", headers=sent)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (403, "not_loopback")
    assert answer.getheader("Access-Control-Allow-Origin") is None


def test_t36_page_of_this_machine_goes_on_working(running: MiniStack) -> None:
    connection = http.client.HTTPConnection(ministack.HOST, running.port, timeout=10)
    headers = {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-site"}
    connection.request("OPTIONS", "/", headers=headers)
    answer = connection.getresponse()
    assert answer.status < 300
    assert answer.getheader("Access-Control-Allow-Origin")
