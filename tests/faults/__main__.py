"""Faults over one world, or over several at once; prints what they came to.

python -m tests.faults --kind servers --seed 7 --injections 40
python -m tests.faults --injections 500 --worlds 4        # what `make faults` does
"""

from __future__ import annotations

from tests.faults import clock

clock.install()  # before anything takes `time.time` by name

from tests.faults.command import main  # noqa: E402

main()
