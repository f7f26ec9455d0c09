"""The command line of the embedded AWS: `python -m infra.local deploy|serve|chat|stop`."""

import argparse
import os
import sys
import time

from infra.local import ministack
from infra.local.deployment import deploy
from infra.local.ministack import ROOT, LocalError
from infra.local.serving import serve


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise LocalError(f"{variable} is {text!r}: set it to a port from 1 to 65535")
    return int(text)


def main() -> None:
    """Run the command that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    parser.add_argument("command", choices=["deploy", "serve", "chat", "stop"])
    command = parser.parse_args().command
    directory = ROOT / ".local"
    started_at = time.monotonic()

    def report(line: str) -> None:
        print(f"[{time.monotonic() - started_at:4.0f} s] {line}", flush=True)

    try:
        if command == "deploy":
            deploy(directory, port=_port("MINISTACK_PORT", 4566), report=report)
            report("deployed, the outputs are in .local/outputs.json")
        elif command == "serve":
            serve(directory, port=_port("PORT", 8080))
        elif command == "chat":
            port = _port("PORT", 8080)
            ministack.require_free_port(port, "PORT")
            deploy(directory, port=_port("MINISTACK_PORT", 4566), report=report)
            serve(directory, port=port, with_page=True)
        else:
            print("MiniStack ended" if ministack.stop(directory) else "MiniStack was not running")
            (directory / "outputs.json").unlink(missing_ok=True)
    except LocalError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
