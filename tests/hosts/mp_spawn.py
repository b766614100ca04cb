"""CPython's own tests of multiprocessing, whose processes are started by spawn."""

from test._test_multiprocessing import install_tests_in_module_dict

install_tests_in_module_dict(globals(), "spawn")
