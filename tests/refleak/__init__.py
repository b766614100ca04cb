"""What each operation leaves behind, which must be nothing: `python tests/refleak`; `test_refleak.py` is the short form.

meter.py           what is counted, and the slope of it
expected.py        calls that must raise, and calls that must be broken off
decoder.py, streams.py, connection.py
                   the operations: every public method, and every way in which it fails
"""
