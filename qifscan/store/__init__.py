"""The dataset on disk: created, written chunk by chunk, found finished or damaged, opened.

The bytes are a promise to older stores: add to them, change none. Begin with `store`; a chunk is written in
`writer`, and `layout` has the arrays.
"""
