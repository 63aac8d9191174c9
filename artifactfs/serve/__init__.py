"""What is answered over a network or socket: a web page with its API (extra `ui`), kubelet (extra `csi`)."""
