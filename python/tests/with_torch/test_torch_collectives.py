"""Every collective of torch.distributed over Kirsh, against what it means."""

import pytest

from groups import run_torch

SCRIPT = """
import itertools

def value(rank, dtype, count=6):
    base = torch.arange(count) % 3 + rank
    return (base % 2 == 0) if dtype is torch.bool else base.to(dtype)

def check(found, wanted, what):
    assert found.dtype == wanted.dtype and found.shape == wanted.shape, (what, found, wanted)
    bits = {1: torch.uint8, torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
    kind = bits.get(1 if found.itemsize == 1 else found.dtype, found.dtype)
    same = found.view(kind) == wanted.view(kind)
    assert bool(same.all()), (what, found, wanted)

REDUCED = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
           torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64]
MOVED = REDUCED + [torch.bool, torch.complex64, torch.complex128, torch.float8_e4m3fn,
                   torch.float8_e5m2, torch.complex32]
OP = dist.ReduceOp
everyone = range(size)
done = lambda work: work.wait() if work is not None else None

for started in (False, True):
    for dtype in REDUCED:
        # torch adds no unsigned integers of more than 8 bits: it is done in others.
        values = [value(other, dtype) for other in everyone]
        sums = sum(value(other, torch.int64) for other in everyone)
        total = sums.to(dtype)
        for op, wanted in [(OP.SUM, total), (OP.MAX, values[-1]), (OP.MIN, values[0])]:
            x = value(rank, dtype)
            done(dist.all_reduce(x, op, async_op=started))
            check(x, wanted, ("all_reduce", op, dtype))
        x = value(rank, dtype)
        done(dist.reduce(x, size - 1, async_op=started))
        check(x, total if rank == size - 1 else values[rank], ("reduce", dtype))
        parts = [(value(rank, torch.int64) + other).to(dtype) for other in everyone]
        out = torch.empty(6, dtype=dtype)
        done(dist.reduce_scatter(out, parts, async_op=started))
        check(out, (sums + size * rank).to(dtype), ("reduce_scatter", dtype))
        out.zero_()
        done(dist.reduce_scatter_tensor(out, torch.cat(parts), async_op=started))
        check(out, (sums + size * rank).to(dtype), ("reduce_scatter_tensor", dtype))

    for dtype in MOVED:
        def value_of(other):
            return value(other, torch.float32).to(dtype) if dtype is not torch.bool else value(other, dtype)
        own, values = value_of(rank), [value_of(other) for other in everyone]
        x = own.clone()
        done(dist.broadcast(x, size - 1, async_op=started))
        check(x, values[-1], ("broadcast", dtype))
        outs = [torch.empty_like(own) for _ in everyone]
        done(dist.all_gather(outs, own, async_op=started))
        for other in everyone:
            check(outs[other], values[other], ("all_gather", dtype))
        flat = torch.empty(6 * size, dtype=dtype)
        done(dist.all_gather_into_tensor(flat, own, async_op=started))
        check(flat, torch.cat(values), ("all_gather_into_tensor", dtype))
        outs = [torch.empty_like(own) for _ in everyone] if rank == 0 else None
        done(dist.gather(own, outs, dst=0, async_op=started))
        for other in everyone if rank == 0 else ():
            check(outs[other], values[other], ("gather", dtype))
        x = torch.empty_like(own)
        done(dist.scatter(x, values if rank == 0 else None, src=0, async_op=started))
        check(x, values[rank], ("scatter", dtype))
        x, outs = torch.empty_like(torch.cat([own] * size)), [torch.empty_like(own) for _ in everyone]
        done(dist.all_to_all_single(x, torch.cat([own] * size), async_op=started))
        check(x, torch.cat(values), ("all_to_all_single", dtype))
        done(dist.all_to_all(outs, [own] * size, async_op=started))
        for other in everyone:
            check(outs[other], values[other], ("all_to_all", dtype))

    # Uneven: rank r sends r + 1 rows to each.
    given = torch.full((size * (rank + 1), 2), float(rank))
    got = torch.empty((sum(other + 1 for other in everyone), 2))
    splits = [other + 1 for other in everyone]
    done(dist.all_to_all_single(got, given, splits, [rank + 1] * size, async_op=started))
    wanted = torch.cat([torch.full((other + 1, 2), float(other)) for other in everyone])
    check(got, wanted, "uneven all_to_all_single")

    # What is no run of memory goes through a copy and comes back.
    for make in (lambda: torch.zeros(4, 6).t(), lambda: torch.zeros(8, 3)[::2], lambda: torch.zeros(1).expand(5)):
        x = make()
        if x.stride(0):
            x += rank + 1
            done(dist.all_reduce(x, async_op=started))
            check(x.contiguous(), torch.full(x.shape, float(sum(range(1, size + 1)))), "strided")
            x.fill_(rank)
            done(dist.broadcast(x, 1, async_op=started))
            check(x.contiguous(), torch.full(x.shape, 1.0), "strided broadcast")
        outs = [make() if x.stride(0) else torch.zeros(5) for _ in everyone]
        done(dist.all_gather(outs, x, async_op=started))
    dist.barrier(async_op=started) and None

# Sums, means and factors of whatever has fractions; all of it exact in each of these types.
def reduced(op, own, started):
    x = own.clone()
    done(dist.all_reduce(x, op, async_op=started))
    yield "all_reduce", x
    x = own.clone()
    done(dist.reduce(x, size - 1, op, async_op=started))
    if rank == size - 1:
        yield "reduce", x
    x = torch.empty_like(own)
    done(dist.reduce_scatter(x, [own] * size, op, async_op=started))
    yield "reduce_scatter", x
    x = torch.empty_like(own)
    done(dist.reduce_scatter_tensor(x, torch.cat([own] * size), op, async_op=started))
    yield "reduce_scatter_tensor", x

factors = [0.5 * 2**other for other in everyone]
factor = dist._make_nccl_premul_sum
for started in (False, True):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128):
        unit = complex(1, -3) if dtype.is_complex else 1
        mine = [2.0 * (other + 1) * unit for other in everyone]
        scaled = sum(one * by for one, by in zip(mine, factors))
        for op, wanted in [(OP.SUM, sum(mine)), (OP.AVG, sum(mine) / size), (factor(factors[rank]), scaled),
                           (factor(torch.tensor([factors[rank]])), scaled)]:
            for name, found in reduced(op, torch.full((5,), mine[rank], dtype=dtype), started):
                check(found, torch.full((5,), wanted, dtype=dtype), (name, op, dtype, started))

# Means, products, bits, truth values, factors.
x = torch.full((3,), float(rank))
dist.all_reduce(x, OP.AVG)
check(x, torch.full((3,), sum(everyone) / size), "avg")
x = torch.full((3,), rank + 1)
dist.all_reduce(x, OP.PRODUCT)
check(x, torch.full((3,), __import__("math").factorial(size)), "product")
for op, wanted in [(OP.BAND, 0), (OP.BOR, 2**size - 1), (OP.BXOR, 2**size - 1)]:
    x = torch.full((3,), 1 << rank)
    dist.all_reduce(x, op)
    check(x, torch.full((3,), wanted), op)
for op, wanted in [(OP.SUM, True), (OP.PRODUCT, False), (OP.MAX, True), (OP.MIN, False)]:
    x = torch.tensor([rank == 0])
    dist.all_reduce(x, op)
    check(x, torch.tensor([wanted]), op)
x = torch.full((3,), 2.0)
dist.all_reduce(x, dist._make_nccl_premul_sum(0.5 + rank))
check(x, torch.full((3,), 2.0 * sum(0.5 + other for other in everyone)), "premul_sum")
x = torch.full((2,), complex(1, rank))
dist.all_reduce(x)
check(x, torch.full((2,), complex(size, sum(everyone))), "complex sum")

# A view that is to be negated when it is read.
x = torch.tensor([complex(1, rank)]).conj().imag
assert x.is_neg() and x.is_contiguous()
dist.all_reduce(x)
assert x.item() == -sum(everyone), x

# Several in one.
pair = [torch.full((3,), float(rank)), torch.full((2,), rank), torch.full((4,), 1.0)]
with dist._coalescing_manager(async_ops=True) as manager:
    for one in pair:
        dist.all_reduce(one)
manager.wait()
for one, wanted in zip(pair, (float(sum(everyone)), sum(everyone), float(size))):
    check(one, torch.full(one.shape, wanted), "coalesced")
outs = [[torch.empty(3), torch.empty(2, dtype=torch.int64)] for _ in everyone]
dist.group.WORLD.allgather_coalesced(outs, [torch.full((3,), float(rank)), torch.full((2,), rank)]).wait()
for other in everyone:
    check(outs[other][0], torch.full((3,), float(other)), "allgather_coalesced")
    check(outs[other][1], torch.full((2,), other), "allgather_coalesced")

# As functions, whose C++ asks the group.
import torch.distributed._functional_collectives as functional
x = torch.full((size, 2), float(rank))
world = dist.group.WORLD
check(functional.all_reduce(x, "sum", world).wait(), torch.full((size, 2), float(sum(everyone))), "f")
check(functional.all_gather_tensor(x[:1], 0, world).wait(), torch.tensor([[float(o)] * 2 for o in everyone]), "f")
check(functional.reduce_scatter_tensor(x, "sum", 0, world).wait(), torch.full((1, 2), float(sum(everyone))), "f")
both = functional.all_gather_into_tensor_coalesced([x[:1].clone(), x[:1].clone()], world)
check(both[1].wait(), torch.tensor([[float(o)] * 2 for o in everyone]), "f coalesced")
both = functional.reduce_scatter_tensor_coalesced([x, x], "sum", [0, 0], world)
check(both[1].wait(), torch.full((1, 2), float(sum(everyone))), "f coalesced")

# Objects, sub-groups, meshes.
found = [None] * size
dist.all_gather_object(found, {"rank": rank})
assert found == [{"rank": other} for other in everyone]
box = [f"of {rank}"]
dist.broadcast_object_list(box, 1)
assert box == ["of 1"]
pairs = dist.new_group([0, size - 1])
if rank in (0, size - 1):
    x = torch.ones(2)
    dist.all_reduce(x, group=pairs)
    check(x, torch.full((2,), 2.0), "new_group")
mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (size,), mesh_dim_names=("all",))
x = torch.ones(2)
dist.all_reduce(x, group=mesh["all"].get_group())
check(x, torch.full((2,), float(size)), "mesh")
sparse = torch.sparse_coo_tensor([[rank, size]], [1.0, 2.0], (size + 1,))
dist.all_reduce(sparse)
check(sparse.to_dense(), torch.tensor([1.0] * size + [2.0 * size]), "sparse")
numbers = [None] * size
dist.all_gather_object(numbers, world._get_sequence_number_for_group())
assert len(set(numbers)) == 1 and numbers[0] > 100, numbers
dist.destroy_process_group()
print("all is well")
"""


@pytest.mark.parametrize("size", [2, 3])
def test_every_collective_means_what_torch_says(tmp_path, size):
    for rank in run_torch(tmp_path, SCRIPT, size):
        assert "all is well" in rank.output
