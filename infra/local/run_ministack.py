"""Runs MiniStack under a lock, with AWS's rules in front of it and web pages kept out.

Usage, with MiniStack's own Python:
    python -P run_ministack.py <lock file> [until-stdin-closes] [bare]
"""

import fcntl
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO

# The whole of `infra` needs packages that MiniStack's Python has not.
sys.path += [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from agent.service.loopback import LoopbackOnly


def _take(lock: IO[str]) -> None:
    # Others try the lock for an instant to see whether MiniStack runs: try more than once.
    for _ in range(20):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return
    sys.exit("another MiniStack holds the lock")


def _end_with_stdin() -> None:
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


with open(sys.argv[1], "a+") as lock_file:
    _take(lock_file)
    lock_file.write(json.dumps({"pid": os.getpid(), "port": int(os.environ["GATEWAY_PORT"])}))
    lock_file.flush()
    if "until-stdin-closes" in sys.argv[2:]:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    is_bare = "bare" in sys.argv[2:]
    del sys.argv[1:]

    from ministack import app

    if not is_bare:
        import aws_rules

        aws_rules.install()
    # MiniStack runs code, checks no signature and answers web pages of any origin.
    app.app = LoopbackOnly(app.app)
    app.main()
