"""The review page: what was repaired on each frame, and a person's last word on it. Local, no torch.

    server.py     uvicorn in a thread; daemon_page.py: the daemon's, by its config
    app.py        the addresses and what answers them; security.py stands before all of them, bodies.py takes what
                  requests bring along, mask_check.py looks at masks in a process of its own
    frames.py     ledger and receipts as one frame; roll.py: as the roll; ledger_look.py opens the ledger, read-only
    events.py     what changed, sent to open pages
    decisions.py  a person's decision written down for the daemon; edits.py has what a decision may say
    pictures.py   thumbnails, tiles, masks; made by picture_child.py in its own process, kept in the state folder;
                  picture_source.py is what the page knows of it, frame_files.py what it is given,
                  picture_process.py keeps the child alive, picture_words.py is what the two say, picture_cache.py the
                  folder; in the child: drawing.py → pyramid.py → film.py, mask_layer.py, tones.py; mask_drawing.py
    templates/, static/   the pages; nothing foreign in them; static_files.py sends them

No path from outside is ever opened: a page names frames by their ids, and only the ledger knows their files.
"""
