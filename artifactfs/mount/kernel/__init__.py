"""The kernel transport: the FUSE wire protocol on `/dev/fuse`, read-only, without libfuse.

A supervisor holds the descriptor and forks workers; workers keep nothing, so any of them can die at any moment.
`structures`, `codes`, `encoding`, `pages`: the protocol as bytes. `mounting`, `device`: getting a descriptor.
`buffers`, `requests`, `worker`: answering. `supervisor`, `notifier`: the processes around the workers.
Linux only. Source for everything here: linux/fuse.h of protocol 7.45.
"""
