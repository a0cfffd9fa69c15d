"""`make faults`: every scenario many times, and a table of what came of it; also build/bench/faults.json.

Exit code 1 where a round went wrong. FAULT_ROUNDS (100), FAULT_REAL_ROUNDS (3), FAULT_SEED (the time) and FAULT_WORKERS
(2: scenarios side by side, as rounds mostly wait) may be set; what follows on the command line goes to pytest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.report import Figure, write


def main() -> int:
    os.environ.setdefault("FAULT_ROUNDS", "100")
    os.environ.setdefault("FAULT_REAL_ROUNDS", "3")
    os.environ.setdefault("FAULT_SEED", str(int(time.time())))
    print(f"Moments are drawn from FAULT_SEED={os.environ['FAULT_SEED']}.", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FAULT_RESULTS"] = folder
        tests = [str(Path(__file__).parent), "tests/contract/test_job_ledger.py"]
        side_by_side = ["-n", os.environ.get("FAULT_WORKERS", "2"), "--dist", "load", "--maxschedchunk", "1"]
        command = [sys.executable, "-m", "pytest", "-q", *side_by_side, *tests, *sys.argv[1:]]
        code = subprocess.run(command).returncode
        results = [json.loads(path.read_text()) for path in Path(folder).iterdir()]
    results.sort(key=lambda one: (int(one["row"]), one["scenario"]))
    print(table(results))
    write("faults", [figure(one) for one in results], command="python -m tests.faults")
    return code or int(any(one["right"] < one["rounds"] for one in results))


def table(results: list[dict[str, Any]]) -> str:
    rows = [f"{'row':>3}  {'right':>9}  {'seconds a round':>15}  scenario"]
    for one in results:
        share = f"{one['right']} of {one['rounds']}"
        rows.append(f"{one['row']:>3}  {share:>9}  {one['seconds'] / one['rounds']:>15.1f}  {one['scenario']}")
    return "\n".join(rows)


def figure(one: dict[str, Any]) -> Figure:
    return Figure(f"row {one['row']}: {one['scenario']}", one["right"], f"of {one['rounds']}", target=one["rounds"])


if __name__ == "__main__":
    sys.exit(main())
