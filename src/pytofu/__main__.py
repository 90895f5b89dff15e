"""`python -m pytofu`: the command line."""

import sys

from pytofu.cli import main

if __name__ == "__main__":
    sys.exit(main())
