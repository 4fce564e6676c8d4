"""The bodies of longer commands, a file each; `genfuse.cli` registers them."""
