"""Getting the data sets into their layout (`prepare`), and checking what is there (`check`).

`catalogue` says where each file comes from; `fetch` downloads, `unpack` opens archives, `layout` links what is on the
disk already. Nothing is printed here: the tools print.
"""
