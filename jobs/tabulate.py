#!/usr/bin/env python
"""Make a table of one or several sweeps from their files: python jobs/tabulate.py runs/NAME
[runs/OTHER …].

--rows model,freeze --columns optimizer groups and pivots by any field; --help says the rest.
"""

import sys

if __name__ == "__main__":
    from fieldtrial.results.table.command import main

    sys.exit(main())

# Every job has this folder on its import path, where torch looks for the package tabulate (which it
# can do without).
raise ImportError("jobs/tabulate.py is a command, not the package tabulate")
