"""spotlessd: removes dust from every scan that lands in a folder, and loses none of them.

The flow, one module each:

    watch → settle → ledger → (supervisor ⇄ worker) → publish

    watch.py          file events; a hint that something changed, never the truth
    settle.py         when a file is complete
    reconcile.py      (complete files) − (known files) → new jobs; the same code at start, on events and by the clock
    ledger.py         every scan ever seen, its state and attempts, in one SQLite file
    engine.py         which job is next and what becomes of it; engine_procrastinate.py where a cluster computes
    computing.py      who computes: this machine's workers or a cluster's; lane_worker.py is what a lane needs of either
    crew.py           one lane for each worker; devices.py says on which GPUs, commons.py is what lanes share
    dispatch.py       a lane: one job's way through start_checks.py, work_orders.py, the supervisor, placing.py
    supervisor.py     keeps one worker child alive; messages.py is what they say to each other
    worker.py         the child: the only module that loads torch
    publish.py        final names: no half file, no clobber, receipt last
    replacing.py      exchanges names afterwards where the newest version is to have the scan's own

    service.py        builds and wires the parts; the main loop; signals.py and control.py bring in the world
    single_run.py     when `run --once` is done, and its exit code
    job.py            a file's states, the legal moves, what a failure leads to
    base_versions.py  which version an edited mask is based on
    edited_masks.py   masks laid into masks/edited/; edited_mask_check.py looks at one while the loop goes on
    cli.py            the commands

The packages around it, each with its map in its docstring:

    configuration/    the config file: read, checked, watched for changes
    folders/          watched folders: what they are, what lies in them, copies of what lies far away
    companions/       files that belong to a scan and go with its result
    sqlite/           the file under ledger.py: schema, rows, questions, the notice board
    publishing/       names and durability of results; the receipts a lost ledger is rebuilt from
    monitoring/       status, health, metrics, notices, systemd
    doctor/           looks at the station and the machine
    review/           the page where a person looks at results and decides
    commands/         what the commands do and how they word it
    batches/          an archive folder as one batch: `spotlessd submit`
    cluster/          several stations and workers on one PostgreSQL; not imported by a station that works alone

Two kinds of process: the parent (watch, ledger, publish) is small and never loads torch; each child holds the models
and writes only `.part` files. Imports point down: cli → service → crew → supervisor → ledger → job → settings → errors.
"""

__version__ = "0.1.0"
