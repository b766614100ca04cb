"""Connections under injected faults: `python tests/torture` runs everything, `test_torture.py` a part of it.

shim.c       system calls that fail on demand, by LD_PRELOAD; shim.py builds and steers it
errnos.py    what each call may answer, as the manual pages have it
faults.py    one fault, and what may come of it
ledger.py    the frames of one direction: what was sent, what arrived
ends.py      one end of a connection, which uses it as its documentation says
stage.py     where a scenario is played, and the judgement of it
scenarios.py what is played
calls.py     a scenario again and again, another system call failing each time
memory.py    the same for allocations
storm.py     the same under a storm of signals
worker.py    the process in which all that happens; __main__.py starts it, and again where it died
"""
