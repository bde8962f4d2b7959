"""Make a table of one or several sweeps from their files: python jobs/table.py runs/NAME ...

--rows model,freeze --columns optimizer groups and pivots by any field; see --help.
"""

import sys

from fieldtrial.results.table.command import main

if __name__ == "__main__":
    sys.exit(main())
