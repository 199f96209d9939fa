"""What goes wrong between ranks, as Python sees it: classes, attributes, Ctrl-C."""

import pickle
import signal
import time

import kirsh
from launch import WHEN_BLOCKED, World, run_ranks


def test_a_mismatch_names_both_calls_on_every_rank(tmp_path):
    script = """
    try:
        kirsh.allreduce(np.zeros(3 + rank))
    except kirsh.MismatchError as error:
        assert isinstance(error, kirsh.KirshError) and isinstance(error, RuntimeError)
        assert error.kind == "mismatch" and error.scope == "communicator"
        assert error.rank == rank and error.peer == 1 - rank
        assert error.operation == "allreduce" and error.sequence == 0
        assert "3 x float64" in str(error) and "4 x float64" in str(error), error
        first = error
    else:
        raise AssertionError("no error")
    try:
        kirsh.barrier()
    except kirsh.MismatchError as error:
        assert error.kind == "mismatch"
        print("poisoned")
    """
    for rank in run_ranks(tmp_path, script, 2):
        assert rank.lines == ["poisoned"]


def test_a_call_refused_on_one_rank_fails_on_the_others_with_its_reason(tmp_path):
    script = """
    x = np.zeros((4, 4))
    try:
        kirsh.allreduce(x[:, ::2] if rank == 1 else x[:, :2].copy())
    except kirsh.InvalidArgumentError as error:
        assert rank == 1 and error.rank == 1 and error.sequence == 0
        assert error.scope == "call" and error.operation == "allreduce"
        print("refused")
    except kirsh.RefusedError as error:
        assert rank != 1 and error.rank == rank and error.peer == 1, vars(error)
        # A rank that hears of it before its own call knows the communicator only.
        assert error.operation in ("allreduce", "communicator") and error.sequence == 0
        assert "strides (32, 16)" in str(error), error
        print("told")
    """
    ranks = run_ranks(tmp_path, script, 3)
    assert [rank.lines for rank in ranks] == [["told"], ["refused"], ["told"]]


def test_a_call_refused_on_all_ranks_poisons_nothing(tmp_path):
    script = """
    for bad in (np.zeros(4)[::2], np.zeros(3, "g"), "text", b"read-only"):
        for call in (kirsh.allreduce, kirsh.broadcast):
            try:
                call(bad)
            except kirsh.KirshError as error:
                assert error.scope == "call"
            else:
                raise AssertionError("no error")
    assert kirsh.allreduce(1) == size
    """
    run_ranks(tmp_path, script, 3)


def test_a_killed_peer_is_named(tmp_path):
    script = (
        WHEN_BLOCKED
        + """
kirsh.barrier()
if rank == 1:
    await_meeting("blocked-0")
    await_meeting("blocked-2")
    os.kill(os.getpid(), 9)
when_blocked(lambda: meet(f"blocked-{rank}"))
try:
    kirsh.allreduce(np.zeros(1000))
except kirsh.PeerLostError as error:
    assert error.kind == "peer lost" and error.scope == "communicator"
    assert error.rank == rank and error.peer == 1, vars(error)
    assert error.operation == "allreduce" and error.sequence == 1, vars(error)
    print("lost")
"""
    )
    with World(tmp_path, script, 3) as world:
        ranks = world.finish({1: -9})
    assert [rank.lines for rank in ranks] == [["lost"], [], ["lost"]]


def test_an_operation_that_takes_too_long_raises_a_timeout_error(tmp_path):
    script = """
    if rank == 0:
        try:
            kirsh.allreduce(np.zeros(10), timeout=0.5)
        except TimeoutError as error:
            assert isinstance(error, kirsh.KirshTimeoutError)
            assert isinstance(error, kirsh.KirshError)
            assert error.kind == "timeout" and error.scope == "communicator"
            assert error.rank == 0 and error.operation == "allreduce" and error.sequence == 0
            assert str(error)
            print("late")
        meet("over")
    else:
        await_meeting("over")
    """
    assert run_ranks(tmp_path, script, 2)[0].lines == ["late"]


def test_a_wait_that_runs_out_leaves_the_operation_running(tmp_path):
    script = """
    x = np.ones(1000)
    if rank == 0:
        work = kirsh.allreduce(x, async_op=True)
        for limit in (0, 0.05):
            try:
                work.wait(limit)
            except kirsh.KirshTimeoutError as error:
                assert (error.scope, error.sequence, error.operation) == ("call", 0, "allreduce")
                assert "wait again" in str(error)
            else:
                raise AssertionError("it cannot be over")
            assert not work.done and not work.test()
        meet("waited")
        assert work.wait(math.inf) is x
        assert work.done and (x == size).all()
    else:
        await_meeting("waited")
        kirsh.allreduce(x)
    """
    run_ranks(tmp_path, script, 2)


def test_a_failed_work_raises_each_time_it_is_asked(tmp_path):
    script = """
    work = kirsh.allreduce(np.zeros(3 + rank), async_op=True)
    for ask in (work.wait, work.wait, work.test):
        try:
            ask()
        except kirsh.MismatchError as error:
            assert error.sequence == 0
        else:
            raise AssertionError("no error")
    assert work.done
    """
    run_ranks(tmp_path, script, 2)


def test_abort_ends_the_calls_of_all_ranks_with_its_reason(tmp_path):
    script = (
        WHEN_BLOCKED
        + """
if rank == 0:
    when_blocked(lambda: comm.abort("the disk is full"))
if rank == 2:
    await_meeting("aborted")
try:
    kirsh.allreduce(np.zeros(10))
    # Rank 0 sent its part before it aborted, so the other two may have all they need for this
    # call; nothing more comes for the next.
    assert rank != 0
    kirsh.allreduce(np.zeros(10))
except kirsh.AbortedError as error:
    assert "the disk is full" in str(error), error
    assert error.scope == "communicator" and error.rank == rank
    assert rank == 0 or error.peer == 0, vars(error)
    print("aborted")
meet("aborted")
"""
    )
    for rank in run_ranks(tmp_path, script, 3):
        assert rank.lines == ["aborted"]


def test_leaving_a_with_block_by_an_exception_tells_the_peers(tmp_path):
    script = """
    kirsh.finalize()
    try:
        with kirsh.Communicator() as other:
            if rank == 0:
                raise LookupError("no such file")
            other.barrier()
    except LookupError:
        assert rank == 0
    except kirsh.AbortedError as error:
        assert error.peer == 0 and "LookupError: no such file" in str(error)
        print("told")
    try:
        other.barrier()
    except kirsh.KirshError:
        pass
    """
    ranks = run_ranks(tmp_path, script, 2)
    assert ranks[1].lines == ["told"]


def interrupted_world(tmp_path, call):
    return World(
        tmp_path,
        WHEN_BLOCKED
        + f"""
x = np.zeros(10)
if rank == 0:
    when_blocked(lambda: print("blocked", flush=True))
if rank == 2:
    # This rank never comes to the call that the others wait in.
    await_meeting("interrupted")
try:
    {call}
    # Everything that the late rank needed may have been sent to it before; nothing more is.
    assert rank != 0
    {call}
except KeyboardInterrupt:
    print("interrupted", time.time(), flush=True)
    meet("interrupted")
except kirsh.AbortedError as error:
    assert error.peer == 0, vars(error)
    assert error.scope == "communicator"
    # The rank that comes late finds the communicator over; its call had no number yet.
    if rank == 1:
        assert (error.operation, error.sequence) == ("allreduce", 0), vars(error)
    print("told", time.time(), flush=True)
else:
    raise AssertionError("no error")
""",
        3,
    )


def check_interrupted(world):
    world.ranks[0].await_line("blocked")
    sent = time.time()
    world.ranks[0].process.send_signal(signal.SIGINT)
    ranks = world.finish()
    assert "interrupted" in ranks[0].output
    assert "told" in ranks[1].output and "told" in ranks[2].output
    for rank in ranks[:2]:
        assert float(rank.lines[-1].split()[1]) - sent < 1.0


def test_ctrl_c_ends_a_blocking_call_and_tells_the_peers(tmp_path):
    with interrupted_world(tmp_path, "kirsh.allreduce(x)") as world:
        check_interrupted(world)


def test_ctrl_c_ends_a_wait_and_tells_the_peers(tmp_path):
    with interrupted_world(tmp_path, "wait_for(kirsh.allreduce(x, async_op=True))") as world:
        check_interrupted(world)


def test_ctrl_c_ends_the_wait_for_other_ranks_to_join(tmp_path):
    script = (
        WHEN_BLOCKED
        + """
import kirsh
if os.environ["RANK"] == "0":
    when_blocked(lambda: print("blocked", flush=True))
    try:
        kirsh.init()
    except KeyboardInterrupt:
        print("interrupted")
    # Nothing is left of the attempt: another one can be made.
    kirsh.init(rank=0, world_size=1)
    print(kirsh.allreduce(5))
"""
    )
    with World(tmp_path, script, 2, join=False) as world:
        world.ranks[0].await_line("blocked")
        world.ranks[0].process.send_signal(signal.SIGINT)
        ranks = world.finish()
    assert ranks[0].lines == ["blocked", "interrupted", "5"]


def test_a_handler_that_does_not_raise_lets_the_call_go_on(tmp_path):
    script = (
        WHEN_BLOCKED
        + """
import signal
seen = []
signal.signal(signal.SIGUSR1, lambda *_: (seen.append(1), meet("handled")))
if rank == 0:
    when_blocked(lambda: os.kill(os.getpid(), signal.SIGUSR1))
else:
    await_meeting("handled")
assert kirsh.allreduce(1) == size
assert rank or seen
"""
    )
    run_ranks(tmp_path, script, 2)


def test_errors_survive_pickling():
    for name in ("KirshError", "KirshTimeoutError", "PeerLostError", "UnsupportedError"):
        error = getattr(kirsh, name)("it broke", kind="k", rank=1, peer=2, sequence=3)
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == "it broke"
        assert vars(again) == vars(error)
        assert (again.kind, again.rank, again.peer, again.sequence) == ("k", 1, 2, 3)
        assert f"kirsh.{name}" == f"{type(again).__module__}.{type(again).__qualname__}"


def test_ranks_that_do_not_find_together_time_out(tmp_path):
    script = """
    import kirsh
    try:
        kirsh.init(join_timeout=1.0)
    except kirsh.KirshError as error:
        assert error.kind in ("timeout", "rendezvous"), vars(error)
        assert "1" in str(error)
        print("alone")
    """
    with World(tmp_path, script, 2, join=False) as world:
        # Only rank 0 may come.
        world.ranks[1].process.kill()
        ranks = world.finish({1: -9})
    assert ranks[0].lines == ["alone"]
