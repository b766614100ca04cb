"""`python -m fastframe`, and the `fastframe` command."""

from __future__ import annotations

import sys

__all__ = ["main"]

NEEDED = ("click", "rich")


def main() -> int:
    """Run the command line: the exit status, 2 if it can't run, 130 after Ctrl-C."""
    try:
        from .cli.verbs import run

        return run()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in NEEDED:
            raise
        print(f"fastframe: the command line needs {missing}: pip install 'fastframe[cli]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
