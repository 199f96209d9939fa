"""Messages from rank to rank: what arrives and in which order, what waits for what, and what becomes
of them when things go wrong."""

import pickle
import signal

import numpy as np
import pytest

import kirsh
from launch import WHEN_BLOCKED, World, run_ranks

DRIVERS = ("uring", "poll")


@pytest.mark.parametrize("driver", DRIVERS)
def test_messages_of_every_dtype_and_length_arrive_as_they_were_sent(tmp_path, driver):
    script = """
    import ml_dtypes
    dtypes = ["bool", "int8", "uint16", "int32", "uint64", "float16", "float32", "float64",
              "complex128", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2]
    def content(dtype, count, of_rank):
        return np.random.default_rng([count, of_rank]).integers(0, 2 + of_rank, count).astype(dtype)
    other = 1 - rank
    for tag, (dtype, count) in enumerate(
            (d, n) for d in dtypes for n in (0, 1, 7, 4096, 20011, 300007)):
        mine, theirs = content(dtype, count, rank), content(dtype, count, other)
        mine.flags.writeable = False
        got = np.zeros_like(theirs)
        want = kirsh.Received(source=other, tag=tag, count=count, nbytes=theirs.nbytes)
        if rank == 0:
            assert kirsh.send(mine, other, tag=tag) is None
            assert kirsh.recv(got, other, tag=tag) == want
        else:
            assert comm.recv(got, other) == want
            comm.send(mine, other, tag=tag)
        assert got.tobytes() == theirs.tobytes(), (dtype, count)
    print("done")
    """
    for rank in run_ranks(tmp_path, script, 2, environment={"KIRSH_DRIVER": driver}):
        assert rank.lines == ["done"]


def test_whatever_has_dense_memory_can_be_sent_and_received_into(tmp_path):
    script = """
    import array
    class Tensor:
        def __init__(self, base):
            self.base = base
        def __dlpack_device__(self):
            return self.base.__dlpack_device__()
        def __dlpack__(self, **arguments):
            return self.base.__dlpack__(**arguments)
    grid = np.arange(12.0).reshape(3, 4)
    flat = np.zeros(12)
    if rank == 0:
        for given in (grid, Tensor(grid.copy()), memoryview(grid), array.array("d", grid.ravel()),
                      np.asfortranarray(grid), 2.5, 7, True, np.float32(3), b"bytes"):
            kirsh.send(given, 1)
    else:
        for out in (grid.copy(), Tensor(flat), memoryview(flat), array.array("d", flat)):
            assert kirsh.recv(out).count == 12
            held = out.base if isinstance(out, Tensor) else out
            assert np.asarray(held).ravel().tolist() == grid.ravel().tolist()
            flat[:] = 0
        # What travels is memory order: columns here, and so they land in a Fortran array.
        kirsh.recv(got := np.zeros((3, 4), order="F"))
        assert got.tolist() == grid.tolist()
        for dtype, want in (("f8", 2.5), ("i8", 7), ("?", True), ("f4", 3)):
            got = np.zeros(1, dtype)
            assert kirsh.recv(got).nbytes == got.nbytes and got[0] == want
        kirsh.recv(got := bytearray(5))
        assert got == b"bytes"
    """
    run_ranks(tmp_path, script, 2)


@pytest.mark.parametrize("driver", DRIVERS)
def test_any_source_hears_everybody_and_says_who_it_was(tmp_path, driver):
    script = """
    if rank == 0:
        heard = {r: [] for r in range(1, size)}
        got = np.zeros(2, "i8")
        for _ in range(20 * (size - 1)):
            received = kirsh.recv(got, kirsh.ANY_SOURCE, tag=kirsh.ANY_TAG)
            assert (received.source, received.tag) == (got[0], 100 + got[1]), received
            heard[received.source].append(int(got[1]))
        # Those of one rank under one tag are in order; here each has a tag of its own, and any
        # tag takes the first that came.
        assert all(numbers == list(range(20)) for numbers in heard.values()), heard
    else:
        for number in range(20):
            kirsh.send(np.array([rank, number]), 0, tag=100 + number)
    """
    run_ranks(tmp_path, script, 4, environment={"KIRSH_DRIVER": driver})


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_receive_of_tag_2_is_not_held_up_by_unlimited_sends_of_tag_1(tmp_path, driver):
    script = """
    SHORT, LONG = 100, 5000
    if rank == 0:
        # Far more than the other side holds for messages without a receive, and long ones beside;
        # and a thread that is held by what it sends.
        works = [kirsh.send(np.full(SHORT if n % 7 else LONG, n), 1, tag=1, async_op=True)
                 for n in range(3000)]
        def flood():
            for n in range(1000):
                comm.send(n, 1, tag=3)
        thread = threading.Thread(target=flood)
        thread.start()
        for n in range(5):
            kirsh.send(np.full(LONG, -n), 1, tag=2)
        assert not any(works[n].done for n in range(0, 3000, 7)) and thread.is_alive()
        kirsh.barrier()
        kirsh.wait_all(works)
        thread.join()
    else:
        got = np.zeros(LONG, "i8")
        for n in range(5):
            assert kirsh.recv(got, 0, tag=2).count == LONG and (got == -n).all()
        kirsh.barrier()
        for n in range(3000):
            count = kirsh.recv(got, 0, tag=1).count
            assert count == (SHORT if n % 7 else LONG) and (got[:count] == n).all()
        for n in range(1000):
            assert kirsh.recv(got, 0, tag=3).count == 1 and got[0] == n
        print("done")
    """
    ranks = run_ranks(tmp_path, script, 2, environment={"KIRSH_DRIVER": driver})
    assert ranks[1].lines == ["done"]


def test_a_long_send_ends_when_it_is_received_and_a_short_one_before(tmp_path):
    script = """
    if rank == 0:
        kirsh.send(np.zeros(16 << 10, "u1"), 1, tag=1)
        long = kirsh.send(np.arange((16 << 10) + 1).astype("u1"), 1, tag=2, async_op=True)
        try:
            long.wait(0.05)
        except kirsh.KirshTimeoutError as error:
            assert error.scope == "call" and "wait again" in str(error)
        else:
            raise AssertionError("nobody has received it")
        assert not long.done
        meet("sent")
        assert long.wait() is None and long.done and long.received is None
        assert long.sequence is None and "send" in repr(long)
    else:
        await_meeting("sent")
        got = np.zeros((16 << 10) + 1, "u1")
        assert kirsh.recv(got, tag=2).count == got.size and got[300] == 300 % 256
        assert kirsh.recv(got, tag=1).count == 16 << 10
    """
    run_ranks(tmp_path, script, 2)


def test_started_receives_say_what_came_whoever_waits(tmp_path):
    script = """
    if rank == 0:
        rooms = [np.full(10, -1.0) for _ in range(3)]
        works = [kirsh.recv(room, 1, tag=tag, async_op=True) for tag, room in enumerate(rooms)]
        assert all(work.received is None and not work.done for work in works)
        assert kirsh.wait_any([works[2], kirsh.allreduce(1, async_op=True)], 60) in (0, 1)
        meet("posted")
        want = [kirsh.Received(1, tag, tag + 1, 8 * (tag + 1)) for tag in range(3)]
        assert works[2].wait() == want[2]
        both = kirsh.wait_all([works[0], kirsh.allreduce(5, async_op=True), works[1]])
        assert both == [want[0], 5 * size, want[1]], both
        for work, received, room in zip(works, want, rooms, strict=True):
            assert work.received == received == work.wait(0) and work.test()
            count = received.count
            assert (room[:count] == received.tag).all() and (room[count:] == -1).all()
    else:
        kirsh.allreduce(1)
        await_meeting("posted")
        for tag in (2, 1, 0):
            kirsh.send(np.full(tag + 1, float(tag)), 0, tag=tag)
        kirsh.allreduce(5)
    """
    run_ranks(tmp_path, script, 2)


def test_an_array_of_a_dropped_receive_lives_until_its_message_is_there(tmp_path):
    script = """
    import gc, weakref
    if rank == 0:
        room = np.zeros(100000)
        alive = weakref.ref(room)
        kirsh.recv(room, 1, async_op=True)
        del room
        gc.collect()
        assert alive() is not None
        meet("dropped")
        kirsh.recv(np.zeros(1), 1, tag=9)
        kirsh.barrier()
        assert alive() is None
    else:
        await_meeting("dropped")
        kirsh.send(np.ones(100000), 0)
        kirsh.send(np.ones(1), 0, tag=9)
        kirsh.barrier()
    """
    run_ranks(tmp_path, script, 2)


@pytest.mark.parametrize("driver", DRIVERS)
def test_exchanges_of_long_messages_in_a_ring_end(tmp_path, driver):
    script = """
    right, left = (rank + 1) % size, (rank - 1) % size
    for count in (0, 3, 1 << 20):
        x, out = np.full(count, rank), np.zeros(count + 2, "i8")
        received = kirsh.sendrecv(x, right, out, left, tag=count)
        assert received == kirsh.Received(left, count, count, 8 * count)
        assert (out[:count] == left).all() and (out[count:] == 0).all()
        assert comm.sendrecv(x, rank, out, kirsh.ANY_SOURCE, tag=5).source == rank
        assert (out[:count] == rank).all()
    """
    run_ranks(tmp_path, script, 3, environment={"KIRSH_DRIVER": driver})


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_does_not_fit_names_rank_tag_and_sizes_and_is_dropped(tmp_path, driver):
    script = """
    if rank == 0:
        for count in (10, 5000):
            kirsh.send(np.arange(float(count)), 1, tag=7)
        kirsh.send(np.zeros(3, "i4"), 1, tag=7)
        kirsh.send(np.arange(2.0), 1, tag=7)
        kirsh.send(np.arange(4.0), 1, tag=8)
    else:
        room = np.full(4, -1.0)
        for said in ("10 x float64, and the receive has room for 4",
                     "5000 x float64, and the receive has room for 4",
                     "3 x int32, and the receive is for float64"):
            for again in (False, True):
                try:
                    if not again:
                        work = kirsh.recv(room, 0, tag=7, async_op=True)
                    work.wait()
                except kirsh.MismatchError as error:
                    assert (error.scope, error.rank, error.peer) == ("call", 1, 0), vars(error)
                    assert (error.operation, error.sequence) == ("recv", None), vars(error)
                    assert f"the message with tag 7 from rank 0 is {said}" in str(error), error
                else:
                    raise AssertionError(said)
            assert work.done and work.received is None
        assert kirsh.recv(room, 0, tag=7).count == 2 and room[2:].tolist() == [-1, -1]
        assert kirsh.recv(room, 0).tag == 8 and room.tolist() == [0, 1, 2, 3]
    assert kirsh.allreduce(1) == size
    """
    run_ranks(tmp_path, script, 2, environment={"KIRSH_DRIVER": driver})


def test_what_runs_out_of_time_fails_alone_and_names_rank_and_tag(tmp_path):
    script = """
    room, long = np.zeros(3), np.zeros(100000)
    if rank == 0:
        for call, said, peer in [
            (lambda **o: kirsh.recv(room, 1, tag=6, **o), "no message with tag 6 from rank 1", 1),
            (lambda **o: kirsh.recv(room, **o), "no message from any rank", None),
            (lambda **o: kirsh.send(long, 1, tag=6, **o), "rank 1 has not received.*tag 6", 1),
            (lambda **o: kirsh.sendrecv(long, 1, room, 1, tag=6, **o), "rank 1 has not", 1),
        ]:
            import re
            try:
                call(timeout=0.2)
            except kirsh.KirshTimeoutError as error:
                assert re.search(said, str(error)), error
                assert (error.scope, error.rank, error.peer) == ("call", 0, peer), vars(error)
            else:
                raise AssertionError(said)
        work = kirsh.recv(room, 1, tag=6, async_op=True, timeout=0.2)
        while not work.done:
            time.sleep(0.01)
        for ask in (work.wait, work.test):
            try:
                ask()
            except TimeoutError as error:
                assert error.operation == "recv"
            else:
                raise AssertionError("it has failed")
    kirsh.barrier()
    if rank == 1:
        kirsh.send(np.ones(3), 0, tag=6)
    else:
        assert kirsh.recv(room, 1, tag=6).count == 3 and room.tolist() == [1, 1, 1]
    """
    run_ranks(tmp_path, script, 2)


@pytest.mark.parametrize("how", ["recv", "anybody", "send", "work"])
def test_a_lost_peer_ends_what_waits_for_it_and_the_communicator(tmp_path, how):
    script = (
        WHEN_BLOCKED
        + """
how = os.environ["TEST_HOW"]
kirsh.barrier()
if rank == 1:
    await_meeting("blocked")
    os.kill(os.getpid(), 9)
when_blocked(lambda: meet("blocked"))
x = np.zeros(100000)
for again in (False, True):
    try:
        if how == "recv":
            kirsh.recv(x, 1, tag=3)
        elif how == "anybody":
            kirsh.recv(x)
        elif how == "send":
            kirsh.send(x, 1)
        else:
            wait_for(kirsh.recv(x, 1, async_op=True))
    except kirsh.PeerLostError as error:
        assert error.scope == "communicator" and error.peer == 1, vars(error)
        assert error.rank == 0 and "rank 1" in str(error), error
    else:
        raise AssertionError("nobody is there")
try:
    kirsh.barrier()
except kirsh.PeerLostError as error:
    print("over")
"""
    )
    with World(tmp_path, script, 2, environment={"TEST_HOW": how}) as world:
        ranks = world.finish({1: -9})
    assert ranks[0].lines == ["over"]


def test_what_was_sent_before_a_rank_left_is_received(tmp_path):
    script = """
    if rank == 1:
        kirsh.send(np.arange(5.0), 0, tag=1)
    else:
        room = np.zeros(5)
        try:
            kirsh.recv(room, 1, tag=2)
        except kirsh.PeerLostError as error:
            print("lost")
    """
    ranks = run_ranks(tmp_path, script.replace("tag=2", "tag=1"), 2)
    assert ranks[0].lines == []
    ranks = run_ranks(tmp_path, script, 2)
    assert ranks[0].lines == ["lost"]


@pytest.mark.parametrize("call", ["kirsh.recv(x)", "kirsh.send(x, 1)", "wait_for(started())"])
def test_ctrl_c_ends_a_message_that_waits_and_tells_the_peer(tmp_path, call):
    script = (
        WHEN_BLOCKED
        + f"""
x = np.zeros(100000)
def started():
    return kirsh.recv(x, 1, async_op=True)
if rank == 0:
    when_blocked(lambda: print("blocked", flush=True))
    try:
        {call}
    except KeyboardInterrupt:
        print("interrupted", flush=True)
else:
    try:
        kirsh.barrier()
    except kirsh.AbortedError as error:
        assert error.peer == 0, vars(error)
        print("told", flush=True)
"""
    )
    with World(tmp_path, script, 2) as world:
        world.ranks[0].await_line("blocked")
        world.ranks[0].process.send_signal(signal.SIGINT)
        # Far sooner than the message's own time is up: that is longer than this waits.
        ranks = world.finish()
    assert ranks[0].lines == ["blocked", "interrupted"]
    assert ranks[1].lines == ["told"]


def test_messages_and_collectives_of_several_threads_do_not_disturb_one_another(tmp_path):
    script = """
    other = 1 - rank
    def talk(tag):
        for n in range(200):
            got = np.zeros(n + 1, "i8")
            if (rank + tag) % 2:
                comm.send(np.full(n + 1, n * tag), other, tag=tag)
                assert comm.recv(got, other, tag=tag).count == n + 1
            else:
                assert comm.recv(got, other, tag=tag).count == n + 1
                comm.send(np.full(n + 1, n * tag), other, tag=tag)
            assert (got == n * tag).all()
        done.append(tag)
    done = []
    threads = [threading.Thread(target=talk, args=(tag,)) for tag in range(4)]
    for thread in threads:
        thread.start()
    for n in range(200):
        assert kirsh.allreduce(n) == 2 * n
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 1, 2, 3]
    """
    run_ranks(tmp_path, script, 2)


def test_groups_have_messages_of_their_own_ranks(tmp_path):
    script = """
    group = comm.split(rank % 2, key=-rank)
    with group:
        if group.size() == 2:
            got = np.zeros(1, "i8")
            assert group.sendrecv(rank, 1 - group.rank(), got, kirsh.ANY_SOURCE).source == 1 - group.rank()
            assert got[0] == (rank + 2) % 4
        try:
            group.send(1, 2)
        except kirsh.InvalidArgumentError as error:
            assert "2 is not a rank of this communicator of 2" in str(error), error
    """
    run_ranks(tmp_path, script, 4)


REFUSED = [
    (lambda c: c.send(np.zeros(2), 1), "1 is not a rank of this communicator of 1"),
    (lambda c: c.send(np.zeros(2), -1), "dst=-1 is not a rank"),
    (lambda c: c.send(np.zeros(2), "0"), "dst='0' is not a rank"),
    (lambda c: c.send(np.zeros(2), None), "dst=None is not a rank"),
    (lambda c: c.send(np.zeros(2), 0, tag=kirsh.ANY_TAG), "tag=-1 is no tag"),
    (lambda c: c.send(np.zeros(2), 0, tag=2**32), "tag=4294967296 is no tag"),
    (lambda c: c.send(np.zeros(4)[::2], 0), "strides"),
    (lambda c: c.send(np.zeros(2), 0, timeout=0), "timeout=0"),
    (lambda c: c.recv(np.zeros(2), 1), "1 is not a rank of this communicator of 1"),
    (lambda c: c.recv(np.zeros(2), -2), "src=-2 is neither a rank nor kirsh.ANY_SOURCE"),
    (lambda c: c.recv(np.zeros(2), None), "src=None is neither"),
    (lambda c: c.recv(np.zeros(2), 0, tag=-2), "tag=-2 is neither kirsh.ANY_TAG"),
    (lambda c: c.recv(np.zeros(2), 0, tag=0.5), "tag=0.5 is neither"),
    (lambda c: c.recv(b"abc", 0), "out is read-only"),
    (lambda c: c.recv(2.5, 0), "out must be an array"),
    (lambda c: c.recv(np.float64(2.5), 0), "out must be an array"),
    (lambda c: c.recv(np.zeros((4, 4))[:, 1:], 0), "strides"),
    (lambda c: c.sendrecv(np.zeros(2), 0, np.zeros(2), 0, tag=-1), "tag=-1 is no tag"),
    (lambda c: c.sendrecv(np.zeros(2), 0, np.zeros(2), 7), "7 is not a rank"),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_a_message_that_cannot_be_is_refused_and_says_why(alone, case):
    call, said = REFUSED[case]
    with pytest.raises(kirsh.InvalidArgumentError, match=said) as caught:
        call(alone)
    assert caught.value.scope == "call" and caught.value.rank == 0
    assert caught.value.operation in ("send", "recv", "sendrecv")
    assert caught.value.sequence is None and alone.allreduce(1) == 1


def test_what_has_no_memory_is_no_message(alone):
    for call in (lambda: alone.send("text", 0), lambda: alone.recv(None, 0)):
        with pytest.raises(kirsh.UnsupportedError, match="has no memory"):
            call()


def test_an_exchange_over_one_array_is_refused(alone):
    x = np.zeros(8)
    for out in (x, x[3:], x[:1]):
        with pytest.raises(kirsh.InvalidArgumentError, match="overlap"):
            alone.sendrecv(x, 0, out, 0)
    x[:4] = 1
    assert alone.sendrecv(x[:4], 0, x[4:], 0).count == 4 and x.tolist() == [1] * 8


def test_a_refused_message_is_nobody_elses_business(tmp_path):
    script = """
    if rank == 0:
        for bad in (lambda: kirsh.send(np.zeros(4)[::2], 1), lambda: kirsh.recv(b"", 1)):
            try:
                bad()
            except kirsh.InvalidArgumentError as error:
                assert error.scope == "call"
            else:
                raise AssertionError("no error")
    assert kirsh.allreduce(1) == size
    """
    run_ranks(tmp_path, script, 2)


def test_a_rank_sends_to_itself(alone):
    out = np.zeros(3)
    alone.send(np.arange(3.0), 0, tag=4)
    assert alone.recv(out) == kirsh.Received(0, 4, 3, 24) and out.tolist() == [0, 1, 2]
    work = alone.recv(out, 0, async_op=True)
    alone.send(np.full(2, 9.0), 0)
    assert work.wait().count == 2 and out.tolist() == [9, 9, 2]


def test_what_was_received_is_a_value(alone):
    received = kirsh.Received(source=1, tag=2, count=3, nbytes=24)
    assert pickle.loads(pickle.dumps(received)) == received != kirsh.Received(1, 2, 3, 12)
    assert len({received, kirsh.Received(1, 2, 3, 24)}) == 1
    assert eval(repr(received), {"Received": kirsh.Received}) == received
    with pytest.raises(AttributeError):
        received.tag = 5


def test_a_closed_communicator_has_no_messages():
    closed = kirsh.Communicator(rank=0, world_size=1)
    closed.close()
    for call in (lambda: closed.send(1, 0), lambda: closed.recv(np.zeros(1))):
        with pytest.raises(kirsh.KirshError) as caught:
            call()
        assert caught.value.kind == "closed"
