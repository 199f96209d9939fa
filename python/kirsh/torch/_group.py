"""``KirshProcessGroup``: the process group that routes each call to the backend of its tensors' device.

torch can register a ``KirshBackend`` with a process group of its own. But then each call goes through
torch's dispatcher, and what comes back hides our ``Work``: its ``is_completed()`` never turns true, and
it knows no ``source_rank()``. So the group is ours: calls on host memory go straight to the backend, those on
devices that have a backend of their own the way that torch has, and all others through slabs in host memory.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C import _distributed_c10d as c10d
from torch._C._distributed_c10d import Backend, ProcessGroup, Work

from . import _others
from ._backend import KirshBackend
from ._staging import Staging

_CPU = torch.device("cpu")
_Type = ProcessGroup.BackendType


class KirshProcessGroup(ProcessGroup):
    """A process group whose host memory is Kirsh's affair. ``dist.new_group`` and others make it."""

    def __init__(self, backend: KirshBackend, given: Any, options: Any = None) -> None:
        """Take over from the group that torch had begun, with the backends that it has already.

        :param given: the ``_DistributedBackendOptions`` that torch gave for it.
        :param options: the user's ``pg_options``, for backends of other devices.
        """
        super().__init__(given.store, backend.rank(), backend.size())
        self._kirsh = backend
        self._staging = Staging(backend)
        self._given, self._options = given, options
        #: Devices with a backend of their own, and those of which it is known that they have none.
        self._others: set[str] = set()
        self._without: set[str] = set()
        #: Groups that were split off, or might have been: the same number on all ranks.
        self._splits = 0
        if os.environ.get("TORCH_DIST_NAN_CHECK", "0") == "1":
            _warn_of_hooks("TORCH_DIST_NAN_CHECK=1")
        if given.global_ranks_in_group:
            backend.global_ranks = list(given.global_ranks_in_group)
        self._register_backend(_CPU, _Type.CUSTOM, backend)
        self._set_default_backend(_Type.CUSTOM)
        before = given.process_group
        if before is not None:
            if before.bound_device_id is not None:
                self.bound_device_id = before.bound_device_id
            for device in before._device_types:
                self._adopt(device.type, before._get_backend(device))
        split_from = getattr(given, "split_from", None)
        if split_from is not None and not isinstance(split_from, KirshBackend):
            # Ranks that are not of this group take part in the split now, and so must those that are.
            world: Any = dist.group.WORLD
            device = world.bound_device_id
            named = _others.named_for(world, device.type)
            if named is not None and device.type not in self._others:
                self._make(device.type, named)

    def getBackendName(self) -> str:
        """Return "kirsh", which is what C++ calls the group."""
        return "kirsh"

    @property
    def backend(self) -> KirshBackend:
        """The backend for host memory."""
        return self._kirsh

    def abort(self) -> None:
        """End every operation of the group, on all ranks and devices."""
        self._kirsh.abort()
        for device in self._others:
            self._get_backend(torch.device(device)).abort()

    def shutdown(self) -> None:
        """Leave the group, on all devices."""
        self._kirsh.shutdown()
        for device in self._others:
            self._get_backend(torch.device(device)).shutdown()

    def set_timeout(self, timeout: timedelta) -> None:
        """Give later operations this time, on all devices."""
        self._kirsh.set_timeout(timeout)
        for device in self._others:
            self._get_backend(torch.device(device)).set_timeout(timeout)

    def monitored_barrier(
        self, timeout: timedelta | None = None, wait_all_ranks: bool = False
    ) -> None:
        """Wait for all ranks and name those that are missing; see the backend."""
        self._kirsh.monitored_barrier(timeout, wait_all_ranks)

    def barrier(  # type: ignore[override]  # of two forms
        self, opts: Any = None, timeout: timedelta | None = None
    ) -> Work:
        """Wait until every rank has come here."""
        opts, timeout = (None, opts) if isinstance(opts, timedelta) else (opts, timeout)
        opts = _options(c10d.BarrierOptions, opts, timeout=timeout)
        device = getattr(opts, "device", None)
        if device is not None and device.type in self._others:
            return super().barrier(opts)
        return self._kirsh.barrier(opts)

    def split_group(
        self,
        new_ranks: list[int],
        timeout: timedelta | None = None,
        opts: Any = None,
        group_name: Any = None,
        group_desc: str | None = None,
        device_types: list[torch.device] | None = None,
    ) -> ProcessGroup | None:
        """Make a group of some of this one's ranks. Called by all of them; blocks those that it is for.

        :param new_ranks: the ranks here, in the order of their ranks there.
        :return: the group; None on a rank that is not of it.
        """
        if device_types is not None and _CPU.type not in {device.type for device in device_types}:
            raise RuntimeError("a group of kirsh's is one for host memory: split it with the backend cpu:kirsh")
        self._splits += 1
        if self._kirsh._rank not in new_ranks:
            return None
        name: Any = group_name or f"{self.group_name}:split:{new_ranks}"
        timeout = self._kirsh._timeout if timeout is None else timeout
        # A name may be given again, to other ranks or in a later split, and a store forgets nothing.
        prefix = f"split{self._splits}/{','.join(map(str, new_ranks))}/{name}/"
        given = c10d._DistributedBackendOptions()
        given.store = c10d.PrefixStore(prefix, self._kirsh.met_in)
        given.group_id = name
        given.global_ranks_in_group = [self._kirsh.global_ranks[one] for one in new_ranks]
        rank = new_ranks.index(self._kirsh._rank)
        made = KirshProcessGroup(KirshBackend(given.store, rank, len(new_ranks), timeout), given, opts)
        made._set_group_name(name)
        made._set_group_desc(group_desc or f"{self.group_desc}:split")
        return made

    def merge_remote_group(
        self,
        store: Any,
        size: int,
        timeout: timedelta = timedelta(minutes=30),
        group_name: Any = None,
        group_desc: str | None = None,
    ) -> ProcessGroup:
        """Make one group of this one and others. Called by all their ranks; blocks until ``size`` have.

        Ranks are numbered as they come, and the groups that they come from stay as they are.

        :param store: one that all these ranks share, for this group alone.
        :param size: how many ranks all these groups have together.
        :param timeout: how long they may take to find together, and each operation then.
        """
        name: Any = group_name or f"{self.group_name}:merge"
        rank = store.add("mergeGroupRank", 1) - 1
        backend = self._kirsh.merge(store, Backend.Options("kirsh", timeout), rank, size)
        given = c10d._DistributedBackendOptions()
        given.store = store
        given.group_id = name
        made = KirshProcessGroup(backend, given)
        made._set_group_name(name)
        made._set_group_desc(group_desc or f"{self.group_desc}:merge")
        return made

    def rank(self) -> int:
        """Return this process's rank in the group, by its backend's newest count."""
        return self._kirsh._rank

    def size(self) -> int:
        """Return the number of ranks in the group, likewise."""
        return self._kirsh._ranks

    #: By these names C++ asks, DistributedDataParallel's reducer for one.
    getRank, getSize = rank, size

    @property
    def supports_reconfigure(self) -> bool:
        """Return True.

        :raises RuntimeError: as torch does, where other devices have backends of their own.
        """
        self._check_only_backend()
        return True

    def get_reconfigure_handle(self) -> str:
        """Return what stands for this process in the list of a ``reconfigure``; see the backend."""
        self._check_only_backend()
        return self._kirsh.get_reconfigure_handle()

    def reconfigure(self, opts: Any) -> Work:
        """Make the group anew, of other ranks or in another order; see the backend."""
        self._check_only_backend()
        work = self._kirsh.reconfigure(opts)
        # What has just joined has split nothing yet.
        self._splits = 0
        return work

    def _check_only_backend(self) -> None:
        try:
            every = _others.every_named(self)
        except KeyError:
            # A merged group has no description.
            every = {"cpu": "kirsh"}
        if self._others or len(set(every.values())) > 1:
            devices = ", ".join(sorted({*every, *self._others}))
            raise RuntimeError(
                "ProcessGroup reconfigure APIs do not support process groups with multiple backends, and this "
                f"one has them for {devices} (rank {self._kirsh._rank})"
            )

    def register_pre_hook(self, hook_id: int, hook: Any) -> None:
        """Have torch call this before collectives of other devices' backends; warns that it sees no others."""
        _warn_of_hooks("a hook before collectives")
        super().register_pre_hook(hook_id, hook)

    def register_post_hook(self, hook_id: int, hook: Any) -> None:
        """Have torch call this after collectives, likewise."""
        _warn_of_hooks("a hook after collectives")
        super().register_post_hook(hook_id, hook)

    def get_group_store(self) -> Any:
        """Return the store through which the group was made."""
        return self._given.store

    def _get_sequence_number_for_group(self) -> int:
        return self._kirsh._sequence

    def _get_backend(self, device: torch.device) -> Backend:
        """Return the backend for a device, made now where it was only named so far."""
        if device.type == "cpu" or not self._has_backend(device.type):
            return self._kirsh
        return super()._get_backend(device)

    get_backend = _get_backend

    def _has_backend(self, device: str) -> bool:
        """Whether there is a backend for a device beside host memory.

        Makes the one that the group's description names. Collective then.
        """
        if device in self._others:
            return True
        if device in self._without:
            return False
        try:
            named = _others.named_for(self, device)
        except KeyError:
            return False
        if named is None or named == "kirsh":
            self._without.add(device)
            return False
        self._make(device, named)
        return True

    def _make(self, device: str, named: str) -> None:
        made = _others.make(self, device, named, self._given, self._options)
        self._adopt(device, made)
        bound = self.bound_device_id
        if bound is not None and bound.type == device and made.supports_splitting:
            made.eager_connect_single_device(bound)

    def _adopt(self, device: str, backend: Backend) -> None:
        kind = dist.Backend.backend_type_map.get(backend.name(), _Type.CUSTOM)
        if kind == _Type.CUSTOM:
            # torch keeps one backend for each type, and Kirsh has taken this one. A type is only a key
            # there, so any other will do.
            kind = _Type.UCC
        self._register_backend(torch.device(device), kind, backend)
        self._others.add(device)

    def allreduce_encoded(self, tensor: torch.Tensor, opts: Any, wire: str) -> Work:
        """Combine a float32 tensor that travels in a wire format; see the backend.

        It goes through host memory also where the device has a backend of its own, unless it travels as it is.
        """
        if tensor.is_cpu:
            return self._kirsh.allreduce_encoded(tensor, opts, wire)
        if wire == "none" and self._has_backend(tensor.device.type):
            return self.allreduce([tensor], opts)
        return self._staging.call("allreduce_encoded", tensor, opts, wire)

    def _home(self, tensors: Any) -> KirshBackend | Staging | None:
        """Who carries out a call on tensors, in lists or lists of lists; None for torch's own way."""
        while isinstance(tensors, list | tuple):
            if not tensors:
                return self._kirsh
            tensors = tensors[0]
        if tensors.is_cpu:
            return self._kirsh
        return None if self._has_backend(tensors.device.type) else self._staging


def _warn_of_hooks(what: str) -> None:
    warnings.warn(
        f"{what} is not heeded by the backend kirsh: torch sees to it in its dispatcher, which collectives on "
        "host memory do not pass",
        stacklevel=3,
    )


def _options(kind: type[Any], opts: Any, **fields: Any) -> Any:
    """Return the options, or new ones of those fields that are given."""
    if opts is None:
        opts = kind()
        for name, value in fields.items():
            if value is not None:
                setattr(opts, name, value)
    return opts


#: What torch's shorter forms of the calls name, and where it belongs in the options.
_FIELDS = {"op": "reduceOp", "root": "rootRank", "timeout": "timeout"}


def _routed(name: str, kind: type[Any], tensors: int, fields: tuple[str, ...], probe: int) -> Any:
    """A method of the group: it reads the forms that torch's own has, and routes the call.

    :param tensors: how many arguments hold tensors; options follow, or in the short form ``fields``.
    :param probe: the argument whose device decides.
    """
    ours: Callable[..., Work] = getattr(KirshBackend, name)
    theirs: Callable[..., Work] = getattr(ProcessGroup, name)

    def method(self: KirshProcessGroup, *given: Any, **named: Any) -> Work:
        if len(given) != tensors + 1 or type(given[tensors]) is not kind:
            given = _normal(kind, tensors, fields, given, named)
        home = self._home(given[probe])
        if home is self._kirsh:
            work = ours(home, *given)
        elif isinstance(home, Staging):
            work = home.call(name, *given)
        else:
            return theirs(self, *given)
        if c10d._allow_inflight_collective_as_graph_input():
            _register(given[0], work)
        return work

    return _named(method, name, ours.__doc__)


def _register(results: Any, work: Work) -> None:
    """Tell torch which work a compiled function has to wait for that takes these tensors."""
    if isinstance(results, torch.Tensor):
        c10d._register_work(results, work)
        return
    for one in results:
        _register(one, work)


def _named(method: Any, name: str, doc: str | None) -> Any:
    """Give a method its name, also where pybind11 looks.

    torch's own method calls the group's virtual one, which is this again. It stops there if the Python
    code that it was called from has the name of the method.
    """
    method.__code__ = method.__code__.replace(co_name=name)
    method.__name__ = name
    method.__qualname__ = f"KirshProcessGroup.{name}"
    method.__doc__ = doc
    return method


def _normal(
    kind: type[Any],
    tensors: int,
    fields: tuple[str, ...],
    given: tuple[Any, ...],
    named: dict[str, Any],
) -> tuple[Any, ...]:
    """The arguments of any form as lists of tensors and options."""
    if len(given) < tensors:
        raise TypeError("tensors are given by position, before the options")
    arrays, rest = list(given[:tensors]), given[tensors:]
    opts = named.pop("opts", None)
    if rest and (rest[0] is None or isinstance(rest[0], kind)):
        opts, rest = rest[0], rest[1:]
    values = {**dict(zip(fields, rest, strict=False)), **named}
    if opts is None:
        opts = _options(kind, None, **{_FIELDS[field]: value for field, value in values.items()})
    if fields and isinstance(arrays[-1], torch.Tensor):
        # One tensor for one device: torch's lists have one for each device of a rank.
        arrays = [[array] for array in arrays]
    elif tensors == 2 and fields and isinstance(arrays[0], torch.Tensor):
        arrays = [[array] for array in arrays]
    return (*arrays, opts)


for _name, _kind, _tensors, _fields, _probe in [
    ("allreduce", c10d.AllreduceOptions, 1, ("op", "timeout"), 0),
    ("allreduce_coalesced", c10d.AllreduceCoalescedOptions, 1, (), 0),
    ("broadcast", c10d.BroadcastOptions, 1, ("root", "timeout"), 0),
    ("reduce", c10d.ReduceOptions, 1, ("root", "op", "timeout"), 0),
    ("allgather", c10d.AllgatherOptions, 2, ("timeout",), 1),
    ("all_gather_single", c10d.AllgatherOptions, 2, (), 1),
    ("_allgather_base", c10d.AllgatherOptions, 2, (), 1),
    ("all_gather_single_coalesced", c10d.AllgatherOptions, 2, (), 1),
    ("allgather_into_tensor_coalesced", c10d.AllgatherOptions, 2, (), 1),
    ("allgather_coalesced", c10d.AllgatherOptions, 2, (), 1),
    ("gather", c10d.GatherOptions, 2, ("root", "timeout"), 1),
    ("gather_single", c10d.GatherOptions, 2, (), 1),
    ("gather_into_tensor", c10d.GatherOptions, 2, (), 1),
    ("scatter", c10d.ScatterOptions, 2, ("root", "timeout"), 0),
    ("reduce_scatter", c10d.ReduceScatterOptions, 2, ("op", "timeout"), 0),
    ("reduce_scatter_single", c10d.ReduceScatterOptions, 2, (), 0),
    ("_reduce_scatter_base", c10d.ReduceScatterOptions, 2, (), 0),
    ("reduce_scatter_single_coalesced", c10d.ReduceScatterOptions, 2, (), 0),
    ("reduce_scatter_tensor_coalesced", c10d.ReduceScatterOptions, 2, (), 0),
    ("alltoall", c10d.AllToAllOptions, 2, (), 0),
    ("all_to_all_single", c10d.AllToAllOptions, 4, (), 0),
    ("alltoall_base", c10d.AllToAllOptions, 4, (), 0),
]:
    setattr(KirshProcessGroup, _name, _routed(_name, _kind, _tensors, _fields, _probe))


def _message(name: str) -> Any:
    ours: Callable[..., Work] = getattr(KirshBackend, name)
    theirs: Callable[..., Work] = getattr(ProcessGroup, name)

    def method(self: KirshProcessGroup, tensors: list[torch.Tensor], *given: int) -> Work:
        home = self._home(tensors)
        if home is self._kirsh:
            return ours(home, tensors, *given)
        if isinstance(home, Staging):
            return home.call(name, tensors, *given)
        return theirs(self, tensors, *given)

    return _named(method, name, ours.__doc__)


for _name in ("send", "recv", "recv_anysource"):
    setattr(KirshProcessGroup, _name, _message(_name))
