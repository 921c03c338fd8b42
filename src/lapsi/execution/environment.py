"""What must be set before torch or Ray is loaded; imported first.

Torch's OpenMP threads wait actively after each operation and take the processor from the matrix products that follow: idle
waiting makes retraining a fifth faster. Ray would tell its makers how it is used. A value the user has set stays; where a
library is loaded already, this has no effect.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
