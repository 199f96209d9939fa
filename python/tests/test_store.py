"""Python objects as the store through which ranks find together."""

import signal

import pytest

import kirsh
from launch import World, run_ranks

#: A store in a directory, made of renamed files and a lock, with torch's methods.
DIRECTORY_STORE = """
import fcntl, pathlib, kirsh

class DirectoryStore:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.mkdir(exist_ok=True)
        self.calls = set()

    def file(self, key):
        return self.path / key.encode().hex()

    def set(self, key, value):
        self.calls.add("set")
        assert type(value) is bytes
        temporary = self.path / f".{os.getpid()}-{threading.get_ident()}"
        temporary.write_bytes(value)
        temporary.rename(self.file(key))

    def get(self, key):
        self.calls.add("get")
        return self.file(key).read_bytes()

    def wait(self, keys, timeout):
        self.calls.add("wait")
        deadline = time.monotonic() + timeout.total_seconds()
        while not all(self.file(key).exists() for key in keys):
            if time.monotonic() >= deadline:
                raise RuntimeError("wait timeout")
            time.sleep(0.002)

    def add(self, key, amount):
        self.calls.add("add")
        with open(self.path / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            old = int(self.file(key).read_bytes()) if self.file(key).exists() else 0
            self.set(key, b"%d" % (old + amount))
            return old + amount

class CheckingStore(DirectoryStore):
    def check(self, keys):
        self.calls.add("check")
        return all(self.file(key).exists() for key in keys)
"""


@pytest.mark.parametrize("store", ["DirectoryStore", "CheckingStore"])
def test_ranks_meet_in_a_python_store(tmp_path, store):
    script = (
        DIRECTORY_STORE
        + f"""
del os.environ["KIRSH_RENDEZVOUS"]
store = {store}(os.path.join(os.environ["TEST_DIR"], "store"))
kirsh.init(store=store)
assert kirsh.allreduce(kirsh.rank()) == 3
assert "set" in store.calls and store.calls & {{"wait", "get"}}
kirsh.finalize()
"""
    )
    run_ranks(tmp_path, script, 3, join=False)


def test_ranks_meet_in_a_torch_store(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed (some 3 GB)")
    script = """
    import kirsh, torch.distributed as dist
    del os.environ["KIRSH_RENDEZVOUS"]
    path = os.path.join(os.environ["TEST_DIR"], "torch-store")
    kirsh.init(store=dist.PrefixStore("kirsh", dist.FileStore(path, 2)))
    assert kirsh.allreduce(1) == 2
    """
    run_ranks(tmp_path, script, 2, join=False)


def test_a_failing_store_is_named(tmp_path):
    script = (
        DIRECTORY_STORE
        + """
class Full(DirectoryStore):
    def set(self, key, value): raise OSError("no space left")
    def add(self, key, amount): raise OSError("no space left")
del os.environ["KIRSH_RENDEZVOUS"]
try:
    kirsh.init(store=Full(os.path.join(os.environ["TEST_DIR"], "store")), join_timeout=20)
except kirsh.KirshError as error:
    assert error.kind == "rendezvous", vars(error)
    assert "Full" in str(error) and "no space left" in str(error), error
    print("named")
"""
    )
    for rank in run_ranks(tmp_path, script, 2, join=False):
        assert rank.lines == ["named"]


def test_ctrl_c_ends_a_wait_in_a_store(tmp_path):
    script = (
        DIRECTORY_STORE
        + """
del os.environ["KIRSH_RENDEZVOUS"]
class Telling(CheckingStore):
    def wait(self, keys, timeout):
        print("waiting", flush=True)
        super().wait(keys, timeout)
store = Telling(os.path.join(os.environ["TEST_DIR"], "store"))
try:
    kirsh.init(rank=0, world_size=2, store=store)
except KeyboardInterrupt:
    print("interrupted")
"""
    )
    with World(tmp_path, script, 1, join=False) as world:
        world.ranks[0].await_line("waiting")
        world.ranks[0].process.send_signal(signal.SIGINT)
        assert world.finish()[0].lines[-1] == "interrupted"


def test_an_object_that_is_no_store_is_told_what_it_lacks():
    class Half:
        def get(self, key): ...
        def set(self, key, value): ...

    with pytest.raises(TypeError, match="this Half lacks wait, add"):
        kirsh.Communicator(rank=0, world_size=1, store=Half())


def test_processes_in_several_groups_meet_in_the_store_of_each(tmp_path):
    script = (
        DIRECTORY_STORE
        + """
here = pathlib.Path(os.environ["TEST_DIR"])
me = int(os.environ["RANK"])
# Rows and columns of a square: ranks 0 and 1 come to their row with another past as rank 0 of two.
for name, members in (("column", [me % 2, me % 2 + 2]), ("row", [me // 2 * 2, me // 2 * 2 + 1])):
    store = DirectoryStore(here / f"{name}-{members[0]}")
    for turn in range(2):
        comm = kirsh.Communicator(rank=members.index(me), world_size=2, store=store, join_timeout=20)
        assert comm.allreduce(float(me)) == sum(members)
        comm.close()
"""
    )
    run_ranks(tmp_path, script, 4, join=False)


def test_two_processes_that_claim_a_rank_in_a_store_are_told(tmp_path):
    script = (
        DIRECTORY_STORE
        + """
store = DirectoryStore(pathlib.Path(os.environ["TEST_DIR"]) / "store")
try:
    kirsh.Communicator(rank=min(int(os.environ["RANK"]), 1), world_size=3, store=store, join_timeout=20)
except kirsh.KirshError as error:
    assert "rank 1 is taken twice" in str(error), error
else:
    raise AssertionError("a world with two ranks 1")
"""
    )
    run_ranks(tmp_path, script, 3, join=False)
