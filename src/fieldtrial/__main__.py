"""python -m fieldtrial is the command `fieldtrial`."""

import sys

from fieldtrial.commands.program import main

if __name__ == "__main__":
    sys.exit(main())
