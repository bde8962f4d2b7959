"""Show how a sweep stands, from its files alone: python jobs/status.py runs/NAME"""

import sys

from fieldtrial.results.status import main

if __name__ == "__main__":
    sys.exit(main())
