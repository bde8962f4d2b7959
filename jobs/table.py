"""Make a table of one or several sweeps from their files: python jobs/table.py runs/NAME ..."""

import sys

from fieldtrial.results.table.command import main

if __name__ == "__main__":
    sys.exit(main())
