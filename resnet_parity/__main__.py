"""Run the command as `python -m resnet_parity`."""

import sys

from resnet_parity.cli import main

sys.exit(main())
