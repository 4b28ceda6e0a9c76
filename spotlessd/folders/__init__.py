"""Watched folders: what they are, what lies in them.

roots.py         a watched folder and its output; station_roots.py opens all of a station
mounted_places.py, mount_memory.py   on which mount it lay when it was last there
file_systems.py  local or network; own_folders.py: what is the station's own lies on a local disk
file_checks.py   zero tail, open for writing; headers.py: whole, how large
disk_space.py    how room on a disk is told, now and later
spool.py         a copy of a scan that lies far away
"""
