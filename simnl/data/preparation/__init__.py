"""Bring data sets into the layout that runs read (`prepare`), and check what is there (`check`).

`catalogue` says where each file comes from, `fetch` downloads, `unpack` opens archives, and `layout` links what is on
the disk already. Nothing is printed here: the tools print.
"""
