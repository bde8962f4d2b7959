"""Export a sweep to a tracker or to tables: python jobs/export.py runs/NAME --to TARGET [PLACE]"""

import sys

from fieldtrial.results.export.command import main

if __name__ == "__main__":
    sys.exit(main())
