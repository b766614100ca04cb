"""Run at the start of each interpreter of a comparison, those that tests start included: the drop-ins in the hosts' places."""

import os

if os.environ.get("FASTFRAME_REPLACES") == "multiprocessing":
    import multiprocessing.connection

    import fastframe.multiprocessing

    for name in fastframe.multiprocessing.__all__:
        if hasattr(multiprocessing.connection, name):
            setattr(multiprocessing.connection, name, getattr(fastframe.multiprocessing, name))

if os.environ.get("FASTFRAME_REPLACES") == "twisted":
    import twisted.protocols.basic

    import fastframe.twisted

    for name in fastframe.twisted.__all__:
        setattr(twisted.protocols.basic, name, getattr(fastframe.twisted, name))
