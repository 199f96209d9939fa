"""``kirsh.spawn``: results, failures, and that nothing is left behind."""

import os
import signal
import sys
import threading
import time

import pytest

import kirsh
from launch import Rank, clean_environment, run_alone


def reduce(factor):
    comm = kirsh.init()
    assert comm.authenticated()
    return kirsh.rank(), kirsh.allreduce(factor * (kirsh.rank() + 1)), kirsh.local_size()


def fail_on(rank):
    kirsh.init()
    if kirsh.rank() == rank:
        raise LookupError(f"no such thing on {rank}")
    # The others would wait for as long as an operation may take.
    kirsh.allreduce(1)


def die():
    kirsh.init()
    kirsh.barrier()
    if kirsh.rank() == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    kirsh.barrier()


class Unpicklable(Exception):
    def __init__(self, first, second):
        super().__init__("two arguments")


def raise_unpicklable():
    raise Unpicklable(1, 2)


def leave_early():
    sys.exit("enough")


def return_unpicklable():
    return lambda: 0


def hang(directory):
    with open(os.path.join(directory, f"{os.environ['RANK']}"), "w") as file:
        file.write(str(os.getpid()))
    threading.Event().wait()


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def await_end(pids):
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there: {pids}"
        time.sleep(0.01)


def test_the_results_come_in_the_order_of_ranks():
    assert kirsh.spawn(reduce, 3, args=(2,)) == [(r, 12, 3) for r in range(3)]
    assert kirsh.spawn(reduce, 1, args=(5,)) == [(0, 5, 1)]


def test_the_world_of_the_caller_is_left_alone(monkeypatch):
    monkeypatch.setenv("RANK", "7")
    monkeypatch.setenv("KIRSH_RENDEZVOUS", "tcp://nowhere.invalid:1")
    with kirsh.Communicator(rank=0, world_size=1) as mine:
        assert kirsh.spawn(reduce, 2, args=(1,)) == [(0, 3, 2), (1, 3, 2)]
        assert mine.allreduce(4) == 4
    assert os.environ["RANK"] == "7"


@pytest.mark.parametrize("rank", [0, 2])
def test_the_first_failure_is_raised_with_its_rank_and_traceback(rank):
    with pytest.raises(LookupError, match=f"no such thing on {rank}") as caught:
        kirsh.spawn(fail_on, 3, args=(rank,))
    (note,) = caught.value.__notes__
    assert note.startswith(f"raised by rank {rank} of kirsh.spawn:\nTraceback")
    assert "in fail_on" in note


def test_a_process_that_dies_is_named_with_its_signal():
    with pytest.raises(kirsh.KirshError) as caught:
        kirsh.spawn(die, 3)
    # A peer may have seen it before its end was reported; both name the one that died.
    assert isinstance(caught.value, kirsh.PeerLostError) and caught.value.peer == 2


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (raise_unpicklable, "Unpicklable: two arguments"),
        (leave_early, "SystemExit: enough"),
        (return_unpicklable, "pickle"),
    ],
)
def test_what_cannot_be_handed_over_is_told_all_the_same(fn, said):
    with pytest.raises(Exception, match=said) as caught:
        kirsh.spawn(fn, 2)
    assert "of kirsh.spawn" in caught.value.__notes__[0]


def test_a_timeout_names_the_ranks_and_ends_them(tmp_path):
    with pytest.raises(kirsh.KirshTimeoutError, match="not through: 0, 1"):
        kirsh.spawn(hang, 2, args=(str(tmp_path),), timeout=5)
    await_end([int(path.read_text()) for path in tmp_path.iterdir()])


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_the_processes_end_with_their_caller(tmp_path, end):
    script = tmp_path / "script.py"
    directory = tmp_path / "pids"
    directory.mkdir()
    script.write_text(
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "import kirsh\n"
        "from test_spawn import hang\n"
        "if __name__ == '__main__':\n"
        f"    kirsh.spawn(hang, 2, args=({str(directory)!r},))\n"
    )
    caller = Rank([sys.executable, str(script)], clean_environment())
    deadline = time.monotonic() + 60
    # Written, not only made.
    while sum(bool(path.read_text()) for path in directory.iterdir()) < 2:
        assert time.monotonic() < deadline and caller.process.poll() is None, caller.errors
        time.sleep(0.01)
    pids = [int(path.read_text()) for path in directory.iterdir()]
    caller.process.send_signal(end)
    try:
        await_end(pids)
    finally:
        # They hold the caller's output open.
        for pid in filter(is_running, pids):
            os.kill(pid, signal.SIGKILL)
    caller.finish(time.monotonic() + 20)
    assert caller.process.returncode == (-signal.SIGINT if end == signal.SIGINT else -end)
    if end == signal.SIGINT:
        assert "KeyboardInterrupt" in caller.errors


def test_a_function_typed_in_travels_with_cloudpickle():
    pytest.importorskip("cloudpickle")
    script = """
    import kirsh
    factor = 3
    def work(x):
        kirsh.init()
        return kirsh.allreduce(x * factor)
    print(kirsh.spawn(work, 2, args=(2,)))
    """
    assert run_alone(script) == "[12, 12]\n"


def test_without_cloudpickle_it_says_what_to_do():
    script = """
    import sys, kirsh, importlib.util
    found = importlib.util.find_spec
    importlib.util.find_spec = lambda name: None if name == "cloudpickle" else found(name)
    def work():
        pass
    try:
        kirsh.spawn(work, 2)
    except kirsh.InvalidArgumentError as error:
        print(error)
    """
    assert "into a module" in run_alone(script)


@pytest.mark.parametrize("n", [0, -1])
def test_a_world_without_ranks_is_refused(n):
    with pytest.raises(kirsh.InvalidArgumentError, match=f"n={n}"):
        kirsh.spawn(reduce, n)
