"""spotlessd: removes dust from every scan that lands in a folder, and loses none of them.

The flow, one module each:

    watch → settle → ledger → (supervisor ⇄ worker) → publish

    roots.py        a watched folder: scan, ignore rules, marker, is it really there; station_roots.py opens them all
    watch.py        file events; a hint that something changed, never the truth
    settle.py       when a file is complete
    companions.py   which files belong to a scan, by name: infrared sidecars, metadata; pairing.py finds whose they are
    company.py      what becomes of them: who waits for whom, what goes with a result, what comes after it
    reconcile.py    (complete files) − (known files) → new jobs; the same code at start, on events and by the clock
    ledger.py       every scan ever seen, its state and attempts; database.py is the SQLite file under it
    board.py        the same file's notice board: commands of people, waiting files, the daemon's snapshot
    engine.py       which job is next and what becomes of it
    dispatch.py     one job's way through the parent: gates, order to the worker, result, publishing
    supervisor.py   keeps one worker process alive; its death or silence is blamed on the job in its hand
    worker.py       that process: models loaded once, one job at a time; the only module that may load torch
    spool.py        a scan on a share is copied to a local disk first, and worked on from there
    companion_copy.py  companions copied beside the result, and what the receipt says of them
    publish.py      part files → final names, receipt last, nothing overwritten, every step repeatable after a crash
    control.py      what the commands wrote into the ledger, applied between two jobs
    service.py      builds and wires the parts; start, stop and signals
    config_keeper.py  notices a changed config, checks all of it, hands it over between two jobs
    status.py       the daemon's snapshot (reporting.py writes it), and what `spotlessd status` reads
    notices.py      what happened that a person wants to be told of; notify.py tells a program or an address
    health.py       /healthz, /readyz and /metrics for monitors; metrics.py words the figures
    cli.py          the commands, parsed by arguments.py; commands.py and setup_commands.py do them
    doctor.py       looks at the station (station_checks.py) and the machine (machine_checks.py)

Two processes: the parent (watch, ledger, publish) is small and never loads torch; the child holds the models and
writes only `.part` files. Imports point down: cli → service → supervisor and worker → ledger → job → settings → errors.
"""

__version__ = "0.1.0"
