"""What AgentCore Runtime starts: the `main.py` of the bundle that `infra/bundling.py` makes."""

import gc
import sys

if __name__ == "__main__":
    # While everything is imported there is no garbage, and a guest waits. `main` enables it.
    gc.disable()
    from agent.main import main

    sys.exit(main(hosted=True))
