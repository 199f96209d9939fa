"""What kirsh raises. Written in Python because some classes have two bases.

``kirsh._kirsh`` looks these up by name when it first raises.
"""

from __future__ import annotations


class KirshError(RuntimeError):
    """A call failed. The attributes say what a program needs to know; the text is for people."""

    #: What went wrong, in a word or two: "timeout", "peer lost", "mismatch", "closed", ...
    kind: str
    #: What is unusable now: "call" (nothing else), "link", or "communicator" (every later call on
    #: it raises this same error).
    scope: str
    #: The rank that reports the error, where it is known.
    rank: int | None
    #: The rank that the error is about, where there is one.
    peer: int | None
    #: The operation that failed: "allreduce", "broadcast", "barrier", ...
    operation: str | None
    #: The number of that operation within its communicator, counted from 0.
    sequence: int | None

    def __init__(
        self,
        message: str = "",
        *,
        kind: str = "internal",
        scope: str = "call",
        rank: int | None = None,
        peer: int | None = None,
        operation: str | None = None,
        sequence: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.scope = scope
        self.rank = rank
        self.peer = peer
        self.operation = operation
        self.sequence = sequence


class KirshTimeoutError(KirshError, TimeoutError):
    """A deadline passed.

    Where ``Work.wait`` ran out of its own time (scope "call", and ``done`` is false), the operation
    goes on. A send or a receive that ran out of time (scope "call") is over, and nothing else is.
    """


class PeerLostError(KirshError):
    """A rank died, left while it was needed, or fell silent; ``peer`` says which."""


class MismatchError(KirshError):
    """The ranks called different things, or a message does not fit its receive; says what."""


class RefusedError(KirshError):
    """Another rank turned down a call that this rank made; the text has its reason."""


class AbortedError(KirshError):
    """Somebody called ``abort`` or was interrupted (Ctrl-C); ``peer`` says who."""


class InvalidArgumentError(KirshError, ValueError):
    """An argument that could not work, such as a strided array."""


class UnsupportedError(KirshError, TypeError):
    """A type, or an operator on a type, that kirsh cannot work on."""


__all__ = [
    "AbortedError",
    "InvalidArgumentError",
    "KirshError",
    "KirshTimeoutError",
    "MismatchError",
    "PeerLostError",
    "RefusedError",
    "UnsupportedError",
]

for _name in __all__:
    # Tracebacks and pickles should say `kirsh.PeerLostError`, which is where users find it.
    globals()[_name].__module__ = "kirsh"
del _name
