"""Fit support vector machines on features: python jobs/features.py --sweep DIR --model X"""

import sys

from fieldtrial.commands.features import main

if __name__ == "__main__":
    sys.exit(main())
