"""What must be set before torch is loaded; imported first.

Torch's OpenMP threads wait actively after each operation and take the processor from the matrix products that follow: idle
waiting makes retraining a fifth faster. A value the user has set stays; where torch is loaded already, this has no effect.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
