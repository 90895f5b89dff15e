"""`python -m pytofu`: the command line."""

import sys

from pytofu.cli import main

# Tests run this file in processes of their own, which are not measured.
if __name__ == "__main__":  # pragma: no cover
    sys.exit(main())
