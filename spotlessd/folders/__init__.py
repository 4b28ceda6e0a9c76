"""Watched folders: what they are, what lies in them.

roots.py         a watched folder and its output; station_roots.py opens all of a station
file_systems.py  local or network
file_checks.py   zero tail, open for writing; headers.py: whole, how large
spool.py         a copy of a scan that lies far away
"""
