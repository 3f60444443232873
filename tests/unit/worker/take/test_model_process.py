"""The worker and its process stay in step, whatever the process says and whenever it says it."""

import json
import os
import signal
import sys
import time

import pytest

from tests.running.waiting import wait_until
from worker.take.model_process import ModelProcess, ProcessDied, State, Unfit

SCRIPT = """
import json, os, sys, time
def say(**message):
    sys.stdout.write(json.dumps(message) + "\\n")
    sys.stdout.flush()
def jobs():
    for line in sys.stdin:
        for one in json.loads(line):
            yield {"execution": one["execution"], **one["job"]}
"""
READY = "say(ready=True, holds={'models': []})\n"
ECHO = "for job in jobs(): say(done=job['text'], execution=job['execution'])\n"


@pytest.fixture
def process_of():
    """Makes processes that run a script; a folder's file `n` says how often it was started."""
    made = []

    def make(script, *arguments, start_seconds=20):
        made.append(ModelProcess([sys.executable, "-c", SCRIPT + script, *arguments], os.environ, start_seconds))
        return made[-1]

    yield make
    for process in made:
        process.kill()


def one(execution, job):
    """A job as it is sent."""
    return {execution: json.dumps(job).encode()}


def ready(process):
    assert process.make_ready(lambda: True)
    return process


def answer(process, seconds=20):
    """Its answer; however long that takes."""
    deadline = time.monotonic() + seconds
    while (found := process.reply(0.1)) is None:
        assert time.monotonic() < deadline, "no answer"
    return found[1]


def test_jobs_are_answered_one_after_another(process_of):
    process = ready(process_of(READY + ECHO))
    pid = process.pid
    for number in range(3):
        process.send(one(f"e{number}", {"text": f"text {number}"}))
        assert process.state is State.BUSY
        assert answer(process) == {"done": f"text {number}"}
        assert process.state is State.READY
    assert process.pid == pid


def test_jobs_that_were_sent_together_are_answered_in_any_order_and_it_is_busy_until_the_last(process_of):
    process = ready(process_of(READY + ECHO.replace("jobs()", "reversed([next(both) for both in [jobs()] * 2])")))
    process.send({name: json.dumps({"text": name}).encode() for name in "ab"})
    seen = []
    while process.state is State.BUSY:
        seen += [found] if (found := process.reply(0.1)) else []
    assert seen == [("b", {"done": "b"}), ("a", {"done": "a"})]


def test_a_job_that_is_answered_twice_ends_it_though_another_is_not(process_of):
    process = ready(process_of(READY + "for job in jobs():\n  say(done=1, execution='a')\n"))
    process.send({"a": b"{}", "b": b"{}"})
    assert answer(process) == {"done": 1}
    with pytest.raises(ProcessDied):
        answer(process)


def test_a_job_larger_than_the_pipe_is_given_while_its_answer_is_waited_for(process_of):
    process = ready(process_of(READY + ECHO))
    process.send(one("e", {"text": "x" * 1_000_000}))
    assert len(answer(process)["done"]) == 1_000_000


def test_one_that_does_not_read_its_job_can_still_be_ended(process_of):
    process = ready(process_of(READY + "time.sleep(60)"))
    process.send(one("e", {"text": "x" * 1_000_000}))
    assert process.reply(0.1) is None
    process.kill()
    assert process.state is State.GONE


def test_ready_means_that_its_line_was_read_not_that_it_lives(process_of, tmp_path):
    go = tmp_path / "go"
    wait = f"\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
    process = process_of(wait + READY + ECHO)

    class RedisIsAway(Exception):
        pass

    def keep_house():
        if process.state is State.STARTING:
            raise RedisIsAway
        return True

    for _ in range(3):  # the same process is waited for
        with pytest.raises(RedisIsAway):
            process.make_ready(keep_house)
    pid = process.pid
    with pytest.raises(ProcessDied):
        process.send(one("early", {"text": "a"}))
    assert process.pid == pid
    go.touch()
    ready(process)
    assert process.pid == pid
    process.send(one("e", {"text": "b"}))
    assert answer(process) == {"done": "b"}


def test_an_answer_for_another_execution_ends_it(process_of):
    process = ready(process_of(READY + "for job in jobs(): say(done=1, execution='another')"))
    pid = process.pid
    process.send(one("mine", {}))
    with pytest.raises(ProcessDied):
        answer(process)
    assert process.state is State.GONE
    assert ready(process).pid != pid


@pytest.mark.parametrize(
    "said", ["say(done=1)", "say(ready=True)", "print('[]', flush=True)", "print('garbage', flush=True)"]
)
def test_an_answer_that_names_no_execution_ends_it(process_of, said):
    process = ready(process_of(READY + f"for job in jobs(): {said}"))
    process.send(one("mine", {}))
    with pytest.raises(ProcessDied):
        answer(process)


def test_one_that_answers_twice_gives_no_job_the_answer_of_another(process_of):
    twice = "for job in jobs():\n  for _ in range(2): say(done=job['text'], execution=job['execution'])\n"
    process = process_of(READY + twice)
    for number in range(4):
        ready(process).send(one(f"e{number}", {"text": number}))
        found = None
        try:
            found = answer(process)
        except ProcessDied:
            assert process.state is State.GONE
        assert found in (None, {"done": number})


def test_what_it_says_between_two_jobs_ends_it_before_the_next(process_of, tmp_path):
    go = tmp_path / "go"
    late = (
        "for job in jobs():\n"
        "  say(done=1, execution=job['execution'])\n"
        f"  while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "  say(done='late', execution=job['execution'])\n"
        "  open(sys.argv[1], 'w').close()\n"
    )
    process = ready(process_of(READY + late, str(tmp_path / "said")))
    pid = process.pid
    process.send(one("e0", {}))
    answer(process)
    go.touch()
    while not (tmp_path / "said").exists():
        time.sleep(0.01)
    with pytest.raises(ProcessDied):
        process.send(one("e1", {}))
    assert ready(process).pid != pid


def test_an_answer_that_nobody_waited_for_reaches_no_other_job(process_of):
    process = ready(process_of(READY + ECHO))
    pid = process.pid
    process.send(one("left", {"text": "left"}))
    assert ready(process).pid != pid
    process.send(one("next", {"text": "next"}))
    assert answer(process) == {"done": "next"}


@pytest.mark.parametrize("end", ["sys.exit(1)", "os.kill(os.getpid(), 9)"])
def test_half_a_line_and_then_its_end_is_no_answer(process_of, end):
    half = f"for job in jobs():\n  sys.stdout.write('{{\"done\": 1')\n  sys.stdout.flush()\n  {end}\n"
    process = ready(process_of(READY + half))
    process.send(one("e", {}))
    with pytest.raises(ProcessDied):
        answer(process)
    assert process.state is State.GONE


def test_a_line_that_comes_in_pieces_is_one_answer(process_of):
    pieces = (
        "for job in jobs():\n"
        "  for piece in ('{\"done\": 1, ', '\"execution\": ', json.dumps(job['execution']) + '}', '\\n'):\n"
        "    sys.stdout.write(piece)\n    sys.stdout.flush()\n    time.sleep(0.05)\n"
    )
    process = ready(process_of(READY + pieces))
    for execution in ("a", "b"):
        process.send(one(execution, {}))
        assert answer(process) == {"done": 1}


def test_one_that_dies_while_it_starts_is_started_again(process_of, tmp_path):
    dies_once = "\nif not os.path.exists(sys.argv[1]):\n  open(sys.argv[1], 'w').close()\n  sys.exit(1)\n"
    process = ready(process_of(dies_once + READY + ECHO, str(tmp_path / "died")))
    process.send(one("e", {"text": "a"}))
    assert answer(process) == {"done": "a"}


@pytest.mark.parametrize("first", ["sys.exit(1)", "say(done=1)", "print('no JSON')", "print('[]')"])
def test_one_that_never_says_that_it_is_ready_is_given_up(process_of, first, monkeypatch):
    monkeypatch.setattr("worker.take.model_process.STARTS", 2)
    process = process_of(first)
    with pytest.raises(Unfit, match="does not start"):
        process.make_ready(lambda: True)
    assert process.state is State.GONE


def test_one_that_is_killed_as_it_starts_is_not_given_up_so_soon(process_of, tmp_path, monkeypatch):
    monkeypatch.setattr("worker.take.model_process.STARTS", 1)
    killed = "\nopen(sys.argv[1], 'a').write('x')\nif len(open(sys.argv[1]).read()) < 3:\n  os.kill(os.getpid(), 9)\n"
    process = ready(process_of(killed + READY + ECHO, str(tmp_path / "starts")))
    process.send(one("e", {"text": "a"}))
    assert answer(process) == {"done": "a"}


def test_one_that_is_killed_whenever_it_starts_is_given_up(process_of, monkeypatch):
    monkeypatch.setattr("worker.take.model_process.KILLED_STARTS", 2)
    with pytest.raises(Unfit, match="does not start"):
        process_of("os.kill(os.getpid(), 9)").make_ready(lambda: True)


def test_what_it_lacks_is_said(process_of):
    process = process_of("say(unfit='no such model')")
    with pytest.raises(Unfit, match="no such model"):
        process.make_ready(lambda: True)
    assert process.state is State.GONE


def test_one_that_loads_for_too_long_is_ended(process_of):
    process = process_of("time.sleep(60)", start_seconds=0.3)
    with pytest.raises(Unfit, match="LIG_LOAD_TIMEOUT"):
        process.make_ready(lambda: True)
    assert process.state is State.GONE


def test_one_that_cannot_be_started_at_all_is_given_up(monkeypatch):
    monkeypatch.setattr("worker.take.model_process.STARTS", 2)
    with pytest.raises(Unfit):
        ModelProcess(["/nowhere/at/all"], os.environ, 5).make_ready(lambda: True)


def test_a_start_is_given_up_when_asked_to_stop(process_of):
    process, asked = process_of("time.sleep(60)"), iter([True, True, False])
    assert not process.make_ready(lambda: next(asked))
    process.close()
    assert process.state is State.GONE


def test_a_job_begins_before_its_answer_is_waited_for(process_of, tmp_path):
    begun = tmp_path / "begun"
    process = ready(process_of(READY + "for job in jobs(): open(sys.argv[1], 'w').close()\n", str(begun)))
    process.send(one("1", {"text": "x"}))
    wait_until(begun.exists)


def test_one_that_died_between_two_jobs_is_noticed_and_nothing_is_sent(process_of):
    process = ready(process_of(READY + ECHO))
    os.kill(process.pid, signal.SIGKILL)
    while process.state is not State.GONE:
        with pytest.raises(ProcessDied):
            process.send(one("e", {"text": "a"}))
            answer(process)
    assert process.holds == {}
    ready(process).send(one("f", {"text": "b"}))
    assert answer(process) == {"done": "b"}


def test_one_whose_pipes_outlive_it_is_noticed(process_of):
    outlived = "import subprocess\nsubprocess.Popen(['sleep', '20'])\nfor job in jobs(): os.kill(os.getpid(), 9)\n"
    process = ready(process_of(READY + outlived))
    process.send(one("e", {}))
    with pytest.raises(ProcessDied):
        answer(process, 10)


def test_only_a_job_is_interrupted(process_of):
    told = "import signal\nsignal.signal(signal.SIGUSR1, lambda *_: say(done='told', execution=job['execution']))\n"
    process = ready(process_of(told + READY + "for job in jobs(): time.sleep(20)"))
    process.interrupt()
    process.send(one("e", {}))
    while process.reply(0.1) is None:
        process.interrupt()


def test_what_it_holds_is_known_as_long_as_it_lives(process_of):
    process = ready(process_of("say(ready=True, holds={'models': [1]})\n" + ECHO))
    assert process.holds == {"models": [1]}
    process.kill()
    assert process.holds == {}
    assert json.dumps(process.holds) == "{}"
