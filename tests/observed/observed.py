"""Everything that is promised of dashboards, alerts and metrics; see tests/observed/run."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import checks
import promise
import story

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("static", "schema", "story")


def main() -> None:
    arguments = sys.argv[1:]
    pictures = None
    if "--pictures" in arguments:
        at = arguments.index("--pictures")
        pictures = Path(arguments[at + 1]).resolve()
        del arguments[at : at + 2]
    parts = arguments or PARTS
    started = time.monotonic()
    if "static" in parts:
        checks.check(ROOT)
    if "schema" in parts:
        ran = subprocess.run(["node", ROOT / "tests/observed/schema/check.mjs"], capture_output=True, text=True)
        promise.promise("the dashboards are what Grafana's types say", ran.returncode == 0, ran.stdout + ran.stderr)
        print(ran.stdout.strip().splitlines()[-1] if ran.stdout.strip() else "schema: nothing was checked")
    if "story" in parts:
        draw = None
        if pictures:
            import pictures as album

            draw = lambda told: album.draw(told, pictures)
        with tempfile.TemporaryDirectory(prefix="keywheel-observed-") as folder:
            try:
                story.tell(ROOT, Path(folder), os.environ["KEYWHEEL_BIN"], os.environ["KEYWHEEL_BACKEND_BIN"], draw)
            except (TimeoutError, RuntimeError) as error:
                promise.promise("the story is told to its end", False, error)
    print(f"observed: {time.monotonic() - started:.0f} s")
    print(f"{promise.kept} passed, {promise.broken} failed")
    sys.exit(1 if promise.broken or not promise.kept else 0)


main()
