"""Show how a sweep or an analysis stands: python jobs/status.py runs/NAME"""

import sys

from fieldtrial.commands.status import main

if __name__ == "__main__":
    sys.exit(main())
