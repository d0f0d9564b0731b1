"""What all tests need: that the modules they start do not inherit ignored signals."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import signal
import threading

# A shell that starts us in the background has us ignore SIGINT, nohup has us ignore SIGHUP; a program that we start would
# ignore them too. A handler that does nothing is not inherited.
if threading.current_thread() is threading.main_thread():
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)
