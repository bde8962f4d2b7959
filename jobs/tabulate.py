#!/usr/bin/env python
"""Make the table of a sweep anew from its files: python jobs/tabulate.py runs/NAME."""

import sys

from fieldtrial.results.table import main

if __name__ == "__main__":
    sys.exit(main())
