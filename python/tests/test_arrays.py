"""Which arguments are taken, and what is said about the others. In a world of one rank."""

import array
import ctypes
import enum
import mmap

import ml_dtypes
import numpy as np
import pytest

import kirsh

DTYPES = [
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", ml_dtypes.bfloat16),
]


class DLPack:
    """A tensor that can be reached by DLPack only, in the words of this version of it."""

    def __init__(self, base, keywords=("max_version", "copy"), device=None, typed=None):
        self.base, self.keywords, self.device, self.typed = base, keywords, device, typed

    def __dlpack_device__(self):
        return self.device or self.base.__dlpack_device__()

    def __dlpack__(self, **arguments):
        for name in arguments:
            if name not in self.keywords:
                raise TypeError(f"unexpected keyword {name}")
        capsule = self.base.__dlpack__(**arguments)
        if self.typed:
            # Another code and other bits than NumPy would ever give: behind data, device and ndim.
            of = ctypes.pythonapi.PyCapsule_GetPointer
            of.restype, of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
            tensor = of(capsule, b"dltensor_versioned") + 32
            (ctypes.c_uint8 * 2).from_address(tensor + 20)[:] = self.typed
        return capsule


class Interface:
    """An array that can be reached by its array interface only."""

    def __init__(self, base, **changes):
        self.base = base
        self.__array_interface__ = {**base.__array_interface__, **changes}


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("by", [np.asarray, Interface, DLPack])
def test_complex_numbers_are_summed_and_have_no_order(alone, dtype, by):
    x = (np.arange(6).reshape(2, 3) * (1 - 2j)).astype(dtype)
    held = by(x)
    for op in (kirsh.SUM, kirsh.PROD, kirsh.AVG):
        assert alone.allreduce(held, op=op) is held
    assert alone.allreduce(held, op=kirsh.PREMUL_SUM, scale=0.5) is held
    assert np.array_equal(x, (np.arange(6).reshape(2, 3) * (0.5 - 1j)).astype(dtype))
    for op in (kirsh.MIN, kirsh.BAND):
        with pytest.raises(kirsh.UnsupportedError, match=f"{dtype}: choose one of sum, prod"):
            alone.allreduce(held, op=op)


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
def test_floats_of_8_bits_move_but_do_not_reduce(alone, dtype):
    x = np.array([0.5, -2.0, 1.75, 0.0], dtype)
    assert alone.broadcast(x) is x
    gathered = alone.allgather(x)
    assert gathered.dtype == x.dtype
    assert gathered.view("uint8").tolist() == x.view("uint8").tolist()
    with pytest.raises(kirsh.UnsupportedError, match=f"{x.dtype.name}: it moves but does"):
        alone.allreduce(x)


@pytest.mark.parametrize(
    ("code", "dtype"), [(10, ml_dtypes.float8_e4m3fn), (12, ml_dtypes.float8_e5m2)]
)
def test_floats_of_8_bits_come_by_dlpack_too(alone, code, dtype):
    x = np.array([0.5, -2.0, 1.75, 0.0], dtype).view("uint8")
    gathered = alone.allgather(DLPack(x, typed=(code, 8)))
    assert gathered.dtype == dtype
    assert gathered.view("uint8").tolist() == x.tolist()


@pytest.mark.parametrize("name", ["float8_e4m3", "float8_e4m3fnuz", "float8_e5m2fnuz", "int4"])
def test_other_small_types_of_the_same_package_are_refused_by_name(alone, name):
    with pytest.raises(kirsh.UnsupportedError, match=f"{name} "):
        alone.broadcast(np.zeros(3, getattr(ml_dtypes, name)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_worked_on_in_place_and_returned(alone, dtype):
    x = np.arange(6).reshape(2, 3).astype(dtype)
    assert alone.allreduce(x, op=kirsh.MAX) is x
    assert alone.broadcast(x) is x


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((3, 4), order="F"),
        np.zeros((2, 3, 4)).transpose(1, 2, 0),
        np.zeros((2, 1, 3))[:, ::-1],
        np.zeros(8)[2:5],
        np.zeros((4, 4))[1:3],
        np.zeros(9)[:1:2],
        np.zeros((0, 3)),
        np.zeros((3, 0))[::2],
        np.array(1.5),
        array.array("d", [1, 2]),
        array.array("l", [1, 2]),
        bytearray(b"abc"),
        memoryview(bytearray(b"abcdef")).cast("H"),
        mmap.mmap(-1, 64),
        Interface(np.zeros((2, 3))),
        Interface(np.zeros((2, 3)).T),
        DLPack(np.zeros((2, 3))),
        DLPack(np.zeros((2, 3)).T),
        DLPack(np.zeros((2, 3)), keywords=("max_version",)),
        DLPack(np.zeros((2, 3)), keywords=()),
        DLPack(np.zeros((0, 3))),
    ],
    ids=lambda x: f"{type(x).__name__}{getattr(x, 'shape', '')}",
)
def test_dense_arrays_of_any_provenance_are_taken(alone, x):
    assert alone.allreduce(x) is x
    assert alone.allreduce(x, async_op=True).wait() is x
    assert alone.broadcast(x) is x


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((3, 4))[:, ::2],
        np.zeros((3, 4))[:, :3],
        np.zeros(4)[::-1],
        np.broadcast_to(np.zeros(3), (2, 3)),
        np.lib.stride_tricks.as_strided(np.zeros(8), (3, 4), (8, 8)),
        Interface(np.zeros((3, 4))[:, ::2]),
        DLPack(np.zeros((3, 4))[:, ::2]),
    ],
)
@pytest.mark.parametrize("call", ["allreduce", "broadcast"])
def test_other_strides_are_refused_with_the_shape_and_what_to_do(alone, call, x):
    before = getattr(x, "base", x)
    with pytest.raises(kirsh.InvalidArgumentError, match="strides") as caught:
        getattr(alone, call)(x)
    shape = str(x.base.shape if isinstance(x, (DLPack, Interface)) else x.shape)
    assert shape in str(caught.value)
    assert "ascontiguousarray" in str(caught.value)
    assert caught.value.operation == call
    assert before is getattr(x, "base", x)


@pytest.mark.parametrize(
    ("x", "named"),
    [
        (np.zeros(2, ">f4"), "big-endian"),
        (Interface(np.zeros(2, ">i8")), "big-endian"),
        (np.zeros(2, ">c8"), "big-endian"),
        (Interface(np.zeros(2, ">c16")), "big-endian"),
        (np.zeros(2, np.clongdouble), "clongdouble|complex256"),
        (DLPack(np.zeros(2, "u1"), typed=(11, 8)), "DLPack type .code 11"),
        (DLPack(np.zeros(2, "u1"), typed=(5, 8)), "DLPack type .code 5"),
        (np.zeros(2, "M8[s]"), "datetime64"),
        (np.zeros(2, "m8[s]"), "timedelta64"),
        (np.array([None]), "object"),
        (np.zeros(2, "i4,f4"), "cannot be used"),
        (np.zeros(2, "V2"), "void16"),
        (np.zeros(2, "S3"), "bytes24"),
        (np.zeros(2, "U3"), "str96"),
        (np.zeros(2, np.longdouble), "longdouble|float128"),
        (np.zeros(2, ml_dtypes.float8_e4m3b11fnuz), "float8_e4m3b11fnuz"),
        ("text", "a str has no memory"),
        ([1.0, 2.0], "a list has no memory"),
        (None, "a NoneType has no memory"),
        (DLPack(np.zeros(2), device=(2, 0)), "cpu"),
    ],
)
def test_types_that_cannot_be_reduced_are_refused_by_name(alone, x, named):
    with pytest.raises(kirsh.UnsupportedError, match=named) as caught:
        alone.allreduce(x)
    assert isinstance(caught.value, (kirsh.KirshError, TypeError))
    assert (caught.value.kind, caught.value.scope) == ("unsupported", "call")


def test_a_masked_interface_is_refused(alone):
    x = Interface(np.zeros(3), mask=Interface(np.zeros(3, bool)))
    with pytest.raises(kirsh.UnsupportedError, match="masked"):
        alone.allreduce(x)


@pytest.mark.parametrize(
    "x",
    [
        b"abc",
        memoryview(b"abc"),
        np.broadcast_to(np.zeros((1, 3)), (1, 3)),
        DLPack(np.broadcast_to(np.zeros((1, 3)), (1, 3))),
        Interface(np.broadcast_to(np.zeros((1, 3)), (1, 3))),
    ],
    ids=lambda x: type(x).__name__,
)
def test_read_only_input_needs_out(alone, x):
    with pytest.raises(kirsh.InvalidArgumentError, match="read-only.*out="):
        alone.allreduce(x)
    with pytest.raises(kirsh.InvalidArgumentError, match="read-only"):
        alone.broadcast(x)
    with pytest.raises(kirsh.InvalidArgumentError, match="out is read-only"):
        alone.allreduce(bytearray(x) if isinstance(x, bytes) else x, out=x)
    source = x if isinstance(x, (bytes, memoryview)) else None
    out = bytearray(3) if source is not None else np.ones((1, 3))
    assert alone.allreduce(x, out=out) is out
    assert bytes(out) == (bytes(source) if source is not None else bytes(24))


def test_out_takes_the_result_and_leaves_the_input(alone):
    x, out = np.arange(6.0).reshape(2, 3), np.full((2, 3), -1.0)
    assert alone.allreduce(x, out=out) is out
    assert out.tolist() == x.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("out", "named"),
    [
        (np.zeros((2, 3), "f4"), "dtype float32"),
        (np.zeros((3, 2)), r"shape \(3, 2\)"),
        (np.zeros(6), r"shape \(6,\)"),
        (np.zeros((2, 3), order="F"), "strides"),
        (np.zeros((2, 6))[:, ::2], "strides"),
        (3.0, "out must be an array"),
        ([0] * 6, "a list has no memory"),
    ],
)
def test_out_must_fit(alone, out, named):
    with pytest.raises(kirsh.KirshError, match=named):
        alone.allreduce(np.zeros((2, 3)), out=out)


def test_out_may_not_share_some_of_its_memory_with_the_input(alone):
    base = np.zeros(6)
    with pytest.raises(kirsh.InvalidArgumentError, match="overlap"):
        alone.allreduce(base[:4], out=base[2:])


@pytest.mark.parametrize(
    "x",
    [3, -(2**63), 2**63 - 1, 2.5, True, 1.5 - 2j, np.float32(1.5), np.float64(1.5), np.int16(-3),
     np.bool_(True), np.uint64(2**64 - 1), np.complex64(2 + 0.5j), np.complex128(1 - 1j),
     ml_dtypes.bfloat16(1.5)],
    ids=lambda x: f"{type(x).__name__}",
)  # fmt: skip
def test_numbers_come_back_as_numbers_of_their_type(alone, x):
    op = kirsh.SUM if isinstance(x, (complex, np.complexfloating)) else kirsh.MAX
    for result in (alone.allreduce(x, op=op), alone.broadcast(x)):
        assert type(result) is type(x)
        assert result == x
    assert alone.allreduce(x, op=op, async_op=True).wait() == x


def test_an_int_enum_is_an_int(alone):
    class Color(enum.IntEnum):
        RED = 7

    assert alone.allreduce(Color.RED) == 7


@pytest.mark.parametrize("x", [2**63, -(2**63) - 1])
def test_an_int_beyond_int64_is_refused(alone, x):
    with pytest.raises(kirsh.InvalidArgumentError, match="int64") as caught:
        alone.allreduce(x)
    assert isinstance(caught.value.__cause__, OverflowError)


def test_bools_do_not_add_up(alone):
    with pytest.raises(kirsh.UnsupportedError, match="sum.*bool"):
        alone.allreduce(True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"op": "mean"}, "op='mean' is none of sum, "),
        ({"op": 0}, "op=0 is none of sum, "),
        ({"algorithm": "fastest"}, "algorithm='fastest' is none of ring, "),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": -1}, "timeout=-1"),
        ({"timeout": float("nan")}, "timeout=NaN"),
        ({"timeout": "soon"}, "timeout must be seconds"),
        ({"scale": "much"}, "scale must be a number"),
        ({"scale": 2.0}, "scale|premul_sum"),
    ],
)
def test_a_bad_argument_is_refused_and_the_communicator_goes_on(alone, arguments, named):
    x = np.ones(3)
    with pytest.raises(kirsh.InvalidArgumentError, match=named) as caught:
        alone.allreduce(x, **arguments)
    assert isinstance(caught.value, ValueError)
    assert alone.allreduce(x).tolist() == [1, 1, 1]


@pytest.mark.parametrize("root", [-1, 1, 2**40, "first"])
def test_a_root_outside_the_world_is_refused(alone, root):
    with pytest.raises(kirsh.InvalidArgumentError, match="root"):
        alone.broadcast(np.zeros(3), root=root)


def test_an_interface_that_raises_is_refused_with_its_reason(alone):
    class Broken:
        @property
        def __array_interface__(self):
            raise LookupError("lost it")

    with pytest.raises(kirsh.InvalidArgumentError, match="lost it") as caught:
        alone.allreduce(Broken())
    assert isinstance(caught.value.__cause__, LookupError)


def test_a_buffer_in_use_cannot_be_resized_by_its_owner(alone):
    x = bytearray(8)
    alone.allreduce(x)
    # The export has ended with the call.
    x.extend(b"more")
    assert len(x) == 12


class TestTorch:
    """torch tensors on the CPU, which this library reaches without importing torch."""

    @pytest.fixture(autouse=True)
    def _torch(self):
        self.torch = pytest.importorskip("torch", reason="torch is not installed (some 3 GB)")

    def test_dense_tensors_are_worked_on_in_place(self, alone):
        torch = self.torch
        for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8,
                      torch.complex64, torch.complex128):  # fmt: skip
            x = torch.ones(2, 3, dtype=dtype)
            assert alone.allreduce(x) is x
            assert alone.allreduce(x.T) is not None

    def test_floats_of_8_bits_move(self, alone):
        torch = self.torch
        for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
            x = torch.ones(2, 3).to(dtype)
            assert alone.broadcast(x) is x
            with pytest.raises(kirsh.UnsupportedError, match="float8.*does not reduce"):
                alone.allreduce(x)

    def test_strided_and_gradient_tensors_are_refused(self, alone):
        torch = self.torch
        with pytest.raises(kirsh.InvalidArgumentError, match="strides"):
            alone.allreduce(torch.ones(4, 4)[:, ::2])
        with pytest.raises(kirsh.InvalidArgumentError, match="grad"):
            alone.allreduce(torch.ones(3, requires_grad=True))
