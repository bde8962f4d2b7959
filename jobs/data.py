"""Prepare a data set before any trial: python jobs/data.py NAME [--data-root DIR] [--show]"""

import sys

from fieldtrial.commands.data import main

if __name__ == "__main__":
    sys.exit(main())
