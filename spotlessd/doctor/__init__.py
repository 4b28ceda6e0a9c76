"""`spotlessd doctor`: looks at everything a station needs.

doctor.py          all checks in order
station_checks.py  folders, disks, markers, limits
machine_checks.py  weights, libraries, device, one small job
checking.py        what a check is
"""
