#!/usr/bin/env python
"""Make the report of a sweep from its files: python jobs/report.py runs/NAME writes
runs/NAME/report.html.
"""

import sys

if __name__ == "__main__":
    from fieldtrial.results.report.build import main

    sys.exit(main())
