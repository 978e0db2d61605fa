"""Entry point of a worker process: worker.py SOCKET SERVER_PID STUB_PID

It stands beside the package, not in it, because Python puts a script's folder first on the module
path, and the package has modules with the names of libraries.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from triton_vllm.worker.main import main

    main(int(sys.argv[1]), server=int(sys.argv[2]), stub=int(sys.argv[3]))
