"""Waiting for what happens at once, however long that takes on a loaded machine: for conditions, never for a time."""

import time

import httpx

PATIENCE = 120.0
"""Seconds; spent only where what is waited for does not happen."""

ENDED = {"succeeded", "failed", "cancelled"}


def wait_until(condition, seconds=PATIENCE):
    """What the condition gives, once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen within {seconds:g} s"
        time.sleep(0.05)
    return found


def ended(api, job):
    """A job as the API shows it once it has ended."""

    def shown():
        found = api.get(f"{job}?wait=10").json()
        return found if found["status"] in ENDED else None

    return wait_until(shown)


def being_answered(url):
    """How many requests an API process is answering, besides the one that asks."""
    text = httpx.get(f"{url}/metrics", timeout=PATIENCE).text
    (line,) = (line for line in text.splitlines() if line.startswith("lig_http_requests_in_flight "))
    return float(line.split()[1]) - 1


def pass_time(redis, seconds):
    """Let everything in Redis that expires grow older."""
    for key in redis.scan_iter():
        left = redis.pttl(key)
        if left >= 0:
            redis.pexpire(key, left - int(1000 * seconds))  # none or less: it is gone
