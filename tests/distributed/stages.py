"""Some stages in one of several processes: ``python -m tests.distributed.stages DATA RUN CONFIG STAGE ...``.

The command line takes one stage, or all.
"""

import sys

from leadpp import pipeline
from leadpp.distributed.launch import read_launch
from leadpp.distributed.meeting import together

if __name__ == "__main__":
    data, run, config, *stages = sys.argv[1:]
    with together(read_launch()) as ranks:
        pipeline.run(data, run, config=config, stages=stages, ranks=ranks)
