"""`spotlessd submit`: an archive folder restored as one batch, in one process that ends by itself.

A batch is a station of its own, with its own id, ledger and lock; it runs as `run --once` does, on the engine of the
config it is derived from, and needs no daemon. The order of its modules:

    batch.py       the run: one at a time, the service, its exit code, the reports
    report.py      report.csv, report.json and the contact sheet in OUT
    progress.py    the line that a person sees meanwhile
    terms.py       the settings of a batch, derived from a station's
    place.py       DIR and OUT: may they be a batch, which one is it, where does its ledger lie
    contents.py    what lies in DIR, before anything is made: scans, other kinds, results of earlier runs
    replacing.py   a file that is replaced as a whole
"""
