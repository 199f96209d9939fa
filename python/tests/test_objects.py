"""Pickled objects between ranks that have a token, and comparing states."""

from launch import run_ranks

TOKEN = {"KIRSH_TOKEN": "a-token-for-tests-only"}


def test_objects_go_from_the_root_and_from_all(tmp_path):
    script = """
    assert comm.authenticated()
    for root in range(size):
        sent = {"rank": rank, "name": "x" * 1000, "array": np.arange(rank)}
        got = kirsh.broadcast_object(sent, root=root)
        assert got["rank"] == root and len(got["array"]) == root
        assert (got is sent) == (rank == root)
    every = comm.allgather_object(["r"] * rank)
    assert every == [["r"] * r for r in range(size)]
    assert kirsh.broadcast_object(None) is None
    """
    run_ranks(tmp_path, script, 3, environment=TOKEN)


def test_without_a_token_no_pickle_is_read(tmp_path):
    script = """
    import pickle
    assert not comm.authenticated()
    pickle.loads = pickle.dumps = None
    for call in (kirsh.broadcast_object, comm.allgather_object):
        try:
            call("x")
        except kirsh.KirshError as error:
            assert error.kind == "authentication" and error.scope == "call"
            assert "token" in str(error) and "kirsh run" in str(error)
        else:
            raise AssertionError("no error")
    assert kirsh.allreduce(1) == size
    """
    run_ranks(tmp_path, script, 2)


def test_a_world_of_one_trusts_itself(alone):
    assert alone.authenticated()
    assert alone.broadcast_object({1: 2}) == {1: 2}
    assert alone.allgather_object("x") == ["x"]


def test_an_object_that_cannot_be_pickled_fails_on_all_ranks_and_the_communicator_goes_on(tmp_path):
    script = """
    for call in (lambda x: kirsh.broadcast_object(x, root=1), kirsh.allgather_object):
        try:
            call((lambda: 0) if rank == 1 else "fine")
        except kirsh.KirshError as error:
            assert rank != 1 and error.peer == 1 and error.kind == "refused", vars(error)
            assert error.scope == "call"
        except Exception as error:
            assert rank == 1 and "pickle" in str(error), error
        else:
            raise AssertionError("no error")
    assert kirsh.allgather_object(rank) == list(range(size))
    """
    run_ranks(tmp_path, script, 3, environment=TOKEN)


def test_equal_states_are_equal_and_ship_no_payload(tmp_path):
    script = """
    import ml_dtypes
    state = {
        "layers": [{"weight": np.full((300, 500), 1.5), "bias": np.zeros(3, ml_dtypes.bfloat16)}],
        "epoch": 3, "rate": 0.1, "name": "adam", "nothing": None, "empty": np.zeros((0, 2)),
        "shape": (2, 3), "flag": True, "nan": np.array([np.nan]), "raw": bytearray(b"abc"),
        "fortran": np.zeros((2, 3), order="F"), "scalar": np.float32(2),
    }
    if rank:
        # The order of insertion does not matter.
        state = dict(reversed(state.items()))
    before = kirsh.stats().bytes_sent
    for _ in range(3):
        assert kirsh.check_equal(state) is None
    comm.check_equal(np.arange(10))
    assert kirsh.stats().bytes_sent - before < 1000
    assert not comm.authenticated()
    """
    run_ranks(tmp_path, script, 3)


def test_the_first_difference_is_named_with_its_ranks_on_all_ranks(tmp_path):
    script = """
    def state():
        return {"b": np.zeros(4, "f4"), "a": [np.ones((2, 3)), {"deep": np.arange(5)}], "n": 1}
    def contents(s): s["a"][1]["deep"][4] = 0
    def shape(s): s["b"] = np.zeros((2, 2), "f4")
    def dtype(s): s["b"] = np.zeros(4, "i4")
    def number(s): s["n"] = 1.0
    def missing(s): del s["b"]
    def longer(s): s["a"].append(np.zeros(1))
    def order(s): s["a"][0] = np.asfortranarray(s["a"][0])
    def two(s): s["b"][0] = 1; s["n"] = 2
    cases = [
        (contents, [2], "'a[1].deep'", "int64 (5,), has other contents"),
        (shape, [1], "'b'", "float32 (2, 2), and on rank 0 float32 (4,)"),
        (dtype, [2], "'b'", "int32 (4,)"),
        (number, [1, 2], "'n'", "float, and on rank 0 int"),
        (missing, [1], "'b'", "it lacks 'b'"),
        (longer, [2], "'a[2]'", "it has 'a[2]', and rank 0 does not"),
        (order, [1], "'a[0]'", "not row by row"),
        (two, [1], "'b'", "has other contents"),
        (contents, [0], "'a[1].deep'", "has other contents"),
    ]
    for change, ranks, name, said in cases:
        mine = state()
        if rank in ranks:
            change(mine)
        try:
            kirsh.check_equal(mine)
        except kirsh.MismatchError as error:
            text = str(error)
            assert name in text and said in text, (change, text)
            named = [r for r in range(size) if r not in ranks] if ranks == [0] else ranks
            assert ("rank" if len(named) == 1 else "ranks") + " " + ", ".join(map(str, named)) in text
            assert error.scope == "call" and error.peer == named[0]
            assert error.operation == "check_equal" and error.rank == rank
        else:
            raise AssertionError(change)
    kirsh.check_equal(state())
    """
    run_ranks(tmp_path, script, 3)


def test_a_state_that_cannot_be_read_fails_on_all_ranks(tmp_path):
    script = """
    for bad in (np.zeros((4, 4))[:, ::2], {1, 2}, np.zeros(2, "c8")):
        try:
            kirsh.check_equal({"good": np.zeros(2), "x": [bad if rank == 1 else np.zeros(2)]})
        except kirsh.KirshError as error:
            assert error.scope == "call"
            assert "x[0]" in str(error) if rank == 1 else error.peer == 1, error
        else:
            raise AssertionError("no error")
    assert kirsh.allreduce(1) == size
    """
    run_ranks(tmp_path, script, 2)
