"""The library within a Python process: the GIL, fork, exit, logging, pickling, init."""

import logging

import pytest

import kirsh
from launch import World, run_alone, run_ranks


def test_other_threads_run_while_a_call_waits(tmp_path):
    # Rank 1 comes only when the second thread of rank 0 has counted on, after rank 0's call began.
    # With a switch interval this long a thread gets the GIL only from one that lets it go.
    script = """
    sys.setswitchinterval(1000)
    if rank == 0:
        entered = threading.Event()
        def count():
            entered.wait()
            for _ in range(100_000):
                pass
            meet("counted")
        threading.Thread(target=count).start()
        entered.set()
        kirsh.barrier()
        work = kirsh.barrier(async_op=True)
        def release():
            for _ in range(100_000):
                pass
            meet("released")
        threading.Thread(target=release).start()
        work.wait()
    else:
        await_meeting("counted")
        kirsh.barrier()
        await_meeting("released")
        kirsh.barrier()
    """
    run_ranks(tmp_path, script, 2)


def test_without_a_launcher_there_is_a_world_of_one_and_one_warning():
    output = run_alone("""
        import warnings, kirsh
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                kirsh.init()
                assert (kirsh.rank(), kirsh.size()) == (0, 1)
                assert (kirsh.local_rank(), kirsh.local_size()) == (0, 1)
                assert kirsh.allreduce(3) == 3
                kirsh.finalize()
        [warning] = caught
        assert warning.category is RuntimeWarning and "world of one" in str(warning.message)
        print(warning.filename)
    """)
    assert output.strip() == "<string>", "the warning must point at the caller"


def test_a_named_world_of_one_warns_nobody():
    run_alone("""
        import warnings, kirsh
        warnings.simplefilter("error")
        kirsh.init(rank=0, world_size=1)
    """)


def test_init_twice_is_an_error_and_after_finalize_it_works():
    run_alone("""
        import kirsh
        first = kirsh.init(rank=0, world_size=1)
        try:
            kirsh.init(rank=0, world_size=1)
        except kirsh.KirshError as error:
            assert "already" in str(error) and "finalize" in str(error)
        else:
            raise AssertionError("no error")
        assert kirsh.allreduce(1) == 1
        kirsh.finalize()
        kirsh.finalize()
        second = kirsh.init(rank=0, world_size=1)
        assert second is not first and kirsh.allreduce(1) == 1
        try:
            first.barrier()
        except kirsh.KirshError as error:
            assert error.kind == "closed"
        else:
            raise AssertionError("no error")
    """)


@pytest.mark.parametrize(
    "call",
    ["allreduce(1)", "broadcast(1)", "barrier()", "rank()", "size()", "local_rank()",
     "local_size()", "stats()", "stats_by_peer()"],
)  # fmt: skip
def test_functions_before_init_say_so(call):
    name = call.split("(")[0]
    run_alone(f"""
        import kirsh
        kirsh.finalize()
        for when in ("before kirsh.init()", "after kirsh.finalize()"):
            try:
                kirsh.{call}
            except kirsh.KirshError as error:
                assert "kirsh.{name}() was called " + when in str(error), error
            else:
                raise AssertionError("no error")
            kirsh.init(rank=0, world_size=1)
            kirsh.finalize()
    """)


def test_half_a_world_is_an_error_that_says_what_is_missing():
    with pytest.raises(kirsh.KirshError, match="world"):
        kirsh.Communicator(rank=0)


def test_handles_cannot_be_pickled_or_copied(alone):
    import copy
    import pickle

    work = alone.barrier(async_op=True)
    for handle in (alone, work):
        for act in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                act(handle)


def test_handles_show_what_they_are(alone):
    assert "rank 0 of 1" in repr(alone)
    assert "barrier" in repr(alone.barrier(async_op=True))
    assert "operations=" in repr(alone.stats())
    alone.close()
    assert "closed" in repr(alone)


def test_a_forked_child_gets_an_error_and_the_parent_goes_on(tmp_path):
    script = """
    import warnings
    warnings.simplefilter("ignore")
    work = kirsh.allreduce(np.zeros(100_000), async_op=True) if rank == 0 else None
    for round in range(3):
        child = os.fork()
        if child == 0:
            try:
                kirsh.allreduce(1)
            except kirsh.KirshError as error:
                os._exit(7 if error.kind == "forked" else 1)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7, status
        if rank == 1 and round == 0:
            kirsh.allreduce(np.zeros(100_000))
        assert kirsh.allreduce(1) == size
    # A child that ends the way Python ends must not say goodbye for its parent.
    child = os.fork()
    if child == 0:
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
    assert kirsh.allreduce(1) == size
    """
    run_ranks(tmp_path, script, 2)


def test_the_end_of_the_process_does_not_wait_for_a_frozen_peer(tmp_path):
    # Exit handlers run last in, first out: this one measures those of kirsh.
    script = """
    import atexit
    ended = []
    atexit.register(lambda: print(time.monotonic() - ended[0], flush=True))
    import kirsh
    import numpy as np
    kirsh.init()
    kirsh.barrier()
    if kirsh.rank() == 1:
        import signal
        meet("frozen")
        os.kill(os.getpid(), signal.SIGSTOP)
    await_meeting("frozen")
    work = kirsh.allreduce(np.zeros(10), async_op=True)
    ended.append(time.monotonic())
    """
    with World(tmp_path, script, 2, join=False) as world:
        world.ranks[0].process.wait(60)
        world.ranks[1].process.kill()
        ranks = world.finish({1: -9})
    assert float(ranks[0].lines[0]) < 1.1


def test_closing_over_a_running_operation_aborts_it_and_says_so(tmp_path):
    script = """
    if rank == 0:
        x = np.zeros(10)
        work = kirsh.allreduce(x, async_op=True)
        try:
            kirsh.finalize()
        except kirsh.AbortedError:
            print("closed")
        assert work.done
        meet("closed")
        kirsh.finalize()
    else:
        await_meeting("closed")
    """
    assert run_ranks(tmp_path, script, 2)[0].lines == ["closed"]


def test_a_rank_that_ends_early_breaks_nobody(tmp_path):
    script = """
    x = np.full(100_000, rank)
    kirsh.allreduce(x)
    if rank == 1:
        sys.exit(0)
    assert (x == sum(range(size))).all()
    """
    run_ranks(tmp_path, script, 3)


@pytest.mark.parametrize("late", ["init", "allreduce"])
def test_a_warning_reaches_logging_while_the_caller_still_waits(tmp_path, late):
    # The late rank comes only when the other one's log handler has seen it named.
    script = f"""
    import logging
    class Meet(logging.Handler):
        def emit(self, record):
            assert record.name == "kirsh" and record.levelno == logging.WARNING
            text = record.getMessage()
            print(text, flush=True)
            if "rank 1" in text:
                meet("warned")
    logging.getLogger("kirsh").addHandler(Meet())
    import kirsh
    is_late = os.environ["RANK"] == "1"
    if is_late and "{late}" == "init":
        await_meeting("warned")
    kirsh.init()
    if is_late and "{late}" == "allreduce":
        await_meeting("warned")
    assert kirsh.allreduce(1) == 2
    """
    environment = {"KIRSH_WARN_AFTER": "0.2"}
    ranks = run_ranks(tmp_path, script, 2, join=False, environment=environment)
    assert "rank 1" in ranks[0].output


@pytest.mark.parametrize(
    ("level", "number"),
    [
        (logging.CRITICAL + 1, 0),
        (logging.ERROR, 1),
        (logging.WARNING, 2),
        (logging.INFO, 3),
        (logging.DEBUG, 4),
        (1, 5),
    ],
)
def test_only_what_the_logger_lets_through_is_queued(monkeypatch, level, number):
    told = []
    monkeypatch.setattr(kirsh._kirsh, "log_level", told.append)
    logger = logging.getLogger("kirsh")
    monkeypatch.setattr(logger, "level", level)
    kirsh._logging._tell_level()
    assert told == [number]


def test_a_broken_log_handler_stops_nobody(tmp_path):
    script = """
    import logging
    class Broken(logging.Handler):
        def emit(self, record): raise RuntimeError("no")
    logging.getLogger("kirsh").addHandler(Broken())
    logging.getLogger("kirsh").setLevel(1)
    with kirsh.Communicator(rank=0, world_size=1) as other:
        assert other.allreduce(1) == 1
    """
    run_ranks(tmp_path, script, 1)
