#!/usr/bin/env python
"""Make the table of a sweep anew from its files: python jobs/tabulate.py runs/NAME."""

import sys

if __name__ == "__main__":
    from fieldtrial.results.table import main

    sys.exit(main())

# Every job has this folder on its import path, where torch looks for the package tabulate (which it can do without).
raise ImportError("jobs/tabulate.py is a command, not the package tabulate")
