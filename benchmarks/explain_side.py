"""One side of `benchmarks.whole_calls`: answers requests for whole calls of `explain()`, a JSON line each, in seconds.

Runs in the environment and tree that it is started in: ours, an older tree of ours, or the authors' library's.
"""

from __future__ import annotations

import json
import sys
import time

import torch


def main() -> None:
    try:
        from lig_core import explain
    except ImportError:
        from lig import explain  # theirs

    answers, sys.stdout = sys.stdout, sys.stderr  # their library prints
    for line in sys.stdin:
        request = json.loads(line)
        if threads := request.pop("threads", None):
            torch.set_num_threads(threads)
        texts, together = request.pop("texts"), request.pop("together", False)
        start, busy = time.perf_counter(), time.process_time()
        if together:
            from lig_core import explain_batch

            explain_batch(texts, **request)
        else:
            for text in texts:
                explain(text, **request)
        answer = {"seconds": time.perf_counter() - start, "processor": time.process_time() - busy}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
