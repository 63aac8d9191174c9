"""Serving below a service manager: telling it what happens, and leaving descriptors with it for the next server.

`manager`: speaking to it. `kept`: what is left and found again. `minder`: the manager of `mount --keep`.
Source: docs/design/containers.md; sd_notify(3), sd_pid_notify_with_fds(3), sd_listen_fds(3).
"""
