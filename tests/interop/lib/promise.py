"""One line for each promise, kept or broken; `interop.py` counts them."""

import contextlib


@contextlib.contextmanager
def promise(who, text):
    """The promise is kept if the block ends without an exception. What follows it runs either way."""
    try:
        yield
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"FAILED {who}: {text}: {why}", flush=True)
    else:
        print(f"ok {who}: {text}", flush=True)


def equal(actual, expected):
    """`assert` would vanish under `python -O`, and would not say what was found."""
    if actual != expected:
        raise AssertionError(f"{actual!r} instead of {expected!r}")


@contextlib.contextmanager
def raises(expected):
    """The block must raise exactly this exception."""
    try:
        yield
    except Exception as error:
        if type(error) is not expected:
            raise
    else:
        raise AssertionError(f"accepted, where {expected.__name__} was to be raised")
