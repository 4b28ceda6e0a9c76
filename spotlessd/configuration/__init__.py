"""The config file: read once, checked as a whole, frozen; read again when it changes.

settings.py        `Settings`, from TOML and the environment; sections.py has its tables, root_tables.py the `[[roots]]`
check.py           finds every problem at once; problems.py words each, toml_locate.py knows its line
folder_overlap.py  folders that must not contain each other
profiles.py        what is done with one folder's scans
parts.py           what each part of the station needs of the settings
keeper.py          notices a changed file; in_force.py keeps what the running daemon works by; origin.py says whence
"""
