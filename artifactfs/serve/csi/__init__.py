"""The CSI node plugin: volumes of pods, bound from one mount.

`schema`: the messages. `wishes`: what a pod asks for. `table`: what is published. `publishing`: doing it.
`services`: the calls and their codes. `server`: the socket. Source: docs/design/containers.md; CSI 1.11.
"""
