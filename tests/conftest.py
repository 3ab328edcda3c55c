"""What every test runs under.

Property tests draw anew on a laptop, where a new counterexample is welcome. In CI they draw the same every time, so
that a change is judged by what it changes; the fresh draw there is the simulator's.
"""

from __future__ import annotations

import os
import signal
import threading

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("laptop", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "laptop")

# A runner that was started in the background hands down an ignored Ctrl-C, and all that a test starts would ignore it
# too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
