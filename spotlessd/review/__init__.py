"""The review page: what was repaired on each frame, and a person's last word on it. Local, no torch.

    server.py     uvicorn in a thread of the daemon, or alone for `spotlessd review`
    app.py        the addresses and what answers them; security.py stands before all of them
    frames.py     ledger and receipts as the roll and as one frame; frame_files.py has the files of a frame
    events.py     what changed, sent to open pages
    decisions.py  a person's decision written down for the daemon; edits.py has what a decision may say
    pictures.py   thumbnails, tiles, masks; made by picture_child.py in its own process, kept in the state folder
    templates/, static/   the pages; nothing foreign in them

No path from outside is ever opened: a page names frames by their ids, and only the ledger knows their files.
"""
