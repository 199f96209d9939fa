"""``KirshBackend``: what torch calls for tensors in host memory."""

from __future__ import annotations

import warnings
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch._C._distributed_c10d import Backend, Work

from .._errors import InvalidArgumentError, KirshError
from ._messages import Messages
from ._moving import Moving
from ._reconfigure import Reconfigure
from ._reducing import Reducing


class KirshBackend(Reducing, Moving, Messages, Reconfigure):
    """Kirsh as a backend of ``torch.distributed``, with every method that Gloo has.

    Collectives are carried out one after the other in the order of the calls, which is the same on
    all ranks; messages beside them. Any thread may call.
    """

    # What torch asks before it uses what no backend has to have. It asks for these by name, and would
    # find its own properties otherwise, which ask here again.
    supports_abort_hooks = False
    supports_coalescing = False
    supports_completion_hooks = False
    supports_reconfigure = True
    supports_shrinking = False
    supports_splitting = True
    supports_window = False
    _supports_time_estimate = False

    def supports_tensor_alloc(self, device: torch.device) -> bool:
        """Return False: Kirsh works in any memory, and has none that is better."""
        return False

    def eager_connect_single_device(self, device: torch.device | None) -> None:
        """Do nothing: ranks are connected when a group is made."""

    def perform_nocolor_split(self, device: torch.device) -> None:
        """Do nothing: only those ranks split a group that the new one is for."""

    def merge(self, store: Any, opts: Any, rank: int, size: int) -> KirshBackend:
        """Make the backend of a group into which several merge; see the group's ``merge_remote_group``.

        :param store: one that all these ranks share, and nobody else uses.
        :param opts: ``Backend.Options``, with a timeout.
        :param rank: this process's number among those that merge.
        """
        if not 0 <= rank < size:
            raise InvalidArgumentError(
                f"merge: this process is number {rank} of those that merge in this store, counted from 0, and "
                f"the group is to have {size}: give the right size, and a store that no group has been merged "
                "in before",
                kind="invalid argument",
                rank=rank,
                operation="merge",
            )
        return KirshBackend(store, rank, size, opts._timeout)

    def set_timeout(self, timeout: timedelta) -> None:
        """Give later operations this time, in place of what the group was made with."""
        self._timeout = timeout
        self._seconds = timeout.total_seconds()

    setTimeout = _set_default_timeout = set_timeout

    def _add_ephemeral_timeout(self, timeout: timedelta) -> None:
        """Do nothing, as backends may that know no timeouts for a while only."""

    @property
    def options(self) -> Backend.Options:
        """Return name and timeout, as torch's backends do."""
        return Backend.Options("kirsh", self._timeout)

    def abort(self) -> None:
        """End every operation of the group, here and on all ranks. Does not wait."""
        if self._comm is not None:
            self._comm.abort("torch.distributed aborted the group")

    def shutdown(self) -> None:
        """Leave the group: say goodbye to the others, within little more than a second."""
        if self._comm is None:
            return
        try:
            self._comm.close()
        except KirshError as error:
            # Programs leave in a `finally`, too, and what brought them there matters more.
            warnings.warn(f"leaving the group: {error}", RuntimeWarning, stacklevel=2)

    def _get_sequence_number_for_group(self) -> int:
        return self._sequence

    def _set_sequence_number_for_group(self) -> None:
        """Do nothing: numbers begin at 0 on every rank."""

    getSequenceNumberForGroup = _get_sequence_number_for_group
    setSequenceNumberForGroup = _set_sequence_number_for_group

    def monitoredBarrier(self, opts: Any = None, wait_all_ranks: bool = False) -> None:
        """Do what :meth:`monitored_barrier` does, by the name that C++ calls it."""
        self.monitored_barrier(opts, wait_all_ranks)

    def recvAnysource(self, tensors: list[Tensor], tag: int = 0) -> Work:
        """Do what :meth:`recv_anysource` does, by the name that C++ calls it."""
        return self.recv_anysource(tensors, tag)
