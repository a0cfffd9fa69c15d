"""How another process of ours is started."""

from __future__ import annotations

import sys

PYTHON = (sys.executable, "-P")
"""The interpreter, for `-m` and a module of ours. -P: what lies in the working directory is nobody's module."""
