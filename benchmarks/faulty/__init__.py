"""The faults of benchmarks/faults.py: each module makes one kind of them and says what came of it.

``children`` runs a call in a process of its own and many cases side by side, ``runs`` trains, is killed and
goes on, ``disk`` is full, ``damage`` corrupts files at random, ``harm`` makes them to do harm, ``downloads``
serves badly, ``fuzz`` draws expressions, tables and headers. A check takes a case and returns what went wrong
in one line, and nothing where all is as promised.
"""

import os

# Before torch and NumPy are loaded: a process that has more threads than one, or a GPU, cannot be forked
# safely. What the environment says to mgnet would change what is checked.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
for name in [name for name in os.environ if name.startswith("MGNET_")]:
    del os.environ[name]
