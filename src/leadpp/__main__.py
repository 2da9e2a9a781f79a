"""Run the command line as ``python -m leadpp``."""

from leadpp.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
