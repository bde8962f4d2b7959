"""Cancel the SLURM jobs of a sweep, or of videos: python jobs/cancel.py runs/NAME"""

import sys

from fieldtrial.commands.cancel import main

if __name__ == "__main__":
    sys.exit(main())
