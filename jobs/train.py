"""Train one trial: python jobs/train.py --run DIR [--FIELD VALUE ...]"""

import sys

from fieldtrial.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
