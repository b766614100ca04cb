"""Builds the one extension, fastframe._speedups; everything else stands in pyproject.toml.

FASTFRAME_PURE    1: no extension.  0: required, a failure fails the build.  unset: optional.
FASTFRAME_BUILD   sanitize (ASan + UBSan), fuzz (the same, with coverage for libFuzzer: needs CC=clang),
                  trace (line events, for coverage), debug.  unset: release.
"""

import os
import platform
import sys
import sysconfig
import warnings
from glob import glob

from setuptools import Extension, setup


def choice(name, *values):
    value = os.environ.get(name, "")
    if value and value not in values:
        sys.exit(f"{name}={value!r}: expected one of {', '.join(values)}, or unset")
    return value


SOURCE = "src/fastframe"
PURE = choice("FASTFRAME_PURE", "0", "1")
BUILD = choice("FASTFRAME_BUILD", "sanitize", "fuzz", "trace", "debug")
TRACE = ("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")
DIRECTIVES = dict.fromkeys(("cdivision", "embedsignature", "always_allow_keywords", "binding"), True)
DIRECTIVES |= dict.fromkeys(("boundscheck", "wraparound", "auto_pickle"), False) | {"language_level": 3}


def flags():  # -> compiler options, linker options
    if sys.platform == "win32":
        return ["/W3", "/Od" if BUILD == "debug" else "/O2"], []
    common = ["-Wall", "-Wextra", "-fvisibility=hidden", f"-ffile-prefix-map={os.getcwd()}=.", "-U_FORTIFY_SOURCE"]
    if BUILD in ("sanitize", "fuzz"):
        checks = ["-fsanitize=address,undefined"]
        checks += ["-fsanitize-coverage=inline-8bit-counters,pc-table"] if BUILD == "fuzz" else []
        return [*common, *checks, "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-O1", "-g"], checks
    if BUILD == "debug":
        return [*common, "-O0", "-g", "-UNDEBUG"], []
    # get_platform is the target's, sys.platform the host's: cross builds set _PYTHON_HOST_PLATFORM.
    link = ["-Wl,-z,relro,-z,now", "-Wl,-s"] if sysconfig.get_platform().startswith("linux") else []
    return [*common, "-O2", "-g0", "-D_FORTIFY_SOURCE=3", "-fstack-protector-strong"], link


def extensions():
    if PURE == "1":
        return []
    if platform.python_implementation() != "CPython":
        return sys.exit("FASTFRAME_PURE=0 needs CPython") if PURE else []
    try:
        import Cython.Distutils  # noqa: F401 - setuptools' build_ext runs it, and only when it compiles
    except ImportError:
        if PURE:
            raise
        warnings.warn("Cython is missing: fastframe is built without its extension", stacklevel=1)
        return []
    extension = Extension("fastframe._speedups", [f"{SOURCE}/_speedups.pyx"], include_dirs=[SOURCE], optional=not PURE)
    extension.depends = sorted(glob(f"{SOURCE}/*.px[di]") + glob(f"{SOURCE}/*.h"))
    extension.extra_compile_args, extension.extra_link_args = flags()
    extension.libraries = ["ws2_32"] if sys.platform == "win32" else []
    extension.define_macros = [*TRACE] if BUILD == "trace" else []
    extension.cython_directives = DIRECTIVES | {"linetrace": BUILD == "trace", "profile": BUILD == "trace"}
    extension.cython_c_in_temp = True  # below build/: neither src nor the sdist ever holds generated C
    return [extension]


# force: objects of another FASTFRAME_BUILD may lie in build/ and look up to date
setup(ext_modules=extensions(), options={"build_ext": {"force": True}})
