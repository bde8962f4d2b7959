#!/usr/bin/env python
"""Show how a sweep stands, from another shell: python jobs/status.py runs/NAME. Reads
files only.
"""

import sys

if __name__ == "__main__":
    from fieldtrial.results.status import main

    sys.exit(main())
