"""A device that is none: its tensors' elements are in tensors of the host, out of Kirsh's sight.

Copies that need not block are done no sooner than somebody waits for them, as on a device that is busy: who
does not wait finds old elements. ``log`` has the copies in the order in which they were done.
"""

import threading

import torch
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

#: "out" to the host, "in" to the device, and whatever a test adds.
log: list[str] = []

_lock = threading.RLock()
_asked: list = []
_done = 0


class Standin(torch.Tensor):
    """A tensor on the device; ``raw`` is the one on the host."""

    def is_contiguous(self, **_named):
        # What torch keeps of these tensors knows no strides.
        return self.raw.is_contiguous()

    def contiguous(self, **_named):
        _await(len(_asked))
        return of(self.raw.contiguous())


def of(raw):
    made = torch._C._acc.create_empty_tensor(tuple(raw.shape), raw.dtype)
    made.__class__ = Standin
    made.raw = raw
    return made


class Stream:
    def record_event(self):
        return Event()


class Event:
    def __init__(self):
        self._count = len(_asked)

    def synchronize(self):
        _await(self._count)


class Module:
    """What ``torch.get_device_module`` returns."""

    def is_initialized(self):
        return True

    def is_available(self):
        return True

    def _is_in_bad_fork(self):
        return False

    def manual_seed_all(self, seed):
        pass

    def current_device(self):
        return 0

    def device_count(self):
        return 1

    def current_stream(self, device):
        assert device.type == "standin"
        return Stream()


def _await(count):
    global _done
    with _lock:
        while _done < count:
            _asked[_done]()
            _asked[_done] = None  # it holds the tensors
            _done += 1


def _copy(source, target, non_blocking=False):
    from_device, to_device = isinstance(source, Standin), isinstance(target, Standin)
    given = source.raw if from_device else source
    place = target.raw if to_device else target
    kind = {(True, False): "out", (False, True): "in"}.get((from_device, to_device), "within")

    def do():
        place.copy_(given)
        log.append(kind)

    with _lock:
        _asked.append(do)
        if not non_blocking:
            _await(len(_asked))
    return target


def _of_metadata(op):
    return lambda tensor, *given, **named: of(op(tensor.raw, *given, **named))


def _empty(size, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return of(torch.empty(size, dtype=dtype))


_setup_privateuseone_for_python_backend("standin", backend_module=Module())
_library = torch.library.Library("aten", "IMPL")
_library.impl("_copy_from", _copy, "PrivateUse1")
_library.impl("empty.memory_format", _empty, "PrivateUse1")
for _name in ("view", "slice.Tensor", "detach"):
    _op, _, _overload = _name.partition(".")
    _packet = getattr(torch.ops.aten, _op)
    _library.impl(_name, _of_metadata(getattr(_packet, _overload or "default")), "PrivateUse1")
