"""Hands the library's log to the standard logger "kirsh".

The threads of the library never wait for Python: they put records into a bounded queue, and a
daemon thread, started with the first communicator, takes them out. So a warning about a late rank
appears while the caller still waits. Which records are worth queueing is read from the logger's
level when a communicator is created and whenever a record arrives; ``KIRSH_LOG`` does not count.
"""

from __future__ import annotations

import logging
import os
import threading

from . import _kirsh

_logger = logging.getLogger("kirsh")
#: By the library's numbers 1 to 5: error, warning, info, debug, trace.
_LEVELS = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG, 5)
#: Seconds that the end of the process waits for the last records.
_STOP_SECONDS = 0.1

_thread: threading.Thread | None = None
_thread_pid = 0


def _tell_level() -> None:
    wanted = _logger.getEffectiveLevel()
    enabled = [number for number, level in enumerate(_LEVELS) if level >= wanted]
    _kirsh.log_level(max(enabled, default=0))


def _pump() -> None:
    while (record := _kirsh.log_next()) is not None:
        number, text, lost = record
        try:
            if lost:
                _logger.warning("%d records were lost: they came faster than they were read", lost)
            _logger.log(_LEVELS[min(number, len(_LEVELS) - 1)], "%s", text)
            _tell_level()
        except Exception:  # A broken handler must not silence the records that follow.
            pass


def start() -> None:
    """Begin to deliver records in this process, if that has not been done."""
    global _thread, _thread_pid
    _tell_level()
    if _thread is None or _thread_pid != os.getpid():
        _thread = threading.Thread(target=_pump, name="kirsh-logging", daemon=True)
        _thread_pid = os.getpid()
        _thread.start()


def stop() -> None:
    """Deliver what is queued, and end the thread."""
    global _thread
    if _thread is not None and _thread_pid == os.getpid():
        _kirsh.log_stop()
        _thread.join(_STOP_SECONDS)
    _thread = None
