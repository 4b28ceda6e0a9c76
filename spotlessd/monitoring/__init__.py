"""How the daemon is, told to all who want to know.

status.py     the snapshot, and what `spotlessd status` makes of it; reporting.py writes it
health.py     /healthz, /readyz and /metrics on loopback; metrics.py words the figures
notices.py    what happened that a person wants to be told of; notify.py tells a program or an address
systemd_notify.py, state_report.py   systemd; the whole state in a file (SIGUSR2)
"""
