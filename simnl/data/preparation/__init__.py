"""Bring data sets into the layout that runs read.

`prepare` plans what has to be done. `catalogue` says where each file comes from, `fetch` downloads, `unpack` opens
archives, and `layout` links what is on the disk already. Nothing is printed here: the tools print.
"""
