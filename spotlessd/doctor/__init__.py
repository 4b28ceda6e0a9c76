"""`spotlessd doctor`: looks at everything a station needs.

doctor.py          all checks in order
station_checks.py  folders, disks, markers, limits
machine_checks.py  weights, libraries, device, one small job
cluster_checks.py  PostgreSQL, clocks, versions of all machines of a cluster
share_checks.py    that a share is the same folder on all of them
checking.py        what a check is
"""
