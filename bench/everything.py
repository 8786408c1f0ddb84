"""Every benchmark, one after another: their tables, and one JSON file with all figures.

Run as ``python bench/everything.py [--results FILE] [--runs N]``, as root, on an installed machine.
Takes less than fifteen minutes on two cores.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARKS: dict[str, tuple[str, ...]] = {
    "import_and_look_up": (),
    "machine": (),
    "owners": (),
    "images": (),
    "delivery": (),
    "sessions": (),
    "mailboxes": (),
    "idle_connections": (),
    "worst_script": (),
    "gate": ("--connections", "50000"),
}
"""Each with what is asked of it besides `--runs`, in the order of their tables."""
RUNS = 3


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postfix": _said("postconf", "-h", "mail_version"),
        "dovecot": _said("dovecot", "--version"),
    }


def _said(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def main() -> int:
    """Run all, and return 1 when one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=HERE / "results.json", metavar="FILE")
    parser.add_argument(
        "--runs", type=int, default=RUNS, help="how often each thing is measured (%(default)s)"
    )
    chosen = parser.parse_args()
    began, failed = time.monotonic(), []
    result: dict[str, object] = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
    }
    with tempfile.TemporaryDirectory(prefix="gp-bench-") as folder:
        for number, (name, more) in enumerate(BENCHMARKS.items(), 1):
            minutes = (time.monotonic() - began) / 60
            print(f"→ {name}, {number} of {len(BENCHMARKS)}, after {minutes:.1f} min", flush=True)
            words = ["--json", folder, "--runs", str(chosen.runs), *more]
            done = subprocess.run([sys.executable, HERE / f"{name}.py", *words], check=False)
            if done.returncode:
                failed.append(name)
            print(flush=True)
        for file in sorted(Path(folder).glob("*.json")):
            result[file.stem] = json.loads(file.read_text())
    result["seconds"] = round(time.monotonic() - began)
    result["failed"] = failed
    chosen.results.write_text(json.dumps(result, indent=2) + "\n")
    print(f"All of it took {result['seconds']} s; the figures are in {chosen.results}")
    if failed:
        print(f"These failed, what they said is above: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
