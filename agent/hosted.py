"""What AgentCore Runtime starts: the `main.py` of the bundle that `infra/bundling.py` makes."""

import sys

from agent.main import main

if __name__ == "__main__":
    sys.exit(main(hosted=True))
