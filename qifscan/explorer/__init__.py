"""The explorer: a page on which one looks at a map, clicks, and sees what happens there.

`answers` lists what the page can ask and who answers; `routes` puts it on HTTP, `serve` on this machine, and
`page` is the page itself, plain modules of JavaScript. Begin with `answers`.
"""
