#!/bin/bash
# A video among the images is read whole before it is looked at; with less memory than it has bytes, the run ends.
. "$(dirname "$0")/environment.sh"
make_images photos cat:3 dog:3
truncate -s 1200M photos/cat/holiday.mov
"$PYTHON" - "$PROGRAM" index add --data photos --artifact "$ARTIFACT" --index ix <<'P'
import resource, subprocess, sys
result = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
print(*[line for line in result.stdout.splitlines() if "skipped" in line or "index ix" in line], sep="\n")
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, "MB resident at most")
P
truncate -s 6G photos/cat/holiday.mov
(
  ulimit -v 5000000
  alexnet index add --data photos --artifact "$ARTIFACT" --index ix2 >huge.log 2>&1
  echo "6 GB, with 5 GB of memory: status $?, $(tail -1 huge.log)"
)
