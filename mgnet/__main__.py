"""``python -m mgnet`` is the command ``mgnet``."""

import sys

from mgnet.cli import main

sys.exit(main())
