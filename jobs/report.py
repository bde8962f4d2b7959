"""Write a sweep's report from its files: python jobs/report.py runs/NAME"""

import sys

from fieldtrial.results.report.command import main

if __name__ == "__main__":
    sys.exit(main())
