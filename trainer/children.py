"""How a child process is kept: what it may see of the environment, that it gives way, and that it ends with its parent.

Knows nothing of trainings. A parent passes its own pid and keeps the child's stdin open; the child calls
`end_with_parent` first thing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

_PASSED_ON = frozenset(
    {
        # What programs need to start, to find files and to speak the operator's language.
        "PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT",
        "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH", "XDG_CACHE_HOME",
        # What decides where and on how many cores torch computes, and where downloaded encoders lie.
        "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
        "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE",
    }
)  # fmt: skip
"""Everything else stays behind: tokens and keys come in variables nobody can list in advance."""

_FRUGAL = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
"""Torch's threads sleep at a barrier instead of spinning: a step took over 1,000 ms beside one busy core, then 182.
NumPy's and SciPy's do not sleep: fitting a head of 77 labels took 8 s beside other work, 0.3 s in one thread."""

NICENESS = 10
"""Added to a training's niceness: queries on the same cores go first."""

OOM_PREFERENCE = 500
"""Of 1000: when memory runs out, the kernel ends a training, which can be repeated, before the bot."""

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The whole environment of a child: nothing but names that are known to hold no secret, and `extra`."""
    kept = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
    return kept | {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"} | _FRUGAL | dict(extra or {})


def give_way() -> None:
    """Lower this process's priority for processor time, and raise its chance to be ended when memory runs out."""
    with suppress(OSError, AttributeError):
        os.nice(NICENESS)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(OOM_PREFERENCE))


def end_with_parent(
    parent: int, on_end: Callable[[], None], grace: float, on_line: Callable[[bytes], None] | None = None
) -> None:
    """See to it that this process does not outlive the process `parent`, however that one ends.

    Two ways, as each has a gap: the kernel's parent-death signal (Linux only, this process only), and a thread that
    waits for the end of stdin, which the parent holds open (anywhere, and it takes the process group along).

    Args:
        parent: pid of the process that started this one.
        on_end: called in another thread when the parent is gone; asks the program to end.
        grace: seconds after which whatever is left of this process's group is killed.
        on_line: called in another thread with the first line that the parent writes to stdin.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if grace == 0 else signal.SIGTERM)
    if os.getppid() != parent:  # it was gone before the kernel was asked
        _end(on_end, grace)
    threading.Thread(target=_watch_stdin, args=(on_end, grace, on_line), name="parent-watch", daemon=True).start()


def _watch_stdin(on_end: Callable[[], None], grace: float, on_line: Callable[[bytes], None] | None) -> None:
    read = b""
    with suppress(OSError):
        while piece := os.read(0, 4096):
            if on_line is not None:
                read += piece
                if b"\n" in read:
                    on_line(read.partition(b"\n")[0])
                    on_line = None
    _end(on_end, grace)


def _end(on_end: Callable[[], None], grace: float) -> None:
    on_end()
    time.sleep(grace)
    with suppress(OSError):
        # Only as its leader: in a terminal's or a test runner's group the others are none of our business.
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
    os._exit(1)
