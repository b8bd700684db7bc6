"""What is promised, kept or not, counted; and waiting for a condition, not for a time."""

import time

kept = broken = 0


def promise(name: str, holds: object, seen: object = "") -> bool:
    global kept, broken
    if holds:
        kept += 1
    else:
        broken += 1
        print(f"FAILED {name}: {str(seen)[:2000]}", flush=True)
    return bool(holds)


def wait_for(what: str, condition, seconds: float = 60.0):
    """The first true answer of `condition`; an error of the network counts as no."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = condition()
            if answer:
                return answer
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.05)
